// Runs a micro-batch through the graph and adds its gradients, unless one of them is not finite.
#include "core/train.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

namespace stillroom {

namespace {
// In whole numbers, because a sum of floats is one addition after the other: all bits of the exponent are set in infinities and NaNs.
bool all_finite(int64_t n, const float* x) {
    constexpr uint32_t exponent = 0x7f800000;
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        std::memcpy(&bits, x + i, sizeof bits);
        bad |= (bits & exponent) == exponent;
    }
    return bad == 0;
}
}  // namespace

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
    const Profile::Scope scope(graph.threads.profile, Part::update);
    const int64_t size = static_cast<int64_t>(sums.size());
    std::atomic<bool> finite{true};
    graph.threads.run(Kernel::optimizer, size, [&](int64_t begin, int64_t end, int) {
        if (!all_finite(end - begin, current.data() + begin)) finite = false;
    });
    result.finite = finite;
    if (!result.finite) return result;
    graph.threads.run(Kernel::optimizer, size, [&](int64_t begin, int64_t end, int) {
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
