// The decoder, forward and backward, written out layer by layer over the packed products. Knows no loss and no optimiser.
// Letters: T tokens, C width, F feed-forward width, R rows of the head (unique query positions), V vocabulary, N rows of a product.
// Of the last layer only the keys and values are needed at every token; all else runs over the head's rows.
#pragma once
#include <memory>
#include <vector>

#include "core/attention.h"
#include "core/batch.h"
#include "core/frozen_states.h"
#include "core/importance.h"
#include "core/linear.h"
#include "core/lora.h"
#include "core/weights.h"

namespace stillroom {

// Which dropout masks a pass draws; rate 0 draws none.
struct Dropout {
    float rate = 0;
    uint64_t seed = 0, step = 0, micro_batch = 0;
};

class Graph {
   public:
    Graph(std::shared_ptr<const Model> model, const Kernels& kernels, int threads, Precisions precisions = {});

    std::shared_ptr<const Model> model;  // as it was opened, or with weights under training in it
    // From now on passes run on these weights; those without a lora give their gradients.
    void train(std::shared_ptr<const Weights> weights);
    bool training() const { return weights != nullptr; }
    Importance* importance = nullptr;  // when set, forward passes add to it and run the last layer and the head over all tokens
    std::vector<std::vector<float>>* traced = nullptr;  // when set, passes that keep nothing leave there what enters each layer, (T, C)

    enum class Keep { nothing, everything, inputs };  // inputs: only each layer's input, the rest is computed again in backward
    // Runs the layers and the final norm at the queries' positions. lora may be null. Where frozen has what enters the lowest layer that is
    // trained, begins there; what it has not it is given. One such memory belongs to one choice of what is trained.
    void forward(const Batch& batch, const Lora* lora, Keep keep, const Dropout& dropout = {}, FrozenStates* frozen = nullptr);

    // The latest pass, one that kept nothing, once more from a layer on whose input is x (T, C): for weights that have changed since.
    void forward_from(int64_t layer, const float* x);

    int64_t head_rows() const { return static_cast<int64_t>(queried.size()); }  // R
    int64_t head_row(int64_t query) const { return row_of_query[query]; }
    // (C) behind the final norm, of a head row; valid until the next forward().
    const float* state(int64_t row) const { return hidden.data() + row * model->width; }
    // Logits (count, V) of head rows [first, first + count); valid until the next call. count at most head_chunk().
    float* logits(int64_t first, int64_t count);
    // Whole blocks of rows for every kernel. The gradient of a head under training is read and written once a chunk: there chunks are long.
    int64_t head_chunk() const { return head_trained ? 264 : 108; }

    // Takes d loss / d logits of the rows that logits() computed last, in that buffer. gradients: flat like the values of the lora or of the
    // weights under training; added to.
    void head_backward(int64_t first, int64_t count, float* gradients);
    // (R, C) in place of head_backward, for a head that is not the vocabulary's: to be filled with d loss / d state.
    float* state_gradients() { return dhidden.reserve(head_rows() * model->width); }
    // From the head's gradients down to those of the lowest layer that is trained; added to gradients.
    void backward(float* gradients);

    const Kernels& kernels;
    Threads threads;
    const Precisions precisions;
    Products products;  // of losses that look at states, too

   private:
    struct State {  // what one layer's backward needs, beside its input
        Buffer q_raw, k_raw, q, k, v, attention, lse, middle, gate, up;
        Buffer u[7];  // X A^T of each target (T, rank)
    };
    bool is_last(int64_t layer) const { return layer + 1 == model->layer_count; }
    // The tokens at which a layer computes more than keys and values.
    Rows rows_of(int64_t layer) const { return is_last(layer) && head_rows() < total ? Rows{head_rows(), queried.data()} : Rows{total}; }
    // Where a layer writes its output: the next layer's input.
    float* output_of(int64_t layer) const { return is_last(layer) ? last.data() : inputs[slot(layer + 1)].data(); }
    // Which of inputs (and of states, with everything kept) belongs to a layer: those that no gradient reaches share the first.
    int64_t slot(int64_t layer) const { return layer > lowest ? layer - lowest : 0; }
    void layer_forward(int64_t l, const float* x, float* out, State& state);
    void layer_backward(int64_t l, const float* x, State& state, float* dout, float* dx, float* gradients);
    void linear_forward(int64_t layer, Target target, const Weight& weight, const float* bias, Rows rows, const float* x, float* y, Buffer& u,
                        bool accumulate);
    void linear_backward(int64_t layer, Target target, const Weight& weight, Rows rows, const float* x, const float* dy, const float* u, float* dx,
                         bool accumulate, float* gradients);
    const float* dropped(int64_t layer, Target target, Rows rows, const float* x, int64_t width);
    void add_masked(int64_t layer, Target target, Rows rows, const float* x, int64_t width, float* out);
    void copy(const float* x, int64_t n, int64_t width, float* out);
    static const float* gathered(Rows rows, const float* x, int64_t width, Buffer& space);
    void scatter(Rows rows, const float* x, int64_t width, float* out);
    float mask(uint64_t stream, uint64_t index) const;
    void norm(const float* x, const Vector& weight, int64_t n, float* y);
    void norm_backward(const float* x, const Vector& weight, int64_t n, const float* dy, float* dx, float* gradients);
    void rotate(Rows rows, float* x, int64_t heads, bool back);
    void head_norm_backward(const float* raw, const Vector& weight, int64_t n, float* d, float* gradients);
    void embed();
    void embed_backward(const float* dx, float* gradients);
    void rope_table();
    void share_workspace();
    void add_weight_gradient(const Weight& weight, int64_t n, const float* x, const float* dy, float* gradients);
    void add_bias_gradient(const Vector& bias, int64_t n, const float* dy, float* gradients);
    void add_norm_gradient(const Vector& weight, int64_t n, const float* x, const float* dy, float* gradients);
    void add_embedding_gradient(const float* d, float* gradients);

    Attention attention;
    std::shared_ptr<const Weights> weights;  // under training, or null
    bool head_trained = false;               // with them
    // Of the pass under way
    const Batch* batch = nullptr;
    const Lora* lora = nullptr;
    const Weights* trained = nullptr;  // whose gradients backward gives; null with a lora
    int64_t lowest = 0;                // layer that backward reaches; the number of layers for none
    bool into_embeddings = false;      // whether the embeddings, or their adapter, get a gradient
    Keep keep = Keep::nothing;
    Dropout dropout;
    int64_t total = 0;  // T
    std::vector<int32_t> queried, row_of_query;  // (R) token of each head row, rising; (queries) head row of each
    // Scratch, grown to the largest batch and reused
    std::vector<Buffer> inputs;  // (T, C) of the layers from lowest on; one when nothing is kept
    std::vector<State> states;
    Buffer workspace, normed_rows, sines, cosines, last, hidden, head_u, drop, product, inverses, dhidden, dnormed_rows, du;
    Packed packed, packed_u, packed_t, packed_drop;  // packed: the operand of the frozen product under way
    // Into the workspace, and lost where the head begins: of the layer under way, and the gradients that layers hand down.
    float *normed, *activated, *dnormed, *dactivated, *dattention, *dq, *dk, *dv, *dx, *dlast;
    int64_t table_positions = 0;
};

}  // namespace stillroom
