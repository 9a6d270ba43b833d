// Products of narrow operands: int8 or int16 with a scale for each group of the depth, and pairs of bf16. All travel as 32-bit words: four
// or two neighbours in depth, so that one transposition serves all. Included by kernels.cpp once per variant; equations: docs/numerics.md.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/gemm/kernels.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define NARROW_TARGET __attribute__((target("avx512vnni,avx512bf16")))
#else
#define NARROW_TARGET
#endif

// 12 sums, 2 columns, a row and a product are all 16 registers of AVX2: GCC must not begin a row before it has ended the one before.
#if defined(__AVX2__) && !defined(__AVX512F__)
#define KEEP_ORDER(value) asm volatile("" : "+x"(value))
#else
#define KEEP_ORDER(value)
#endif

namespace stillroom {
namespace KERNEL_VARIANT {
namespace {

// AVX2 multiplies int16 (vpmaddwd: exact, where vpmaddubsw saturates). Of int8 there, four neighbours of the left operand are two words of
// int16; the right one stays bytes, signed, which are widened on their way into registers: (depth / 2, tile_columns) pairs of them.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr int left_words = 2;
#else
constexpr int left_words = 1;
#endif
// Largest integers. 128 products of two of int16 still fit in int32.
constexpr int levels_of(Precision precision) { return precision == Precision::int8 ? 127 : 4095; }

// The bits of x as integers.
inline Integers bits_of(Vector x) {
    Integers bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
// Nearest integers (ties to even) of |x| below 2^22: adding 1.5 * 2^23 leaves them in the low bits.
inline Integers nearest(Vector x) { return bits_of(x + 12582912.0f) - 0x4B400000; }

// The first values of p, then zeros.
inline Vector load_some(const float* p, int64_t count) {
    if (count >= width) return load(p);
    float some[width] = {};
    std::memcpy(some, p, count * sizeof(float));
    return load(some);
}

// Scale of a group from its largest magnitude, which is compared as bits: infinity and NaN lie above all others and give NaN, so that no
// batch with one passes for a good one.
template <typename Floats>
inline Floats group_scale(Floats largest, int levels) {
    return largest / static_cast<float>(levels) + largest * 0.0f;
}
inline Integers magnitude(Vector x) { return bits_of(x) & 0x7FFFFFFF; }
inline Integers larger(Integers x, Integers y) { return x > y ? x : y; }

// All lanes as one, as unsigned numbers: sums may wrap where the scale is NaN.
template <typename Reduce>
inline uint32_t reduced(Integers v, Reduce reduce) {
    typedef uint32_t Quad __attribute__((vector_size(16)));
    Quad quads[width / 4];
    std::memcpy(quads, &v, sizeof v);
    for (int i = 1; i < width / 4; i++) quads[0] = reduce(quads[0], quads[i]);
    return reduce(reduce(quads[0][0], quads[0][1]), reduce(quads[0][2], quads[0][3]));
}

// The first `count` integers as one or two bytes each.
template <int bytes>
inline void store_left(uint8_t* out, Integers value, int64_t count) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    const __m256i lanes = reinterpret_cast<__m256i>(value);
    __m128i narrow = _mm_packs_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    if (bytes == 1) narrow = _mm_packs_epi16(narrow, narrow);
#else
    typedef std::conditional_t<bytes == 1, int8_t, int16_t> Part;
    typedef Part Parts __attribute__((vector_size(width * bytes)));
    const Parts narrow = __builtin_convertvector(value, Parts);
#endif
    if (count == width) std::memcpy(out, &narrow, width * bytes);
    else std::memcpy(out, &narrow, count * bytes);
}

template <Precision precision>
inline void row_to_integers(int64_t k, int64_t group, const float* x, uint32_t* words, uint32_t* as_bytes, float* scales, int32_t* sums) {
    constexpr bool eight = precision == Precision::int8;
    constexpr int bytes = eight ? left_words : 2, unit = eight ? 4 : 2;
    uint8_t *out = reinterpret_cast<uint8_t*>(words), *narrow = reinterpret_cast<uint8_t*>(as_bytes);
    for (int64_t first = 0, g = 0; first < k; first += group, g++) {
        const int64_t count = k - first < group ? k - first : group, padded = (count + unit - 1) / unit * unit;
        const float* from = x + first;
        Integers high{}, total{};
        for (int64_t i = 0; i < count; i += width) high = larger(high, magnitude(load_some(from + i, count - i)));
        const uint32_t bits = reduced(high, [](auto a, auto b) { return a > b ? a : b; });
        float largest;
        std::memcpy(&largest, &bits, sizeof largest);
        scales[g] = group_scale(largest, levels_of(precision));
        const float inverse = scales[g] > 0 ? 1.0f / scales[g] : 0.0f;
        int64_t i = 0;
        for (; i < padded; i += width) {
            const Integers value = nearest(load_some(from + i, count - i) * inverse);
            const int64_t stored = padded - i < width ? padded - i : width;
            total += value;
            store_left<bytes>(out, value, stored);
            out += stored * bytes;
            if (!eight || bytes == 1) continue;
            store_left<1>(narrow, value, stored);
            narrow += stored;
        }
        sums[g] = eight ? static_cast<int32_t>(reduced(total, [](auto a, auto b) { return a + b; })) : 0;
    }
}

// A row of the left operand: k values to words (int8: and bytes) and scales; of int8, the sums of each group's integers too, which a right
// operand with an offset needs.
void to_integers(Precision precision, int64_t k, int64_t group, const float* x, uint32_t* words, uint32_t* bytes, float* scales, int32_t* sums) {
    if (precision == Precision::int8) row_to_integers<Precision::int8>(k, group, x, words, bytes, scales, sums);
    else row_to_integers<Precision::int16>(k, group, x, words, bytes, scales, sums);
}

// Four rows of integers (their low bytes count), or two (their low halves), as words of a panel.
inline void store_right(uint32_t* words, const Integers (&value)[4][NV]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    for (int half = 0; half < 2; half++) {
        Integers pair[NV];
        for (int v = 0; v < NV; v++) pair[v] = (value[2 * half][v] & 255) | (value[2 * half + 1][v] & 255) << 8;
        const __m256i lanes = _mm256_packus_epi32(reinterpret_cast<__m256i>(pair[0]), reinterpret_cast<__m256i>(pair[1]));
        const __m256i pairs = _mm256_permute4x64_epi64(lanes, _MM_SHUFFLE(3, 1, 2, 0));
        std::memcpy(words + half * width, &pairs, sizeof pairs);
    }
#else
    for (int v = 0; v < NV; v++) {
        Integers word{};
        for (int q = 0; q < 4; q++) word |= ((value[q][v] + 128) & 255) << (8 * q);
        std::memcpy(words + v * width, &word, sizeof word);
    }
#endif
}
inline void store_right(uint32_t* words, const Integers (&value)[2][NV]) {
    for (int v = 0; v < NV; v++) {
        const Integers word = (value[0][v] & 0xFFFF) | value[1][v] << 16;
        std::memcpy(words + v * width, &word, sizeof word);
    }
}

template <Precision precision>
inline void panel_to_integers(int64_t k, int64_t group, const float* source, int64_t ld, uint32_t* words, float* scales) {
    constexpr int unit = precision == Precision::int8 ? 4 : 2;
    for (int64_t first = 0; first < k; first += group, scales += NR) {
        const int64_t last = first + group < k ? first + group : k;
        Vector inverse[NV];
        for (int v = 0; v < NV; v++) {
            Integers bits{};
            for (int64_t p = first; p < last; p++) bits = larger(bits, magnitude(load(source + p * ld + v * width)));
            Vector largest;
            std::memcpy(&largest, &bits, sizeof largest);
            const Vector scale = group_scale(largest, levels_of(precision));
            store(scales + v * width, scale);
            inverse[v] = scale > 0.0f ? 1.0f / scale : Vector{};
        }
        for (int64_t p = first; p < last; p += unit, words += NR) {
            Integers value[unit][NV];
            for (int q = 0; q < unit; q++)
                for (int v = 0; v < NV; v++) value[q][v] = p + q < last ? nearest(load(source + (p + q) * ld + v * width) * inverse[v]) : Integers{};
            store_right(words, value);
        }
    }
}

// A panel of tile_columns columns of source (k, tile_columns) with row stride ld, groups along k: words (a row of them for four or two of
// the depth), 128 added to every byte but on AVX2, and scales (groups, tile_columns).
void columns_to_integers(Precision precision, int64_t k, int64_t group, const float* source, int64_t ld, uint32_t* words, float* scales) {
    if (precision == Precision::int8) panel_to_integers<Precision::int8>(k, group, source, ld, words, scales);
    else panel_to_integers<Precision::int16>(k, group, source, ld, words, scales);
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

// sum += the two products of int16 pairs.
inline NARROW_TARGET __attribute__((always_inline)) Integers dot_int16(Integers sum, Integers b, uint32_t a) {
#if defined(__AVX512F__)
    return reinterpret_cast<Integers>(
        _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(b), _mm512_set1_epi32(static_cast<int>(a))));
#elif defined(__AVX2__)
    return sum + reinterpret_cast<Integers>(_mm256_madd_epi16(reinterpret_cast<__m256i>(b), _mm256_set1_epi32(static_cast<int>(a))));
#else
    return sum + (b << 16 >> 16) * static_cast<int32_t>(static_cast<int16_t>(a)) + (b >> 16) * (static_cast<int32_t>(a) >> 16);
#endif
}

// sum += the four products of unsigned bytes b and signed bytes a; on AVX2 as of int16 pairs.
inline NARROW_TARGET __attribute__((always_inline)) Integers dot_int8(Integers sum, Integers b, uint32_t a) {
#if defined(__AVX512F__)
    return reinterpret_cast<Integers>(
        _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(b), _mm512_set1_epi32(static_cast<int>(a))));
#elif defined(__AVX2__)
    return dot_int16(sum, b, a);
#else
    for (int q = 0; q < 4; q++) sum += (b >> (8 * q) & 255) * static_cast<int32_t>(static_cast<int8_t>(a >> (8 * q)));
    return sum;
#endif
}

inline Integers load_words(const uint32_t* p) {
    Integers v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// What a word of the left operand meets in vector j of an int8 panel's row.
inline __attribute__((always_inline)) Integers load_int8(const uint32_t* row, int j) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    return reinterpret_cast<Integers>(_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + j * width / 2))));
#else
    return load_words(row + j * width);
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

