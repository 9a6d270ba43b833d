// The loop of the losses that are fused with the head: logits of a chunk of rows, what a loss makes of each row, and their gradient. Part of loss.cpp and
// distillation.cpp.
#pragma once
#include <cmath>

#include "core/loss.h"

namespace stillroom {

// Calls body(first, count) for each chunk of head rows.
template <typename Body>
void chunks(int64_t rows, int64_t chunk, Body body) {
    for (int64_t first = 0; first < rows; first += chunk) body(first, std::min(chunk, rows - first));
}

struct Span {
    const int32_t *first, *last;
    const int32_t* begin() const { return first; }
    const int32_t* end() const { return last; }
    int64_t size() const { return last - first; }
};
inline Span queries_of(const LossScratch& scratch, int64_t row) {
    return {scratch.queries.data() + scratch.begins[row], scratch.queries.data() + scratch.begins[row + 1]};
}

// Sorts the queries by their head row, in their order.
void sort_queries(const Graph& graph, const Batch& batch, LossScratch& scratch);

// row_loss(logits of a row (V), its queries, thread) gives the row's loss and leaves the gradient where the logits were. Returns the sum; the gradient
// behind the head is left in the graph unless the sum is not finite.
template <typename RowLoss>
double fused(Graph& graph, const Batch& batch, float* gradients, LossScratch& scratch, const RowLoss& row_loss) {
    sort_queries(graph, batch, scratch);
    const int64_t vocabulary = graph.model->vocabulary;
    double sum = 0;
    const Profile::Scope scope(graph.threads.profile, Part::head);
    chunks(graph.head_rows(), graph.head_chunk(), [&](int64_t first, int64_t count) {
        if (!std::isfinite(sum)) return;
        float* logits = graph.logits(first, count);
        std::vector<double>& losses = scratch.losses;
        losses.assign(count, 0.0);
        graph.threads.run(Kernel::loss, count, [&](int64_t begin, int64_t end, int thread) {
            for (int64_t r = begin; r < end; r++) losses[r] = row_loss(logits + r * vocabulary, queries_of(scratch, first + r), thread);
        });
        for (double loss : losses) sum += loss;
        if (std::isfinite(sum)) graph.head_backward(first, count, gradients);
    });
    return sum;
}

// weight * (-log p of each query's token), n softmax - one-hots times weight in the place of the logits.
double cross_entropy_row(const Kernels& kernels, int64_t vocabulary, float* row, const Batch& batch, Span asked, double weight);

}  // namespace stillroom
