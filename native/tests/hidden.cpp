// Matching hidden states: the loss against its definition and the gradients, of the projection too, against differences through the whole decoder; the
// regression that the projection begins with against its normal equations.
#include "core/hidden.h"

#include <algorithm>

#include "core/failure.h"
#include "core/train.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

constexpr double weight = 0.7;
constexpr float step = 1e-3f;  // of differences: the third derivative of toys with normed heads is large
// Of labels alone and of states: the divergence has tests of its own.
const Distillation matched{Distillation::Kind::forward_kl, 0.5, 1, 1, weight};

// A teacher of random states, one for each position, and of one entry that says all.
void ask(Batch& batch, int64_t width, uint64_t seed) {
    Taught& taught = batch.taught;
    taught = {};
    taught.top_k = 1;
    taught.entries.assign(batch.query_positions.size(), taught_entry(0, -0.1));
    taught.tails.assign(batch.query_positions.size(), 0.1f);
    for (int32_t position : batch.query_positions) {
        std::vector<float> state = random_values(width, seed + position, 2);
        for (float& value : state) value += 3;  // none is so short that the distance is steep
        add_state(taught, state.data(), width);
    }
}

// Of the state behind the final norm at a query, with the pass before: |P h - t|^2 / |t|^2.
double distance(const Graph& graph, const Batch& batch, const Parameters& parameters, size_t q) {
    const auto& [outputs, inputs, offset] = parameters.projection;
    const float* state = graph.state(graph.head_row(static_cast<int64_t>(q)));
    double error = 0, squares = 0;
    for (int64_t d = 0; d < outputs; d++) {
        const double target = ggml_fp16_to_fp32(batch.taught.hidden[q * outputs + d]);
        double value = -target;
        for (int64_t c = 0; c < inputs; c++) value += static_cast<double>(parameters.values[offset + d * inputs + c]) * state[c];
        error += value * value;
        squares += target * target;
    }
    return error / squares;
}

struct Twin {
    double loss, distances;
};
Twin twin(Graph& graph, const Batch& batch, Parameters& parameters, const std::vector<float>& at) {
    Twin sum{loss_at(graph, parameters, batch, at), 0};
    for (size_t q = 0; q < batch.query_positions.size(); q++) sum.distances += distance(graph, batch, parameters, q);
    sum.loss += weight * sum.distances;
    return sum;
}

void check_gradients(Graph& graph, const std::shared_ptr<Parameters>& parameters, const Batch& batch) {
    Trainer trainer(parameters, {}, false, 0, 0, matched);
    const auto done = trainer.accumulate(graph, batch, 0, 0);
    const std::vector<float> at = parameters->values;
    const Twin expected = twin(graph, batch, *parameters, at);
    CHECK(done.finite);
    CHECK_NEAR(done.loss_sum, expected.loss, 2e-5 * (1 + std::fabs(expected.loss)));
    CHECK_NEAR(done.hidden_sum, expected.distances, 2e-5 * (1 + expected.distances));
    const auto value = [&](const std::vector<float>& moved) { return twin(graph, batch, *parameters, moved).loss; };
    std::vector<float> gradient = trainer.gradients();
    CHECK(direction_error(value, at, gradient, step) < 0.02);
    const auto half = static_cast<float>(0.5 * norm_of(gradient));
    // The projection's off by half of the gradient's norm each.
    for (int64_t i = 0; i < parameters->projection.size(); i++) gradient[parameters->projection.offset + i] += half;
    CHECK(direction_error(value, at, gradient, step) > 0.05);
}

// A toy with an adapter, and a batch whose states are to be matched through a projection to so many channels.
struct Matching {
    Toy toy;
    Graph graph;
    std::shared_ptr<Lora> lora;
    Batch batch;
    Matching(const Shape& shape, int64_t width)
        : toy(shape), graph(toy.model, choose_kernels(""), 2), lora(lora_of(toy.model, all, 0, width)), batch(forest(shape.vocabulary)) {
        ask(batch, width, 3);
    }
};

}  // namespace

TEST(matching_hidden_states_equals_its_twin_and_its_gradients_differences) {
    for (const Kernels* kernels : available_kernels())
        for (size_t i = 0; i < shapes.size(); i++) {
            const Shape& shape = shapes[i];
            const Toy toy(shape);
            Graph graph(toy.model, *kernels, 2);
            // Narrower than the student, as wide, and wider.
            const int64_t width = std::vector<int64_t>{1, shape.width, 5, 71}[i % 4];
            Batch batch = forest(shape.vocabulary);
            ask(batch, width, i);
            check_gradients(graph, lora_of(toy.model, shape.targets, 0, width), batch);
        }
}

TEST(a_projection_is_trained_beside_whole_weights_and_is_no_part_of_the_model) {
    for (const size_t i : {2, 5, 8}) {
        const Toy toy(shapes[i]);
        Graph graph(toy.model, choose_kernels(""), 2);
        WeightsOptions options{all, {}, 9};
        const auto weights = std::make_shared<Weights>(toy.model, options, graph.threads);
        graph.train(weights);
        const auto shape = weights->shapes().back();
        CHECK_EQUAL(shape.name, std::string("projection.weight"));
        CHECK_EQUAL(shape.rows, 9);
        CHECK_EQUAL(shape.columns, shapes[i].width);
        const auto drawn = random_values(weights->projection.size(), 5, 0.4f);
        weights->write(weights->shapes().size() - 1, 0, weights->projection.size(), drawn.data());
        Batch batch = forest(shapes[i].vocabulary);
        ask(batch, 9, i);
        check_gradients(graph, weights, batch);
    }
}

