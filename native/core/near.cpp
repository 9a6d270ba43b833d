// The table is read once for all vectors that are asked for: what bounds the scan of one is the memory's speed.
#include "core/near.h"

#include <algorithm>

namespace stillroom {

namespace {

constexpr int64_t piece_bytes = 128 * 1024;  // of the table: half of a level 2 cache, as small as they are

}  // namespace

std::vector<int32_t> near_rows(const Kernels& kernels, int64_t width, const Vectors& table, const Vectors& asked, double least) {
    const int64_t piece = std::max<int64_t>(1, piece_bytes / static_cast<int64_t>(width * sizeof(float)));
    std::vector<int32_t> pairs;
    for (int64_t first = 0; first < table.count; first += piece) {
        const int64_t last = std::min(table.count, first + piece);
        for (int64_t one = 0; one < asked.count; one++)
            for (int64_t row = first; row < last; row++)
                if (kernels.dot(width, table.values + row * width, asked.values + one * width) >= least)
                    pairs.insert(pairs.end(), {static_cast<int32_t>(one), static_cast<int32_t>(row)});
    }
    return pairs;
}

}  // namespace stillroom
