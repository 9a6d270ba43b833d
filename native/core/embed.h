// Embeddings: what a decoder's last layer says of a whole text, as one vector of length 1. Knows no tokenizer and no store.
// Letters: T tokens, C width, Q queries; a query stands at the last token of its row.
#pragma once
#include <string>
#include <vector>

#include "core/graph.h"

namespace stillroom {

enum class Pooling { mean, last };
Pooling pooling_of(const std::string& name);  // Failure(usage) for another name

// Sums a row's states in the order of its tokens, in f64, and hands out the vector: of a row the same bits whatever stands beside it.
class Pool {
   public:
    Pool(Pooling pooling, int64_t width) : pooling(pooling), sums(width) {}
    void add(const float* state);  // (C) behind the final norm
    void take(float* embedding);   // (C) of L2 norm 1; begins anew. Failure(input) when that is no number

   private:
    const Pooling pooling;
    std::vector<double> sums;
    int64_t count = 0;
};

// (Q, C). With mean, over all tokens from the row's root to the query's.
std::vector<float> embed(Graph& graph, const Batch& batch, const Lora* lora, Pooling pooling);

// Indices of the tokens from the root of a query's row to the query.
std::vector<int32_t> path_of(const Batch& batch, int32_t position);

}  // namespace stillroom
