// The content of pages: keys and values of every layer, written once and read by whoever owns the page. Knows shapes; no owner.
#pragma once
#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/decode/pages.h"

namespace stillroom {

class KeyValues {
   public:
    KeyValues(int64_t layers, int64_t heads, int64_t head_width) : heads(heads), width(head_width), floats(2 * layers * heads * head_width * Pages::length) {}

    int64_t page_bytes() const { return floats * static_cast<int64_t>(sizeof(float)); }
    // Gives the page memory, unless it has some.
    void reserve(int32_t page) {
        if (page >= static_cast<int32_t>(buffers.size())) buffers.resize(page + 1);
        buffers[page].reserve(floats);
    }
    float* keys(int32_t page, int64_t layer, int64_t head) { return buffers[page].data() + (layer * heads + head) * 2 * Pages::length * width; }  // (D, length)
    float* values(int32_t page, int64_t layer, int64_t head) { return keys(page, layer, head) + Pages::length * width; }                           // (length, D)

   private:
    const int64_t heads, width, floats;
    std::vector<Buffer> buffers;
};

}  // namespace stillroom
