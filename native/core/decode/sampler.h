// From logits to the next token of one request: penalty, grammar, truncation, temperature, draw. Knows no model and no neighbours.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/gemm/kernels.h"
#include "llama.h"

namespace stillroom {

// Applied in this order (docs/numerics.md); the defaults take the most likely token.
struct SamplerOptions {
    float repetition_penalty = 1;    // Keskar et al. 2019; 1: none
    int32_t repetition_window = 64;  // last tokens, of prompt and answer, that it looks at
    std::string grammar;             // GBNF with a rule root; empty: none
    int32_t top_k = 0;               // 0: all
    float top_p = 1;                 // Holtzman et al. 2020
    float min_p = 0;                 // Nguyen et al. 2024
    float temperature = 0;           // 0: the most likely token
    uint64_t seed = 0;
    int32_t log_probabilities = -1;  // of the chosen token and so many of the most likely ones; -1: none
};

struct TokenProbability {
    int32_t token;
    float log_probability;  // natural, of the distribution before any of the above
};

class Sampler {
   public:
    // Failure(usage) for a value out of range or a grammar that llama.cpp cannot parse. vocab outlives the sampler; null without a grammar.
    Sampler(const SamplerOptions& options, const llama_vocab* vocab, const Kernels& kernels);

    // The next token after `before` (prompt and answer so far), or -1 when the grammar allows none. logits (V) may be changed.
    // index: of the token in the answer, for the draw. Failure(input) for logits that are no numbers.
    int32_t next(float* logits, int32_t vocabulary, const std::vector<int32_t>& before, uint64_t index, Buffer& scratch);
    // Of the last call of next: the chosen token, then the most likely ones.
    const std::vector<TokenProbability>& probabilities() const { return last; }

   private:
    struct FreeSampler {
        void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
    };
    bool allowed(int32_t token) const;
    void mask(float* logits, int32_t vocabulary) const;
    int32_t most_likely(const float* logits, int32_t vocabulary) const;
    int32_t draw(const float* logits, int32_t vocabulary, uint64_t stream, uint64_t index, Buffer& scratch) const;
    int32_t choose(float* logits, int32_t vocabulary, uint64_t index, Buffer& scratch) const;
    double log_sum(const float* logits, int32_t vocabulary, Buffer& scratch) const;

    const SamplerOptions options;
    const Kernels& kernels;
    std::unique_ptr<llama_sampler, FreeSampler> grammar;
    std::vector<TokenProbability> last;
};

}  // namespace stillroom
