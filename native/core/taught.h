// What a teacher says about the next token at each query: its most likely tokens, packed, and the mass of all others. Knows no model.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace stillroom {

// 4 bytes: a token in the upper 18 bits, -ln p in steps of 1/512 in the lower 14 (up to 31.998). Nothing: all bits set.
constexpr int taught_code_bits = 14;
constexpr double taught_steps = 512;
constexpr uint32_t taught_nothing = UINT32_MAX;
constexpr int64_t taught_vocabulary = int64_t{1} << (32 - taught_code_bits);

inline int32_t taught_token(uint32_t entry) { return static_cast<int32_t>(entry >> taught_code_bits); }
inline uint32_t taught_entry(int32_t token, double log_probability) {
    constexpr double most = (1 << taught_code_bits) - 1;
    const double code = std::min(std::max(std::round(-log_probability * taught_steps), 0.0), most);
    return static_cast<uint32_t>(token) << taught_code_bits | static_cast<uint32_t>(code);
}
inline double taught_log(uint32_t entry) { return -static_cast<double>(entry & ((1u << taught_code_bits) - 1)) / taught_steps; }

struct Taught {
    int64_t top_k = 0;              // 0: no teacher
    std::vector<uint32_t> entries;  // (Q, top_k) the most likely first; nothing behind the last
    std::vector<float> tails;       // (Q) mass of all tokens that stand in no entry

    // Failure(usage) unless there is one for each query, with tokens of the vocabulary and tails from 0 to 1.
    void check(int64_t queries, int64_t vocabulary) const;
};

class Graph;
struct Batch;
struct Kernels;

// Packs softmax(logits / temperature) of one position. Of one thread.
class TopEntries {
   public:
    // Failure(usage) for a vocabulary that an entry has no room for, top_k below 1, or a temperature that is no positive number.
    TopEntries(const Kernels& kernels, int64_t vocabulary, int64_t top_k, float temperature);
    // logits (vocabulary), entries (top_k), one tail.
    void take(const float* logits, uint32_t* entries, float* tail);

   private:
    const Kernels& kernels;
    const int64_t vocabulary, top_k;
    const float temperature;
    std::vector<int32_t> best;
    std::vector<float> work;  // (vocabulary)
};

// What the model says at each query, after graph.forward().
Taught teach(Graph& graph, const Batch& batch, int64_t top_k, float temperature);

}  // namespace stillroom
