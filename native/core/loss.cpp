// Softmax cross-entropy and KL divergence over chunks of head rows.
#include "core/loss.h"

#include <algorithm>
#include <cmath>

#include "core/failure.h"
#include "core/fused.h"

namespace stillroom {

void sort_queries(const Graph& graph, const Batch& batch, LossScratch& scratch) {
    const int64_t rows = graph.head_rows(), count = static_cast<int64_t>(batch.query_tokens.size());
    scratch.begins.assign(rows + 1, 0);
    scratch.queries.resize(count);
    for (int64_t q = 0; q < count; q++) scratch.begins[graph.head_row(q) + 1]++;
    for (int64_t r = 0; r < rows; r++) scratch.begins[r + 1] += scratch.begins[r];
    // Each row's begin moves to its end while its queries are put down, and back.
    for (int64_t q = 0; q < count; q++) scratch.queries[scratch.begins[graph.head_row(q)]++] = static_cast<int32_t>(q);
    for (int64_t r = rows; r > 0; r--) scratch.begins[r] = scratch.begins[r - 1];
    scratch.begins[0] = 0;
}

std::vector<double> log_probabilities(Graph& graph, const Batch& batch) {
    std::vector<double> result(batch.query_tokens.size());
    LossScratch scratch;
    sort_queries(graph, batch, scratch);
    const int64_t vocabulary = graph.model->vocabulary;
    chunks(graph.head_rows(), graph.head_chunk(), [&](int64_t first, int64_t count) {
        float* logits = graph.logits(first, count);
        graph.threads.run(Kernel::loss, count, [&](int64_t begin, int64_t end, int) {
            for (int64_t r = begin; r < end; r++) {
                float* row = logits + r * vocabulary;
                const float high = graph.kernels.maximum(vocabulary, row);
                for (int32_t q : queries_of(scratch, first + r)) result[q] = static_cast<double>(row[batch.query_tokens[q]]) - high;
                const double log_sum = std::log(static_cast<double>(graph.kernels.exp_shifted(vocabulary, row, high)));
                for (int32_t q : queries_of(scratch, first + r)) result[q] -= log_sum;
            }
        });
    });
    return result;
}

double cross_entropy_row(const Kernels& kernels, int64_t vocabulary, float* row, const Batch& batch, Span asked, double weight) {
    double loss = 0;
    const float high = kernels.maximum(vocabulary, row);
    for (int32_t q : asked) loss -= static_cast<double>(row[batch.query_tokens[q]]) - high;
    const float denominator = kernels.exp_shifted(vocabulary, row, high);
    loss += static_cast<double>(asked.size()) * std::log(static_cast<double>(denominator));
    // d loss / d logits = n softmax - one-hot of each asked token
    kernels.scale(vocabulary, static_cast<float>(weight * static_cast<double>(asked.size())) / denominator, row);
    for (int32_t q : asked) row[batch.query_tokens[q]] -= static_cast<float>(weight);
    return weight * loss;
}

double cross_entropy(Graph& graph, const Batch& batch, float* gradients, LossScratch& scratch) {
    return fused(graph, batch, gradients, scratch, [&](float* row, Span asked, int) {
        return cross_entropy_row(graph.kernels, graph.model->vocabulary, row, batch, asked, 1);
    });
}

Comparison compare(Graph& first, Graph& second) {
    if (first.model->vocabulary != second.model->vocabulary)
        throw Failure(Code::usage, "models of different vocabularies cannot be compared: " + std::to_string(first.model->vocabulary) + " and " +
                                       std::to_string(second.model->vocabulary) + " tokens");
    Comparison result;
    result.rows = first.head_rows();
    const int64_t vocabulary = first.model->vocabulary;
    chunks(first.head_rows(), std::min(first.head_chunk(), second.head_chunk()), [&](int64_t begin_row, int64_t count) {
        float *p = first.logits(begin_row, count), *q = second.logits(begin_row, count);
        std::vector<double> divergence(count);
        std::vector<char> same(count);
        first.threads.run(Kernel::loss, count, [&](int64_t begin, int64_t end, int) {
            std::vector<float> work(vocabulary);
            for (int64_t r = begin; r < end; r++) {
                const float *a = p + r * vocabulary, *b = q + r * vocabulary;
                same[r] = std::max_element(a, a + vocabulary) - a == std::max_element(b, b + vocabulary) - b;
                auto log_sum = [&](const float* row) {
                    const float high = first.kernels.maximum(vocabulary, row);
                    std::copy(row, row + vocabulary, work.begin());
                    return high + std::log(static_cast<double>(first.kernels.exp_shifted(vocabulary, work.data(), high)));
                };
                const double lq = log_sum(b), lp = log_sum(a);  // work now holds exp(a - max a)
                const double high = first.kernels.maximum(vocabulary, a);
                double sum = 0;
                for (int64_t i = 0; i < vocabulary; i++) sum += work[i] * ((a[i] - lp) - (b[i] - lq));
                divergence[r] = sum * std::exp(high - lp);
            }
        });
        for (int64_t r = 0; r < count; r++) {
            result.kl_sum += divergence[r];
            result.agreements += same[r];
        }
    });
    return result;
}

}  // namespace stillroom
