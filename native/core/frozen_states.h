// Hidden states that enter the lowest layer under training, kept from one epoch to the next: what lies below is frozen, so the same tokens
// give the same bits. Knows texts and rows of floats; not what computed them.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "core/batch.h"
#include "core/buffer.h"

namespace stillroom {

class FrozenStates {
   public:
    explicit FrozenStates(int64_t bytes) : room(bytes) {}

    // out (N, width): the states of those of the batch's tokens that are rows; false where one is not kept, and then out is lost.
    bool read(const Batch& batch, Rows rows, int64_t width, float* out);
    // Keeps x (N, width), as far as there is room.
    void write(const Batch& batch, Rows rows, int64_t width, const float* x);
    int64_t bytes() const { return used; }

   private:
    // A token behind all that stands before it on its path, and where segments begin there: attention sums keys by segment, so the same
    // text cut otherwise may differ in its last bits.
    struct Place {
        int32_t node;
        int64_t state;  // row of pages, or -1
    };
    using Key = uint64_t;  // node before it, token, whether a segment begins with it
    bool find(const Batch& batch, bool add);
    float* row(int64_t state, int64_t width) { return pages[state / page_rows].data() + state % page_rows * width; }

    static constexpr int64_t page_rows = 256;
    const int64_t room;
    int64_t used = 0, states = 0;
    std::unordered_map<Key, Place> places;
    std::vector<Place*> found;  // (T) of the batch under way
    std::vector<Buffer> pages;  // (page_rows, width) each
};

}  // namespace stillroom
