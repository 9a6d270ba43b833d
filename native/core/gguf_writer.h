// Writes a GGUF v3: metadata, tensor table, then the tensors' data as the caller streams it. Our own, because ggml's writer
// cuts strings at NUL bytes and aborts on what it dislikes. Knows the layout; not what adapters and models hold.
#pragma once
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"
#include "core/gguf_file.h"

namespace stillroom {

class GgufWriter {
   public:
    // Writes exactly the tensor's bytes to the file.
    using Source = std::function<void(AtomicFile&)>;

    void text(std::string_view key, std::string_view value);
    void u32(std::string_view key, uint32_t value);
    void f32(std::string_view key, float value);
    void i32s(std::string_view key, const std::vector<int32_t>& values);
    // The elements at these places of another file's array, byte for byte.
    void copy_elements(const GgufFile& from, std::string_view key, const std::vector<int32_t>& places);
    // A beginning of keys, and what takes its place.
    struct Prefix {
        std::string from, to;
    };
    // All metadata of another file, byte for byte, but for these keys; its alignment with it.
    void copy_metadata(const GgufFile& from, const std::set<std::string, std::less<>>& except = {}, const Prefix& prefix = {});
    // shape: ggml's ne, the contiguous dimension first.
    void tensor(const std::string& name, ggml_type type, const std::vector<int64_t>& shape, Source source);
    // Atomically; tensors in the order in which they were given.
    void write(const std::string& path) const;

   private:
    struct Entry {
        std::string name;
        ggml_type type;
        std::vector<int64_t> shape;
        size_t bytes;
        Source source;
    };
    std::string metadata;
    uint64_t metadata_count = 0;
    size_t alignment = 32;
    std::vector<Entry> entries;
};

}  // namespace stillroom
