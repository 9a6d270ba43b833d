// Speeds for benchmarks: of one frozen linear layer on one core, and of the memory that the weights come from. Results are thrown away.
#pragma once
#include <cstdint>
#include <string>

namespace stillroom {

// Weights and activations are random.
struct LinearTrial {
    std::string type;  // ggml's name of the weight type: "q4_K", "f16", …
    int64_t rows, inputs, outputs;
    bool backward;
    int repeat;
    bool prepared;  // int8 or f32 panels made beforehand
    std::string variant, precision;  // precision: "f32", "bf16" or "int8"
};

// Median GFLOP/s of CPU time over the repetitions (2 rows inputs outputs operations each). Failure(usage) for an unknown type or a size that it cannot hold.
double measure_linear(const LinearTrial& trial);

// GB/s of wall time (1e9 bytes) at which so many threads together read memory: the best of several passes over far more than a last-level cache.
double measure_bandwidth(int threads);

}  // namespace stillroom
