// Times the packed product that the engine itself uses, packing of the activations included; and plain reading of memory.
#include "core/measure.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "core/failure.h"
#include "core/linear.h"
#include "core/random.h"
#include "core/threads.h"

namespace stillroom {

double measure_linear(const LinearTrial& trial) {
    const auto named = type_named(trial.type);
    if (!named) throw Failure(Code::usage, "expected a weight type such as f16, q8_0 or q4_K for type, received \"" + trial.type + "\"");
    const ggml_type type = *named;
    if (trial.inputs % ggml_blck_size(type))
        throw Failure(Code::usage, "expected a multiple of " + std::to_string(ggml_blck_size(type)) + " for inputs, received " + std::to_string(trial.inputs));
    auto random = [](int64_t n, uint64_t stream) {
        std::vector<float> values(n + 16);
        for (int64_t i = 0; i < n; i++) values[i] = uniform(1, stream, i) - 0.5f;
        return values;
    };
    const auto dense = random(trial.inputs * trial.outputs, 1), ones = std::vector<float>(trial.inputs, 1.0f);
    std::vector<uint8_t> bytes(ggml_row_size(type, trial.inputs) * trial.outputs);
    ggml_quantize_chunk(type, dense.data(), bytes.data(), 0, trial.outputs, trial.inputs, ones.data());
    Weight weight;
    weight.in = trial.inputs;
    weight.out = trial.outputs;
    weight.point_to(type, bytes.data());
    const int64_t from = trial.backward ? trial.outputs : trial.inputs, to = trial.backward ? trial.inputs : trial.outputs;
    const auto x = random(trial.rows * from, 2);
    std::vector<float> y(trial.rows * to);
    Threads threads(1);
    Products products(choose_kernels(trial.variant), threads);
    const Precisions precisions = choose_precisions(products.kernels, trial.precision);
    if (trial.prepared) products.prepare(weight, precisions.forward);
    Packed packed;
    std::vector<double> rates;
    for (int i = 0; i < trial.repeat; i++) {
        const double start = products.kernels.thread_seconds();
        products.pack_operand(x.data(), trial.rows, from, from, trial.backward ? precisions.backward : precisions.forward,
                              trial.backward ? backward_group : forward_group, false, packed);
        if (trial.backward) products.backward(packed, weight, y.data(), to, false);
        else products.forward(packed, {{weight, y.data()}}, false);
        const double seconds = products.kernels.thread_seconds() - start;
        rates.push_back(2.0 * static_cast<double>(trial.rows * trial.inputs * trial.outputs) / seconds / 1e9);
    }
    std::sort(rates.begin(), rates.end());
    return rates[rates.size() / 2];
}

double measure_bandwidth(int threads) {
    constexpr int64_t words = int64_t(1) << 26;  // 512 MiB
    constexpr int64_t lanes = 16;                // sums apart from each other, so that no addition waits for the one before
    constexpr int passes = 7;
    Threads pool(threads);
    const std::unique_ptr<uint64_t[]> memory(new uint64_t[words]);  // not zeroed: who touches it first has it near
    std::vector<uint64_t> sums(threads);
    pool.run(words / lanes, [&](int64_t begin, int64_t end, int) { std::fill(memory.get() + begin * lanes, memory.get() + end * lanes, 1); });
    double best = 0;
    for (int pass = 0; pass < passes; pass++) {
        const auto start = std::chrono::steady_clock::now();
        pool.run(words / lanes, [&](int64_t begin, int64_t end, int thread) {
            uint64_t sum[lanes] = {};
            for (const uint64_t *at = memory.get() + begin * lanes, *last = memory.get() + end * lanes; at < last; at += lanes)
                for (int64_t lane = 0; lane < lanes; lane++) sum[lane] += at[lane];
            for (const uint64_t lane : sum) sums[thread] += lane;
        });
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        best = std::max(best, 8e-9 * words / seconds.count());
    }
    uint64_t read = 0;
    for (const uint64_t sum : sums) read += sum;
    if (read != uint64_t(words) * passes) throw Failure(Code::internal, "reading memory gave " + std::to_string(read) + " ones");
    return best;
}

}  // namespace stillroom
