// A LoRA adapter in memory: for each target weight W (out, in) the factors A (rank, in) and B (out, rank); W' = W + scale * B A.
// Knows shapes and initialisation; not files (adapter) and not the forward pass (graph).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace stillroom {

struct LoraOptions {
    int rank = 16;
    float alpha = 32;
    float dropout = 0;
    bool rs_lora = false;  // scale alpha / sqrt(rank)  (Kalajdzievski 2023) instead of alpha / rank
    std::vector<std::string> targets;
    uint64_t seed = 0;
    float scale() const;
};

struct NamedTensor {
    std::string name;        // "blk.0.attn_q.lora_a"
    int64_t rows, columns;   // A: (rank, in), B: (out, rank)
    std::vector<float> data; // row-major
};

}  // namespace stillroom
