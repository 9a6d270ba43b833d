// What everything that llama.cpp runs stands on: a whole model, opened after our own checks, with an optional GGUF LoRA; its contexts;
// and one batch for them. Knows no purpose.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/backend.h"

namespace stillroom {

constexpr int32_t most_llama_sequences = 256;  // llama.cpp's LLAMA_MAX_SEQ

struct LlamaFile {
    LlamaModel model;
    llama_adapter_lora* adapter = nullptr;  // freed with the model
    bool causal = true;                     // tokens see no token behind them

    // adapter: path of a GGUF LoRA; empty: none. Failure(input) for what is no decoder-only model, or an adapter of another one.
    static LlamaFile open(const std::string& path, const std::string& adapter, int32_t gpu_layers);
    // With the adapter on it; it does not outlive the file.
    LlamaContext context(const llama_context_params& parameters) const;
    // Keys and values in f32 and no flash attention, which costs 1e-3 on the CPU: for references. Set after n_ctx and n_batch.
    void make_exact(llama_context_params& parameters) const;
};

// The arrays of a llama_batch, filled token by token.
class LlamaBatch {
   public:
    explicit LlamaBatch(llama_context* context) : context(context) {}

    // Returns the token's index, under which its logits are found.
    int32_t add(int32_t token, int32_t position, const std::vector<int32_t>& sequences, bool wants_logits);
    int32_t size() const { return static_cast<int32_t>(tokens.size()); }
    int32_t wanted() const { return outputs; }
    void run();
    float* logits_of(int32_t index) const;  // those of the next token that asks for them stand behind them
    const float* state_of(int32_t index) const;  // behind the final norm; of a context with embeddings
    void clear();

   private:
    llama_context* context;
    std::vector<int32_t> tokens, positions;
    std::vector<std::vector<int32_t>> owners;
    std::vector<int8_t> logits;
    int32_t outputs = 0;
};

}  // namespace stillroom
