// Rows packed without padding as a forest of segments in depth-first order (see NativeBatch in src/support/native.ts).
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/taught.h"

namespace stillroom {

struct Segment {
    int32_t start;   // first token
    int32_t length;  // tokens
    int32_t parent;  // index, or -1; always smaller than its own index
};

// Some of a batch's tokens as rows of a matrix: row i stands at tokens[i], rising; at i where tokens is null, and then they are all.
struct Rows {
    int64_t count = 0;
    const int32_t* tokens = nullptr;
    int64_t token(int64_t row) const { return tokens ? tokens[row] : row; }
    // The first row at that token or behind it.
    int64_t from(int64_t token) const { return tokens ? std::lower_bound(tokens, tokens + count, token) - tokens : token; }
};

struct Batch {
    std::vector<int32_t> tokens;           // (T)
    std::vector<Segment> segments;         // (S) depth-first, covering tokens without gaps
    std::vector<int32_t> query_positions;  // (Q)
    std::vector<int32_t> query_tokens;     // (Q)
    Taught taught;                         // of the queries, where a teacher was asked
    std::vector<float> targets;            // (Q) class or number that a task's own head (answer_head) should give, of sigmoid (Q, K) 0 or 1; empty without one

    // Derived by check(): position of each token on its path, and for each segment one past its last descendant's token.
    std::vector<int32_t> positions;     // (T)
    std::vector<int32_t> subtree_ends;  // (S)
    std::vector<int32_t> roots;         // index of each root segment

    // Failure(usage) unless every index is in range and the order is depth-first; fills the derived fields.
    void check(int64_t vocabulary, int64_t context_length);
};

}  // namespace stillroom
