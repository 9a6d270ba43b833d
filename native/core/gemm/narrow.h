// Products of narrow operands: int8 with a scale for each group of the depth, and pairs of bf16. Both travel as 32-bit words: four int8
// or two bf16 neighbours in depth, so that one transposition serves both. Included by kernels.cpp once per variant; equations: docs/numerics.md.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/gemm/kernels.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#define NARROW_TARGET __attribute__((target("avx512vnni,avx512bf16")))
#else
#define NARROW_TARGET
#endif

namespace stillroom {
namespace KERNEL_VARIANT {
namespace {

typedef int8_t Bytes __attribute__((vector_size(width)));

// The bits of x as integers, and of integers as x.
inline Integers bits_of(Vector x) {
    Integers bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline Vector absolute(Vector x) {
    const Integers bits = bits_of(x) & 0x7FFFFFFF;
    Vector result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}
// Nearest integers (ties to even) of |x| below 2^22: adding 1.5 * 2^23 leaves them in the low bits.
inline Integers nearest(Vector x) { return bits_of(x + 12582912.0f) - 0x4B400000; }

// Scale of a group from its largest magnitude; NaN where a value is not finite, so that no batch with one passes for a good one.
inline float group_scale(float largest, float poison) { return largest / 127.0f + poison; }
inline float inverse_of(float scale) { return scale > 0 ? 1.0f / scale : 0.0f; }

// One row: k values to ceil(k / 4) words. Signed for the left operand (sums: of each group's bytes, times -128);
// for the right one (sums null) 128 is added to every byte.
void to_int8(int64_t k, int64_t group, const float* x, uint32_t* words, float* scales, int32_t* sums) {
    int8_t* out = reinterpret_cast<int8_t*>(words);
    for (int64_t first = 0, g = 0; first < k; first += group, g++) {
        const int64_t count = k - first < group ? k - first : group, padded = (count + 3) / 4 * 4;
        const float* from = x + first;
        Vector high{}, zeros{};
        float largest = 0, poison = 0;
        int64_t i = 0;
        for (; i + width <= count; i += width) {
            const Vector v = load(from + i), size = absolute(v);
            high = size > high ? size : high;
            zeros += v * 0.0f;
        }
        for (int j = 0; j < width; j++) {
            largest = high[j] > largest ? high[j] : largest;
            poison += zeros[j];
        }
        for (int64_t j = i; j < count; j++) {
            const float size = std::fabs(from[j]);
            largest = size > largest ? size : largest;
            poison += from[j] * 0.0f;
        }
        const float scale = group_scale(largest, poison), inverse = inverse_of(scale);
        scales[g] = scale;
        int32_t sum = 0;
        Integers total{};
        for (i = 0; i + width <= count; i += width) {
            const Integers value = nearest(load(from + i) * inverse);
            total += value;
            const Bytes bytes = __builtin_convertvector(sums ? value : value + 128, Bytes);
            std::memcpy(out + first + i, &bytes, sizeof bytes);
        }
        for (int j = 0; j < width; j++) sum += total[j];
        for (; i < padded; i++) {
            const int32_t value = i < count ? static_cast<int32_t>(std::nearbyint(from[i] * inverse)) : 0;
            sum += value;
            out[first + i] = static_cast<int8_t>(sums ? value : value + 128);
        }
        if (sums) sums[g] = -128 * sum;
    }
}

// A panel of tile_columns columns of source (k, tile_columns) with row stride ld, groups along k: words (ceil(k / 4), tile_columns),
// 128 added to every byte, scales (groups, tile_columns).
void columns_to_int8(int64_t k, int64_t group, const float* source, int64_t ld, uint32_t* words, float* scales) {
    for (int64_t first = 0; first < k; first += group, scales += NR) {
        const int64_t last = first + group < k ? first + group : k;
        for (int v = 0; v < NV; v++) {
            const float* from = source + v * width;
            Vector high{}, zeros{};
            for (int64_t p = first; p < last; p++) {
                const Vector x = load(from + p * ld), size = absolute(x);
                high = size > high ? size : high;
                zeros += x * 0.0f;
            }
            const Vector scale = high * (1.0f / 127.0f) + zeros;
            const Vector inverse = scale > 0.0f ? 1.0f / scale : Vector{};
            store(scales + v * width, scale);
            for (int64_t p = first; p < last; p += 4) {
                Integers word{};
                for (int q = 0; q < 4; q++) {
                    const Integers value = p + q < last ? nearest(load(from + (p + q) * ld) * inverse) + 128 : Integers{} + 128;
                    word |= value << (8 * q);
                }
                std::memcpy(words + p / 4 * NR + v * width, &word, sizeof word);
            }
        }
    }
}

inline uint32_t bf16_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FC0;  // NaN stays one
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

// Nearest bf16 (ties to even), as the low half of each lane. NaN and infinity stay so.
inline Integers to_bf16_lanes(Vector x) {
    const Integers bits = bits_of(x);
    const Integers rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 & 0xFFFF;
    const Integers special = (bits & 0x7FFFFFFF) > 0x7F800000;
    return special ? Integers{} + 0x7FC0 : rounded;
}

// One row: k values to ceil(k / 2) words.
void to_bf16(int64_t k, const float* x, uint32_t* words) {
    typedef uint16_t Halves __attribute__((vector_size(width * 2)));
    int64_t i = 0;
    uint16_t* out = reinterpret_cast<uint16_t*>(words);
    for (; i + width <= k; i += width) {
        const Halves halves = __builtin_convertvector(to_bf16_lanes(load(x + i)), Halves);
        std::memcpy(out + i, &halves, sizeof halves);
    }
    for (; i < k; i++) out[i] = static_cast<uint16_t>(bf16_bits(x[i]));
    if (k % 2) out[k] = 0;
}

// A panel of tile_columns columns of source (k, tile_columns): words (ceil(k / 2), tile_columns).
void columns_to_bf16(int64_t k, const float* source, int64_t ld, uint32_t* words) {
    for (int64_t p = 0; p < k; p += 2)
        for (int v = 0; v < NV; v++) {
            const Integers low = to_bf16_lanes(load(source + p * ld + v * width));
            const Integers high = p + 1 < k ? to_bf16_lanes(load(source + (p + 1) * ld + v * width)) : Integers{};
            const Integers word = low | high << 16;
            std::memcpy(words + p / 2 * NR + v * width, &word, sizeof word);
        }
}

// sum += the four products of unsigned bytes b and signed bytes a.
inline NARROW_TARGET __attribute__((always_inline)) Integers dot_int8(Integers sum, Integers b, uint32_t a) {
#if defined(__AVX512F__)
    return reinterpret_cast<Integers>(
        _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(b), _mm512_set1_epi32(static_cast<int>(a))));
#else
    for (int q = 0; q < 4; q++) sum += (b >> (8 * q) & 255) * static_cast<int32_t>(static_cast<int8_t>(a >> (8 * q)));
    return sum;
#endif
}

// sum += the two products of bf16 pairs.
inline NARROW_TARGET __attribute__((always_inline)) Vector dot_bf16(Vector sum, Integers b, uint32_t a) {
#if defined(__AVX512F__)
    return reinterpret_cast<Vector>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(b),
                                                     reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a)))));
