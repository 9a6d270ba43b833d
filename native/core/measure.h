// Speed of one frozen linear layer on one core, for benchmarks. Weights and activations are random; results are thrown away.
#pragma once
#include <cstdint>
#include <string>

namespace stillroom {

struct LinearTrial {
    std::string type;  // ggml's name of the weight type: "q4_K", "f16", …
    int64_t rows, inputs, outputs;
    bool backward;
    int repeat;
    bool prepared;  // int8 panels made beforehand
    std::string variant, precision;  // precision: "f32", "bf16" or "int8"
};

// Median GFLOP/s of CPU time over the repetitions (2 rows inputs outputs operations each). Failure(usage) for an unknown type or a size that it cannot hold.
double measure_linear(const LinearTrial& trial);

}  // namespace stillroom
