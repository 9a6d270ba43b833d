// Embeddings against the definition written out: states of a row computed alone, their mean or the last, divided by its length.
#include "core/embed.h"

#include <cmath>

#include "core/failure.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

// The slow twin: a row alone, every token asked for, the mean in f64.
std::vector<double> slow(Graph& graph, const std::vector<int32_t>& row, Pooling pooling) {
    Batch batch;
    batch.tokens = row;
    batch.segments = {{0, static_cast<int32_t>(row.size()), -1}};
    for (size_t t = 0; t < row.size(); t++) {
        batch.query_positions.push_back(static_cast<int32_t>(t));
        batch.query_tokens.push_back(0);
    }
    batch.check(graph.model->vocabulary, 64);
    graph.forward(batch, nullptr, Graph::Keep::nothing);
    std::vector<double> result(graph.model->width);
    double squares = 0;
    for (size_t c = 0; c < result.size(); c++) {
        for (size_t t = pooling == Pooling::last ? row.size() - 1 : 0; t < row.size(); t++) result[c] += graph.state(graph.head_row(t))[c] / row.size();
        squares += result[c] * result[c];
    }
    for (double& value : result) value /= std::sqrt(squares);
    return result;
}

}  // namespace

TEST(embeddings_of_a_forest_are_those_of_its_rows_and_of_length_1) {
    for (const Kernels* kernels : available_kernels())
        for (const Shape& shape : shapes) {
            const Toy toy(shape);
            Graph graph(toy.model, *kernels, 2);
            Batch batch = forest(shape.vocabulary);
            batch.query_positions = {4, 8, 10, 6};  // ends of three rows, and a token in the middle of one
            batch.query_tokens = {0, 0, 0, 0};
            const std::vector<std::vector<int32_t>> paths = {{0, 1, 2, 3, 4}, {0, 1, 2, 5, 6, 7, 8}, {9, 10}, {0, 1, 2, 5, 6}};
            for (const Pooling pooling : {Pooling::mean, Pooling::last}) {
                const std::vector<float> all = embed(graph, batch, nullptr, pooling);
                CHECK_EQUAL(all.size(), paths.size() * shape.width);
                for (size_t q = 0; q < paths.size(); q++) {
                    CHECK(path_of(batch, batch.query_positions[q]) == paths[q]);
                    std::vector<int32_t> row;
                    for (int32_t t : paths[q]) row.push_back(batch.tokens[t]);
                    const std::vector<double> want = slow(graph, row, pooling);
                    double squares = 0;
                    for (int64_t c = 0; c < shape.width; c++) {
                        const float value = all[q * shape.width + c];
                        CHECK_NEAR(value, want[c], 1e-5);
                        squares += static_cast<double>(value) * value;
                    }
                    CHECK_NEAR(squares, 1, 1e-6);
                }
            }
        }
}

TEST(a_row_has_the_same_bits_alone_and_beside_others) {
    for (const Kernels* kernels : available_kernels()) {
        const Toy toy(shapes[3]);
        const auto rows = [&](const std::vector<int32_t>& lengths, int32_t threads) {
            Batch batch;
            for (int32_t length : lengths) {
                const auto start = static_cast<int32_t>(batch.tokens.size());
                batch.segments.push_back({start, length, -1});
                for (int32_t t = 0; t < length; t++) batch.tokens.push_back((t * 5 + length) % static_cast<int32_t>(toy.model->vocabulary));
                batch.query_positions.push_back(start + length - 1);
                batch.query_tokens.push_back(0);
            }
            batch.check(toy.model->vocabulary, 64);
            Graph graph(toy.model, *kernels, threads);
            return embed(graph, batch, nullptr, Pooling::mean);
        };
        const std::vector<float> together = rows({7, 1, 19, 40, 3, 12}, 2);
        const int64_t width = toy.model->width;
        const std::vector<float> alone = rows({19}, 1);
        CHECK(std::equal(alone.begin(), alone.end(), together.begin() + 2 * width));
    }
}

TEST(pooling_has_two_names_and_no_numbers_are_no_embedding) {
    CHECK(pooling_of("mean") == Pooling::mean);
    CHECK_THROWS(pooling_of("cls"), Failure);
    const float bad[] = {1, NAN}, zero[] = {0, 0}, good[] = {3, -4};
    float out[2];
    Pool pool(Pooling::mean, 2);
    pool.add(bad);
    CHECK_THROWS(pool.take(out), Failure);
    Pool empty(Pooling::mean, 2);
    empty.add(zero);
    CHECK_THROWS(empty.take(out), Failure);
    Pool mean(Pooling::mean, 2);
    mean.add(good);
    mean.take(out);
    CHECK_NEAR(out[0], 0.6, 1e-7);
    CHECK_NEAR(out[1], -0.8, 1e-7);
}
