// The decoder's forward pass for inference: tokens of many sequences in one step, keys and values in pages. No gradient, no sampling.
// Letters: T tokens of the step, R of them with logits, C width, V vocabulary.
#pragma once
#include <vector>

#include "core/decode/key_values.h"
#include "core/graph.h"

namespace stillroom {

// One token of a step. Its sequence's pages hold everything before it, or will when this step's keys and values are written.
struct StepToken {
    int32_t token, position;
    const std::vector<int32_t>* pages;
    bool wanted;  // its logits are asked for
};

class Forward {
   public:
    // The graph lends its model, kernels and threads. Where the precision is int8 or f32, the weights are kept as panels (Products::prepare).
    Forward(Graph& graph, Precision precision);

    // Logits (R, V) of the wanted tokens, in their order; valid until the next run. lora may be null.
    float* run(const std::vector<StepToken>& step, const Lora* lora, KeyValues& store);

   private:
    struct Scratch {
        Buffer queries, mixed, scores, packed_queries, packed_scores, high, sum;
    };
    struct Attended {  // what a thread attends for at once: some rows of the step, one head
        const std::vector<StepToken>& step;
        int64_t layer, head;
        const int32_t* rows;
        KeyValues& store;
        Scratch& scratch;
    };
    void add_rest(int64_t layer, Target target, const Vector& bias, int64_t rows, const Packed& x, Products::Output output);
    void embed(const std::vector<StepToken>& step);
    void norm(const float* x, const float* weight, int64_t width, int64_t rows, float* y);
    void angles(const std::vector<StepToken>& step);
    void rotate(int64_t first, int64_t last, float* rows, int64_t heads) const;
    void place(const std::vector<StepToken>& step, int64_t layer, KeyValues& store);
    void attend(const std::vector<StepToken>& step, int64_t layer, KeyValues& store);
    void attend_rows(const std::vector<StepToken>& step, int64_t layer, KeyValues& store, int64_t head, const int32_t* rows, int64_t count, Scratch& s);
    void attend_pages(const Attended& a, int64_t first, int64_t last, int64_t depth);
    void attend_page(const Attended& a, int64_t first, int64_t last, int64_t depth);

    Graph& graph;
    const Precision precision;
    Products products;
    const Lora* lora = nullptr;
    std::vector<int32_t> order;  // rows, those that share pages next to each other
    std::vector<Scratch> scratch;  // per thread
    Buffer x, h, q, k, v, raw, mixed, gate, up, last, logits, low, sines, cosines;
    Packed packed, packed_low;
};

}  // namespace stillroom
