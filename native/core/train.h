// One adapter under training: gradients of micro-batches are summed, then one optimiser step is taken. Owns the gradients and the moments;
// shares the graph and the adapter. Loops over steps are TypeScript's.
#pragma once
#include <memory>

#include "core/loss.h"
#include "core/optimizer.h"

namespace stillroom {

class Trainer {
   public:
    Trainer(std::shared_ptr<Lora> lora, const OptimizerOptions& options, bool recompute, uint64_t seed);

    struct Step {
        double loss_sum;
        int64_t count;
        bool finite;  // false: nothing was added
    };
    Step accumulate(Graph& graph, const Batch& batch, uint64_t step, uint64_t micro_batch);
    double update(Graph& graph, float rate, double divisor);
    void discard();

    const std::shared_ptr<Lora> lora;
    const std::vector<float>& gradients() const { return sums; }
    Optimizer optimizer;

   private:
    const bool recompute;
    const uint64_t seed;
    std::vector<float> sums, current;  // over micro-batches; of the one under way
};

}  // namespace stillroom
