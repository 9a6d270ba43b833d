// Memory is counted in pages, as on our own engine. Cells of a shared beginning are lent when the borrower's first token comes, or when
// the lender leaves before: by then they are computed.
#include "core/decode/llama_executor.h"

#include <algorithm>

#include "core/failure.h"

namespace stillroom {

namespace {
// Keys and values of one page, by the sizes that llama.cpp tells: exact for models whose layers are alike.
int64_t page_bytes(const llama_model* model, bool exact) {
    const int64_t heads = std::max(1, llama_model_n_head(model)), width = llama_model_n_embd(model) / heads * std::max(1, llama_model_n_head_kv(model));
    return 2 * llama_model_n_layer(model) * width * Pages::length * static_cast<int64_t>(exact ? sizeof(float) : sizeof(ggml_fp16_t));
}
}  // namespace

PageLimits LlamaExecutor::limits_of(const LlamaExecutorOptions& options) const {
    const llama_model* model = file.model.get();
    const int64_t bytes = page_bytes(model, options.exact), longest = llama_model_n_ctx_train(model);
    // The cache is made at once: no larger than its sequences can fill it.
    const int64_t most = sequences * ((longest + Pages::length - 1) / Pages::length);
    // A recurrent state cannot be shared by two continuations.
    const bool shares = !llama_model_is_recurrent(model) && !llama_model_is_hybrid(model);
    return {std::min(options.bytes / bytes, most), bytes, longest, shares, false, options.bytes};
}

LlamaExecutor::LlamaExecutor(const std::string& path, const LlamaExecutorOptions& options)
    : file(LlamaFile::open(path, options.adapter, options.gpu_layers)),
      tokens(llama_vocab_n_tokens(llama_model_get_vocab(file.model.get()))),
      sequences(std::clamp<int64_t>(options.sequences, 1, most_llama_sequences)),
      table(limits_of(options)) {
    const PageLimits limits = limits_of(options);
    if (limits.pages < 1)
        throw Failure(Code::usage, "expected at least " + std::to_string(limits.page_bytes) + " for memory, received " + std::to_string(options.bytes));
    llama_context_params parameters = llama_context_default_params();
    parameters.n_ctx = static_cast<uint32_t>(limits.pages * Pages::length);
    // A step is one batch, where no beginning is lent within it: a second one, of a few tokens, takes a GPU nearly as long.
    parameters.n_batch = parameters.n_ubatch = static_cast<uint32_t>(options.step_tokens + sequences);
    parameters.n_seq_max = static_cast<uint32_t>(sequences);
    parameters.kv_unified = true;
    parameters.n_threads = parameters.n_threads_batch = options.threads;
    parameters.no_perf = true;
    if (options.exact) file.make_exact(parameters);
    context = file.context(parameters);
    for (int32_t slot = static_cast<int32_t>(sequences); slot-- > 0;) free_slots.push_back(slot);
}

int64_t LlamaExecutor::admit(int64_t sequence, const std::vector<int32_t>& prompt, int64_t count) {
    const int64_t shared = table.admit(sequence, prompt, count);
    if (shared < 0) return shared;
    slots[sequence] = free_slots.back();
    free_slots.pop_back();
    if (shared > 0) loans[sequence] = {table.other_owner(sequence, table.pages_of(sequence)[shared / Pages::length - 1]), static_cast<int32_t>(shared)};
    return shared;
}

// Marks the lender's cells as the borrower's too; nothing is copied.
void LlamaExecutor::settle(int64_t sequence) {
    const auto found = loans.find(sequence);
    if (found == loans.end()) return;
    llama_memory_seq_cp(llama_get_memory(context.get()), slots.at(found->second.from), slots.at(sequence), 0, found->second.count);
    loans.erase(found);
}

void LlamaExecutor::release(int64_t sequence) {
    loans.erase(sequence);
    std::vector<int64_t> borrowers;
    for (const auto& [id, loan] : loans)
        if (loan.from == sequence) borrowers.push_back(id);
    for (const int64_t id : borrowers) settle(id);
    llama_memory_seq_rm(llama_get_memory(context.get()), slots.at(sequence), -1, -1);
    free_slots.push_back(slots.at(sequence));
    slots.erase(sequence);
    table.release(sequence);
}

float* LlamaExecutor::run(const std::vector<ExecutorToken>& step) {
    const Quiet quiet;
    LlamaBatch batch(context.get());
    std::map<int64_t, int32_t> held;  // by the batch: each sequence's first position
    std::vector<int32_t> wanted;
    const int64_t count = std::count_if(step.begin(), step.end(), [](const ExecutorToken& one) { return one.wanted; });
    int64_t copied = 0;
    // Gives llama.cpp's own rows, which stand in this order; those of several batches are brought together.
    auto flush = [&](bool last) -> float* {
        batch.run();
        const auto here = static_cast<int64_t>(wanted.size());
        float* rows = here > 0 ? batch.logits_of(wanted.front()) : nullptr;
        if (!last || copied > 0) {
            float* all = logits.reserve(count * tokens);
            std::copy(rows, rows + here * tokens, all + copied * tokens);
            rows = all;
        }
        copied += here;
        batch.clear();
        held.clear();
        wanted.clear();
        return rows;
    };
    for (const ExecutorToken& one : step) {
        const auto loan = loans.find(one.sequence);
        // Its cells are lent once they are computed: what the batch holds of them is first.
        const auto lender = loan == loans.end() ? held.end() : held.find(loan->second.from);
        if (lender != held.end() && lender->second < loan->second.count) flush(false);
        if (loan != loans.end()) settle(one.sequence);
        const int32_t index = batch.add(one.token, one.position, {slots.at(one.sequence)}, one.wanted);
        held.emplace(one.sequence, one.position);
        if (one.wanted) wanted.push_back(index);
    }
    float* rows = flush(true);
    for (const ExecutorToken& one : step) table.computed(one.sequence, one.position + 1);
    return rows;
}

}  // namespace stillroom
