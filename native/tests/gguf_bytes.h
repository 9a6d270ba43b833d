// Builds the bytes of a GGUF for the native tests, right or wrong as the test wants them.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace stillroom::testing {

struct Bytes {
    std::string data;

    template <typename T>
    Bytes& put(T value) {
        data.append(reinterpret_cast<const char*>(&value), sizeof(T));
        return *this;
    }
    Bytes& u32(uint32_t value) { return put(value); }
    Bytes& u64(uint64_t value) { return put(value); }
    Bytes& text(std::string_view value) {
        u64(value.size());
        data.append(value);
        return *this;
    }
    Bytes& header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
        data += "GGUF";
        return u32(version).u64(tensors).u64(keys);
    }
    Bytes& tensor(std::string_view name, const std::vector<int64_t>& shape, uint32_t type, uint64_t offset) {
        text(name).u32(static_cast<uint32_t>(shape.size()));
        for (const int64_t size : shape) put(size);
        return u32(type).u64(offset);
    }
    Bytes& pad(size_t alignment = 32) {
        while (data.size() % alignment != 0) data += '\0';
        return *this;
    }
    const uint8_t* begin() const { return reinterpret_cast<const uint8_t*>(data.data()); }
};

}  // namespace stillroom::testing
