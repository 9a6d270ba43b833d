// What a teacher says about the next token at each query, packed (docs/numerics.md): its most likely tokens, and a draw of the others or their mass. Knows no
// model.
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

// What is kept of the tokens that are not the most likely ones: their mass, or tokens drawn from them by their probability, each for the same mass.
enum class Tail { bucket, sample };

struct Taught {
    int64_t top_k = 0;  // 0: no teacher
    Tail tail = Tail::bucket;
    std::vector<uint32_t> entries;  // (Q, top_k) the most likely first, then those drawn; nothing behind the last
    std::vector<float> tails;       // (Q) bucket: mass of all tokens that stand in no entry; sample: the mass that each drawn one stands for
    int64_t hidden_width = 0;       // of the teacher; 0: its states were not asked for
    std::vector<uint16_t> hidden;   // (Q, hidden_width) its state behind the final norm, in f16

    // Failure(usage) unless there is one for each query, with tokens of the vocabulary, tails from 0 to 1, and states that are finite and not all 0.
    void check(int64_t queries, int64_t vocabulary) const;
};

class Graph;
struct Batch;
struct Kernels;

// What a teacher is asked for.
struct Teaching {
    int64_t top_k;
    float temperature;
    Tail tail;
    bool hidden = false;  // its states, too
};

// (T) A number in [0, 1) for each token of a batch, given by the tokens of its path: the same in any batch.
std::vector<float> draws(const Batch& batch);

// Packs softmax(logits / temperature) of one position. Of one thread.
class TopEntries {
   public:
    // Failure(usage) for a vocabulary that an entry has no room for, top_k below 1, or a temperature that is no positive number.
    TopEntries(const Kernels& kernels, int64_t vocabulary, const Teaching& teaching);
    // logits (vocabulary), entries (top_k), one tail. draw: in [0, 1), of a sample.
    void take(const float* logits, float draw, uint32_t* entries, float* tail);

   private:
    void choose(const float* logits);

    const Kernels& kernels;
    const int64_t vocabulary;
    const Teaching teaching;
    std::vector<int32_t> best;   // the most likely tokens in order
    std::vector<double> masses;  // of these, over exp of the highest logit
    std::vector<float> work;     // (vocabulary)
};

// The next state (width) of those that are kept. Failure(input) for one that is not finite in f16, or all 0.
void add_state(Taught& taught, const float* state, int64_t width);

// What the model says at each query, after graph.forward().
Taught teach(Graph& graph, const Batch& batch, const Teaching& teaching);

}  // namespace stillroom
