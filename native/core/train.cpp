// Runs a micro-batch through the graph and adds its gradients, unless one of them is not finite.
#include "core/train.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

namespace stillroom {

Trainer::Trainer(std::shared_ptr<Parameters> given, const OptimizerOptions& options, bool again, uint64_t dropout_seed, int64_t frozen_bytes,
                 std::optional<Distillation> distillation)
    : parameters(std::move(given)),
      optimizer(options, static_cast<int64_t>(parameters->values.size())),
      recompute(again),
      seed(dropout_seed),
      teaching(distillation),
      sums(parameters->values.size()) {
    if (frozen_bytes > 0) frozen.emplace(frozen_bytes);
}

Trainer::Step Trainer::accumulate(Graph& graph, const Batch& batch, uint64_t step, uint64_t micro_batch) {
    Step result{0, static_cast<int64_t>(batch.query_positions.size()), true};
    if (result.count == 0) return result;
    if (held == summed.size()) summed.emplace_back();
    MicroBatch& latest = summed[held];
    latest.batch = batch;
    latest.step = step;
    latest.index = micro_batch;
    result.loss_sum = add(graph, latest);
    const bool loss_finite = std::isfinite(result.loss_sum);
    result.finite = loss_finite && finite(graph);
    held += result.finite;
    if (result.finite) return result;
    if (!loss_finite && graph.head_rows() <= graph.head_chunk()) return result;  // seen before anything was added
    clear(graph);
    for (size_t i = 0; i < held; i++) add(graph, summed[i]);
    return result;
}

// The sum of the loss; where it is not finite, what was added is of no use.
double Trainer::add(Graph& graph, const MicroBatch& given) {
    const Lora* lora = parameters->lora();
    const Dropout dropout{lora ? lora->options.dropout : 0.0f, seed, given.step, given.index};
    graph.forward(given.batch, lora, recompute ? Graph::Keep::inputs : Graph::Keep::everything, dropout, frozen ? &*frozen : nullptr);
    const bool own_head = lora && lora->options.head.outputs > 0;
    const double sum = own_head   ? head_loss(graph, given.batch, *lora, sums.data())
                       : teaching ? distillation(graph, given.batch, *teaching, sums.data(), loss)
                                  : cross_entropy(graph, given.batch, sums.data(), loss);
    if (std::isfinite(sum)) graph.backward(sums.data());
    return sum;
}

bool Trainer::finite(Graph& graph) const {
    const Profile::Scope scope(graph.threads.profile, Part::update);
    std::atomic<int64_t> found{0};
    graph.threads.run(Kernel::optimizer, static_cast<int64_t>(sums.size()), [&](int64_t begin, int64_t end, int) {
        int64_t count = 0;
        for (int64_t i = begin; i < end; i++) {
            uint32_t bits;
            std::memcpy(&bits, &sums[i], sizeof bits);
            count += (bits & 0x7f800000) == 0x7f800000;  // the exponent of NaN and of both infinities
        }
        found += count;
    });
    return found == 0;
}

double Trainer::update(Graph& graph, float rate, double divisor) {
    const Profile::Scope scope(graph.threads.profile, Part::update);
    const double norm = optimizer.update(parameters->values.data(), sums.data(), divisor, rate, graph.kernels, graph.threads);
    parameters->changed(graph.threads);
    discard(graph);
    return norm;
}

void Trainer::discard(Graph& graph) {
    held = 0;
    clear(graph);
}

void Trainer::clear(Graph& graph) {
    graph.threads.run(Kernel::optimizer, static_cast<int64_t>(sums.size()),
                      [&](int64_t begin, int64_t end, int) { std::fill(sums.begin() + begin, sums.begin() + end, 0.0f); });
}

}  // namespace stillroom
