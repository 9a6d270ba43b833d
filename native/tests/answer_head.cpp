// A task's own head: its gradients, and those of the adapter below it, against differences of the loss; outputs against sums by hand; targets that do not fit.
#include "core/answer_head.h"

#include <algorithm>

#include "core/failure.h"
#include "core/train.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

constexpr double tolerance = 0.02;

struct Case {
    HeadOptions head;
    std::vector<float> targets;  // of one query
};

// Targets far from the kinks of Huber's loss and of quantiles, so that differences have a meaning.
const std::vector<Case> cases = {
    {{3, HeadLoss::softmax, {}}, {1}},          {{3, HeadLoss::softmax, {0.5f, 2, 3}}, {2}}, 
    {{3, HeadLoss::sigmoid, {}}, {1, 0, 1}},    {{3, HeadLoss::sigmoid, {0.5f, 2, 3}}, {0, 1, 1}}, {{1, HeadLoss::sigmoid, {}}, {1}},
    {{1, HeadLoss::squared, {}}, {0.7f}},        {{1, HeadLoss::huber, {100}}, {-0.3f}},
    {{1, HeadLoss::huber, {0.05f}}, {50}},       {{3, HeadLoss::pinball, {0.1f, 0.5f, 0.8f}}, {50}}, {{2, HeadLoss::pinball, {0.1f, 0.9f}}, {-50}},
};

std::shared_ptr<Lora> lora_with(const std::shared_ptr<Model>& model, const std::vector<std::string>& targets, const HeadOptions& head) {
    LoraOptions options;
    options.rank = 2;
    options.alpha = 4;
    options.targets = targets;
    options.head = head;
    auto lora = std::make_shared<Lora>(model, options);
    lora->values = random_values(static_cast<int64_t>(lora->values.size()), 7, 0.4f);
    return lora;
}

Batch asked(int64_t vocabulary, const std::vector<float>& targets) {
    Batch batch = forest(vocabulary);
    for (size_t q = 0; q < batch.query_positions.size(); q++) batch.targets.insert(batch.targets.end(), targets.begin(), targets.end());
    return batch;
}

double loss_of(Graph& graph, const Lora& lora, const Batch& batch) {
    graph.forward(batch, &lora, Graph::Keep::nothing);
    return head_loss(graph, batch, lora, nullptr);
}

// As direction_error of tests/decoder_gradient.h, of the head's loss.
double error_of(Graph& graph, Lora& lora, const Batch& batch, const std::vector<float>& gradient) {
    const std::vector<float> at = lora.values;
    const auto size = static_cast<int64_t>(at.size());
    double worst = 0, norm = 0;
    for (float g : gradient) norm += static_cast<double>(g) * g;
    for (int64_t first = 0; first < size; first += std::max<int64_t>(1, size / 9)) {
        const int64_t last = std::min(size, first + std::max<int64_t>(1, size / 9));
        const auto direction = random_values(last - first, 11 + first);
        const float step = 4e-4f;
        double slope = 0, length = 0;
        auto moved = [&](float by) {
            lora.values = at;
            for (int64_t i = first; i < last; i++) lora.values[i] += by * direction[i - first];
            return loss_of(graph, lora, batch);
        };
        for (int64_t i = first; i < last; i++) {
            slope += static_cast<double>(gradient[i]) * direction[i - first];
            length += static_cast<double>(direction[i - first]) * direction[i - first];
        }
        worst = std::max(worst, std::fabs((moved(step) - moved(-step)) / (2.0 * step) - slope) / (std::sqrt(norm * length / size) + 1e-9));
    }
    lora.values = at;
    return worst;
}

}  // namespace

