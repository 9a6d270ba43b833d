// Whole weights under training: their gradients against differences of the loss on every toy, chosen tensors against all of them, and
// a bad batch that is taken back.
#include "core/weights.h"

#include <algorithm>
#include <map>

#include "core/failure.h"
#include "core/train.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

const std::vector<std::string> every = {"q", "k", "v", "o", "gate", "up", "down", "norms", "biases", "head", "final_norm", "embeddings"};

struct Training {
    Toy toy;
    Graph graph;
    std::shared_ptr<Weights> weights;
    Trainer trainer;
    Training(const Shape& shape, const WeightsOptions& options, int threads = 2, bool recompute = false, const Kernels& kernels = choose_kernels(""))
        : toy(shape),
          graph(toy.model, kernels, threads),
          weights(std::make_shared<Weights>(toy.model, options, graph.threads)),
          trainer(weights, {}, recompute, 0) {
        graph.train(weights);
    }
    // By name, after one micro-batch.
    std::map<std::string, std::vector<float>> gradients(const Batch& batch) {
        CHECK(trainer.accumulate(graph, batch, 0, 0).finite);
        std::map<std::string, std::vector<float>> found;
        const auto shapes = weights->shapes();
        for (size_t i = 0; i < shapes.size(); i++) {
            std::vector<float>& values = found[shapes[i].name];
            values.resize(shapes[i].rows * shapes[i].columns);
            weights->read(trainer.gradients().data(), i, 0, static_cast<int64_t>(values.size()), values.data());
        }
        return found;
    }
};

constexpr double tolerance = 0.02, planted = 0.05;

}  // namespace

TEST(gradients_of_all_weights_equal_differences_and_a_planted_fault_is_seen) {
    for (const Kernels* kernels : available_kernels())
        for (const Shape& shape : shapes) {
            Training training(shape, {every, {}}, 2, false, *kernels);
            const Batch batch = forest(shape.vocabulary);
            training.gradients(batch);
            std::vector<float> gradient = training.trainer.gradients();
            CHECK(direction_error(training.graph, *training.weights, batch, gradient) < tolerance);
            *std::max_element(gradient.begin(), gradient.end()) += static_cast<float>(0.5 * norm_of(gradient));
            CHECK(direction_error(training.graph, *training.weights, batch, gradient) > planted);
        }
}

TEST(weight_gradients_do_not_depend_on_threads_or_recomputation) {
    for (const Shape& shape : {shapes[3], shapes[5], shapes[7]}) {
        const Batch batch = forest(shape.vocabulary);
        const auto kept = Training(shape, {every, {}}, 1).gradients(batch);
        CHECK(kept == Training(shape, {every, {}}, 3).gradients(batch));
        CHECK(kept == Training(shape, {every, {}}, 2, true).gradients(batch));
    }
}

TEST(chosen_weights_get_the_gradients_that_they_get_among_all) {
    struct Choice {
        WeightsOptions options;
        size_t tensors;
        int64_t lowest;
    };
    // shapes[7]: 3 layers with QK norm, untied.
    const std::vector<Choice> choices = {
        {{{"norms"}, {}}, 12, 0},          {{{"final_norm"}, {}}, 1, 3},         {{{"head", "final_norm"}, {}}, 2, 3}, {{{"embeddings"}, {}}, 1, -1},
        {{{"q", "down", "norms"}, {2}}, 6, 2}, {{{"k", "gate"}, {1, 2}}, 4, 1}, {{{"v", "head"}, {0, 2}}, 3, 0},
    };
    const Batch batch = forest(shapes[7].vocabulary);
    const auto all_of_them = Training(shapes[7], {every, {}}).gradients(batch);
    for (bool recompute : {false, true})
        for (const Choice& choice : choices) {
            Training training(shapes[7], choice.options, 2, recompute);
            CHECK_EQUAL(training.weights->lowest_layer(), choice.lowest);
            const auto chosen = training.gradients(batch);
            CHECK_EQUAL(chosen.size(), choice.tensors);
            for (const auto& [name, values] : chosen) {
                CHECK(values == all_of_them.at(name));
                CHECK(std::any_of(values.begin(), values.end(), [](float g) { return g != 0; }));
            }
        }
}

TEST(shared_embeddings_stay_shared_and_part_when_one_side_is_trained) {
    for (const auto& [targets, tied] : std::map<std::vector<std::string>, bool>{{every, true}, {{"head"}, false}, {{"embeddings"}, false}, {{"q"}, true}}) {
        Training training(shapes[3], {targets, {}});
        CHECK(training.toy.model->tied);
        CHECK_EQUAL(training.weights->model()->tied, tied);
        // A step on the head of a shared matrix would move the embeddings too.
        const Batch batch = forest(shapes[3].vocabulary);
        training.gradients(batch);
        CHECK(direction_error(training.graph, *training.weights, batch, training.trainer.gradients()) < tolerance);
    }
}

TEST(wrong_choices_are_named) {
    auto refusal = [](const WeightsOptions& options) -> std::string {
        try {
            Training training(shapes[0], options);
        } catch (const Failure& failure) {
            return failure.what();
        }
        return "";
    };
    CHECK(refusal({{"w"}, {}}).find("for targets, received \"w\"") != std::string::npos);
    CHECK(refusal({{"biases"}, {}}).find("received biases, of which it has none; it has q, k, v, o, gate, up, down, norms, head, final_norm, embeddings") != std::string::npos);
    CHECK_EQUAL(refusal({{"q"}, {0, 1}}), std::string("expected numbers from 0 to 0 for layers, received 1"));
}

TEST(a_batch_that_is_not_finite_after_its_first_chunk_is_taken_back) {
    // shapes[5]: untied. Five rows of 60 tokens ask at every position: two chunks of the head, the bad token in the second.
    const Shape& shape = shapes[5];
    const int32_t bad = 22;
    Training training(shape, {every, {}});
    Batch batch;
    for (int row = 0; row < 5; row++) {
        batch.segments.push_back({row * 60, 60, -1});
        for (int t = 0; t < 60; t++) {
            batch.query_positions.push_back(static_cast<int32_t>(batch.tokens.size()));
            batch.query_tokens.push_back((t * 7 + row) % 20);
            batch.tokens.push_back(row == 4 && t == 50 ? bad : (t * 3 + row) % 20);
        }
    }
    batch.check(shape.vocabulary, 64);
    const Batch good = forest(20);
    CHECK(training.trainer.accumulate(training.graph, good, 0, 0).finite);
    CHECK(training.trainer.accumulate(training.graph, good, 0, 1).finite);
    const std::vector<float> before = training.trainer.gradients();
    float* row = const_cast<float*>(reinterpret_cast<const float*>(training.graph.model->embeddings.at(bad, 0)));
    row[0] = NAN;
    CHECK(!training.trainer.accumulate(training.graph, batch, 0, 2).finite);
    CHECK(training.trainer.gradients() == before);
    row[0] = 0.5f;
    CHECK(training.trainer.accumulate(training.graph, batch, 0, 3).finite);
    CHECK(!(training.trainer.gradients() == before));
}
