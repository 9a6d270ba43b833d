// Divergences over the teacher's entries and one bucket for all other tokens, and forward KL estimated from entries that were drawn.
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

// What the gradient of a row is multiplied by: the labels' where both look at the same softmax, else 0, and the divergence's.
struct Factors {
    double labels, teacher;
};

struct Compared {
    double divergence, log_total;  // log_total: ln of the sum that the student's probabilities are over, without `high`
};

// Over the teacher's entries and one bucket for all other tokens. Takes logits / T (V) to labels * softmax + teacher * T * d divergence / d logit.
Compared compare_buckets(const Kernels& kernels, int64_t vocabulary, float* row, float high, const Taught& taught, int32_t query, const Distillation& options,
                         Factors factors, RowMemory& memory) {
    const uint32_t* entries = taught.entries.data() + query * taught.top_k;
    // The student's tail is summed without the entries, not as a difference of two sums that may be nearly equal.
    memory.logits.clear();
    double mass = taught.tails[query], total = 0;
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
    const double tail_slope = rest > 0 ? slope(taught.tails[query], std::log(rest) - log_total) : 0;

    // d divergence / d logit of a token in bucket b = q_token (slope_b - mean) / T
    kernels.scale(vocabulary, static_cast<float>((factors.labels + factors.teacher * (tail_slope - mean)) / total), row);
    for (int64_t i = 0; i < count; i++)
        row[taught_token(entries[i])] = static_cast<float>(std::exp(memory.logits[i]) / total * (factors.labels + factors.teacher * (memory.slopes[i] - mean)));
    return {divergence, log_total};
}

// The same for forward KL over entries of which some were drawn: its estimate, and the gradient of that. Where no entry is left, none.
Compared compare_sample(const Kernels& kernels, int64_t vocabulary, float* row, float high, const Taught& taught, int32_t query, Factors factors, RowMemory& memory) {
    const uint32_t* entries = taught.entries.data() + query * taught.top_k;
    memory.logits.clear();
    memory.masses.clear();
    double mass = 0;
    for (int64_t i = 0; i < taught.top_k && entries[i] != taught_nothing; i++) {
        memory.logits.push_back(static_cast<double>(row[taught_token(entries[i])]) - high);
        memory.masses.push_back(std::max<double>(std::exp(taught_log(entries[i])), taught.tails[query]));
        mass += memory.masses.back();
    }
    const double total = kernels.exp_shifted(vocabulary, row, high), log_total = std::log(total);
    double divergence = 0;
    kernels.scale(vocabulary, static_cast<float>((factors.labels + (mass > 0 ? factors.teacher : 0)) / total), row);
    for (size_t i = 0; i < memory.masses.size(); i++) {
        const double p = memory.masses[i] / mass;
        divergence += p * (taught_log(entries[i]) - std::log(mass) - (memory.logits[i] - log_total));
        row[taught_token(entries[i])] -= static_cast<float>(factors.teacher * p);
    }
    return {divergence, log_total};
}

// The loss of a row, and its gradient in the place of the logits.
double taught_row(const Kernels& kernels, int64_t vocabulary, float* row, const Batch& batch, Span asked, const Distillation& options, RowMemory& memory) {
    const Taught& taught = batch.taught;
    const double n = static_cast<double>(asked.size()), weight = options.label_weight, heat = options.temperature;
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

    const Factors factors{together ? weight * n : 0, (1 - weight) * heat * n};
    const int32_t query = *asked.begin();
    const Compared compared = taught.tail == Tail::sample
                                  ? compare_sample(kernels, vocabulary, row, high, taught, query, factors, memory)
                                  : compare_buckets(kernels, vocabulary, row, high, taught, query, options, factors, memory);
    if (together) loss += weight * n * compared.log_total;
    loss += (1 - weight) * heat * heat * n * compared.divergence;
    if (together)
        for (int32_t q : asked) row[batch.query_tokens[q]] -= static_cast<float>(weight);
    if (apart) kernels.add(vocabulary, memory.labels.data(), row);
    return loss;
}

}  // namespace

double distillation(Graph& graph, const Batch& batch, const Distillation& options, float* gradients, LossScratch& scratch) {
    if (batch.taught.top_k == 0) throw Failure(Code::usage, "batch: expected what a teacher said for a loss of distillation, received nothing");
    if (batch.taught.tail == Tail::sample && options.kind != Distillation::Kind::forward_kl)
        throw Failure(Code::usage, "batch: expected a teacher's tail as one bucket for this loss, received a sample, which is for forward_kl");
    scratch.rows.resize(graph.threads.count());
    return fused(graph, batch, gradients, scratch, [&](float* row, Span asked, int thread) {
        return taught_row(graph.kernels, graph.model->vocabulary, row, batch, asked, options, scratch.rows[thread]);
    });
}

}  // namespace stillroom
