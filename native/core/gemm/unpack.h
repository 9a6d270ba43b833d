// Unpacks the weight types whose ggml routines are slow without vector instructions, with the same arithmetic and so the same bits.
// Included by kernels.cpp once per variant. Layouts: the GGUF block formats (ggml-common.h).
#pragma once
#include <cstdint>
#include <cstring>

#include "ggml.h"
#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace stillroom {
namespace KERNEL_VARIANT {
namespace {

inline float from_half(const uint8_t* p) {
    uint16_t bits;
    std::memcpy(&bits, p, sizeof bits);
#if defined(__F16C__)
    return _cvtsh_ss(bits);
#else
    return ggml_fp16_to_fp32(bits);
#endif
}

void unpack_f16(const uint8_t* from, int64_t count, float* out) {
    int64_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16) _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 2 * i))));
#elif defined(__F16C__)
    for (; i + 8 <= count; i += 8) _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i))));
#elif defined(__aarch64__)
    for (; i < count; i++) {
        __fp16 half;
        std::memcpy(&half, from + 2 * i, sizeof half);
        out[i] = half;
    }
#endif
    for (; i < count; i++) out[i] = from_half(from + 2 * i);
}

// Blocks of 32: d (f16), with_minimum: m (f16), high: one fifth bit a value (u32), then 16 bytes of two nibbles each.
template <bool high, bool with_minimum>
void unpack_nibbles(const uint8_t* from, int64_t count, float* __restrict out) {
    constexpr int offset = with_minimum ? 0 : high ? 16 : 8;
    for (int64_t b = 0; b < count; b += 32, out += 32) {
        const float d = from_half(from), m = with_minimum ? from_half(from + 2) : 0.0f;
        from += with_minimum ? 4 : 2;
        uint32_t fifth = 0;
        if (high) {
            std::memcpy(&fifth, from, sizeof fifth);
            from += 4;
        }
        for (int j = 0; j < 16; j++) {
            const int low = (from[j] & 15) | (high ? static_cast<int>(fifth >> j & 1) << 4 : 0);
            const int top = (from[j] >> 4) | (high ? static_cast<int>(fifth >> (j + 16) & 1) << 4 : 0);
            out[j] = static_cast<float>(low - offset) * d + m;
            out[j + 16] = static_cast<float>(top - offset) * d + m;
        }
        from += 16;
    }
}

// Blocks of 32: d (f16), then 32 signed bytes.
void unpack_q8_0(const uint8_t* from, int64_t count, float* __restrict out) {
    for (int64_t b = 0; b < count; b += 32, from += 34, out += 32) {
        const float d = from_half(from);
        const int8_t* values = reinterpret_cast<const int8_t*>(from + 2);
        for (int j = 0; j < 32; j++) out[j] = static_cast<float>(values[j]) * d;
    }
}

// Blocks of 256: 128 bytes of low nibbles, 64 bytes of two high bits a value, 16 scales (i8), d (f16).
void unpack_q6_k(const uint8_t* from, int64_t count, float* __restrict out) {
    for (int64_t b = 0; b < count; b += 256, from += 210) {
        const float d = from_half(from + 208);
        const uint8_t *low = from, *high = from + 128;
        const int8_t* scales = reinterpret_cast<const int8_t*>(from + 192);
        for (int half = 0; half < 2; half++, low += 64, high += 32, scales += 8, out += 128)
            for (int part = 0; part < 2; part++) {
                const float s0 = d * scales[part], s1 = d * scales[part + 2], s2 = d * scales[part + 4], s3 = d * scales[part + 6];
                const uint8_t *l = low + 16 * part, *h = high + 16 * part;
                float* to = out + 16 * part;
                for (int j = 0; j < 16; j++) {
                    to[j] = s0 * static_cast<float>(((l[j] & 15) | (h[j] & 3) << 4) - 32);
                    to[j + 32] = s1 * static_cast<float>(((l[j + 32] & 15) | (h[j] >> 2 & 3) << 4) - 32);
                    to[j + 64] = s2 * static_cast<float>(((l[j] >> 4) | (h[j] >> 4 & 3) << 4) - 32);
                    to[j + 96] = s3 * static_cast<float>(((l[j + 32] >> 4) | (h[j] >> 6) << 4) - 32);
                }
            }
    }
}

}  // namespace
}  // namespace KERNEL_VARIANT
}  // namespace stillroom

#include "core/gemm/unpack_grids.h"

namespace stillroom {
namespace KERNEL_VARIANT {
namespace {

using Unpack = void (*)(const uint8_t*, int64_t, float*);

// The routine for a type, or nullptr: then ggml's is used.
Unpack unpack_of(int type) {
    switch (type) {
        case GGML_TYPE_F16: return unpack_f16;
        case GGML_TYPE_Q4_0: return unpack_nibbles<false, false>;
        case GGML_TYPE_Q4_1: return unpack_nibbles<false, true>;
        case GGML_TYPE_Q5_0: return unpack_nibbles<true, false>;
        case GGML_TYPE_Q5_1: return unpack_nibbles<true, true>;
        case GGML_TYPE_Q8_0: return unpack_q8_0;
        case GGML_TYPE_Q6_K: return unpack_q6_k;
        case GGML_TYPE_Q1_0: return unpack_q1_0;
        case GGML_TYPE_IQ2_XXS: return unpack_iq2_xxs;
        case GGML_TYPE_IQ2_XS: return unpack_iq2_xs;
        case GGML_TYPE_IQ2_S: return unpack_iq2_s;
        case GGML_TYPE_IQ3_XXS: return unpack_iq3_xxs;
        case GGML_TYPE_IQ3_S: return unpack_iq3_s;
        case GGML_TYPE_IQ4_NL: return unpack_iq4_nl;
        case GGML_TYPE_IQ4_XS: return unpack_iq4_xs;
        default: return nullptr;
    }
}

}  // namespace
}  // namespace KERNEL_VARIANT
}  // namespace stillroom
