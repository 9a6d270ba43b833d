// A LoRA adapter in memory (Hu et al. 2021): for each target weight W (out, in) the factors A (rank, in) and B (out, rank);
// W' = W + scale B A. Knows shapes and initialisation; not files (adapter) and not the forward pass (graph).
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/model.h"

namespace stillroom {

enum Target { target_q, target_k, target_v, target_o, target_gate, target_up, target_down, target_head, target_embeddings, target_count };

struct LoraOptions {
    int rank = 16;
    float alpha = 32;
    float dropout = 0;
    bool rs_lora = false;              // scale alpha / sqrt(rank) (Kalajdzievski 2023) instead of alpha / rank
    std::vector<std::string> targets;  // "q", "k", "v", "o", "gate", "up", "down", "head", "embeddings"
    uint64_t seed = 0;
    float scale() const;
};

struct NamedTensor {
    std::string name;         // "blk.0.attn_q.lora_a"
    int64_t rows, columns;    // A: (rank, in), B: (out, rank)
    std::vector<float> data;  // row-major
};

// The two factors of one weight as offsets into the flat arrays of values, gradients and moments.
struct LoraPair {
    std::string name;   // GGUF's name of the weight without ".weight"
    int64_t in, out;
    int64_t a, b;       // A (rank, in); B is stored transposed, (rank, out), which is how the products read it
};

class Lora {
   public:
    // Failure(usage) for a bad rank, alpha, dropout or target. A is uniform in ±1/sqrt(in) from the seed, B is zero.
    Lora(std::shared_ptr<const Model> model, LoraOptions options);

    const LoraOptions options;
    const std::shared_ptr<const Model> model;
    std::vector<float> values;
    const LoraPair* find(int64_t layer, Target target) const;  // nullptr when not a target; layer is ignored for head and embeddings

    // The factors in PEFT's orientation, without their data.
    std::vector<NamedTensor> shapes() const;
    // One of them out of a flat array of this layout (values, gradients): rows * columns floats.
    void read(const float* flat, size_t factor, float* out) const;
    // All of them.
    std::vector<NamedTensor> tensors(const float* flat) const;
    // Replaces values by name; Failure(usage) names a tensor that does not fit. Tensors that are not given keep their values.
    void load(const std::vector<NamedTensor>& tensors);

   private:
    std::vector<LoraPair> pairs;
    std::vector<int> index;  // (layers + 1, target_count) → pair or -1
};

}  // namespace stillroom
