// Parameters under training: gradients of micro-batches are summed, then one optimiser step is taken. Owns the gradients and the moments;
// shares the graph and the parameters. Loops over steps are TypeScript's.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "core/distillation.h"
#include "core/hidden.h"
#include "core/optimizer.h"

namespace stillroom {

class Trainer {
   public:
    // frozen_bytes: most that hidden states below the lowest trained layer may take; 0: they are computed each time. distillation: the loss of batches
    // that a teacher was asked about; without it cross-entropy. Failure(usage) for a hidden_weight without a projection.
    Trainer(std::shared_ptr<Parameters> parameters, const OptimizerOptions& options, bool recompute, uint64_t seed, int64_t frozen_bytes = 0,
            std::optional<Distillation> distillation = {});

    struct Step {
        double loss_sum;
        int64_t count;
        bool finite;  // false: nothing was added
        double hidden_sum = 0;  // of the distances of hidden states, before their weight
    };
    // Gradients are added where they are summed, since a second array of their size would cost as much memory as the weights. A
    // micro-batch that turns out not to be finite is taken back by computing the ones before it once more: the same bytes.
    Step accumulate(Graph& graph, const Batch& batch, uint64_t step, uint64_t micro_batch);
    double update(Graph& graph, float rate, double divisor);
    void discard(Graph& graph);
    // Before the first step, for the first values of the projection: a batch as of accumulate(); then once fit(). Nothing without a hidden_weight.
    void observe(Graph& graph, const Batch& batch);
    void fit(Graph& graph);

    const std::shared_ptr<Parameters> parameters;
    const std::vector<float>& gradients() const { return sums; }
    Optimizer optimizer;

   private:
    struct MicroBatch {
        Batch batch;
        uint64_t step, index;
    };
    struct Sums {
        double loss, hidden;
    };
    Sums add(Graph& graph, const MicroBatch& given);
    bool finite(Graph& graph) const;
    void clear(Graph& graph);
    const bool recompute;
    std::optional<FrozenStates> frozen;  // where rows are to come again
    const uint64_t seed;
    const std::optional<Distillation> teaching;
    std::optional<HiddenMatch> hidden;
    std::vector<float> sums;         // over micro-batches
    std::vector<MicroBatch> summed;  // the first `held` are those that sums holds; the others keep their memory for the next
    size_t held = 0;
    LossScratch loss;
};

}  // namespace stillroom