// The f32 sums of a tile of c, which lie together between two groups: rows of c a power of two apart would wait for each other's stores.
template <int R, int N>
struct Totals {
    alignas(64) float rows[R][N * width];
    Totals(const float* c, int64_t ldc, bool accumulate) {
        for (int i = 0; i < R; i++)
            for (int j = 0; j < N; j++) store(rows[i] + j * width, accumulate ? load(c + i * ldc + j * width) : Vector{});
    }
    void put(float* c, int64_t ldc) const {
        for (int i = 0; i < R; i++)
            for (int j = 0; j < N; j++) store(c + i * ldc + j * width, load(rows[i] + j * width));
    }
};

template <Precision precision, int R, int N>
NARROW_TARGET __attribute__((noinline)) void tile_integers(int64_t k, const NarrowRows& a, const uint32_t* b, const float* b_scales,
                                                           float* __restrict c, int64_t ldc, bool accumulate) {
    constexpr bool eight = precision == Precision::int8;
    constexpr int parts = eight ? left_words : 1, unit = eight ? 4 : 2;
    const uint32_t* words = a.words;
    const float* a_scales = a.scales;
    const int32_t* a_sums = a.sums;
    Totals<R, N> total(c, ldc, accumulate);
    for (int64_t left = k; left > 0; left -= a.group, a_scales += MR, a_sums += MR, b_scales += NR) {
        const int64_t count = ((left < a.group ? left : a.group) + unit - 1) / unit;
        Integers sum[R][N];
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) sum[i][j] = eight && left_words == 1 ? Integers{} + static_cast<int32_t>(-128u * static_cast<uint32_t>(a_sums[i])) : Integers{};  // wraps where a row is not finite
        for (int64_t p = 0; p < count; p++) {
            if (R <= 4) __builtin_prefetch(b + 256);  // few rows: bound by memory
#pragma GCC unroll 2
            for (int part = 0; part < parts; part++) {
                Integers row[N];
#pragma GCC unroll 4
                for (int j = 0; j < N; j++) row[j] = eight ? load_int8(b, j) : load_words(b + j * width);
#pragma GCC unroll 16
                for (int i = 0; i < R; i++) {
#pragma GCC unroll 4
                    for (int j = 0; j < N; j++) {
                        sum[i][j] = eight ? dot_int8(sum[i][j], row[j], words[i]) : dot_int16(sum[i][j], row[j], words[i]);
                        KEEP_ORDER(sum[i][j]);
                    }
                }
                words += MR;
                b += NR / parts;
            }
        }
        Vector scale[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; j++) scale[j] = load(b_scales + j * width);
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) {
                float* to = total.rows[i] + j * width;
                store(to, load(to) + __builtin_convertvector(sum[i][j], Vector) * (scale[j] * a_scales[i]));
            }
    }
    total.put(c, ldc);
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

