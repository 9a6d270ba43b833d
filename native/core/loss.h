// Losses fused with the head: logits exist for at most Graph::head_chunk() rows at a time. Each returns sums; dividing is the caller's.
#pragma once
#include <vector>

#include "core/graph.h"

namespace stillroom {

// log p(token) of every query after graph.forward(), natural logarithm.
std::vector<double> log_probabilities(Graph& graph, const Batch& batch);

// What one row of a loss needs beside its logits.
struct RowMemory {
    std::vector<double> logits, masses, slopes;  // of a teacher's entries
    std::vector<float> labels;                   // (V) the labels' gradient, where it has another temperature
};

// The queries of each head row, and the losses of a chunk of rows: kept from call to call, so that a step allocates nothing.
struct LossScratch {
    std::vector<int32_t> begins, queries;  // (R + 1) where a row's queries begin, (Q) the queries
    std::vector<double> losses;            // (rows of a chunk)
    std::vector<RowMemory> rows;           // (threads)
};

// Sum over queries of -log p(token), with its gradient left in the graph (head_backward is called; graph.backward() is not).
// When the sum is not finite, no gradient is computed.
double cross_entropy(Graph& graph, const Batch& batch, float* gradients, LossScratch& scratch);

struct Comparison {
    double kl_sum = 0;       // sum over rows of KL(first || second), nats
    int64_t agreements = 0;  // rows where both have the same most likely token
    int64_t rows = 0;
};
// Compares two models' next-token distributions after both ran forward() on the same batch; Failure(usage) when vocabularies differ.
Comparison compare(Graph& first, Graph& second);

}  // namespace stillroom