#else
    const Integers low = b << 16, high = b & static_cast<int32_t>(0xFFFF0000);
    Vector x, y;
    std::memcpy(&x, &low, sizeof x);
    std::memcpy(&y, &high, sizeof y);
    const uint32_t a_low = a << 16, a_high = a & 0xFFFF0000u;
    float p, q;
    std::memcpy(&p, &a_low, sizeof p);
    std::memcpy(&q, &a_high, sizeof q);
    return sum + x * p + y * q;
#endif
}

inline Integers load_words(const uint32_t* p) {
    Integers v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

template <int R, int N>
NARROW_TARGET __attribute__((noinline)) void tile_int8(int64_t k, const NarrowRows& a, const uint32_t* b, const float* b_scales, float* c, int64_t ldc,
                                                       bool accumulate) {
    const uint32_t* words = a.words;
    for (int64_t first = 0, g = 0; first < k; first += a.group, g++) {
        const int64_t count = ((k - first < a.group ? k - first : a.group) + 3) / 4;
        Integers sum[R][N];
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) sum[i][j] = Integers{} + a.sums[g * MR + i];
        for (int64_t p = 0; p < count; p++) {
            Integers row[N];
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) row[j] = load_words(b + j * width);
#pragma GCC unroll 16
            for (int i = 0; i < R; i++)
#pragma GCC unroll 4
                for (int j = 0; j < N; j++) sum[i][j] = dot_int8(sum[i][j], row[j], words[i]);
            words += MR;
            b += NR;
        }
        Vector scale[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; j++) scale[j] = load(b_scales + g * NR + j * width);
        const bool add = accumulate || g > 0;
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) {
                const Vector value = __builtin_convertvector(sum[i][j], Vector) * (scale[j] * a.scales[g * MR + i]);
                store(c + i * ldc + j * width, add ? load(c + i * ldc + j * width) + value : value);
            }
    }
}

