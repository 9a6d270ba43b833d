// Products of narrow operands against plain loops over operands rounded one by one.
#include <algorithm>
#include <cstring>
#include <limits>

#include "core/linear.h"
#include "tests/check.h"
#include "tests/gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

float as_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// Rounds count values, stride apart, group by group, as docs/numerics.md says.
void round_operand(Precision precision, float* x, int64_t count, int64_t stride, int64_t group) {
    if (precision == Precision::bf16) {
        for (int64_t i = 0; i < count; i++) x[i * stride] = as_bf16(x[i * stride]);
        return;
    }
    for (int64_t first = 0; first < count; first += group) {
        const int64_t last = std::min(count, first + group);
        float largest = 0;
        for (int64_t i = first; i < last; i++) largest = std::max(largest, std::fabs(x[i * stride]));
        const float scale = largest / (precision == Precision::int8 ? 127.0f : 4095.0f);
        for (int64_t i = first; i < last; i++) x[i * stride] = scale > 0 ? std::nearbyint(x[i * stride] * (1.0f / scale)) * scale : 0.0f;
    }
}

Weight weight_of(const std::vector<float>& values, int64_t in, int64_t out) {
    Weight weight;
    weight.in = in;
    weight.out = out;
    weight.data = reinterpret_cast<const uint8_t*>(values.data());
    weight.row_bytes = in * static_cast<int64_t>(sizeof(float));
    return weight;
}

// Each variant that has the instructions, and those whose loops need none.
std::vector<const Kernels*> runnable(Precision precision) {
    std::vector<const Kernels*> list;
    for (const Kernels* kernels : available_kernels())
        if (std::strcmp(kernels->name, "avx512") != 0 || kernels->narrow_is_fast(precision)) list.push_back(kernels);
    return list;
}

void check_product(const Kernels& kernels, Precision precision, int64_t in, int64_t out, int64_t rows, bool backward, bool prepared = false) {
    Threads threads(2);
    Products products(kernels, threads);
    auto weights = random_values(in * out, 1), x = random_values(rows * (backward ? out : in), 2);
    const int64_t depth = backward ? out : in, width = backward ? in : out;
    std::vector<float> y = random_values(rows * width, 3);
    const std::vector<float> before = y;
    const Weight weight = weight_of(weights, in, out);
    const int64_t group = backward ? backward_group : forward_group;
    Packed packed;
    products.pack_operand(x.data(), rows, depth, depth, precision, group, false, packed);
    if (prepared) products.prepare(weight, precision);
    if (backward) products.backward(packed, weight, y.data(), width, true);
    else products.forward(packed, {{weight, y.data()}}, true);
    for (int64_t t = 0; t < rows; t++) round_operand(precision, x.data() + t * depth, depth, 1, group);
    for (int64_t i = 0; i < width; i++) round_operand(precision, weights.data() + (backward ? i : i * in), depth, backward ? in : 1, group);
    double worst = 0;
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < width; i++) {
            double sum = before[t * width + i];
            for (int64_t p = 0; p < depth; p++) sum += static_cast<double>(x[t * depth + p]) * weights[backward ? p * in + i : i * in + p];
            worst = std::max(worst, std::fabs(sum - y[t * width + i]));
        }
    // With 4095 steps some values lie so near to the middle of two that either is right: one step of 1/4095 for each.
    CHECK_NEAR(worst, 0, precision == Precision::int16 ? 1e-3 : 1e-4);
}

// A weight of one of ggml's types, and the values that ggml finds in it.
struct Quantised {
    std::vector<uint8_t> bytes;
    std::vector<float> values;
    Weight weight;
    Quantised(ggml_type type, int64_t in, int64_t out) : bytes(ggml_row_size(type, in) * out), values(in * out) {
        const auto dense = random_values(in * out, 1);
        ggml_quantize_chunk(type, dense.data(), bytes.data(), 0, out, in, nullptr);
        weight = weight_of(values, in, out);
        weight.type = type;
        weight.data = bytes.data();
        weight.row_bytes = static_cast<int64_t>(ggml_row_size(type, in));
        weight.block = ggml_blck_size(type);
        read();
    }
    void read() {
        for (int64_t row = 0; row < weight.out; row++) weight.read(row, 0, weight.in, values.data() + row * weight.in);
    }
    // The largest codes behind the scales of the first block.
    void fill_codes() {
        const size_t block = ggml_type_size(weight.type), head = block > 32 ? 16 : block % 4 ? 2 : 4;  // d, and a minimum
        for (size_t b = 0; b < bytes.size(); b++)
            if (b % block >= head) bytes[b] = 0xFF;
        read();
    }
};
const ggml_type coded_types[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K};

