// Steps of a decoder in a context of llama.cpp: any architecture, and layers on a GPU. One cache holds all sequences; a beginning that
// several share is computed once and marked as theirs.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/decode/executor.h"
#include "core/decode/page_table.h"
#include "core/llama_file.h"

namespace stillroom {

struct LlamaExecutorOptions {
    int threads = 1;
    std::string adapter;         // path of a GGUF LoRA; empty: none
    int32_t gpu_layers = 0;      // from the last; start_gpu comes first
    int64_t bytes = 0;           // most that keys and values take
    int64_t sequences = 1;       // side by side, 1 to 256
    int64_t step_tokens = 512;   // of prompts that a step computes, beside one token of each sequence
    bool exact = false;          // keys and values in f32 and no flash attention, for comparisons
};

class LlamaExecutor : public Executor {
   public:
    // Failure(input) for a model that llama.cpp cannot open, Failure(usage) for bytes that hold no page.
    LlamaExecutor(const std::string& path, const LlamaExecutorOptions& options);

    int32_t vocabulary() const override { return tokens; }
    int64_t most_sequences() const override { return sequences; }
    std::string refuses(int64_t count) const override { return table.refuses(count); }
    int64_t admit(int64_t sequence, const std::vector<int32_t>& prompt, int64_t count) override;
    bool relied_on(int64_t sequence) const override { return table.relied_on(sequence); }
    void release(int64_t sequence) override;
    float* run(const std::vector<ExecutorToken>& step) override;

   private:
    // What a sequence has yet to be given of another's cells.
    struct Loan {
        int64_t from;
        int32_t count;
    };
    PageLimits limits_of(const LlamaExecutorOptions& options) const;
    void settle(int64_t sequence);

    const LlamaFile file;
    const int32_t tokens;
    const int64_t sequences;
    PageTable table;
    LlamaContext context;
    std::map<int64_t, int32_t> slots;  // llama.cpp's name of each sequence under way
    std::vector<int32_t> free_slots;
    std::map<int64_t, Loan> loans;
    Buffer logits;
};

}  // namespace stillroom
