// Causal grouped-query attention over a forest of segments, forward and backward, without a key-value cache.
// Exact softmax in blocks (the online softmax of Dao et al. 2022); a token sees its ancestors' tokens and, causally, its own segment.
// Letters: T tokens, R rows that ask (all tokens, or some: Rows), H heads, G key-value heads, D head width.
#pragma once
#include "core/batch.h"
#include "core/buffer.h"
#include "core/gemm/kernels.h"
#include "core/threads.h"

namespace stillroom {

struct AttentionShape {
    int64_t heads, key_value_heads, head_width;
};

class Attention {
   public:
    Attention(const Kernels& kernels, Threads& threads) : kernels(kernels), threads(threads), scratch(threads.count()) {}

    // q (R, H D), k and v (T, G D) → out (R, H D), lse (H, R) the log of each softmax's denominator.
    void forward(const Batch& batch, Rows rows, const AttentionShape& shape, const float* q, const float* k, const float* v, float* out, float* lse);
    // Overwrites dq, dk, dv given dout.
    void backward(const Batch& batch, Rows rows, const AttentionShape& shape, const float* q, const float* k, const float* v, const float* out,
                  const float* lse, const float* dout, float* dq, float* dk, float* dv);

   private:
    const Kernels& kernels;
    Threads& threads;
    struct Scratch {
        Buffer keys, values, queries, scores, gradients, packed, row_max, row_sum, delta;
    };
    std::vector<Scratch> scratch;
};

}  // namespace stillroom
