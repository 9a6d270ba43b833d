// Distances of hidden states, their gradients, and the regression that the projection begins with.
#include "core/hidden.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/failure.h"
#include "core/fused.h"

namespace stillroom {

namespace {

constexpr double ridge_share = 0.01;  // of the mean of the diagonal

}  // namespace

void HiddenMatch::check(const Batch& batch) const {
    if (batch.taught.hidden_width != parameters.projection.outputs)
        throw Failure(Code::usage, "batch: expected a teacher's states of " + std::to_string(parameters.projection.outputs) + " values, received " +
                                       (batch.taught.hidden_width == 0 ? "none" : std::to_string(batch.taught.hidden_width)));
}

double HiddenMatch::distances(Graph& graph, const Batch& batch, LossScratch& scratch) {
    check(batch);
    const Profile::Scope scope(graph.threads.profile, Part::head);
    sort_queries(graph, batch, scratch);
    const int64_t rows = graph.head_rows(), outputs = parameters.projection.outputs, inputs = parameters.projection.inputs;
    float* error = errors.reserve(rows * outputs);
    graph.products.pack(graph.state(0), rows, inputs, inputs, 1, packed);
    graph.products.multiply_transposed(packed, parameters.values.data() + parameters.projection.offset, outputs, error, outputs, false);
    scratch.losses.assign(rows, 0.0);
    graph.threads.run(Kernel::loss, rows, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; r++) {
            const Span asked = queries_of(scratch, r);
            const double n = static_cast<double>(asked.size());
            const uint16_t* target = batch.taught.hidden.data() + *asked.begin() * outputs;
            float* e = error + r * outputs;
            double distance = 0, squares = 0;  // squares: not 0, as Taught::check has found
            for (int64_t d = 0; d < outputs; d++) {
                const float t = ggml_fp16_to_fp32(target[d]);
                e[d] -= t;
                squares += static_cast<double>(t) * t;
                distance += static_cast<double>(e[d]) * e[d];
            }
            scratch.losses[r] = n * distance / squares;
            graph.kernels.scale(outputs, static_cast<float>(2 * weight * n / squares), e);
        }
    });
    double sum = 0;
    for (double distance : scratch.losses) sum += distance;
    return sum;
}

void HiddenMatch::add_gradients(Graph& graph, float* gradients) {
    const Profile::Scope scope(graph.threads.profile, Part::head);
    const int64_t rows = graph.head_rows(), outputs = parameters.projection.outputs, inputs = parameters.projection.inputs;
    const float* projection = parameters.values.data() + parameters.projection.offset;
    graph.products.pack(errors.data(), rows, outputs, outputs, 1, packed);
    graph.products.multiply(packed, projection, inputs, inputs, graph.state_gradients(), inputs, true);
    graph.products.add_outer(errors.data(), rows, outputs, graph.state(0), inputs, gradients + parameters.projection.offset);
}

void HiddenMatch::observe(Graph& graph, const Batch& batch, LossScratch& scratch) {
    check(batch);
    sort_queries(graph, batch, scratch);
    const int64_t rows = graph.head_rows(), outputs = parameters.projection.outputs, inputs = parameters.projection.inputs;
    float *target = errors.reserve(rows * outputs), *state = weighted.reserve(rows * inputs);
    scratch.losses.assign(rows, 0.0);
    graph.threads.run(Kernel::loss, rows, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; r++) {
            const Span asked = queries_of(scratch, r);
            ggml_fp16_to_fp32_row(batch.taught.hidden.data() + *asked.begin() * outputs, target + r * outputs, outputs);
            double squares = 0;
            for (int64_t d = 0; d < outputs; d++) squares += static_cast<double>(target[r * outputs + d]) * target[r * outputs + d];
            const float factor = static_cast<float>(static_cast<double>(asked.size()) / squares);
            graph.kernels.scale(outputs, factor, target + r * outputs);
            std::copy_n(graph.state(r), inputs, state + r * inputs);
            graph.kernels.scale(inputs, factor, state + r * inputs);
            for (int64_t c = 0; c < inputs; c++) scratch.losses[r] += static_cast<double>(state[r * inputs + c]) * graph.state(r)[c];
        }
    });
    double sum = 0;
    for (double square : scratch.losses) sum += square;
    if (!std::isfinite(sum)) return;
    gram.resize(inputs * inputs);
    graph.products.add_outer(state, rows, inputs, graph.state(0), inputs, gram.data());
    graph.products.add_outer(target, rows, outputs, graph.state(0), inputs, parameters.values.data() + parameters.projection.offset);
}

void HiddenMatch::fit(Threads& threads) {
    const int64_t outputs = parameters.projection.outputs, n = parameters.projection.inputs;
    gram.resize(n * n);
    double trace = 0;
    for (int64_t c = 0; c < n; c++) trace += gram[c * n + c];
    const double ridge = trace > 0 ? ridge_share * trace / static_cast<double>(n) : 1;
    // gram + ridge I = L L^T (Cholesky): no pivot is below the ridge but by rounding.
    std::vector<double> lower(n * n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = gram[i * n + j] + (i == j ? ridge : 0);
            for (int64_t k = 0; k < j; k++) sum -= lower[i * n + k] * lower[j * n + k];
            lower[i * n + j] = i == j ? std::sqrt(std::max(sum, ridge)) : sum / lower[j * n + j];
        }
    float* projection = parameters.values.data() + parameters.projection.offset;
    threads.run(Kernel::loss, outputs, [&](int64_t begin, int64_t end, int) {
        std::vector<double> x(n);
        for (int64_t d = begin; d < end; d++) {
            float* row = projection + d * n;
            std::copy_n(row, n, x.begin());
            // Towards the identity where the widths agree, else towards zero.
            if (outputs == n) x[d] += ridge;
            for (int64_t i = 0; i < n; i++) {
                for (int64_t k = 0; k < i; k++) x[i] -= lower[i * n + k] * x[k];
                x[i] /= lower[i * n + i];
            }
            for (int64_t i = n - 1; i >= 0; i--) {
                x[i] /= lower[i * n + i];
                for (int64_t k = 0; k < i; k++) x[k] -= lower[i * n + k] * x[i];
            }
            std::copy_n(x.begin(), n, row);
        }
    });
    gram = {};
}

}  // namespace stillroom
