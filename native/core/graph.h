// The decoder, forward and backward, written out layer by layer over the packed products. Knows no loss and no optimiser.
// Letters: T tokens, C width, F feed-forward width, R rows of the head (unique query positions), V vocabulary.
#pragma once
#include <memory>
#include <vector>

#include "core/attention.h"
#include "core/batch.h"
#include "core/importance.h"
#include "core/linear.h"
#include "core/lora.h"

namespace stillroom {

// Which dropout masks a pass draws; rate 0 draws none.
struct Dropout {
    float rate = 0;
    uint64_t seed = 0, step = 0, micro_batch = 0;
};

class Graph {
   public:
    Graph(std::shared_ptr<const Model> model, const Kernels& kernels, int threads, Precisions precisions = {});

    const std::shared_ptr<const Model> model;
    Importance* importance = nullptr;  // when set, forward passes add to it

    enum class Keep { nothing, everything, inputs };  // inputs: only each layer's input, the rest is computed again in backward
    // Runs the layers and the final norm at the queries' positions. lora may be null.
    void forward(const Batch& batch, const Lora* lora, Keep keep, const Dropout& dropout = {});

    int64_t head_rows() const { return static_cast<int64_t>(rows.size()); }  // R
    int64_t head_row(int64_t query) const { return row_of_query[query]; }
    // Logits (count, V) of head rows [first, first + count); valid until the next call. count at most head_chunk.
    float* logits(int64_t first, int64_t count);
    static constexpr int64_t head_chunk = 256;

    // Takes d loss / d logits of the rows that logits() computed last, in that buffer. gradients: flat like lora->values.
    void head_backward(int64_t first, int64_t count, float* gradients);
    // From the head's gradients down to the adapter's; overwrites every entry of gradients that head_backward does not own.
    void backward(float* gradients);

    const Kernels& kernels;
    Threads threads;
    const Precisions precisions;

   private:
    struct State {  // what one layer's backward needs, beside its input
        Buffer q_raw, k_raw, q, k, v, attention, lse, middle, gate, up;
        Buffer u[7];  // X A^T of each target (T, rank)
    };
    void layer_forward(int64_t l, const float* x, float* out, State& state);
    void layer_backward(int64_t l, const float* x, State& state, float* dx, float* gradients);
    void linear_forward(int64_t layer, Target target, const Weight& weight, const float* bias, const float* x, const Packed& packed, float* y, Buffer& u,
                        bool accumulate);
    void linear_backward(int64_t layer, Target target, const Weight& weight, const float* x, const float* dy, const float* u, float* dx, bool accumulate,
                         float* gradients, bool accumulate_gradients);
    const float* dropped(int64_t layer, Target target, const float* x, int64_t n, int64_t width);
    float mask(uint64_t stream, uint64_t index) const;
    void norm(const float* x, const std::vector<float>& weight, int64_t n, float* y);
    void norm_backward(const float* x, const std::vector<float>& weight, int64_t n, const float* dy, float* dx);
    void rotate(float* x, int64_t heads, bool back);
    void head_norm(const float* raw, const std::vector<float>& weight, int64_t heads, float* out);
    void head_norm_backward(const float* raw, const std::vector<float>& weight, int64_t heads, float* d);
    void embed();
    void embed_backward(const float* dx, float* gradients);
    void rope_table();

    Products products;
    Attention attention;
    // Of the pass under way
    const Batch* batch = nullptr;
    const Lora* lora = nullptr;
    Keep keep = Keep::nothing;
    Dropout dropout;
    int64_t total = 0;  // T
    std::vector<int32_t> rows, row_of_query;
    // Scratch, grown to the largest batch and reused
    std::vector<Buffer> inputs;  // (T, C) of each layer and the last layer's output; one when nothing is kept
    std::vector<State> states;
    Buffer normed, activated, sines, cosines, gathered, hidden, logit_rows, head_u, drop, product;
    Buffer dhidden, dx, dnormed, dactivated, dgate, dup, dattention, dq, dk, dv, du;
    Packed packed_x, packed_u, packed_dy, packed_t, packed_drop;
    int64_t table_positions = 0;
};

}  // namespace stillroom
