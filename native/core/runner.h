// A model run by llama.cpp: exact log-probabilities and greedy continuations, for any architecture it opens, with an optional
// GGUF LoRA. The reference for our own engine. Knows nothing of training.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/batch.h"

namespace stillroom {

struct RunnerOptions {
    int threads = 1;
    std::string adapter;         // path of a GGUF LoRA; empty: none
    int32_t context_tokens = 0;  // longest sequence, prompt and answer together
    int32_t sequences = 1;       // decoded side by side in generate, 1 to 256
};

enum class Stopped { end, stop, length };

struct Continuation {
    std::vector<int32_t> tokens;  // without the end token; with those that spell a stop text
    std::string text;             // without the stop text; UTF-8, possibly cut within a character
    Stopped stopped = Stopped::length;
};

// Safe to call from several threads; calls wait for each other.
class Runner {
   public:
    static std::shared_ptr<Runner> open(const std::string& path, const RunnerOptions& options);

    // (Q) natural log-probability of each query's token. Tokens that paths share are decoded once.
    std::vector<double> score(Batch batch);
    // Greedy; ends at an end token, at a stop text, after max_tokens, or when context_tokens are full.
    std::vector<Continuation> generate(const std::vector<std::vector<int32_t>>& prompts, int32_t max_tokens, const std::vector<std::string>& stops);

   private:
    Runner(LlamaModel model, const RunnerOptions& options);
    void load_adapter(const std::string& path);
    // unified: one cache that tokens of several sequences share (score); else a cache for each sequence (generate).
    LlamaContext make_context(bool unified) const;

    std::mutex mutex;
    RunnerOptions options;
    LlamaModel model;
    llama_adapter_lora* adapter = nullptr;  // freed with the model
    const llama_vocab* vocab;
    int32_t vocabulary;
    LlamaContext scoring, generating;  // made at first use
};

}  // namespace stillroom
