// The whole decoder: its gradients along random directions against differences of its own loss, on toys of odd shapes, and the claims
// about it (a forest equals its rows, computing again changes nothing, dropout repeats, a bad batch adds nothing).
#include "core/graph.h"

#include <algorithm>

#include "core/train.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

constexpr double tolerance = 0.02, planted = 0.05;

}  // namespace

TEST(decoder_gradients_equal_differences_and_a_planted_fault_is_seen) {
    for (const Kernels* kernels : available_kernels())
        for (const Shape& shape : shapes) {
            const Toy toy(shape);
            Graph graph(toy.model, *kernels, 2);
            const auto lora = lora_of(toy.model, shape.targets);
            const Batch batch = forest(shape.vocabulary);
            Trainer trainer(lora, {}, false, 0);
            CHECK(trainer.accumulate(graph, batch, 0, 0).finite);
            std::vector<float> gradient = trainer.gradients();
            CHECK(direction_error(graph, *lora, batch, gradient) < tolerance);
            // The largest entry off by half of the gradient's norm.
            *std::max_element(gradient.begin(), gradient.end()) += static_cast<float>(0.5 * norm_of(gradient));
            CHECK(direction_error(graph, *lora, batch, gradient) > planted);
        }
}

TEST(recomputed_layers_give_the_same_bytes_and_dropout_repeats) {
    for (float dropout : {0.0f, 0.3f}) {
        const Toy toy(shapes[4]);
        const auto lora = lora_of(toy.model, all, dropout);
        const Batch batch = forest(toy.model->vocabulary);
        std::vector<std::vector<float>> results;
        for (int run = 0; run < 4; run++) {
            Graph graph(toy.model, choose_kernels(""), run == 3 ? 3 : 1);
            Trainer trainer(lora, {}, run == 1, 5);
            CHECK(trainer.accumulate(graph, batch, 2, run == 2 ? 1 : 0).finite);
            results.push_back(trainer.gradients());
        }
        CHECK(results[0] == results[1]);                    // recompute
        CHECK((results[0] == results[2]) == (dropout == 0));  // another micro-batch draws other masks
        CHECK(results[0] == results[3]);                    // threads
    }
}

// An importance matrix makes every layer run over all tokens: the slow twin of a last layer that runs over the queried ones.
TEST(the_last_layer_at_the_queries_gives_the_bytes_of_one_over_all_tokens) {
    for (const Kernels* kernels : available_kernels())
        for (const Shape& shape : shapes)
            for (const bool recompute : {false, true}) {
                const Toy toy(shape);
                const auto lora = lora_of(toy.model, shape.targets, recompute ? 0.3f : 0.0f);
                const Batch batch = forest(shape.vocabulary);
                Importance importance;
                std::vector<std::vector<float>> gradients;
                std::vector<std::vector<double>> scores;
                for (const bool whole : {false, true}) {
                    Graph graph(toy.model, *kernels, 2);
                    if (whole) graph.importance = &importance;
                    Trainer trainer(lora, {}, recompute, 5);
                    CHECK(trainer.accumulate(graph, batch, 2, 0).finite);
                    CHECK_EQUAL(graph.head_rows(), whole ? 11 : 5);
                    gradients.push_back(trainer.gradients());
                    graph.forward(batch, lora.get(), Graph::Keep::nothing);
                    scores.push_back(log_probabilities(graph, batch));
                }
                CHECK(gradients[0] == gradients[1]);
                CHECK(scores[0] == scores[1]);
            }
}

TEST(importance_counts_every_token_in_the_last_layer) {
    const Toy toy(shapes[2]);
    Graph graph(toy.model, choose_kernels(""), 2);
    Batch batch = forest(toy.model->vocabulary);
    std::vector<Importance> sums(2);
    for (Importance& sum : sums) {
        graph.importance = &sum;
        graph.forward(batch, nullptr, Graph::Keep::nothing);
        batch.query_positions.clear();  // the second time nothing is asked for
        batch.query_tokens.clear();
    }
    CHECK_EQUAL(sums[0].sums.size(), size_t{14});
    CHECK(sums[0].sums == sums[1].sums);
}

TEST(a_forest_equals_its_rows) {
    const Toy toy(shapes[3]);
    Graph graph(toy.model, choose_kernels(""), 2);
    const Batch batch = forest(toy.model->vocabulary);
    graph.forward(batch, nullptr, Graph::Keep::nothing);
    const auto together = log_probabilities(graph, batch);
    // Segment 2 behind segment 0, alone.
    Batch alone;
    alone.segments = {{0, 7, -1}};
    for (int t : {0, 1, 2, 5, 6, 7, 8}) alone.tokens.push_back(batch.tokens[t]);
    alone.query_positions = {2, 2, 4, 6};
    alone.query_tokens = {batch.query_tokens[0], batch.query_tokens[1], batch.query_tokens[3], batch.query_tokens[4]};
    alone.check(toy.model->vocabulary, 64);
    graph.forward(alone, nullptr, Graph::Keep::nothing);
    const auto single = log_probabilities(graph, alone);
    for (int i = 0; i < 4; i++) CHECK_NEAR(single[i], together[i < 2 ? i : i + 1], 2e-6);
}

TEST(a_batch_that_is_not_finite_adds_nothing) {
    const Toy toy(shapes[0]);
    Graph graph(toy.model, choose_kernels(""), 1);
    const auto lora = lora_of(toy.model, linear);
    const Batch batch = forest(toy.model->vocabulary);
    Trainer trainer(lora, {}, false, 0);
    CHECK(trainer.accumulate(graph, batch, 0, 0).finite);
    const std::vector<float> before = trainer.gradients();
    const float kept = lora->values[0];
    lora->values[0] = NAN;
    CHECK(!trainer.accumulate(graph, batch, 0, 1).finite);
    lora->values[0] = kept;
    CHECK(trainer.gradients() == before);
    CHECK(trainer.accumulate(graph, batch, 0, 2).finite);
    CHECK(!(trainer.gradients() == before));
}
