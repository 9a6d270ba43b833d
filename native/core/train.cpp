// Runs a micro-batch through the graph and adds its gradients, unless one of them is not finite.
#include "core/train.h"

#include <algorithm>
#include <cmath>

namespace stillroom {

Trainer::Trainer(std::shared_ptr<Lora> given, const OptimizerOptions& options, bool again, uint64_t dropout_seed)
    : lora(std::move(given)),
      optimizer(options, static_cast<int64_t>(lora->values.size())),
      recompute(again),
      seed(dropout_seed),
      sums(lora->values.size()),
      current(lora->values.size()) {}

Trainer::Step Trainer::accumulate(Graph& graph, const Batch& batch, uint64_t step, uint64_t micro_batch) {
    Step result{0, static_cast<int64_t>(batch.query_tokens.size()), true};
    if (result.count == 0) return result;
    graph.forward(batch, lora.get(), recompute ? Graph::Keep::inputs : Graph::Keep::everything, {lora->options.dropout, seed, step, micro_batch});
    result.loss_sum = cross_entropy(graph, batch, current.data());
    result.finite = std::isfinite(result.loss_sum);
    if (!result.finite) return result;
    graph.backward(current.data());
    // x * 0 is 0 for every finite x and NaN otherwise.
    float check = 0;
    for (float g : current) check += g * 0.0f;
    result.finite = check == 0.0f;
    if (!result.finite) return result;
    const Profile::Scope scope(graph.threads.profile, Part::update);
    graph.threads.run(Kernel::optimizer, static_cast<int64_t>(sums.size()), [&](int64_t begin, int64_t end, int) {
        graph.kernels.add(end - begin, current.data() + begin, sums.data() + begin);
    });
    return result;
}

double Trainer::update(Graph& graph, float rate, double divisor) {
    const Profile::Scope scope(graph.threads.profile, Part::update);
    const double norm = optimizer.update(lora->values.data(), sums.data(), divisor, rate, graph.kernels, graph.threads);
    discard();
    return norm;
}

void Trainer::discard() { std::fill(sums.begin(), sums.end(), 0.0f); }

}  // namespace stillroom
