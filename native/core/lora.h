// A LoRA adapter in memory (Hu et al. 2021): for each target weight W (out, in) the factors A (rank, in) and B (out, rank);
// W' = W + scale B A. Knows shapes and initialisation; not files (adapter) and not the forward pass (graph).
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/answer_head.h"
#include "core/model.h"
#include "core/parameters.h"

namespace stillroom {

enum Target { target_q, target_k, target_v, target_o, target_gate, target_up, target_down, target_head, target_embeddings, target_count };

struct LoraOptions {
    int rank = 16;
    float alpha = 32;
    float dropout = 0;
    bool rs_lora = false;              // scale alpha / sqrt(rank) (Kalajdzievski 2023) instead of alpha / rank
    std::vector<std::string> targets;  // "q", "k", "v", "o", "gate", "up", "down", "head", "embeddings"
    std::vector<int64_t> layers;       // of q to down; empty: all
    uint64_t seed = 0;
    HeadOptions head;                  // with one, targets may be empty: the head alone
    int64_t hidden_width = 0;          // of a teacher whose states are to be matched: the outputs of a projection; 0: none
    float scale() const;
};

// The two factors of one weight as offsets into the flat arrays of values, gradients and moments.
struct LoraPair {
    std::string name;   // GGUF's name of the weight without ".weight"
    int64_t in, out;
    int64_t a, b;       // A (rank, in); B is stored transposed, (rank, out), which is how the products read it
};

class Lora : public Parameters {
   public:
    // Failure(usage) for a bad rank, alpha, dropout, target or layer. A is uniform in ±1/sqrt(in) from the seed, B is zero.
    Lora(std::shared_ptr<const Model> model, LoraOptions options);

    const LoraOptions options;
    const std::shared_ptr<const Model> model;
    int64_t head_weight = 0, head_bias = 0;  // offsets of the head's W (outputs, width) and b (outputs), behind the factors; both begin as zeros
    const LoraPair* find(int64_t layer, Target target) const;  // nullptr when not a target; layer is ignored for head and embeddings

    // The factors in PEFT's orientation; then the head's score.weight and score.bias; then the projection.
    std::vector<NamedTensor> shapes() const override;
    void read(const float* flat, size_t factor, int64_t first, int64_t count, float* out) const override;
    void write(size_t factor, int64_t first, int64_t count, const float* from) override;
    int64_t lowest_layer() const override;
    const Lora* lora() const override { return this; }
    // Replaces values by name; Failure(usage) names a tensor that does not fit. Tensors that are not given keep their values.
    void load(const std::vector<NamedTensor>& tensors);

   private:
    // Where element e of a factor lies in the flat array.
    int64_t place(size_t factor, int64_t e) const;
    std::vector<LoraPair> pairs;
    std::vector<int> index;  // (layers + 1, target_count) → pair or -1
};

}  // namespace stillroom
