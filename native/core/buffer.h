// A 64-byte aligned array of floats that grows and is never zeroed; room for one vector beyond the end may be read.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <new>

namespace stillroom {

class Buffer {
   public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&& other) noexcept : pointer(other.pointer), capacity(other.capacity) {
        other.pointer = nullptr;
        other.capacity = 0;
    }
    ~Buffer() { std::free(pointer); }

    // At least count floats; what was inside is lost when it grows.
    float* reserve(int64_t count) {
        if (count > capacity) {
            std::free(pointer);
            capacity = 0;
            const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 64 + 63) / 64 * 64;
            pointer = static_cast<float*>(std::aligned_alloc(64, bytes));
            if (!pointer) throw std::bad_alloc();
            capacity = count;
        }
        return pointer;
    }
    float* data() const { return pointer; }
    int64_t size() const { return capacity; }

   private:
    float* pointer = nullptr;
    int64_t capacity = 0;
};

}  // namespace stillroom