// Weights of few bits are not rounded again: the left operand alone is. largest: of both operands, where sums in int16 are fullest.
double coded_error(const Kernels& kernels, ggml_type type, int64_t out, int64_t rows, bool prepared, bool largest) {
    const int64_t in = 768;
    Threads threads(2);
    Products products(kernels, threads);
    Quantised quantised(type, in, out);
    if (largest) quantised.fill_codes();
    auto x = random_values(rows * in, 2);
    if (largest) std::fill(x.begin(), x.end(), 1.0f);
    std::vector<float> y = random_values(rows * out, 3);
    const std::vector<float> before = y;
    Packed packed;
    products.pack_operand(x.data(), rows, in, in, Precision::int8, forward_group, false, packed);
    if (prepared) products.prepare(quantised.weight, Precision::int8);
    products.forward(packed, {{quantised.weight, y.data()}}, true);
    for (int64_t t = 0; t < rows; t++) round_operand(Precision::int8, x.data() + t * in, in, 1, code_group);
    double worst = 0;
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < out; i++) {
            double sum = before[t * out + i], size = 1;
            for (int64_t p = 0; p < in; p++) {
                const double term = static_cast<double>(x[t * in + p]) * quantised.values[i * in + p];
                sum += term;
                size += std::fabs(term);
            }
            worst = std::max(worst, std::fabs(sum - y[t * out + i]) / size);
        }
    return worst;
}

}  // namespace

TEST(codes_are_the_values_that_ggml_finds) {
    for (const Kernels* kernels : available_kernels())
        for (const ggml_type type : coded_types) {
            const Quantised quantised(type, 512, 3);
            const Codes codes = kernels->codes(type);
            CHECK(codes.bits == 4 || codes.bits == 5);
            for (int64_t row = 0; row < 3; row++) {
                std::vector<uint8_t> code(512);
                std::vector<float> scale(16), offset(16);
                codes.read(quantised.weight.at(row, 0), 512, code.data(), scale.data(), offset.data());
                for (int i = 0; i < 512; i++) {
                    CHECK(code[i] < 1 << codes.bits);
                    CHECK_NEAR(scale[i / 32] * code[i] + offset[i / 32], quantised.values[row * 512 + i], 1e-6);
                }
            }
        }
}

TEST(products_of_codes_round_the_left_operand_alone) {
    for (const Kernels* kernels : runnable(Precision::int8))
        for (const ggml_type type : coded_types)
            for (const bool prepared : {false, true})
                for (const int64_t out : {1, 16, 45, 160})
                    for (const int64_t rows : {1, 5, 29}) CHECK_NEAR(coded_error(*kernels, type, out, rows, prepared, false), 0, 2e-7);
}

TEST(products_of_the_largest_codes_do_not_overflow) {
    for (const Kernels* kernels : runnable(Precision::int8))
        for (const ggml_type type : coded_types) CHECK_NEAR(coded_error(*kernels, type, 32, 12, false, true), 0, 1e-6);  // sums that wrapped are off by 0.1 and more
}

TEST(narrow_products_equal_plain_loops_over_rounded_operands) {
    for (const Precision precision : {Precision::bf16, Precision::int8, Precision::int16})
        for (const Kernels* kernels : runnable(precision))
            for (const bool backward : {false, true}) {
                check_product(*kernels, precision, 96, 70, 29, backward);
                check_product(*kernels, precision, 600, 45, 13, backward);
                check_product(*kernels, precision, 45, 600, 13, backward);
                for (int64_t in : {1, 3, 17, 130})
                    for (int64_t out : {1, 31, 67}) check_product(*kernels, precision, in, out, 5, backward);
            }
}

TEST(prepared_weights_give_the_same_products) {
    for (const Kernels* kernels : runnable(Precision::int8))
        for (int64_t in : {3, 96, 600})
            for (int64_t out : {1, 45, 70}) check_product(*kernels, Precision::int8, in, out, 29, false, true);
}

TEST(values_that_are_not_finite_survive_narrow_products) {
    for (const Precision precision : {Precision::bf16, Precision::int8, Precision::int16})
        for (const Kernels* kernels : runnable(precision))
            for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
                Threads threads(1);
                Products products(*kernels, threads);
                const auto weights = random_values(40 * 8, 1);
                const Weight weight = weight_of(weights, 40, 8);
                for (const int64_t at : {3, 39}) {
                    auto x = random_values(2 * 40, 2);
                    x[at] = bad;
                    std::vector<float> y(2 * 8);
                    Packed packed;
                    products.pack_operand(x.data(), 2, 40, 40, precision, 32, false, packed);
                    products.forward(packed, {{weight, y.data()}}, false);
                    for (int i = 0; i < 8; i++) {
                        CHECK(!std::isfinite(y[i]));
                        CHECK(std::isfinite(y[8 + i]));
                    }
                }
            }
}

TEST(weights_that_are_not_finite_reach_their_own_outputs_alone) {
    for (const Precision precision : {Precision::bf16, Precision::int8, Precision::int16})
        for (const Kernels* kernels : runnable(precision))
            for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
                for (const bool backward : {false, true}) {
                    Threads threads(1);
                    Products products(*kernels, threads);
                    auto weights = random_values(40 * 40, 1);
                    weights[7 * 40 + 3] = bad;  // output 7, input 3
                    const Weight weight = weight_of(weights, 40, 40);
                    const auto x = random_values(2 * 40, 2);
                    std::vector<float> y(2 * 40);
                    Packed packed;
                    products.pack_operand(x.data(), 2, 40, 40, precision, 32, false, packed);
                    if (backward) products.backward(packed, weight, y.data(), 40, false);
                    else products.forward(packed, {{weight, y.data()}}, false);
                    for (int i = 0; i < 80; i++) CHECK_EQUAL(std::isfinite(y[i]), i % 40 != (backward ? 3 : 7));
                }
}
