// 8-bit moments against their list of values in double, and what a step needs of them: no bias, no zero that was none, the same bytes again.
#include "core/moments.h"

#include <algorithm>

#include "core/optimizer.h"
#include "tests/check.h"
#include "tests/gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

// The magnitudes that `bits` bits can say, as a share of the largest: 0 to 7 eighths, then eight steps an octave.
std::vector<double> magnitudes(int bits) {
    std::vector<double> list;
    for (int code = 0; code < 1 << bits; code++) list.push_back(std::ldexp(1 + code % 8 / 8.0, code / 8) - 1);
    for (double& value : list) value /= std::ldexp(1.875, (1 << bits) / 8 - 1) - 1;
    return list;
}

// Values of many sizes; a share of zeros.
std::vector<float> spread(uint64_t seed, double octaves) {
    auto values = random_values(Block8::size, seed);
    const auto sizes = random_values(Block8::size, seed + 1);
    for (int64_t i = 0; i < Block8::size; i++) values[i] *= i % 16 == 0 ? 0.0f : static_cast<float>(1e-3 * std::exp2(octaves * sizes[i]));
    return values;
}

std::vector<float> through(const std::vector<float>& values, uint32_t draw, bool with_sign) {
    std::vector<uint8_t> codes(Block8::size);
    std::vector<float> back(Block8::size);
    if (with_sign) Block8::unpack_signed(codes.data(), Block8::pack_signed(values.data(), draw, codes.data()), back.data());
    else Block8::unpack_positive(codes.data(), Block8::pack_positive(values.data(), draw, codes.data()), back.data());
    return back;
}

}  // namespace

TEST(eight_bits_round_to_a_neighbour_in_the_list) {
    for (bool with_sign : {true, false})
        for (uint64_t seed = 0; seed < 40; seed++) {
            std::vector<float> values = spread(seed, with_sign ? 6 : 24);
            if (!with_sign)
                for (float& value : values) value = std::fabs(value);
            const auto back = through(values, static_cast<uint32_t>(seed * 77), with_sign);
            const auto list = magnitudes(with_sign ? 7 : 8);
            double most = 0;
            for (float value : values) most = std::max<double>(most, std::fabs(value));
            for (int64_t i = 0; i < Block8::size; i++) {
                const double wanted = std::fabs(values[i]) / most, got = std::fabs(back[i]) / most;
                const auto found = std::lower_bound(list.begin(), list.end(), got * (1 - 1e-6));
                CHECK(found != list.end() && std::fabs(*found - got) <= 1e-6 * got);
                // Not beyond the next one on either side; f32 rounds the value itself a little.
                CHECK(found == list.begin() || *(found - 1) <= wanted * (1 + 1e-6) + 1e-15);
                CHECK(found + 1 == list.end() || *(found + 1) >= wanted * (1 - 1e-6));
                CHECK(back[i] == 0 || std::signbit(back[i]) == std::signbit(values[i]));
                if (values[i] == 0) CHECK(back[i] == 0);
                if (!with_sign && values[i] > 0) CHECK(back[i] > 0);
            }
        }
}

TEST(eight_bits_have_no_bias) {
    for (bool with_sign : {true, false}) {
        std::vector<float> values = spread(3, 4);
        if (!with_sign)
            for (float& value : values) value = std::fabs(value);
        std::vector<double> sums(Block8::size);
        constexpr int draws = 4000;
        for (uint32_t draw = 0; draw < draws; draw++) {
            const auto back = through(values, draw * 2654435761u, with_sign);
            for (int64_t i = 0; i < Block8::size; i++) sums[i] += back[i];
        }
        double total = 0, wanted = 0;
        for (int64_t i = 0; i < Block8::size; i++) {
            // The step between neighbours is at most an eighth: its mean over the draws is within four standard errors.
            CHECK_NEAR(sums[i] / draws, values[i], std::fabs(values[i]) * 0.125 * 0.5 / std::sqrt(draws) * 4 + 1e-9);
            total += std::fabs(sums[i] / draws);
            wanted += std::fabs(values[i]);
        }
        CHECK_NEAR(total / wanted, 1.0, 1e-3);
    }
}

TEST(eight_bit_steps_repeat_on_any_threads_and_stay_near_those_in_f32) {
    constexpr int64_t size = 70001;  // more than one block of the optimiser, and a piece of a block at the end
    auto run = [](bool eight_bit, int threads) {
        OptimizerOptions options;
        options.eight_bit = eight_bit;
        options.clip_norm = 0;
        Optimizer optimizer(options, size);
        Threads pool(threads);
        std::vector<float> weights(size);
        for (uint64_t step = 0; step < 30; step++) {
            auto gradients = random_values(size, step);
            for (int64_t i = 0; i < size; i++) gradients[i] = (gradients[i] + 0.3f) * (1 + i % 7);
            optimizer.update(weights.data(), gradients.data(), 1, 1e-3f, choose_kernels(""), pool);
        }
        return weights;
    };
    const auto exact = run(false, 2), narrow = run(true, 1);
    CHECK(narrow == run(true, 3));
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < size; i++) {
        difference += std::pow(narrow[i] - exact[i], 2);
        norm += std::pow(exact[i], 2);
    }
    CHECK(std::sqrt(difference / norm) < 0.05);
}

TEST(a_second_moment_that_shrinks_beside_others_that_do_not_is_followed) {
    // 2 % a step, less than half of what lies between two codes.
    constexpr int64_t size = 2 * Block8::size;
    auto moved = [](bool eight_bit) {
        OptimizerOptions options;
        options.eight_bit = eight_bit;
        options.clip_norm = 0;
        options.beta2 = 0.98f;
        Optimizer optimizer(options, size);
        Threads pool(1);
        std::vector<float> weights(size), gradients(size);
        for (int step = 0; step < 150; step++) {
            for (int64_t i = 0; i < size; i++) gradients[i] = i % 2 == 0 || step < 5 ? 1.0f : 0.05f;
            optimizer.update(weights.data(), gradients.data(), 1, 1e-3f, choose_kernels(""), pool);
        }
        double sum = 0;
        for (int64_t i = 1; i < size; i += 2) sum -= weights[i];
        return sum / (size / 2);
    };
    CHECK_NEAR(moved(true) / moved(false), 1.0, 0.05);
}
