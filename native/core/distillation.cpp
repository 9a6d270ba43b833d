// Divergences over the teacher's entries and one bucket for all other tokens.
#include "core/distillation.h"

#include <algorithm>
#include <cmath>

#include "core/failure.h"
#include "core/fused.h"

namespace stillroom {

namespace {

constexpr double least = 1.2664165549094176e-14;  // exp(-32), which no entry's code reaches: the smallest mass of a teacher

// One bucket's part of the divergence, with p the teacher's mass and q the student's, and d part / d q.
struct BucketPart {
    double value, slope;
};
BucketPart part_of(const Distillation& options, double p, double q, double log_q) {
    const double log_p = std::log(p);
    switch (options.kind) {
        case Distillation::Kind::forward_kl:
            return {p * (log_p - log_q), -p / q};
        case Distillation::Kind::reverse_kl:
            return {q * (log_q - log_p), log_q - log_p + 1};
        case Distillation::Kind::jsd:
            break;
    }
    const double b = options.beta, log_m = std::log(b * p + (1 - b) * q);
    return {b * p * (log_p - log_m) + (1 - b) * q * (log_q - log_m), (1 - b) * (log_q - log_m)};
}

// The loss of a row, and its gradient in the place of the logits.
double taught_row(const Kernels& kernels, int64_t vocabulary, float* row, const Batch& batch, Span asked, const Distillation& options, RowMemory& memory) {
    const Taught& taught = batch.taught;
    const uint32_t* entries = taught.entries.data() + *asked.begin() * taught.top_k;
    const double n = static_cast<double>(asked.size()), weight = options.label_weight, heat = options.temperature, tail = taught.tails[*asked.begin()];
    // One pass over the vocabulary serves labels and teacher where both look at the same softmax.
    const bool apart = weight > 0 && heat != 1, together = weight > 0 && !apart;
    double loss = 0;
    if (apart) {
        memory.labels.assign(row, row + vocabulary);
        loss = cross_entropy_row(kernels, vocabulary, memory.labels.data(), batch, asked, weight);
    }
    if (heat != 1) kernels.scale(vocabulary, static_cast<float>(1 / heat), row);
    const float high = kernels.maximum(vocabulary, row);
    if (together)
        for (int32_t q : asked) loss -= weight * (static_cast<double>(row[batch.query_tokens[q]]) - high);

    // The student's tail is summed without the entries, not as a difference of two sums that may be nearly equal.
    memory.logits.clear();
    double mass = tail, total = 0;
    for (int64_t i = 0; i < taught.top_k && entries[i] != taught_nothing; i++) {
        float& logit = row[taught_token(entries[i])];
        memory.logits.push_back(static_cast<double>(logit) - high);
        total += std::exp(memory.logits.back());
        mass += std::exp(taught_log(entries[i]));
        logit = -INFINITY;
    }
    const int64_t count = static_cast<int64_t>(memory.logits.size());
    const double rest = count < vocabulary ? std::max<double>(kernels.exp_shifted(vocabulary, row, high), 1e-37) : 0;
    total += rest;
    const double log_total = std::log(total);
    if (together) loss += weight * n * log_total;

    double divergence = 0, mean = 0;  // mean: of the slopes, under the student
    const auto slope = [&](double p, double log_q) {
        const double q = std::exp(log_q);
        const BucketPart part = part_of(options, std::max(p / mass, least), q, log_q);
        divergence += part.value;
        mean += q * part.slope;
        return part.slope;
    };
    memory.slopes.clear();
    for (int64_t i = 0; i < count; i++) memory.slopes.push_back(slope(std::exp(taught_log(entries[i])), memory.logits[i] - log_total));
    const double tail_slope = rest > 0 ? slope(tail, std::log(rest) - log_total) : 0;
    loss += (1 - weight) * heat * heat * n * divergence;

    // d divergence / d logit of a token in bucket b = q_token (slope_b - mean) / T
    const double labels = together ? weight * n / total : 0, teacher = (1 - weight) * heat * n / total;
    kernels.scale(vocabulary, static_cast<float>(labels + teacher * (tail_slope - mean)), row);
    for (int64_t i = 0; i < count; i++)
        row[taught_token(entries[i])] = static_cast<float>(std::exp(memory.logits[i]) * (labels + teacher * (memory.slopes[i] - mean)));
    if (together)
        for (int32_t q : asked) row[batch.query_tokens[q]] -= static_cast<float>(weight);
    if (apart) kernels.add(vocabulary, memory.labels.data(), row);
    return loss;
}

}  // namespace

double distillation(Graph& graph, const Batch& batch, const Distillation& options, float* gradients, LossScratch& scratch) {
    if (batch.taught.top_k == 0) throw Failure(Code::usage, "batch: expected what a teacher said for a loss of distillation, received nothing");
    scratch.rows.resize(graph.threads.count());
    return fused(graph, batch, gradients, scratch, [&](float* row, Span asked, int thread) {
        return taught_row(graph.kernels, graph.model->vocabulary, row, batch, asked, options, scratch.rows[thread]);
    });
}

}  // namespace stillroom