template <int R, int N>
NARROW_TARGET __attribute__((noinline)) void tile_bf16(int64_t k, const NarrowRows& a, const uint32_t* b, const float*, float* c, int64_t ldc,
                                                       bool accumulate) {
    const uint32_t* words = a.words;
    Vector sum[R][N];
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int j = 0; j < N; j++) sum[i][j] = Vector{};
    for (int64_t p = 0; p < (k + 1) / 2; p++) {
        Integers row[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; j++) row[j] = load_words(b + j * width);
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) sum[i][j] = dot_bf16(sum[i][j], row[j], words[i]);
        words += MR;
        b += NR;
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int j = 0; j < N; j++)
            store(c + i * ldc + j * width, accumulate ? load(c + i * ldc + j * width) + sum[i][j] : sum[i][j]);
}

using NarrowTile = void (*)(int64_t, const NarrowRows&, const uint32_t*, const float*, float*, int64_t, bool);

template <int R>
NarrowTile narrow_tile(Precision precision, int rows) {
    if (rows == R) return precision == Precision::int8 ? tile_int8<R, NV> : tile_bf16<R, NV>;
    if constexpr (R > 1) return narrow_tile<R - 1>(precision, rows);
    return nullptr;
}

// C (m, n) = or += A B for one block of at most tile_rows rows and one panel.
void multiply_narrow(Precision precision, int m, int n, int64_t k, const NarrowRows& a, const uint32_t* b, const float* b_scales, float* c, int64_t ldc,
                     bool accumulate) {
    const NarrowTile call = narrow_tile<MR>(precision, m);
    if (n == NR) {
        call(k, a, b, b_scales, c, ldc, accumulate);
        return;
    }
    float edge[MR * NR];
    call(k, a, b, b_scales, edge, NR, false);
    for (int r = 0; r < m; r++)
        for (int j = 0; j < n; j++) c[r * ldc + j] = edge[r * NR + j] + (accumulate ? c[r * ldc + j] : 0.0f);
}

// Whether this processor has the instructions; elsewhere narrow products are slower than f32 ones.
bool narrow_is_fast(Precision precision) {
#if defined(__AVX512F__)
    __builtin_cpu_init();
    return precision == Precision::int8 ? __builtin_cpu_supports("avx512vnni") : __builtin_cpu_supports("avx512bf16");
#else
    static_cast<void>(precision);
    return false;
#endif
}

}  // namespace
}  // namespace KERNEL_VARIANT
}  // namespace stillroom