TEST(gradients_of_a_head_and_the_adapter_below_equal_differences_and_a_planted_fault_is_seen) {
    const std::vector<std::string> below[] = {linear, {"v"}, {}};
    for (size_t s = 0; s < shapes.size(); s++)
        for (const Case& one : cases) {
            Toy toy(shapes[s]);
            Graph graph(toy.model, choose_kernels(""), 2);
            const auto lora = lora_with(toy.model, below[s % 3], one.head);
            Trainer trainer(lora, {}, s % 2 == 0, 0);
            const Batch batch = asked(shapes[s].vocabulary, one.targets);
            const auto step = trainer.accumulate(graph, batch, 0, 0);
            CHECK(step.finite);
            CHECK_EQUAL(step.count, 7);
            std::vector<float> gradient = trainer.gradients();
            CHECK(std::fabs(step.loss_sum - loss_of(graph, *lora, batch)) <= 1e-9 * std::fabs(step.loss_sum) + 1e-12);
            CHECK(error_of(graph, *lora, batch, gradient) < tolerance);
            double norm = 0;
            for (float g : gradient) norm += static_cast<double>(g) * g;
            gradient[lora->head_weight] += static_cast<float>(5 * std::sqrt(norm));
            CHECK(error_of(graph, *lora, batch, gradient) > 0.05);
        }
}

TEST(outputs_of_a_head_are_products_with_the_states_on_any_number_of_threads) {
    Toy toy(shapes[3]);
    const auto lora = lora_with(toy.model, {"q"}, {3, HeadLoss::softmax, {}});
    const Batch batch = forest(shapes[3].vocabulary);
    std::vector<float> first;
    for (int threads : {1, 3}) {
        Graph graph(toy.model, choose_kernels(""), threads);
        graph.forward(batch, lora.get(), Graph::Keep::nothing);
        const std::vector<float> outputs = head_outputs(graph, batch, *lora);
        CHECK_EQUAL(outputs.size(), size_t{21});
        for (int64_t q = 0; q < 7; q++) {
            double sum = lora->values[lora->head_bias + 1];
            for (int64_t c = 0; c < 16; c++) sum += static_cast<double>(lora->values[lora->head_weight + 16 + c]) * graph.state(graph.head_row(q))[c];
            CHECK(std::fabs(outputs[q * 3 + 1] - sum) < 1e-5);
        }
        if (threads == 1) first = outputs;
        CHECK(outputs == first);
    }
}

TEST(a_head_refuses_targets_and_parameters_that_do_not_fit) {
    Toy toy(shapes[2]);
    Graph graph(toy.model, choose_kernels(""), 1);
    auto refused = [&](const HeadOptions& head, const std::vector<float>& targets) {
        try {
            const auto lora = lora_with(toy.model, {}, head);
            loss_of(graph, *lora, asked(shapes[2].vocabulary, targets));
        } catch (const Failure& failure) {
            return failure.code == Code::usage;
        }
        return false;
    };
    CHECK(!refused({3, HeadLoss::softmax, {}}, {2}));
    CHECK(refused({3, HeadLoss::softmax, {}}, {3}));
    CHECK(refused({3, HeadLoss::softmax, {}}, {0.5f}));
    CHECK(refused({3, HeadLoss::softmax, {}}, {-1}));
    CHECK(refused({3, HeadLoss::softmax, {1, 1}}, {1}));
    CHECK(refused({1, HeadLoss::softmax, {}}, {0}));
    CHECK(refused({2, HeadLoss::softmax, {}}, {1, 0}));
    CHECK(!refused({2, HeadLoss::sigmoid, {}}, {1, 0}));
    CHECK(refused({2, HeadLoss::sigmoid, {}}, {1}));
    CHECK(refused({2, HeadLoss::sigmoid, {}}, {1, 0.5f}));
    CHECK(refused({2, HeadLoss::sigmoid, {1}}, {1, 0}));
    CHECK(refused({2, HeadLoss::sigmoid, {1, 0}}, {1, 0}));
    CHECK(refused({2, HeadLoss::squared, {}}, {1}));
    CHECK(refused({1, HeadLoss::squared, {}}, {NAN}));
    CHECK(refused({1, HeadLoss::huber, {}}, {1}));
    CHECK(refused({1, HeadLoss::huber, {0}}, {1}));
    CHECK(refused({2, HeadLoss::pinball, {0.5f, 1}}, {1}));
    CHECK(refused({2, HeadLoss::pinball, {0.5f}}, {1}));
}
