// A trie over the texts of all batches, one node a token: what rows share is kept once.
#include "core/frozen_states.h"

#include <algorithm>

namespace stillroom {

// Of the place in the map, with its share of the table.
static constexpr int64_t place_bytes = 64;

// The place of every token of the batch; false where one is missing, unless it may be added and there is room.
bool FrozenStates::find(const Batch& batch, bool add) {
    found.assign(batch.tokens.size(), nullptr);
    for (const Segment& segment : batch.segments) {
        int32_t before = -1;
        if (segment.parent >= 0) {
            const Segment& parent = batch.segments[segment.parent];
            before = found[parent.start + parent.length - 1]->node;
        }
        for (int32_t t = segment.start; t < segment.start + segment.length; t++) {
            const Key key = static_cast<Key>(before + 1) << 32 | static_cast<Key>(batch.tokens[t]) << 1 | (t == segment.start);
            auto place = places.find(key);
            if (place == places.end()) {
                if (!add || used + place_bytes > room) return false;
                place = places.emplace(key, Place{static_cast<int32_t>(places.size()), -1}).first;
                used += place_bytes;
            }
            found[t] = &place->second;
            before = place->second.node;
        }
    }
    return true;
}

bool FrozenStates::read(const Batch& batch, Rows rows, int64_t width, float* out) {
    if (!find(batch, false)) return false;
    for (int64_t r = 0; r < rows.count; r++) {
        const int64_t state = found[rows.token(r)]->state;
        if (state < 0) return false;
        const float* from = row(state, width);
        std::copy(from, from + width, out + r * width);
    }
    return true;
}

void FrozenStates::write(const Batch& batch, Rows rows, int64_t width, const float* x) {
    if (!find(batch, true)) return;
    const int64_t page_bytes = page_rows * width * static_cast<int64_t>(sizeof(float));
    for (int64_t r = 0; r < rows.count; r++) {
        Place& place = *found[rows.token(r)];
        if (place.state >= 0) continue;
        if (states == static_cast<int64_t>(pages.size()) * page_rows) {
            if (used + page_bytes > room) return;
            pages.emplace_back().reserve(page_rows * width);
            used += page_bytes;
        }
        place.state = states++;
        std::copy(x + r * width, x + (r + 1) * width, row(place.state, width));
    }
}

}  // namespace stillroom
