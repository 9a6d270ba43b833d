// Unpacks the weight types whose ggml routines are slow without vector instructions, with the same arithmetic and so the same bits.
// Included by kernels.cpp once per variant. Layouts: the GGUF block formats (ggml-common.h).
#pragma once
#include <cstdint>
#include <cstring>

#include "ggml.h"
#if defined(__F16C__) || defined(__AVX2__)
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

// Most types are bytes of small integers, 16 at a time under one scale.
typedef uint8_t Sixteen __attribute__((vector_size(16)));

inline Sixteen load_sixteen(const uint8_t* p) {
    Sixteen bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return bytes;
}

// 255 where the bit of that number is set, else 0.
inline Sixteen from_bits(uint32_t bits) {
    typedef uint64_t Two __attribute__((vector_size(16)));
    const Sixteen bytes = reinterpret_cast<Sixteen>(Two{(bits & 255) * 0x0101010101010101u, (bits >> 8 & 255) * 0x0101010101010101u});
    const Sixteen place = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    return reinterpret_cast<Sixteen>((bytes & place) == place);
}

// out (16) = signed bytes times d, and plus m where the type has a minimum.
template <bool with_minimum = false>
inline void scale_sixteen(Sixteen bytes, float d, float* out, float m = 0) {
#if defined(__AVX512F__)
    const __m512 values = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(reinterpret_cast<__m128i>(bytes))), _mm512_set1_ps(d));
    _mm512_storeu_ps(out, with_minimum ? _mm512_add_ps(values, _mm512_set1_ps(m)) : values);
#elif defined(__AVX2__)
    const __m128i lanes = reinterpret_cast<__m128i>(bytes);
    for (int half = 0; half < 2; half++) {
        const __m256 values = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half ? _mm_unpackhi_epi64(lanes, lanes) : lanes)), _mm256_set1_ps(d));
        _mm256_storeu_ps(out + 8 * half, with_minimum ? _mm256_add_ps(values, _mm256_set1_ps(m)) : values);
    }
#else
    for (int j = 0; j < 16; j++) {
        const float value = static_cast<float>(static_cast<int8_t>(bytes[j])) * d;
        out[j] = with_minimum ? value + m : value;
    }
#endif
}

// Blocks of 32: d (f16), with_minimum: m (f16), high: one fifth bit a value (u32), then 16 bytes of two nibbles each.
template <bool high, bool with_minimum>
struct Nibbles {
    static constexpr int64_t bytes = 18 + (with_minimum ? 2 : 0) + (high ? 4 : 0);
    static constexpr uint8_t offset = with_minimum ? 0 : high ? 16 : 8;
    float d, m = 0;
    Sixteen low, top;  // codes of the first and the last 16 values
    explicit Nibbles(const uint8_t* from) : d(from_half(from)) {
        if (with_minimum) m = from_half(from + 2);
        const Sixteen nibbles = load_sixteen(from + bytes - 16);
        low = nibbles & 15;
        top = nibbles >> 4;
        if (!high) return;
        uint32_t fifth;
        std::memcpy(&fifth, from + bytes - 20, sizeof fifth);
        low |= from_bits(fifth) & 16;
        top |= from_bits(fifth >> 16) & 16;
    }
};

template <bool high, bool with_minimum>
void unpack_nibbles(const uint8_t* from, int64_t count, float* out) {
    typedef Nibbles<high, with_minimum> Block;
    for (int64_t b = 0; b < count; b += 32, from += Block::bytes, out += 32) {
        const Block block(from);
        scale_sixteen<with_minimum>(block.low - Block::offset, block.d, out, block.m);
        scale_sixteen<with_minimum>(block.top - Block::offset, block.d, out + 16, block.m);
    }
}

template <bool high, bool with_minimum>
void nibble_codes(const uint8_t* from, int64_t count, uint8_t* codes, float* scales, float* offsets) {
    typedef Nibbles<high, with_minimum> Block;
    for (int64_t b = 0; b < count; b += 32, from += Block::bytes, codes += 32) {
        const Block block(from);
        std::memcpy(codes, &block.low, 16);
        std::memcpy(codes + 16, &block.top, 16);
        *scales++ = block.d;
        *offsets++ = block.m - block.d * static_cast<float>(Block::offset);
    }
}

// Blocks of 256: d and the minimum's factor (f16), eight scales and minima of 6 bits in 12 bytes, high: 32 bytes of fifth bits, then 128 of
// two nibbles each: of every 32, the low ones are 32 values and the high ones the next.
template <bool high>
void superblock_codes(const uint8_t* from, int64_t count, uint8_t* codes, float* scales, float* offsets) {
    for (int64_t b = 0; b < count; b += 256, from += high ? 176 : 144) {
        const float d = from_half(from), least = from_half(from + 2);
        const uint8_t *packed = from + 4, *fifth = from + 16, *nibbles = from + (high ? 48 : 16);
        for (int i = 0; i < 8; i++, codes += 32) {
            const int scale = i < 4 ? packed[i] & 63 : (packed[i + 4] & 15) | packed[i - 4] >> 6 << 4;
            const int minimum = i < 4 ? packed[i + 4] & 63 : packed[i + 4] >> 4 | packed[i] >> 6 << 4;
            *scales++ = d * static_cast<float>(scale);
            *offsets++ = -least * static_cast<float>(minimum);
            for (int part = 0; part < 32; part += 16) {
                Sixteen code = load_sixteen(nibbles + i / 2 * 32 + part) >> i % 2 * 4 & 15;
                if (high) code |= (load_sixteen(fifth + part) >> i & 1) << 4;
                std::memcpy(codes + part, &code, sizeof code);
            }
        }
    }
}

