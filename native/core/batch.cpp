// Checks a batch from outside before any kernel sees it, and derives positions and subtree ends.
#include "core/batch.h"

#include <string>

#include "core/failure.h"

namespace stillroom {

void Batch::check(int64_t vocabulary, int64_t context_length) {
    const int64_t total = static_cast<int64_t>(tokens.size());
    const int64_t count = static_cast<int64_t>(segments.size());
    auto refuse = [](const std::string& message) { throw Failure(Code::usage, "batch: " + message); };
    if (total == 0) refuse("expected at least one token");
    if (query_positions.size() != query_tokens.size()) refuse("queryPositions and queryTokens differ in length");
    for (int64_t t = 0; t < total; t++)
        if (tokens[t] < 0 || tokens[t] >= vocabulary)
            refuse("expected a token below " + std::to_string(vocabulary) + " at " + std::to_string(t) + ", received " + std::to_string(tokens[t]));
    positions.assign(total, 0);
    subtree_ends.assign(count, 0);
    roots.clear();
    int64_t next = 0;
    std::vector<int32_t> depth(count);  // tokens before the segment on its path
    std::vector<int32_t> path;          // open ancestors
    for (int64_t s = 0; s < count; s++) {
        const Segment& segment = segments[s];
        if (segment.start != next || segment.length < 1 || segment.length > total - next)
            refuse("segment " + std::to_string(s) + " does not continue the tokens at " + std::to_string(next));
        while (!path.empty() && path.back() != segment.parent) {
            subtree_ends[path.back()] = segment.start;
            path.pop_back();
        }
        if (segment.parent < -1 || (segment.parent >= 0 && path.empty()))
            refuse("segment " + std::to_string(s) + " is not in depth-first order");
        if (segment.parent < 0) roots.push_back(static_cast<int32_t>(s));
        depth[s] = segment.parent < 0 ? 0 : depth[segment.parent] + segments[segment.parent].length;
        if (depth[s] + segment.length > context_length)
            refuse("a row of " + std::to_string(depth[s] + segment.length) + " tokens is longer than the context of " +
                   std::to_string(context_length));
        for (int32_t i = 0; i < segment.length; i++) positions[segment.start + i] = depth[s] + i;
        path.push_back(static_cast<int32_t>(s));
        next += segment.length;
    }
    if (next != total) refuse("segments cover " + std::to_string(next) + " of " + std::to_string(total) + " tokens");
    for (int32_t open : path) subtree_ends[open] = static_cast<int32_t>(total);
    for (size_t q = 0; q < query_positions.size(); q++) {
        if (query_positions[q] < 0 || query_positions[q] >= total) refuse("query " + std::to_string(q) + " is outside the tokens");
        if (query_tokens[q] < 0 || query_tokens[q] >= vocabulary) refuse("query " + std::to_string(q) + " asks for a token outside the vocabulary");
    }
    if (taught.top_k > 0) taught.check(static_cast<int64_t>(query_tokens.size()), vocabulary);
}

}  // namespace stillroom
