// A 64-byte aligned array of floats that grows and is never zeroed; room for one vector beyond the end may be read.
#pragma once
#include <sys/mman.h>

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
    ~Buffer() { release(); }

    // At least count floats; what was inside is lost when it grows.
    float* reserve(int64_t count) {
        if (count > capacity) {
            release();
            // The allocator has a heap for each of Node's workers, and a step runs on any of them: what one freed for a longer step the others cannot
            // use. So large ones are the system's, and go back to it.
            const size_t size = bytes(count);
            if (size < mapped) pointer = static_cast<float*>(std::aligned_alloc(64, size));
            else if (void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); memory != MAP_FAILED)
                pointer = static_cast<float*>(memory);
            if (!pointer) throw std::bad_alloc();
            capacity = count;
        }
        return pointer;
    }
    float* data() const { return pointer; }
    int64_t size() const { return capacity; }

   private:
    static constexpr size_t mapped = size_t{256} << 10;  // from so many bytes on
    static size_t bytes(int64_t count) { return (static_cast<size_t>(count) * sizeof(float) + 64 + 63) / 64 * 64; }
    void release() {
        if (pointer && bytes(capacity) >= mapped) munmap(pointer, bytes(capacity));
        else std::free(pointer);
        pointer = nullptr;
        capacity = 0;
    }
    float* pointer = nullptr;
    int64_t capacity = 0;
};

}  // namespace stillroom
