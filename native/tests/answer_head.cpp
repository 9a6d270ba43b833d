// A task's own head: its gradients, and those of the adapter below it, against differences of the loss; outputs against sums by hand; targets that do not fit.
#include "core/answer_head.h"

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

Batch asked(int64_t vocabulary, const std::vector<float>& targets) {
    Batch batch = forest(vocabulary);
    for (size_t q = 0; q < batch.query_positions.size(); q++) batch.targets.insert(batch.targets.end(), targets.begin(), targets.end());
    return batch;
}

double loss_of(Graph& graph, const Lora& lora, const Batch& batch) {
    graph.forward(batch, &lora, Graph::Keep::nothing);
    return head_loss(graph, batch, lora, nullptr);
}

double error_of(Graph& graph, Lora& lora, const Batch& batch, const std::vector<float>& gradient) {
    const auto value = [&](const std::vector<float>& at) {
        lora.values = at;
        return loss_of(graph, lora, batch);
    };
    return direction_error(value, lora.values, gradient, 4e-4f);
}

}  // namespace

TEST(gradients_of_a_head_and_the_adapter_below_equal_differences_and_a_planted_fault_is_seen) {
    const std::vector<std::string> below[] = {linear, {"v"}, {}};
    for (size_t s = 0; s < shapes.size(); s++)
        for (const Case& one : cases) {
            Toy toy(shapes[s]);
            Graph graph(toy.model, choose_kernels(""), 2);
            const auto lora = lora_of(toy.model, below[s % 3], 0, 0, one.head);
            Trainer trainer(lora, {}, s % 2 == 0, 0);
            const Batch batch = asked(shapes[s].vocabulary, one.targets);
            const auto step = trainer.accumulate(graph, batch, 0, 0);
            CHECK(step.finite);
            CHECK_EQUAL(step.count, 7);
            std::vector<float> gradient = trainer.gradients();
            CHECK(std::fabs(step.loss_sum - loss_of(graph, *lora, batch)) <= 1e-9 * std::fabs(step.loss_sum) + 1e-12);
            CHECK(error_of(graph, *lora, batch, gradient) < tolerance);
            gradient[lora->head_weight] += static_cast<float>(5 * norm_of(gradient));
            CHECK(error_of(graph, *lora, batch, gradient) > 0.05);
        }
}

TEST(outputs_of_a_head_are_products_with_the_states_on_any_number_of_threads) {
    Toy toy(shapes[3]);
    const auto lora = lora_of(toy.model, {"q"}, 0, 0, {3, HeadLoss::softmax, {}});
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
            const auto lora = lora_of(toy.model, {}, 0, 0, head);
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
