// Counter-based random numbers: the same (seed, stream, index) always gives the same bits, on any thread.
#pragma once
#include <cstdint>

namespace stillroom {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
inline uint64_t mix_bits(uint64_t x) {
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

inline uint64_t random_bits(uint64_t seed, uint64_t stream, uint64_t index) { return mix_bits(mix_bits(mix_bits(seed) ^ stream) ^ index); }

// Uniform in [0, 1) with 24 bits.
inline float uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    return static_cast<float>(random_bits(seed, stream, index) >> 40) * (1.0f / 16777216.0f);
}

}  // namespace stillroom
