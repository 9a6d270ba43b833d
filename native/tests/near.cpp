// The scan against its slow twin: every pair, in f64.
#include "core/near.h"

#include <algorithm>

#include "tests/check.h"
#include "tests/gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

// (asked, rows)
std::vector<double> products(int64_t width, const std::vector<float>& table, const std::vector<float>& asked) {
    std::vector<double> all;
    for (size_t a = 0; a < asked.size(); a += width)
        for (size_t r = 0; r < table.size(); r += width) {
            double sum = 0;
            for (int64_t i = 0; i < width; i++) sum += static_cast<double>(asked[a + i]) * table[r + i];
            all.push_back(sum);
        }
    return all;
}

// In the middle of the widest gap among the larger half, so that no rounding decides.
double between(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    size_t best = 0;
    for (size_t i = values.size() / 2; i + 1 < values.size(); i++)
        if (best == 0 || values[i + 1] - values[i] > values[best + 1] - values[best]) best = i;
    return values.size() < 3 ? 0 : (values[best] + values[best + 1]) / 2;
}

}  // namespace

TEST(near_rows_are_those_of_plain_loops) {
    for (const Kernels* kernels : available_kernels())
        for (const int64_t width : {1, 7, 33, 64, 576})
            for (const int64_t count : {0, 1, 57, 400})
                for (const int64_t asking : {0, 1, 5}) {
                    const auto table = random_values(count * width, 1), asked = random_values(asking * width, 2);
                    const std::vector<double> all = products(width, table, asked);
                    const double least = between(all);
                    std::vector<bool> found(all.size());
                    std::vector<int32_t> before(asking, -1);
                    const auto pairs = near_rows(*kernels, width, {table.data(), count}, {asked.data(), asking}, least);
                    for (size_t i = 0; i < pairs.size(); i += 2) {
                        CHECK(pairs[i + 1] > before[pairs[i]]);
                        before[pairs[i]] = pairs[i + 1];
                        found[pairs[i] * count + pairs[i + 1]] = true;
                    }
                    for (size_t i = 0; i < all.size(); i++) CHECK_EQUAL(found[i], all[i] >= least);
                }
}
