// The 8-bit code: a floating-point number of 3 bits of mantissa, relative to the block's largest value. 1 is added before the bits of an f32
// are cut off, and taken away again, so that the code is linear near 0 and 0 is 0.
#include "core/moments.h"

#include <cfloat>
#include <cmath>
#include <cstring>

namespace stillroom {

namespace {

constexpr uint32_t one = 0x3f800000, cut = 20;  // the bits of 1.0f; those that a code lacks
// The value of the highest code: 1.875 * 2^15 - 1 of 7 bits, 1.875 * 2^31 - 1 of 8.
constexpr float top_signed = 61439.0f, top_positive = 4026531839.0f;

uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

float largest(const float* values) {
    float lanes[8] = {};
    for (int64_t i = 0; i < Block8::size; i += 8)
        for (int j = 0; j < 8; j++) {
            const float value = std::fabs(values[i + j]);
            lanes[j] = value > lanes[j] ? value : lanes[j];
        }
    return *std::max_element(lanes, lanes + 8);
}

// murmur3's finaliser over a Weyl sequence: 20 bits for element i.
uint32_t random_bits(uint32_t draw, uint32_t i) {
    uint32_t x = draw + i * 0x9e3779b9;
    x = (x ^ (x >> 16)) * 0x85ebca6b;
    x = (x ^ (x >> 13)) * 0xc2b2ae35;
    return (x ^ (x >> 16)) >> (32 - cut);
}

// Codes of |values| / scale up to `most`; signs in bit 7 where asked for.
template <uint32_t most, bool with_sign>
float pack(const float* values, float top, uint32_t draw, uint8_t* codes) {
    const float scale = largest(values) / top;
    if (!(scale >= FLT_MIN)) {
        std::fill(codes, codes + Block8::size, uint8_t{0});
        return 0;
    }
    const float factor = 1.0f / scale;
    for (int64_t i = 0; i < Block8::size; i++) {
        const float magnitude = std::fabs(values[i]);
        uint32_t code = (bits_of(magnitude * factor + 1.0f) - one + random_bits(draw, static_cast<uint32_t>(i))) >> cut;
        code = code > most ? most : code;
        if (!with_sign) code += code == 0 && magnitude > 0;
        codes[i] = static_cast<uint8_t>(code | (with_sign ? bits_of(values[i]) >> 31 << 7 : 0));
    }
    return scale;
}

}  // namespace

float Block8::pack_signed(const float* values, uint32_t draw, uint8_t* codes) { return pack<127, true>(values, top_signed, draw, codes); }

void Block8::unpack_signed(const uint8_t* codes, float scale, float* values) {
    for (int64_t i = 0; i < size; i++) {
        const uint32_t code = codes[i];
        const float magnitude = (float_of(one + ((code & 127) << cut)) - 1.0f) * scale;
        values[i] = float_of(bits_of(magnitude) | (code >> 7 << 31));
    }
}

float Block8::pack_positive(const float* values, uint32_t draw, uint8_t* codes) { return pack<255, false>(values, top_positive, draw, codes); }

void Block8::unpack_positive(const uint8_t* codes, float scale, float* values) {
    for (int64_t i = 0; i < size; i++) values[i] = (float_of(one + (static_cast<uint32_t>(codes[i]) << cut)) - 1.0f) * scale;
}

Moments::Moments(int64_t count, bool narrow) : size(count), eight_bits(narrow) {
    const int64_t blocks = (size + Block8::size - 1) / Block8::size, values = eight_bits ? blocks : size;
    first.resize(values);
    second.resize(values);
    if (!eight_bits) return;
    first_codes.resize(blocks * Block8::size);  // the last block whole
    second_codes.resize(blocks * Block8::size);
}

uint32_t Moments::draw(int64_t step, int64_t block) {
    uint64_t x = static_cast<uint64_t>(step) * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(block);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;  // splitmix64
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return static_cast<uint32_t>(x ^ (x >> 31));
}

std::vector<Moments::Piece> Moments::pieces() {
    auto piece = [](auto& values) { return Piece{reinterpret_cast<uint8_t*>(values.data()), static_cast<int64_t>(values.size() * sizeof values[0])}; };
    return {piece(first), piece(second), piece(first_codes), piece(second_codes)};
}

}  // namespace stillroom
