// f32 products with weights that are kept as their file's codes: a value is made in registers where it is multiplied, or into a panel that many
// rows meet. Same values and same order of sums as with unpacked weights, so the same bits. Included by kernels.cpp once per variant.
#pragma once

namespace stillroom {
namespace KERNEL_VARIANT {
namespace {

// Of four values of the depth in a word, that one, for a vector of columns: code * scale + offset.
inline __attribute__((always_inline)) Vector value_of(const uint32_t* words, int part, const float* scales, const float* offsets) {
    const Integers codes = (*reinterpret_cast<const Integers*>(words) >> 8 * part) & 255;
    return __builtin_convertvector(codes, Vector) * load(scales) + load(offsets);
}

// One chain of sums for each element, as in tile().
template <int R>
__attribute__((noinline)) void tile_exact(int64_t k, int group, const float* __restrict a, const uint32_t* __restrict words, const float* __restrict scales,
                                          const float* __restrict offsets, float* __restrict c, int64_t ldc, bool accumulate) {
    Vector sum[R][NV];
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) sum[i][j] = Vector{};
    for (int64_t first = 0; first < k; first += group, scales += NR, offsets += NR)
        for (int p = 0; p < group; p += 4, words += NR) {
            __builtin_prefetch(words + 64 * NR);
#pragma GCC unroll 4
            for (int part = 0; part < 4; part++, a += MR)
#pragma GCC unroll 4
                for (int j = 0; j < NV; j++) {
                    const Vector value = value_of(words + j * width, part, scales + j * width, offsets + j * width);
#pragma GCC unroll 16
                    for (int i = 0; i < R; i++) sum[i][j] += a[i] * value;
                }
        }
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) {
            float* to = c + i * ldc + j * width;
            store(to, accumulate ? load(to) + sum[i][j] : sum[i][j]);
        }
}

using ExactTile = void (*)(int64_t, int, const float*, const uint32_t*, const float*, const float*, float*, int64_t, bool);
template <int R>
ExactTile exact_tile(int rows) {
    if (rows == R) return tile_exact<R>;
    if constexpr (R > 1) return exact_tile<R - 1>(rows);
    return nullptr;
}

void multiply_exact_codes(int64_t m, int n, int64_t k, int group, const float* a, int64_t a_block, const uint32_t* words, const float* scales,
                          const float* offsets, float* c, int64_t ldc, bool accumulate) {
    for (int64_t i = 0; i < m; i += MR, a += a_block, c += MR * ldc) {
        const int rows = static_cast<int>(m - i < MR ? m - i : MR);
        const ExactTile tile = exact_tile<MR>(rows);
        on_columns(rows, n, n == NR, c, ldc, accumulate, [&](float* to, int64_t ld, bool add) { tile(k, group, a, words, scales, offsets, to, ld, add); });
    }
}

void expand_codes(int64_t k, int group, const uint32_t* words, const float* scales, const float* offsets, float* panel) {
    for (int64_t first = 0; first < k; first += group, scales += NR, offsets += NR)
        for (int p = 0; p < group; p += 4, words += NR)
#pragma GCC unroll 4
            for (int part = 0; part < 4; part++, panel += NR)
#pragma GCC unroll 4
                for (int j = 0; j < NV; j++) store(panel + j * width, value_of(words + j * width, part, scales + j * width, offsets + j * width));
}

}  // namespace
}  // namespace KERNEL_VARIANT
}  // namespace stillroom