// Blocks of 32: d (f16), then 32 signed bytes.
void unpack_q8_0(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 32, from += 34, out += 32) {
        const float d = from_half(from);
        scale_sixteen(load_sixteen(from + 2), d, out);
        scale_sixteen(load_sixteen(from + 18), d, out + 16);
    }
}

// Blocks of 256: 16 bytes of scale (low nibble) and minimum (high), 64 bytes of four 2-bit values each, d and the minimum's factor (f16).
void unpack_q2_k(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += 84) {
        const float d = from_half(from + 80), least = from_half(from + 82);
        const uint8_t* scale = from;
        for (const uint8_t* values = from + 16; values < from + 80; values += 32)
            for (int shift = 0; shift < 8; shift += 2)
                for (int part = 0; part < 2; part++, scale++, out += 16)
                    scale_sixteen<true>(load_sixteen(values + 16 * part) >> shift & 3, d * static_cast<float>(*scale & 15), out,
                                        -(least * static_cast<float>(*scale >> 4)));
    }
}

// Blocks of 256: 32 bytes of third bits, 64 of four 2-bit values each, 16 scales of 6 bits in 12 bytes (their nibbles, then their two
// high bits), d (f16). A third bit that is not set takes 4 away.
void unpack_q3_k(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += 110) {
        const float d = from_half(from + 108);
        const uint8_t* scales = from + 96;
        for (int i = 0; i < 16; i++, out += 16) {
            const int part = i % 2, shift = i / 2 % 4 * 2;
            const int scale = (scales[i % 8] >> i / 8 * 4 & 15) | (scales[8 + i % 4] >> i / 4 * 2 & 3) << 4;
            const Sixteen third = load_sixteen(from + 16 * part) >> i / 2 & 1;
            const Sixteen values = (load_sixteen(from + 32 + i / 8 * 32 + 16 * part) >> shift & 3) + third * 4 - 4;
            scale_sixteen(values, d * static_cast<float>(scale - 32), out);
        }
    }
}

// Codes 16 i to 16 i + 15 of a block of 256, counted from 0: 128 bytes of low nibbles, 64 bytes of two high bits a value, 16 scales (i8), d (f16).
inline Sixteen q6_k_sixteen(const uint8_t* from, int i) {
    const int half = i / 8, quarter = i / 2 % 4, part = i % 2;
    const Sixteen low = load_sixteen(from + 64 * half + 32 * (quarter % 2) + 16 * part) >> quarter / 2 * 4 & 15;
    const Sixteen high = load_sixteen(from + 128 + 32 * half + 16 * part) >> 2 * quarter & 3;
    return low | high << 4;
}

void unpack_q6_k(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += 210) {
        const float d = from_half(from + 208);
        const int8_t* scales = reinterpret_cast<const int8_t*>(from + 192);
        for (int i = 0; i < 16; i++, out += 16) scale_sixteen(q6_k_sixteen(from, i) - 32, d * static_cast<float>(scales[i]), out);
    }
}

// Signed bytes with 128 added, so that all codes count from 0; 128 scales are exact.
void q8_0_codes(const uint8_t* from, int64_t count, uint8_t* codes, float* scales, float* offsets) {
    for (int64_t b = 0; b < count; b += 32, from += 34) {
        for (int part = 0; part < 32; part += 16, codes += 16) {
            const Sixteen code = load_sixteen(from + 2 + part) ^ 128;
            std::memcpy(codes, &code, sizeof code);
        }
        *scales++ = from_half(from);
        *offsets++ = -128.0f * from_half(from);
    }
}

#if defined(__FMA__) || defined(__aarch64__)
// With 32 added. Scale times code has up to 25 bits: only a fused multiply-add rounds once, as unpacking does.
void q6_k_codes(const uint8_t* from, int64_t count, uint8_t* codes, float* scales, float* offsets) {
    for (int64_t b = 0; b < count; b += 256, from += 210) {
        const float d = from_half(from + 208);
        const int8_t* factors = reinterpret_cast<const int8_t*>(from + 192);
        for (int i = 0; i < 16; i++, codes += 16) {
            const Sixteen code = q6_k_sixteen(from, i);
            std::memcpy(codes, &code, sizeof code);
            *scales++ = d * static_cast<float>(factors[i]);
            *offsets++ = -32.0f * (d * static_cast<float>(factors[i]));
        }
    }
}
#endif

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
        case GGML_TYPE_Q2_K: return unpack_q2_k;
        case GGML_TYPE_Q3_K: return unpack_q3_k;
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

Codes codes_of(int type) {
    switch (type) {
        case GGML_TYPE_Q4_0: return {4, code_group, nibble_codes<false, false>};
        case GGML_TYPE_Q4_1: return {4, code_group, nibble_codes<false, true>};
        case GGML_TYPE_Q5_0: return {5, code_group, nibble_codes<true, false>};
        case GGML_TYPE_Q5_1: return {5, code_group, nibble_codes<true, true>};
        case GGML_TYPE_Q4_K: return {4, code_group, superblock_codes<false>};
        case GGML_TYPE_Q5_K: return {5, code_group, superblock_codes<true>};
        case GGML_TYPE_Q8_0: return {8, code_group, q8_0_codes};
#if defined(__FMA__) || defined(__aarch64__)
        case GGML_TYPE_Q6_K: return {8, 16, q6_k_codes};
#endif
        default: return {};
    }
}

}  // namespace
}  // namespace KERNEL_VARIANT
}  // namespace stillroom
