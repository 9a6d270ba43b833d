// AdamW's two moments of a flat array of weights: in f32, or in 8 bits a value with a scale for each block of 256 (docs/numerics.md).
// Knows how they are stored; not what a step does with them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace stillroom {

// One block of values in 8 bits. Rounded to the value above or below at random, so that the mean over many steps is right: a step changes
// the second moment by a thousandth, of which rounding to the nearest would make nothing at all.
struct Block8 {
    static constexpr int64_t size = 256;
    // Of any sign: 7 bits of magnitude. draw: what is drawn for this block and step.
    static float pack_signed(const float* values, uint32_t draw, uint8_t* codes);
    static void unpack_signed(const uint8_t* codes, float scale, float* values);
    // At least 0: 8 bits of magnitude. What is not 0 does not become 0, for the step divides by its root.
    static float pack_positive(const float* values, uint32_t draw, uint8_t* codes);
    static void unpack_positive(const uint8_t* codes, float scale, float* values);
};

class Moments {
   public:
    Moments(int64_t size, bool eight_bits);

    // Calls body(begin, count, first, second) over [begin, end) with both moments in f32, and stores what it leaves there. begin: a multiple
    // of Block8::size; step: chooses what is drawn.
    template <typename Body>
    void update(int64_t begin, int64_t end, int64_t step, Body body);

    // Where they lie, in order.
    struct Piece {
        uint8_t* data;
        int64_t size;
    };
    std::vector<Piece> pieces();

   private:
    static uint32_t draw(int64_t step, int64_t block);
    const int64_t size;
    const bool eight_bits;
    std::vector<float> first, second;  // (size) in f32, else (blocks) the scales
    std::vector<uint8_t> first_codes, second_codes;
};

template <typename Body>
void Moments::update(int64_t begin, int64_t end, int64_t step, Body body) {
    if (!eight_bits) return body(begin, end - begin, first.data() + begin, second.data() + begin);
    alignas(64) float m[Block8::size], v[Block8::size];
    for (int64_t at = begin; at < end; at += Block8::size) {
        const int64_t block = at / Block8::size;
        uint8_t *m_codes = first_codes.data() + at, *v_codes = second_codes.data() + at;
        Block8::unpack_signed(m_codes, first[block], m);
        Block8::unpack_positive(v_codes, second[block], v);
        body(at, std::min(Block8::size, end - at), m, v);
        const uint32_t drawn = draw(step, block);
        first[block] = Block8::pack_signed(m, drawn, m_codes);
        second[block] = Block8::pack_positive(v, drawn ^ 0x5bd1e995, v_codes);
    }
}

}  // namespace stillroom
