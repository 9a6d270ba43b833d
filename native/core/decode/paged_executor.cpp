// Memory of a page is asked for when a sequence first takes it, so a decoder holds no more than its work has needed.
#include "core/decode/paged_executor.h"

#include <limits>

namespace stillroom {

namespace {
KeyValues store_of(const Model& model) { return {model.layer_count, model.key_value_heads, model.head_width}; }
}  // namespace

PagedExecutor::PagedExecutor(Graph& given, std::shared_ptr<const Lora> adapter, Precision precision, int64_t bytes)
    : graph(given),
      lora(std::move(adapter)),
      store(store_of(*graph.model)),
      table({bytes / store.page_bytes(), store.page_bytes(), graph.model->context_length, true, true, bytes}),
      forward(graph, precision) {}

int32_t PagedExecutor::vocabulary() const { return static_cast<int32_t>(graph.model->vocabulary); }
int64_t PagedExecutor::most_sequences() const { return std::numeric_limits<int64_t>::max(); }

int64_t PagedExecutor::admit(int64_t sequence, const std::vector<int32_t>& prompt, int64_t tokens) {
    const int64_t shared = table.admit(sequence, prompt, tokens);
    if (shared >= 0)
        for (const int32_t page : table.pages_of(sequence)) store.reserve(page);
    return shared;
}

float* PagedExecutor::run(const std::vector<ExecutorToken>& step) {
    std::vector<StepToken> tokens;
    tokens.reserve(step.size());
    for (const ExecutorToken& one : step) tokens.push_back({one.token, one.position, &table.pages_of(one.sequence), one.wanted});
    float* logits = forward.run(tokens, lora.get(), store);
    for (const ExecutorToken& one : step) table.computed(one.sequence, one.position + 1);
    return logits;
}

}  // namespace stillroom
