// Unpacks the types that look their values up in tables (iq2, iq3, iq4) and the 1-bit type, to the same bits as ggml.
// Included by unpack.h. Layouts and tables: ggml's own, from the bundled source (ggml-common.h).
#pragma once
#define GGML_COMMON_DECL_CPP
#define GGML_COMMON_IMPL_CPP
#include "ggml-common.h"

namespace stillroom {
namespace KERNEL_VARIANT {
namespace {

// Eight values of a grid times d, negated where the bit of signs is set: multiplying by -1 flips the sign bit and nothing else.
inline void grid_values(uint64_t grid, float d, uint32_t signs, float* __restrict out) {
#if defined(__AVX2__)
    const __m256i place = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24), sign = _mm256_set1_epi32(static_cast<int>(0x80000000u));
    const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(grid)))), _mm256_set1_ps(d));
    const __m256i flip = _mm256_and_si256(_mm256_sllv_epi32(_mm256_set1_epi32(static_cast<int>(signs)), place), sign);
    _mm256_storeu_ps(out, _mm256_xor_ps(scaled, _mm256_castsi256_ps(flip)));
#else
    uint8_t values[8];
    std::memcpy(values, &grid, sizeof values);
    uint32_t bits[8];
    float scaled[8];
    for (int j = 0; j < 8; j++) scaled[j] = d * static_cast<float>(values[j]);
    std::memcpy(bits, scaled, sizeof bits);
    for (int j = 0; j < 8; j++) bits[j] ^= (signs << (31 - j)) & 0x80000000u;
    std::memcpy(out, bits, sizeof bits);
#endif
}
// Two grids of four values each as one of eight.
inline uint64_t pair_of(uint32_t first, uint32_t second) { return first | static_cast<uint64_t>(second) << 32; }

void unpack_iq2_xxs(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += sizeof(block_iq2_xxs)) {
        const float d = from_half(from);
        for (int part = 0; part < 8; part++) {
            uint32_t words[2];
            std::memcpy(words, from + 2 + 8 * part, sizeof words);
            const float scale = d * (0.5f + static_cast<float>(words[1] >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++, out += 8)
                grid_values(iq2xxs_grid[words[0] >> 8 * l & 255], scale, ksigns_iq2xs[words[1] >> 7 * l & 127], out);
        }
    }
}

void unpack_iq2_xs(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += sizeof(block_iq2_xs)) {
        block_iq2_xs block;
        std::memcpy(&block, from, sizeof block);
        const float d = from_half(from);
        for (int i = 0; i < 32; i++, out += 8) {
            const int nibble = block.scales[i / 4] >> (i & 2 ? 4 : 0) & 15;
            grid_values(iq2xs_grid[block.qs[i] & 511], d * (0.5f + static_cast<float>(nibble)) * 0.25f, ksigns_iq2xs[block.qs[i] >> 9], out);
        }
    }
}

void unpack_iq2_s(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += sizeof(block_iq2_s)) {
        block_iq2_s block;
        std::memcpy(&block, from, sizeof block);
        const float d = from_half(from);
        for (int i = 0; i < 32; i++, out += 8) {
            const int nibble = block.scales[i / 4] >> (i & 2 ? 4 : 0) & 15;
            const int index = block.qs[i] | (block.qh[i / 4] << (8 - 2 * (i % 4)) & 0x300);
            grid_values(iq2s_grid[index], d * (0.5f + static_cast<float>(nibble)) * 0.25f, block.qs[32 + i], out);
        }
    }
}

void unpack_iq3_xxs(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += sizeof(block_iq3_xxs)) {
        const float d = from_half(from);
        const uint8_t* index = from + 2;
        for (int part = 0; part < 8; part++) {
            uint32_t word;
            std::memcpy(&word, from + 2 + 64 + 4 * part, sizeof word);
            const float scale = d * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
            for (int l = 0; l < 4; l++, out += 8, index += 2)
                grid_values(pair_of(iq3xxs_grid[index[0]], iq3xxs_grid[index[1]]), scale, ksigns_iq2xs[word >> 7 * l & 127], out);
        }
    }
}

void unpack_iq3_s(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += sizeof(block_iq3_s)) {
        block_iq3_s block;
        std::memcpy(&block, from, sizeof block);
        const float d = from_half(from);
        for (int i = 0; i < 32; i++, out += 8) {
            const int part = i / 4, l = i % 4, nibble = block.scales[part / 2] >> (part & 1 ? 4 : 0) & 15;
            const uint64_t values = pair_of(iq3s_grid[block.qs[2 * i] | (block.qh[part] << (8 - 2 * l) & 256)],
                                            iq3s_grid[block.qs[2 * i + 1] | (block.qh[part] << (7 - 2 * l) & 256)]);
            grid_values(values, d * static_cast<float>(1 + 2 * nibble), block.signs[i], out);
        }
    }
}

// 16 bytes of two nibbles each, the low ones first, looked up in the non-linear table of iq4.
inline void table_values(const uint8_t* from, float d, float* out) {
    const Sixteen nibbles = load_sixteen(from), low = nibbles & 15, top = nibbles >> 4;
#if defined(__AVX2__)
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kvalues_iq4nl));
    scale_sixteen(reinterpret_cast<Sixteen>(_mm_shuffle_epi8(table, reinterpret_cast<__m128i>(low))), d, out);
    scale_sixteen(reinterpret_cast<Sixteen>(_mm_shuffle_epi8(table, reinterpret_cast<__m128i>(top))), d, out + 16);
#else
    for (int j = 0; j < 16; j++) {
        out[j] = d * static_cast<float>(kvalues_iq4nl[low[j]]);
        out[j + 16] = d * static_cast<float>(kvalues_iq4nl[top[j]]);
    }
#endif
}

void unpack_iq4_nl(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 32, from += sizeof(block_iq4_nl), out += 32) table_values(from + 2, from_half(from), out);
}

void unpack_iq4_xs(const uint8_t* from, int64_t count, float* out) {
    for (int64_t b = 0; b < count; b += 256, from += sizeof(block_iq4_xs)) {
        block_iq4_xs block;
        std::memcpy(&block, from, sizeof block);
        const float d = from_half(from);
        for (int part = 0; part < 8; part++, out += 32) {
            const int scale = (block.scales_l[part / 2] >> 4 * (part % 2) & 15) | (block.scales_h >> 2 * part & 3) << 4;
            table_values(block.qs + 16 * part, d * static_cast<float>(scale - 32), out);
        }
    }
}

void unpack_q1_0(const uint8_t* from, int64_t count, float* __restrict out) {
    for (int64_t b = 0; b < count; b += QK1_0, from += sizeof(block_q1_0), out += QK1_0) {
        const float d = from_half(from);
        uint32_t plus;
        std::memcpy(&plus, &d, sizeof plus);
        for (int i = 0; i < QK1_0 / 8; i++) {
            uint32_t bits[8];
            for (int j = 0; j < 8; j++) bits[j] = plus ^ (~(static_cast<uint32_t>(from[2 + i]) << (31 - j)) & 0x80000000u);
            std::memcpy(out + 8 * i, bits, sizeof bits);
        }
    }
}

}  // namespace
}  // namespace KERNEL_VARIANT
}  // namespace stillroom
