// A model run by llama.cpp: exact log-probabilities and embeddings, for any architecture it opens, with an optional GGUF LoRA. The reference for our
// own engine. Knows nothing of training, and of decoding (decode/llama_executor).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/batch.h"
#include "core/embed.h"
#include "core/llama_file.h"

namespace stillroom {

struct RunnerOptions {
    int threads = 1;
    std::string adapter;         // path of a GGUF LoRA; empty: none
    int32_t context_tokens = 0;  // longest path
    int32_t sequences = 1;       // that the cache has room for, 1 to 256
};

// Safe to call from several threads; calls wait for each other.
class Runner {
   public:
    static std::shared_ptr<Runner> open(const std::string& path, const RunnerOptions& options);

    // (Q) natural log-probability of each query's token. Tokens that paths share are decoded once.
    std::vector<double> score(Batch batch);

    // As teach() of core/taught.h. With states llama.cpp computes the logits of every token.
    Taught teach(Batch batch, const Teaching& teaching);

    // (Q, C) as embed() of core/embed.h. Row by row, since llama.cpp's rounding depends on what stands beside. Failure(input) for a model whose
    // tokens see those behind them.
    std::vector<float> embed(Batch batch, Pooling pooling);

   private:
    Runner(LlamaFile file, const RunnerOptions& options);
    // Calls visit(logits of a query's position (V), its state (C) or null, query) for every query, in no order. The batch is checked, and the caller holds the mutex.
    void each_query(const Batch& batch, bool states, const std::function<void(const float*, const float*, int32_t)>& visit);
    LlamaContext make_context(int64_t tokens, int32_t most, int32_t sequences, bool embeddings) const;

    std::mutex mutex;
    const RunnerOptions options;
    const LlamaFile file;
    const int32_t vocabulary;
    LlamaContext scoring, stating, embedding;  // made at first use; stating: scoring that gives states, too
};

}  // namespace stillroom