// sum += the products of unsigned bytes b and signed bytes a, as int32, or on AVX2 as pairs of int16.
inline NARROW_TARGET __attribute__((always_inline)) Integers dot_codes(Integers sum, Integers b, uint32_t a) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    // Spelt out, so that GCC adds in place (twelve moves a step otherwise) and in this order.
    const __m256i products = _mm256_maddubs_epi16(reinterpret_cast<__m256i>(b), _mm256_set1_epi32(static_cast<int>(a)));
    asm volatile("vpaddw %1, %0, %0" : "+x"(sum) : "x"(products));
    return sum;
#else
    return dot_int8(sum, b, a);
#endif
}
inline __attribute__((always_inline)) Integers widened(Integers sum) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    return reinterpret_cast<Integers>(_mm256_madd_epi16(reinterpret_cast<__m256i>(sum), _mm256_set1_epi16(1)));
#else
    return sum;
#endif
}

// On AVX2 vpmaddubsw adds two products in int16. Codes of 4 bits: eight such sums stay below 8 * 2 * 15 * 127 < 2^15; of 5 bits, four do.
template <int bits, int R, int N>
NARROW_TARGET __attribute__((noinline)) void tile_codes(int64_t k, const NarrowRows& a, const uint32_t* b, const float* b_scales,
                                                        const float* b_offsets, float* __restrict c, int64_t ldc, bool accumulate) {
    constexpr int steps = bits == 4 || left_words == 1 ? code_group / 4 : code_group / 8;
    const uint32_t* words = a.words;
    const float* a_scales = a.scales;
    const int32_t* a_sums = a.sums;
    Totals<R, N> total(c, ldc, accumulate);
    for (int64_t first = 0; first < k; first += code_group, a_scales += MR, a_sums += MR, b_scales += NR, b_offsets += NR) {
        Vector scale[N], offset[N];
        for (int part = 0; part < code_group / 4; part += steps) {
            Integers sum[R][N];
#pragma GCC unroll 16
            for (int i = 0; i < R; i++)
#pragma GCC unroll 4
                for (int j = 0; j < N; j++) sum[i][j] = Integers{};
            for (int p = 0; p < steps; p++) {
                __builtin_prefetch(b + 256);
                Integers row[N];
#pragma GCC unroll 4
                for (int j = 0; j < N; j++) row[j] = load_words(b + j * width);
#pragma GCC unroll 16
                for (int i = 0; i < R; i++) {
#pragma GCC unroll 4
                    for (int j = 0; j < N; j++) sum[i][j] = dot_codes(sum[i][j], row[j], words[i]);
                }
                words += MR;
                b += NR;
            }
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) {
                scale[j] = load(b_scales + j * width);
                offset[j] = part == 0 ? load(b_offsets + j * width) : Vector{};
            }
#pragma GCC unroll 16
            for (int i = 0; i < R; i++)
#pragma GCC unroll 4
                for (int j = 0; j < N; j++) {
                    float* to = total.rows[i] + j * width;
                    Vector part_sum = __builtin_convertvector(widened(sum[i][j]), Vector) * scale[j];
                    if (part == 0) part_sum += offset[j] * static_cast<float>(a_sums[i]);
                    store(to, load(to) + part_sum * a_scales[i]);
                }
        }
    }
    total.put(c, ldc);
}

