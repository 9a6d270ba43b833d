// Weights under training that passes see quantised: their gradients against those of a model that has the rounded weights as its own, and the
// rounding against the values at every moment.
#include <algorithm>
#include <cstring>

#include "core/failure.h"
#include "core/train.h"
#include "core/weights.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

const std::vector<std::string> every = {"q", "k", "v", "o", "gate", "up", "down", "norms", "biases", "head", "final_norm", "embeddings"};
// Rows of whole blocks of 32.
const Shape tied = {2, 32, 64, 4, 2, 8, 37, true, false, false, true, linear}, parted = {2, 64, 32, 4, 4, 16, 41, false, true, false, false, linear};

std::vector<TensorType> types_of(const Shape& shape) {
    std::vector<TensorType> types = {{"token_embd.weight", "q5_1"}, {"output.weight", "q8_0"}};
    for (int64_t l = 0; l < shape.layers; l++)
        for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
            types.emplace_back("blk." + std::to_string(l) + "." + name + ".weight", l == 0 ? "q4_0" : "q5_0");
    return types;
}

struct Training {
    Toy toy;
    Graph graph;
    std::shared_ptr<Weights> weights;
    Trainer trainer;
    Training(const Shape& shape, const WeightsOptions& options)
        : toy(shape), graph(toy.model, choose_kernels(""), 2), weights(std::make_shared<Weights>(toy.model, options, graph.threads)), trainer(weights, {}, false, 0) {
        graph.train(weights);
    }
    void quantize(const Shape& shape) {
        weights->quantize(types_of(shape), graph.threads);
        graph.train(weights);
    }
    // Values of a trained matrix as passes see them.
    std::vector<float> seen(const Weight& weight) const {
        std::vector<float> values(weight.in * weight.out);
        for (int64_t row = 0; row < weight.out; row++) weight.read(row, 0, weight.in, values.data() + row * weight.in);
        return values;
    }
    double loss(const Batch& batch) {
        graph.forward(batch, nullptr, Graph::Keep::nothing);
        double sum = 0;
        for (double p : log_probabilities(graph, batch)) sum -= p;
        return sum;
    }
};

double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < a.size(); i++) {
        difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
        norm += static_cast<double>(b[i]) * b[i];
    }
    return std::sqrt(difference / norm);
}

}  // namespace

TEST(gradients_of_quantized_weights_are_those_of_a_model_that_has_them_rounded) {
    for (const Shape& shape : {tied, parted}) {
        const Batch batch = forest(shape.vocabulary);
        Training exact(shape, {every, {}}), rounded(shape, {every, {}}), twin(shape, {every, {}});
        rounded.quantize(shape);
        // The twin's own values are the rounded ones.
        const auto shapes = twin.weights->shapes();
        std::vector<const Weight*> matrices = {&rounded.weights->model()->embeddings};
        if (!shape.tied) matrices.push_back(&rounded.weights->model()->head);
        for (const Layer& layer : rounded.weights->model()->layers)
            for (const Weight* weight : layer.matrices()) matrices.push_back(weight);
        for (const Weight* matrix : matrices)
            for (size_t i = 0; i < shapes.size(); i++)
                if (shapes[i].name == matrix->name + ".weight") {
                    const auto values = rounded.seen(*matrix);
                    twin.weights->write(i, 0, static_cast<int64_t>(values.size()), values.data());
                }
        for (Training* one : {&exact, &rounded, &twin}) CHECK(one->trainer.accumulate(one->graph, batch, 0, 0).finite);
        CHECK(distance(rounded.trainer.gradients(), twin.trainer.gradients()) < 1e-5);
        CHECK(distance(exact.trainer.gradients(), twin.trainer.gradients()) > 1e-3);
        CHECK(direction_error(twin.graph, *twin.weights, batch, rounded.trainer.gradients()) < 0.02);
    }
}

TEST(quantized_weights_follow_every_change_of_the_values) {
    const Shape shape = parted;
    const Batch batch = forest(shape.vocabulary);
    Training training(shape, {{"q", "down", "head"}, {1}});
    training.quantize(shape);
    const Weight& down = training.weights->model()->layers[1].down;
    const auto is_rounded = [&] {
        std::vector<float> values(down.in * down.out);
        const auto shapes = training.weights->shapes();
        for (size_t i = 0; i < shapes.size(); i++)
            if (shapes[i].name == "blk.1.ffn_down.weight") training.weights->read(training.weights->values.data(), i, 0, static_cast<int64_t>(values.size()), values.data());
        std::vector<uint8_t> codes(down.row_bytes * down.out);
        ggml_quantize_chunk(GGML_TYPE_Q5_0, values.data(), codes.data(), 0, down.out, down.in, nullptr);
        return std::memcmp(codes.data(), down.data, codes.size()) == 0;
    };
    CHECK(is_rounded());
    const auto before = training.seen(down);
    CHECK(training.trainer.accumulate(training.graph, batch, 0, 0).finite);
    training.trainer.update(training.graph, 0.1f, 7);
    CHECK(is_rounded());
    CHECK(training.seen(down) != before);
    // A stretch from within one row to within another, as a checkpoint is read.
    const auto shapes = training.weights->shapes();
    const std::vector<float> some(down.in, 0.7f);
    for (size_t i = 0; i < shapes.size(); i++)
        if (shapes[i].name == "blk.1.ffn_down.weight") training.weights->write(i, down.in / 2, down.in, some.data());
    CHECK(is_rounded());
    CHECK(training.seen(down)[down.in] != before[down.in]);
}

TEST(weights_that_lack_a_type_are_refused_and_stay_as_they_are) {
    const Batch batch = forest(tied.vocabulary);
    Training training(tied, {every, {}});
    const double before = training.loss(batch);
    auto types = types_of(tied);
    types.pop_back();
    bool refused = false;
    try {
        training.weights->quantize(types, training.graph.threads);
    } catch (const Failure& failure) {
        refused = failure.code == Code::usage;
    }
    CHECK(refused);
    CHECK(training.loss(batch) == before);
    training.quantize(tied);
    CHECK(training.loss(batch) != before);
}
