// The packed linear layer on every weight type that ggml can dequantise, against plain loops over the dequantised weights.
#include "core/linear.h"

#include <algorithm>

#include "tests/check.h"
#include "tests/gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

struct Quantised {
    std::vector<uint8_t> bytes;
    std::vector<float> dense;  // (out, in), as dequantised
    Weight weight;
};

Quantised layer_of(ggml_type type, int64_t in, int64_t out) {
    Quantised layer;
    const auto values = random_values(in * out, 1);
    const std::vector<float> importance(in, 1.0f);
    layer.bytes.resize(ggml_row_size(type, in) * out);
    ggml_quantize_chunk(type, values.data(), layer.bytes.data(), 0, out, in, importance.data());
    layer.weight.name = "weight";
    layer.weight.type = type;
    layer.weight.in = in;
    layer.weight.out = out;
    layer.weight.data = layer.bytes.data();
    layer.weight.row_bytes = static_cast<int64_t>(ggml_row_size(type, in));
    layer.weight.block = ggml_blck_size(type);
    layer.dense.resize(in * out);
    for (int64_t o = 0; o < out; o++) layer.weight.read(o, 0, in, layer.dense.data() + o * in);
    return layer;
}

void check_layer(const Kernels& kernels, ggml_type type, int64_t in, int64_t out, int64_t rows, int count, bool accumulate = true) {
    Threads threads(count);
    Products products(kernels, threads);
    const Quantised layer = layer_of(type, in, out);
    const auto x = random_values(rows * in, 2), dy = random_values(rows * out, 3);
    std::vector<float> y = random_values(rows * out, 4), dx = random_values(rows * in, 5);
    const std::vector<float> y_before = y, dx_before = dx;
    Packed packed;
    products.pack(x.data(), rows, in, in, 1.0f, packed);
    products.forward(packed, {{layer.weight, y.data()}}, accumulate);
    products.pack(dy.data(), rows, out, out, 1.0f, packed);
    products.backward(packed, layer.weight, dx.data(), in, accumulate);
    double worst = 0, worst_back = 0;
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t o = 0; o < out; o++) {
            double sum = accumulate ? y_before[t * out + o] : 0;
            for (int64_t i = 0; i < in; i++) sum += static_cast<double>(x[t * in + i]) * layer.dense[o * in + i];
            worst = std::max(worst, std::fabs(sum - y[t * out + o]));
        }
        for (int64_t i = 0; i < in; i++) {
            double sum = accumulate ? dx_before[t * in + i] : 0;
            for (int64_t o = 0; o < out; o++) sum += static_cast<double>(dy[t * out + o]) * layer.dense[o * in + i];
            worst_back = std::max(worst_back, std::fabs(sum - dx[t * in + i]));
        }
    }
    CHECK_NEAR(worst, 0, 5e-5);
    CHECK_NEAR(worst_back, 0, 5e-5);
}

}  // namespace

TEST(linear_layers_equal_plain_loops_for_every_weight_type) {
    int types = 0;
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const auto type = static_cast<ggml_type>(t);
        const ggml_type_traits* traits = ggml_get_type_traits(type);
        // q8_1 and q8_K hold activations, not weights; the i types are no weights either.
        const bool weight = t == GGML_TYPE_F32 || (traits->to_float && traits->blck_size > 0 && t != GGML_TYPE_Q8_1 && t != GGML_TYPE_Q8_K);
        if (!weight) continue;
        types++;
        const int64_t block = std::max<int64_t>(ggml_blck_size(type), 1);
        for (const Kernels* kernels : available_kernels()) {
            check_layer(*kernels, type, block * (block < 256 ? 5 : 2), 35, 7, 1);
            check_layer(*kernels, type, block * 3, 17, 29, 2);
        }
    }
    CHECK(types >= 20);
}

TEST(unpacked_weights_equal_ggml_bit_for_bit) {
    for (const Kernels* kernels : available_kernels())
        for (int t = 0; t < GGML_TYPE_COUNT; t++) {
            const auto routine = kernels->unpack(t);
            if (!routine) continue;
            const Quantised layer = layer_of(static_cast<ggml_type>(t), 512, 9);
            std::vector<float> row(512);
            for (int64_t o = 0; o < 9; o++) {
                routine(layer.weight.at(o, 256), 256, row.data());
                CHECK(std::equal(row.begin(), row.begin() + 256, layer.dense.begin() + o * 512 + 256));
            }
        }
}

TEST(linear_layers_of_odd_sizes) {
    for (const Kernels* kernels : available_kernels())
        for (int64_t in : {1, 3, 16, 33, 130})
            for (int64_t out : {1, 31, 32, 70})
                for (int count : {1, 3}) check_layer(*kernels, GGML_TYPE_F32, in, out, 13, count);
}

TEST(linear_layers_deeper_than_a_chunk) {
    for (const Kernels* kernels : available_kernels())
        for (int64_t depth : {480, 544, 576, 640, 672, 1088, 1184}) {  // in one, with the rest beside the last chunk, and with a rest of its own
            check_layer(*kernels, GGML_TYPE_Q4_1, depth, 40, 14, 2, false);
            check_layer(*kernels, GGML_TYPE_F32, 40, depth + 1, 14, 2, false);
        }
}

TEST(results_do_not_depend_on_threads) {
    const Kernels& kernels = choose_kernels("");
    const Quantised layer = layer_of(GGML_TYPE_Q4_1, 96, 200);
    const auto x = random_values(50 * 96, 2), dy = random_values(50 * 200, 3);
    std::vector<float> first_y, first_dx;
    for (int count : {1, 2, 5}) {
        Threads threads(count);
        Products products(kernels, threads);
        std::vector<float> y(50 * 200), dx(50 * 96);
        Packed packed;
        products.pack(x.data(), 50, 96, 96, 1.0f, packed);
        products.forward(packed, {{layer.weight, y.data()}}, false);
        products.pack(dy.data(), 50, 200, 200, 1.0f, packed);
        products.backward(packed, layer.weight, dx.data(), 96, false);
        if (count == 1) {
            first_y = y;
            first_dx = dx;
        }
        CHECK(y == first_y);
        CHECK(dx == first_dx);
    }
}
