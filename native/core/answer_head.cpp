// Outputs and losses of a task's own head (docs/numerics.md holds the equations). Every element of a gradient is summed by one thread, in the order of the queries.
#include "core/answer_head.h"

#include <algorithm>
#include <cmath>

#include "core/failure.h"
#include "core/graph.h"

namespace stillroom {

namespace {

const char* const loss_names[] = {"softmax", "sigmoid", "squared", "huber", "pinball"};

// Targets of one query: of sigmoid one for each output, else one.
int64_t targets_each(const HeadOptions& head) { return head.loss == HeadLoss::sigmoid ? head.outputs : 1; }

// Loss of one query; z (K) becomes its gradient.
double loss_of(const HeadOptions& head, const float* targets, double* z) {
    const int64_t outputs = head.outputs;
    const double target = targets[0];
    double loss = 0;
    switch (head.loss) {
        case HeadLoss::softmax: {
            const auto answer = static_cast<int64_t>(target);
            const double weight = head.parameters.empty() ? 1 : head.parameters[answer], high = *std::max_element(z, z + outputs);
            double sum = 0;
            for (int64_t k = 0; k < outputs; k++) sum += std::exp(z[k] - high);
            loss = weight * (high + std::log(sum) - z[answer]);
            for (int64_t k = 0; k < outputs; k++) z[k] = weight * (std::exp(z[k] - high) / sum - (k == answer));
            return loss;
        }
        case HeadLoss::sigmoid:
            for (int64_t k = 0; k < outputs; k++) {
                // -log sigmoid(z) where the label is right, -log sigmoid(-z) where it is not, without an overflow at either end.
                const bool right = targets[k] > 0;
                const double weight = right && !head.parameters.empty() ? head.parameters[k] : 1, away = right ? -z[k] : z[k];
                loss += weight * (std::max(away, 0.0) + std::log1p(std::exp(-std::fabs(away)))) / outputs;
                z[k] = weight * (right ? -1 : 1) / (1 + std::exp(-away)) / outputs;
            }
            return loss;
        case HeadLoss::squared:
            loss = (z[0] - target) * (z[0] - target);
            z[0] = 2 * (z[0] - target);
            return loss;
        case HeadLoss::huber: {
            const double delta = head.parameters[0], error = z[0] - target, size = std::fabs(error);
            z[0] = std::clamp(error, -delta, delta);
            return size < delta ? error * error / 2 : delta * (size - delta / 2);
        }
        case HeadLoss::pinball:
            for (int64_t k = 0; k < outputs; k++) {
                const double level = head.parameters[k], error = target - z[k];
                loss += std::max(level * error, (level - 1) * error) / outputs;
                z[k] = (error > 0 ? -level : error < 0 ? 1 - level : 0) / outputs;
            }
            return loss;
    }
    return loss;
}

void outputs_of(Graph& graph, int64_t query, const Lora& lora, double* z) {
    const int64_t width = graph.model->width;
    const float *h = graph.state(graph.head_row(query)), *w = lora.values.data() + lora.head_weight, *b = lora.values.data() + lora.head_bias;
    for (int64_t k = 0; k < lora.options.head.outputs; k++) {
        double sum = b[k];
        for (int64_t c = 0; c < width; c++) sum += static_cast<double>(w[k * width + c]) * h[c];
        z[k] = sum;
    }
}

void check_targets(const HeadOptions& head, const Batch& batch) {
    const auto count = static_cast<int64_t>(batch.query_positions.size()) * targets_each(head);
    if (static_cast<int64_t>(batch.targets.size()) != count)
        throw Failure(Code::usage, "expected " + std::to_string(count) + " targets, received " + std::to_string(batch.targets.size()));
    for (float target : batch.targets) {
        const bool fits = head.loss == HeadLoss::softmax   ? target >= 0 && target < static_cast<float>(head.outputs) && target == std::floor(target)
                          : head.loss == HeadLoss::sigmoid ? target == 0 || target == 1
                                                           : std::isfinite(target);
        if (!fits) throw Failure(Code::usage, std::string("expected targets of the loss ") + name_of(head.loss) + ", received " + std::to_string(target));
    }
}

}  // namespace

HeadLoss head_loss_of(const std::string& name) {
    for (size_t i = 0; i < std::size(loss_names); i++)
        if (name == loss_names[i]) return static_cast<HeadLoss>(i);
    throw Failure(Code::usage, "expected softmax, sigmoid, squared, huber or pinball for loss, received \"" + name + "\"");
}

const char* name_of(HeadLoss loss) { return loss_names[static_cast<size_t>(loss)]; }

void HeadOptions::check() const {
    const auto given = static_cast<int64_t>(parameters.size());
    const int64_t needed = loss == HeadLoss::huber ? 1 : loss == HeadLoss::squared ? 0 : outputs;
    if (outputs < 1 || outputs > 1 << 20) throw Failure(Code::usage, "expected a whole number from 1 to 1048576 for outputs, received " + std::to_string(outputs));
    if (loss == HeadLoss::softmax && outputs < 2) throw Failure(Code::usage, "expected at least 2 outputs for the loss softmax, received 1");
    if ((loss == HeadLoss::squared || loss == HeadLoss::huber) && outputs != 1)
        throw Failure(Code::usage, std::string("expected 1 output for the loss ") + name_of(loss) + ", received " + std::to_string(outputs));
    if (given != needed && !((loss == HeadLoss::softmax || loss == HeadLoss::sigmoid) && given == 0))
        throw Failure(Code::usage, "expected " + std::to_string(needed) + " parameters for the loss " + name_of(loss) + ", received " + std::to_string(given));
    for (float value : parameters)
        if (!(std::isfinite(value) && value > 0 && (loss != HeadLoss::pinball || value < 1)))
            throw Failure(Code::usage, std::string("expected ") + (loss == HeadLoss::pinball ? "levels between 0 and 1" : "numbers above 0") +
                                           " for the parameters of " + name_of(loss) + ", received " + std::to_string(value));
}

std::vector<float> head_outputs(Graph& graph, const Batch& batch, const Lora& lora) {
    const auto count = static_cast<int64_t>(batch.query_positions.size());
    const int64_t outputs = lora.options.head.outputs;
    std::vector<float> result(count * outputs);
    graph.threads.run(Kernel::loss, count, [&](int64_t begin, int64_t end, int) {
        std::vector<double> z(outputs);
        for (int64_t q = begin; q < end; q++) {
            outputs_of(graph, q, lora, z.data());
            std::copy(z.begin(), z.end(), result.begin() + q * outputs);
        }
    });
    return result;
}

double head_loss(Graph& graph, const Batch& batch, const Lora& lora, float* gradients) {
    const HeadOptions& head = lora.options.head;
    check_targets(head, batch);
    const Profile::Scope scope(graph.threads.profile, Part::head);
    const auto count = static_cast<int64_t>(batch.query_positions.size());
    const int64_t outputs = head.outputs, width = graph.model->width;
    const int64_t each = targets_each(head);
    std::vector<double> losses(count), dz(count * outputs);
    graph.threads.run(Kernel::loss, count, [&](int64_t begin, int64_t end, int) {
        for (int64_t q = begin; q < end; q++) {
            outputs_of(graph, q, lora, dz.data() + q * outputs);
            losses[q] = loss_of(head, batch.targets.data() + q * each, dz.data() + q * outputs);
        }
    });
    double sum = 0;
    for (double loss : losses) sum += loss;
    if (gradients == nullptr || !std::isfinite(sum)) return sum;
    graph.threads.run(Kernel::loss, outputs, [&](int64_t begin, int64_t end, int) {
        for (int64_t k = begin; k < end; k++)
            for (int64_t q = 0; q < count; q++) {
                const auto slope = static_cast<float>(dz[q * outputs + k]);
                const float* h = graph.state(graph.head_row(q));
                float* dw = gradients + lora.head_weight + k * width;
                for (int64_t c = 0; c < width; c++) dw[c] += slope * h[c];
                gradients[lora.head_bias + k] += slope;
            }
    });
    float* dh = graph.state_gradients();
    const float* w = lora.values.data() + lora.head_weight;
    graph.threads.run(Kernel::loss, width, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = 0; r < graph.head_rows(); r++) std::fill(dh + r * width + begin, dh + r * width + end, 0.0f);
        for (int64_t q = 0; q < count; q++)
            for (int64_t k = 0; k < outputs; k++) {
                const auto slope = static_cast<float>(dz[q * outputs + k]);
                for (int64_t c = begin; c < end; c++) dh[graph.head_row(q) * width + c] += slope * w[k * width + c];
            }
    });
    return sum;
}

}  // namespace stillroom
