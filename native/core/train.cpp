// Runs a micro-batch through the graph and adds its gradients, unless one of them is not finite.
#include "core/train.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "core/failure.h"

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
    if (!teaching || teaching->hidden_weight == 0) return;
    if (parameters->projection.outputs == 0) throw Failure(Code::usage, "expected parameters with a projection (hiddenWidth) for hiddenWeight");
    hidden.emplace(*parameters, teaching->hidden_weight);
}

Trainer::Step Trainer::accumulate(Graph& graph, const Batch& batch, uint64_t step, uint64_t micro_batch) {
    Step result{0, static_cast<int64_t>(batch.query_positions.size()), true};
    if (result.count == 0) return result;
    if (held == summed.size()) summed.emplace_back();
    MicroBatch& latest = summed[held];
    latest.batch = batch;
    latest.step = step;
    latest.index = micro_batch;
    const Sums sum = add(graph, latest);
    result.loss_sum = sum.loss;
    result.hidden_sum = sum.hidden;
    const bool loss_finite = std::isfinite(result.loss_sum);
    result.finite = loss_finite && finite(graph);
    held += result.finite;
    if (result.finite) return result;
    if (!loss_finite && graph.head_rows() <= graph.head_chunk()) return result;  // seen before anything was added
    clear(graph);
    for (size_t i = 0; i < held; i++) add(graph, summed[i]);
    return result;
}

// Sums of the losses; where that is not finite, what was added is of no use.
Trainer::Sums Trainer::add(Graph& graph, const MicroBatch& given) {
    const Lora* lora = parameters->lora();
    const Dropout dropout{lora ? lora->options.dropout : 0.0f, seed, given.step, given.index};
    graph.forward(given.batch, lora, recompute ? Graph::Keep::inputs : Graph::Keep::everything, dropout, frozen ? &*frozen : nullptr);
    // Before the head adds anything: a distance that is not finite leaves nothing behind.
    const double distance = hidden ? hidden->distances(graph, given.batch, loss) : 0;
    if (!std::isfinite(distance)) return {distance, distance};
    const bool own_head = lora && lora->options.head.outputs > 0;
    const double sum = own_head   ? head_loss(graph, given.batch, *lora, sums.data())
                       : teaching ? distillation(graph, given.batch, *teaching, sums.data(), loss)
                                  : cross_entropy(graph, given.batch, sums.data(), loss);
    if (std::isfinite(sum)) {
        if (hidden) hidden->add_gradients(graph, sums.data());
        graph.backward(sums.data());
    }
    return {hidden ? sum + teaching->hidden_weight * distance : sum, distance};
}

void Trainer::observe(Graph& graph, const Batch& batch) {
    if (!hidden || batch.query_positions.empty()) return;
    graph.forward(batch, parameters->lora(), Graph::Keep::nothing);
    hidden->observe(graph, batch, loss);
}

void Trainer::fit(Graph& graph) {
    if (hidden) hidden->fit(graph.threads);
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
