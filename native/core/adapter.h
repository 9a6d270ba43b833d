// LoRA adapters as GGUF files in llama.cpp's layout. Knows names, shapes and orientation; not what a model does with them (lora, graph).
#pragma once
#include <string>
#include <vector>

#include "core/gguf_file.h"
#include "core/lora.h"

namespace stillroom {

struct Adapter {
    std::string architecture;
    float alpha = 0;  // llama.cpp scales by alpha / rank
    std::vector<NamedTensor> tensors;
};

// One factor pair, viewed in a list of tensors.
struct FactorPair {
    std::string weight;    // "blk.0.attn_q", "output", "token_embd"
    const NamedTensor* a;  // (rank, in); token_embd: (rank, vocabulary)
    const NamedTensor* b;  // (out, rank); token_embd: (width, rank)
    int64_t rank() const { return a->rows; }
};

// Sorts tensors into pairs, in the order of first appearance. Failure(usage) for a name of another form, a factor without
// its partner or given twice, ranks that differ, or data of the wrong length.
std::vector<FactorPair> factor_pairs(const std::vector<NamedTensor>& tensors);

// alpha: positive. name: general.name of the file.
void write_adapter(const std::string& path, const Adapter& adapter, const std::string& name);

// Failure(input) for anything that is no LoRA that llama.cpp would load; factors of other types are converted to f32.
Adapter read_adapter(const GgufFile& file);

}  // namespace stillroom