using CodesTile = void (*)(int64_t, const NarrowRows&, const uint32_t*, const float*, const float*, float*, int64_t, bool);

template <int bits, int R>
CodesTile codes_tile(int rows) {
    if (rows == R) return tile_codes<bits, R, NV>;
    if constexpr (R > 1) return codes_tile<bits, R - 1>(rows);
    return nullptr;
}

void multiply_codes(int bits, int m, int n, int64_t k, const NarrowRows& a, const uint32_t* codes, const float* scales, const float* offsets, float* c,
                    int64_t ldc, bool accumulate) {
    const CodesTile tile = bits == 4 ? codes_tile<4, MR>(m) : codes_tile<5, MR>(m);
    on_columns(m, n, n == NR, c, ldc, accumulate, [&](float* to, int64_t ld, bool add) { tile(k, a, codes, scales, offsets, to, ld, add); });
}

using NarrowTile = void (*)(int64_t, const NarrowRows&, const uint32_t*, const float*, float*, int64_t, bool);

template <int R>
NarrowTile narrow_tile(Precision precision, int rows) {
    if (rows == R)
        return precision == Precision::bf16 ? tile_bf16<R, NV>
               : precision == Precision::int8 ? tile_integers<Precision::int8, R, NV>
                                              : tile_integers<Precision::int16, R, NV>;
    if constexpr (R > 1) return narrow_tile<R - 1>(precision, rows);
    return nullptr;
}

// C (m, n) = or += A B for one block of at most tile_rows rows and one panel.
void multiply_narrow(Precision precision, int m, int n, int64_t k, const NarrowRows& a, const uint32_t* b, const float* b_scales, float* c, int64_t ldc,
                     bool accumulate) {
    const NarrowTile tile = narrow_tile<MR>(precision, m);
    on_columns(m, n, n == NR, c, ldc, accumulate, [&](float* to, int64_t ld, bool add) { tile(k, a, b, b_scales, to, ld, add); });
}

// Whether this processor has the instructions; elsewhere narrow products are slower than f32 ones.
bool narrow_is_fast(Precision precision) {
#if defined(__AVX512F__)
    __builtin_cpu_init();
    return precision == Precision::bf16 ? __builtin_cpu_supports("avx512bf16") : __builtin_cpu_supports("avx512vnni");
#elif defined(__AVX2__)
    return precision != Precision::bf16;
#else
    static_cast<void>(precision);
    return false;
#endif
}

}  // namespace
}  // namespace KERNEL_VARIANT
}  // namespace stillroom
