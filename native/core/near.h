// Which vectors of a table are near to others: a scan of all of them. Knows no text and no threshold of anybody's.
#pragma once
#include <cstdint>
#include <vector>

#include "core/gemm/kernels.h"

namespace stillroom {

// Vectors one behind the other: (count, width).
struct Vectors {
    const float* values;
    int64_t count;
};

// Pairs (vector asked for, row of the table) of at least that inner product in f32, those of one vector rising by row. On the calling thread; a piece of the table that
// stays in the cache meets all vectors that are asked for.
std::vector<int32_t> near_rows(const Kernels& kernels, int64_t width, const Vectors& table, const Vectors& asked, double least);

}  // namespace stillroom
