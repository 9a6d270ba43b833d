// Steps of a decoder on our own engine: joins who owns which pages with what they hold.
#pragma once
#include <memory>

#include "core/decode/executor.h"
#include "core/decode/forward.h"
#include "core/decode/page_table.h"

namespace stillroom {

class PagedExecutor : public Executor {
   public:
    // precision: of the products with weights. bytes: most that keys and values take. The graph outlives the executor; lora may be null.
    PagedExecutor(Graph& graph, std::shared_ptr<const Lora> lora, Precision precision, int64_t bytes);

    int32_t vocabulary() const override;
    int64_t most_sequences() const override;
    std::string refuses(int64_t tokens) const override { return table.refuses(tokens); }
    int64_t admit(int64_t sequence, const std::vector<int32_t>& prompt, int64_t tokens) override;
    bool relied_on(int64_t sequence) const override { return table.relied_on(sequence); }
    void release(int64_t sequence) override { table.release(sequence); }
    float* run(const std::vector<ExecutorToken>& step) override;

   private:
    Graph& graph;
    const std::shared_ptr<const Lora> lora;
    KeyValues store;
    PageTable table;
    Forward forward;
};

}  // namespace stillroom
