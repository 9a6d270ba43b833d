// The vector kernels, written once with GCC vector types and compiled per instruction set (KERNEL_VARIANT: portable, avx2, avx512;
// portable is NEON on 64-bit Arm). Exact f32 arithmetic; no knowledge of models.
#include "core/gemm/kernels.h"

#include <cmath>
#include <cstring>
#include <ctime>
#include <utility>

#include "core/gemm/unpack.h"

#define STRINGIFY2(x) #x
#define STRINGIFY(x) STRINGIFY2(x)

namespace stillroom {
namespace KERNEL_VARIANT {
namespace {

// MR x NV vectors of accumulators stay in registers: 24 of 32 (AVX-512, NEON), 12 of 16 (AVX2, SSE2).
#if defined(__AVX512F__)
constexpr int width = 16, MR = 12, NV = 2;
#elif defined(__AVX2__)
constexpr int width = 8, MR = 6, NV = 2;
#elif defined(__aarch64__)
constexpr int width = 4, MR = 12, NV = 2;
#else
constexpr int width = 4, MR = 6, NV = 2;
#endif
constexpr int NR = NV * width;

typedef float Vector __attribute__((vector_size(width * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(width * 4), aligned(4), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

// One register tile. Every loop over the accumulators, the final store included, is fully unrolled: otherwise GCC keeps them on the stack.
template <int R, int N>
inline __attribute__((always_inline)) void tile(int64_t k, const float* __restrict a, const float* __restrict b, int64_t ldb, float* __restrict c, int64_t ldc,
                 bool accumulate) {
    Vector sum[R][N];
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
        for (int j = 0; j < N; j++) sum[i][j] = Vector{};
    for (int64_t p = 0; p < k; p++) {
        Vector row[N];
#pragma GCC unroll 4
        for (int j = 0; j < N; j++) row[j] = load(b + j * width);
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) sum[i][j] += a[i] * row[j];
        a += MR;
        b += ldb;
    }
    if (accumulate) {
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) store(c + i * ldc + j * width, load(c + i * ldc + j * width) + sum[i][j]);
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 4
            for (int j = 0; j < N; j++) store(c + i * ldc + j * width, sum[i][j]);
    }
}

template <int R, int N>
__attribute__((noinline)) void tile_call(int64_t k, const float* a, const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
    tile<R, N>(k, a, b, ldb, c, ldc, accumulate);
}

using Tile = void (*)(int64_t, const float*, const float*, int64_t, float*, int64_t, bool);
template <int N>
Tile tile_of(int rows) {
    switch (rows) {
        case 1: return tile_call<1, N>;
        case 2: return tile_call<2, N>;
        case 3: return tile_call<3, N>;
        case 4: return tile_call<4, N>;
        case 5: return tile_call<5, N>;
#if defined(__AVX512F__) || defined(__aarch64__)
        case 6: return tile_call<6, N>;
        case 7: return tile_call<7, N>;
        case 8: return tile_call<8, N>;
        case 9: return tile_call<9, N>;
        case 10: return tile_call<10, N>;
        case 11: return tile_call<11, N>;
#endif
    }
    return tile_call<MR, N>;
}

// Runs a tile of whole vectors on n columns of c, through a copy where those are not whole.
template <typename Run>
inline void on_columns(int m, int n, bool whole, float* c, int64_t ldc, bool accumulate, Run run) {
    if (whole) return run(c, ldc, accumulate);
    float edge[MR * NR];
    run(edge, NR, false);
    for (int r = 0; r < m; r++)
        for (int j = 0; j < n; j++) c[r * ldc + j] = edge[r * NR + j] + (accumulate ? c[r * ldc + j] : 0.0f);
}

void multiply(int64_t m, int n, int64_t k, const float* a, int64_t a_block, const float* b, int64_t ldb, float* c, int64_t ldc,
              bool accumulate) {
    const int vectors = (n + width - 1) / width;
    for (int64_t i = 0; i < m; i += MR, a += a_block, c += MR * ldc) {
        const int rows = static_cast<int>(m - i < MR ? m - i : MR);
        const Tile call = vectors == 1 ? tile_of<1>(rows) : tile_of<2>(rows);
        on_columns(rows, n, n == vectors * width, c, ldc, accumulate, [&](float* to, int64_t ld, bool add) { call(k, a, b, ldb, to, ld, add); });
    }
}

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

// Four values of every fourth row, side by side: of as many rows as V has room for.
template <typename V>
inline V fours(const float* source, [[maybe_unused]] int64_t ld) {
#if defined(__AVX2__)
    const auto two = [&](int64_t row) { return _mm256_loadu2_m128(source + (row + 4) * ld, source + row * ld); };
    if constexpr (sizeof(V) == 32) return two(0);
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) return _mm512_insertf32x8(_mm512_castps256_ps512(two(0)), two(8), 1);
#endif
#endif
    if constexpr (sizeof(V) == 16) return *reinterpret_cast<const Four*>(source);
}

// Of each four lanes x takes the lower two of both by turns, y the upper two.
template <typename V, int... i>
inline void interleave(V& x, V& y, std::integer_sequence<int, i...>) {
    constexpr auto lane = [](int at, int from) { return at / 4 * 4 + from + at % 4 / 2 + at % 2 * static_cast<int>(sizeof...(i)); };
#if defined(__clang__)
    const V low = __builtin_shufflevector(x, y, lane(i, 0)...), high = __builtin_shufflevector(x, y, lane(i, 2)...);
#else
    typedef int32_t Index __attribute__((vector_size(sizeof(V))));
    const V low = __builtin_shuffle(x, y, Index{lane(i, 0)...}), high = __builtin_shuffle(x, y, Index{lane(i, 2)...});
#endif
    x = low;
    y = high;
}
template <typename V>
inline void interleave(V& x, V& y) { interleave(x, y, std::make_integer_sequence<int, sizeof(V) / sizeof(float)>{}); }

// out[p * out_ld + j] = source[j * ld + p] for four p and as many j as a V holds.
template <typename V>
inline void transpose_block(const float* source, int64_t ld, float* out, int64_t out_ld) {
    V r0 = fours<V>(source, ld), r1 = fours<V>(source + ld, ld), r2 = fours<V>(source + 2 * ld, ld), r3 = fours<V>(source + 3 * ld, ld);
    interleave(r0, r2);
    interleave(r1, r3);
    interleave(r0, r1);
    interleave(r2, r3);
    const V rows[4] = {r0, r1, r2, r3};
    for (int p = 0; p < 4; p++) std::memcpy(out + p * out_ld, &rows[p], sizeof(V));
}

// The same for a 2 x 4 block.
inline void transpose2(const float* source, int64_t ld, float* out, int64_t out_ld) {
    Four pairs[2] = {*(const Four*)(source), *(const Four*)(source + ld)};
    interleave(pairs[0], pairs[1]);
    for (int p = 0; p < 4; p++) std::memcpy(out + p * out_ld, reinterpret_cast<const float*>(pairs) + 2 * p, 2 * sizeof(float));
}

template <typename V>
int64_t transpose_blocks(int64_t j, int64_t n, int64_t k, const float* source, int64_t ld, float* out, int64_t out_ld) {
    constexpr int64_t columns = sizeof(V) / sizeof(float);
    for (; j + columns <= n; j += columns) {
        int64_t p = 0;
        for (; p + 4 <= k; p += 4) transpose_block<V>(source + j * ld + p, ld, out + p * out_ld + j, out_ld);
        for (; p < k; p++)
            for (int64_t q = j; q < j + columns; q++) out[p * out_ld + q] = source[q * ld + p];
    }
    return j;
}

void transpose_stretch(int64_t n, int64_t k, const float* source, int64_t ld, float* out, int64_t out_ld) {
    int64_t j = transpose_blocks<Vector>(0, n, k, source, ld, out, out_ld);
    j = transpose_blocks<Four>(j, n, k, source, ld, out, out_ld);
    for (; j + 2 <= n; j += 2) {
        int64_t p = 0;
        for (; p + 4 <= k; p += 4) transpose2(source + j * ld + p, ld, out + p * out_ld + j, out_ld);
        for (; p < k; p++)
            for (int64_t q = j; q < j + 2; q++) out[p * out_ld + q] = source[q * ld + p];
    }
    for (; j < n; j++)
        for (int64_t p = 0; p < k; p++) out[p * out_ld + j] = source[j * ld + p];
}

// A stretch of the depth at a time: a line of out takes the values of several rows, and stays in the L1 cache until it has them.
void transpose(int64_t n, int64_t k, const float* source, int64_t ld, float* out, int64_t out_ld) {
    constexpr int64_t stretch = 64;
    for (int64_t p = 0; p < k; p += stretch) transpose_stretch(n, k - p < stretch ? k - p : stretch, source + p, ld, out + p * out_ld, out_ld);
}

void pack(int64_t m, int64_t k, const float* source, int64_t row_stride, int64_t column_stride, float factor, float* out) {
    for (int64_t i = 0; i < m; i += MR, out += MR * k) {
        const int64_t rows = m - i < MR ? m - i : MR;
        const float* from = source + i * row_stride;
        if (column_stride == 1) {
            transpose(rows, k, from, row_stride, out, MR);
        } else if (row_stride == 1 && rows == MR) {
            for (int64_t p = 0; p < k; p++) std::memcpy(out + p * MR, from + p * column_stride, MR * sizeof(float));
        } else if (row_stride == 1) {
            for (int64_t p = 0; p < k; p++)
                for (int64_t r = 0; r < rows; r++) out[p * MR + r] = from[p * column_stride + r];
        } else {
            for (int64_t p = 0; p < k; p++)
                for (int64_t r = 0; r < rows; r++) out[p * MR + r] = from[r * row_stride + p * column_stride];
        }
        for (int64_t p = 0; rows < MR && p < k; p++)
            for (int64_t r = rows; r < MR; r++) out[p * MR + r] = 0.0f;
        if (factor != 1.0f)
            for (int64_t p = 0; p < k * MR; p++) out[p] *= factor;
    }
}

void pack_transposed(int n, int64_t k, const float* source, int64_t ld, float* out) {
    transpose(n, k, source, ld, out, NR);
    for (int64_t p = 0; n < NR && p < k; p++)
        for (int j = n; j < NR; j++) out[p * NR + j] = 0.0f;
}

// Halves onto each other: one lane after the other would be a chain of additions.
float sum_of(Vector v) {
    float lanes[width];
    std::memcpy(lanes, &v, sizeof lanes);
    for (int half = width / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

float dot(int64_t n, const float* x, const float* y) {
    Vector s0{}, s1{};
    int64_t i = 0;
    for (; i + 2 * width <= n; i += 2 * width) {
        s0 += load(x + i) * load(y + i);
        s1 += load(x + i + width) * load(y + i + width);
    }
    float total = sum_of(s0 + s1);
    for (; i < n; i++) total += x[i] * y[i];
    return total;
}

void scale(int64_t n, float factor, float* x) {
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

void add(int64_t n, const float* __restrict x, float* __restrict y) {
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

float maximum(int64_t n, const float* x) {
    int64_t i = 0;
    float best = -INFINITY;
    if (n >= width) {
        Vector high = load(x);
        for (i = width; i + width <= n; i += width) {
            const Vector v = load(x + i);
            high = v > high ? v : high;
        }
        for (int j = 0; j < width; j++) best = high[j] > best ? high[j] : best;
    }
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    return best;
}

float rms_norm(int64_t c, const float* __restrict x, const float* __restrict w, float epsilon, float* __restrict y) {
    const float inverse = 1.0f / std::sqrt(dot(c, x, x) / static_cast<float>(c) + epsilon);
    for (int64_t i = 0; i < c; i++) y[i] = x[i] * inverse * w[i];
    return inverse;
}

void rms_norm_backward(int64_t c, const float* __restrict x, const float* __restrict w, float inverse, const float* __restrict dy,
                       float* __restrict dx) {
    Vector partial{};
    int64_t i = 0;
    for (; i + width <= c; i += width) partial += load(x + i) * load(w + i) * load(dy + i);
    float product = sum_of(partial);
    for (; i < c; i++) product += x[i] * w[i] * dy[i];
    const float back = product * inverse * inverse * inverse / static_cast<float>(c);
    for (i = 0; i < c; i++) dx[i] += dy[i] * w[i] * inverse - x[i] * back;
}

// exp by range reduction to [-ln2/2, ln2/2] and the Cephes polynomial (expf.c); relative error below 2e-7. Underflows to 0 below -87.3.
inline Vector exponential(Vector x) {
    const Vector low = Vector{} - 87.3f, high = Vector{} + 88.3f;
    const Integers dead = x < low;
    x = x > high ? high : x;
    x = x < low ? low : x;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
    const Vector shifted = x * 1.44269504088896341f + magic;
    const Vector n = shifted - magic;
    Vector r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    Vector p = Vector{} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    Integers bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4B400000 + 127) << 23;
    Vector power;
    std::memcpy(&power, &bits, sizeof power);
    p = p * power;
    return dead ? Vector{} : p;
}

// Runs body(index, Vector...) over n elements, the tail through a padded buffer.
template <typename Body>
inline void each(int64_t n, Body body) {
    int64_t i = 0;
    for (; i + width <= n; i += width) body(i, width);
    if (i < n) body(i, static_cast<int>(n - i));
}
inline Vector load_some(const float* p, int count) {
    if (count == width) return load(p);
    Vector v{};
    std::memcpy(&v, p, count * sizeof(float));
    return v;
}
inline void store_some(float* p, Vector v, int count) {
    if (count == width) store(p, v);
    else std::memcpy(p, &v, count * sizeof(float));
}

void swiglu(int64_t n, const float* gate, const float* up, float* out) {
    each(n, [&](int64_t i, int count) {
        const Vector g = load_some(gate + i, count);
        store_some(out + i, g / (1.0f + exponential(-g)) * load_some(up + i, count), count);
    });
}

void swiglu_backward(int64_t n, const float* gate, const float* up, const float* dout, float* dgate, float* dup) {
    each(n, [&](int64_t i, int count) {
        const Vector g = load_some(gate + i, count), u = load_some(up + i, count), d = load_some(dout + i, count);
        const Vector s = 1.0f / (1.0f + exponential(-g));
        store_some(dup + i, d * g * s, count);
        store_some(dgate + i, d * u * s * (1.0f + g * (1.0f - s)), count);
    });
}

float exp_shifted(int64_t n, float* x, float shift) {
    Vector total{};
    int64_t i = 0;
    for (; i + width <= n; i += width) {
        const Vector e = exponential(load(x + i) - shift);
        store(x + i, e);
        total += e;
    }
    float sum = sum_of(total);
    if (i < n) {
        const int count = static_cast<int>(n - i);
        const Vector e = exponential(load_some(x + i, count) - shift);
        store_some(x + i, e, count);
        for (int j = 0; j < count; j++) sum += e[j];
    }
    return sum;
}

void softmax_backward(int64_t n, float shift, float delta, float factor, float* p, float* d) {
    each(n, [&](int64_t i, int count) {
        const Vector e = exponential(load_some(p + i, count) - shift);
        store_some(d + i, e * (load_some(d + i, count) - delta) * factor, count);
        store_some(p + i, e, count);
    });
}

void adamw(int64_t n, float* __restrict w, const float* __restrict g, float* __restrict m, float* __restrict v, float gradient_scale,
           float rate, float beta1, float beta2, float epsilon, float decay, float correction1, float correction2) {
    const float step = rate / correction1, root = 1.0f / std::sqrt(correction2);
    for (int64_t i = 0; i < n; i++) {
        const float gi = g[i] * gradient_scale;
        m[i] = beta1 * m[i] + (1.0f - beta1) * gi;
        v[i] = beta2 * v[i] + (1.0f - beta2) * gi * gi;
        w[i] = w[i] * (1.0f - rate * decay) - step * m[i] / (std::sqrt(v[i]) * root + epsilon);
    }
}

// CPU time of this thread: other programs on the machine do not count.
double thread_seconds() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Accumulators in registers and both factors fixed: nothing but multiply-adds in the loop.
double fma_peak(double seconds) {
    constexpr int64_t rounds = 1 << 16;
    float start[MR * NR] = {}, factors[2 * width] = {};
    double best = 0;
    const double end = thread_seconds() + seconds;
    while (thread_seconds() < end) {
        const float *from = start, *by = factors;
        asm volatile("" : "+r"(from), "+r"(by) : : "memory");  // the compiler may not know the values
        Vector sum[MR][NV];
        const Vector x = load(by), y = load(by + width);
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
            for (int j = 0; j < NV; j++) sum[i][j] = load(from + i * NR + j * width);
        const double before = thread_seconds();
        for (int64_t p = 0; p < rounds; p++) {
#pragma GCC unroll 16
            for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
                for (int j = 0; j < NV; j++) sum[i][j] += x * y;
            asm volatile("" : : : "memory");
        }
        float* to = start;
        asm volatile("" : "+r"(to));
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
            for (int j = 0; j < NV; j++) store(to + i * NR + j * width, sum[i][j]);
        asm volatile("" : : "r"(to) : "memory");
        const double rate = 2.0 * MR * NR * rounds / (thread_seconds() - before) / 1e9;
        best = rate > best ? rate : best;
    }
    return best;
}

}  // namespace
}  // namespace KERNEL_VARIANT
}  // namespace stillroom

#include "core/gemm/narrow.h"
#include "core/gemm/exact_codes.h"

namespace stillroom {
namespace KERNEL_VARIANT {

extern const Kernels kernels = {STRINGIFY(KERNEL_VARIANT), MR, NR, left_words, multiply, pack, pack_transposed, rms_norm, rms_norm_backward, swiglu,
                         swiglu_backward, exp_shifted, softmax_backward, maximum, dot, scale, add, adamw, fma_peak, thread_seconds, to_integers, columns_to_integers,
                         to_bf16, columns_to_bf16, multiply_narrow, multiply_codes, multiply_exact_codes, expand_codes, narrow_is_fast, unpack_of, codes_of};

}  // namespace KERNEL_VARIANT
}  // namespace stillroom