TEST(without_a_weight_nothing_is_matched_and_without_states_nothing_can_be) {
    Matching m(shapes[4], 6);
    auto& [toy, graph, lora, batch] = m;
    Trainer plain(lora, {}, false, 0, 0, Distillation{Distillation::Kind::forward_kl, 0.5, 1, 0.5, 0});
    CHECK_EQUAL(plain.accumulate(graph, batch, 0, 0).hidden_sum, 0.0);
    for (int64_t i = 0; i < lora->projection.size(); i++) CHECK_EQUAL(plain.gradients()[lora->projection.offset + i], 0.0f);
    CHECK_THROWS(Trainer(lora_of(toy.model, all), {}, false, 0, 0, matched), Failure);
    Trainer trainer(lora, {}, false, 0, 0, matched);
    ask(batch, 5, 3);
    CHECK_THROWS(trainer.accumulate(graph, batch, 0, 0), Failure);
    batch.taught.hidden_width = 0;
    CHECK_THROWS(trainer.accumulate(graph, batch, 0, 0), Failure);
}

TEST(states_that_are_not_finite_or_all_0_are_refused) {
    Taught taught;
    const std::vector<float> good = {0, 1, -2}, zero = {0, 0, 1e-9f}, large = {0, 1, 7e4f}, none = {0, NAN, 1};
    add_state(taught, good.data(), 3);
    for (const auto& bad : {zero, large, none}) {
        Taught other;
        CHECK_THROWS(add_state(other, bad.data(), 3), Failure);
    }
    const auto refused = [&](uint16_t planted) {
        Taught bad = taught;
        bad.top_k = 1;
        bad.entries = {taught_nothing};
        bad.tails = {1};
        bad.check(1, 5);
        std::fill(bad.hidden.begin() + ((planted & 0x7fff) == 0 ? 0 : 2), bad.hidden.end(), planted);
        CHECK_THROWS(bad.check(1, 5), Failure);
        bad.hidden = taught.hidden;
        bad.hidden.pop_back();
        CHECK_THROWS(bad.check(1, 5), Failure);
    };
    for (const uint16_t planted : {0x0000, 0x8000, 0x7c00, 0xfc00, 0x7e01}) refused(planted);
}

TEST(a_distance_that_is_not_finite_adds_nothing) {
    Matching m(shapes[5], 7);
    auto& [toy, graph, lora, batch] = m;
    Trainer trainer(lora, {}, false, 0, 0, matched);
    CHECK(trainer.accumulate(graph, batch, 0, 0).finite);
    const std::vector<float> before = trainer.gradients();
    float& value = lora->values[lora->projection.offset + 3];
    const float kept = value;
    value = INFINITY;
    CHECK(!trainer.accumulate(graph, batch, 0, 1).finite);
    value = kept;
    CHECK(trainer.gradients() == before);
}

TEST(a_projection_begins_as_the_ridge_regression_of_what_was_observed) {
    for (const Kernels* kernels : available_kernels())
        for (const size_t i : {3, 5, 10}) {
            const Toy toy(shapes[i]);
            Graph graph(toy.model, *kernels, 2);
            const int64_t n = shapes[i].width, width = i == 10 ? n : 5;
            const auto lora = lora_of(toy.model, shapes[i].targets, 0, width);
            std::fill(lora->values.begin() + lora->projection.offset, lora->values.end(), 0.0f);
            Trainer trainer(lora, {}, false, 0, 0, matched);
            std::vector<double> gram(n * n), common(width * n);
            for (uint64_t seed : {1, 2}) {
                Batch batch = forest(shapes[i].vocabulary);
                for (int32_t& token : batch.tokens) token = static_cast<int32_t>((token + seed) % shapes[i].vocabulary);
                ask(batch, width, seed);
                trainer.observe(graph, batch);
                for (size_t q = 0; q < batch.query_positions.size(); q++) {
                    const float* h = graph.state(graph.head_row(static_cast<int64_t>(q)));
                    std::vector<double> t(width);
                    double squares = 0;
                    for (int64_t d = 0; d < width; d++) squares += std::pow(t[d] = ggml_fp16_to_fp32(batch.taught.hidden[q * width + d]), 2);
                    for (int64_t a = 0; a < n; a++) {
                        for (int64_t b = 0; b < n; b++) gram[a * n + b] += static_cast<double>(h[a]) * h[b] / squares;
                        for (int64_t d = 0; d < width; d++) common[d * n + a] += t[d] * h[a] / squares;
                    }
                }
            }
            trainer.fit(graph);
            double trace = 0;
            for (int64_t c = 0; c < n; c++) trace += gram[c * n + c];
            const double ridge = 0.01 * trace / static_cast<double>(n);
            const float* p = lora->values.data() + lora->projection.offset;
            // P (G + ridge) = B + ridge P0
            for (int64_t d = 0; d < width; d++)
                for (int64_t a = 0; a < n; a++) {
                    double left = ridge * p[d * n + a];
                    for (int64_t b = 0; b < n; b++) left += p[d * n + b] * gram[b * n + a];
                    CHECK_NEAR(left, common[d * n + a] + (width == n && a == d ? ridge : 0), 1e-5 * trace);
                }
        }
}

TEST(a_projection_of_nothing_is_the_identity_or_zero) {
    const Toy toy(shapes[0]);
    Graph graph(toy.model, choose_kernels(""), 1);
    for (const int64_t width : {4, 3}) {
        const auto lora = lora_of(toy.model, linear, 0, width);
        std::fill(lora->values.begin() + lora->projection.offset, lora->values.end(), 0.0f);
        Trainer trainer(lora, {}, false, 0, 0, matched);
        trainer.fit(graph);
        for (int64_t i = 0; i < 4 * width; i++) CHECK_EQUAL(lora->values[lora->projection.offset + i], width == 4 && i / 4 == i % 4 ? 1.0f : 0.0f);
    }
}
