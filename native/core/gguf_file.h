// A GGUF opened for reading: header parsed and checked by us, tensor data memory-mapped. Refuses to trust any number in the file;
// knows nothing of llama.cpp beyond ggml's table of types.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ggml.h"

namespace stillroom {

// A key with its type and value, as it stands in the file.
struct GgufEntry {
    std::string_view key, bytes;
};

struct GgufTensor {
    std::string name;
    ggml_type type;
    int64_t shape[4];  // ne: shape[0] is the contiguous dimension (in), shape[1] the rows (out); 1 beyond dimensions
    int dimensions;
    size_t bytes;
    const uint8_t* data;  // into the mapping; lives as long as the GgufFile
    int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
    // Dequantises a row of shape[0] values by ggml's routine; of a type that has one.
    void read_row(int64_t row, float* to) const;
};

// ggml's type of that name, such as "q4_K", that can be dequantised; nullopt where there is none.
std::optional<ggml_type> type_named(std::string_view name);

// A matrix and ggml's name of the type that it is to have.
using TensorType = std::pair<std::string, std::string>;

class GgufFile;
// Of every tensor of a file.
std::vector<TensorType> tensor_types(const GgufFile& file);

class GgufFile {
   public:
    // Throws Failure(input) with path and byte offset for anything that is not a well-formed GGUF v2/v3, Failure(io) when unreadable.
    static std::shared_ptr<const GgufFile> open(const std::string& path);
    // The same over bytes that the caller keeps alive; name stands in messages.
    static std::shared_ptr<const GgufFile> parse(const std::string& name, const uint8_t* data, size_t size);
    ~GgufFile();

    // Gives the pages of the mapping back, where all that was needed of them has been copied; what is read again comes from the file again.
    void hand_back() const;

    const std::string& path() const;
    size_t file_bytes() const;
    size_t alignment() const;
    const std::vector<GgufTensor>& tensors() const;
    const GgufTensor* find(std::string_view name) const;     // nullptr when absent
    const GgufTensor& require(std::string_view name) const;  // Failure(input) when absent

    bool has(std::string_view key) const;
    // Failure(input) when the key has another type; nullopt when absent. Any integer type converts when the value fits.
    std::optional<int64_t> integer(std::string_view key) const;
    std::optional<double> number(std::string_view key) const;  // float or integer
    std::optional<bool> boolean(std::string_view key) const;
    std::optional<std::string> text(std::string_view key) const;
    std::optional<size_t> array_length(std::string_view key) const;
    std::optional<std::vector<int64_t>> integers(std::string_view key) const;  // array of integers or booleans
    std::optional<std::vector<double>> numbers(std::string_view key) const;    // array of f32 or f64
    std::optional<std::vector<std::string>> texts(std::string_view key) const;
    // An array's elements as they stand in the file, and the number of their type; Failure(input) when the key is absent or no array.
    std::vector<std::string_view> elements(std::string_view key) const;
    uint32_t element_type(std::string_view key) const;

    // All key-value pairs in the order of the file, for a copy of the metadata.
    const std::vector<GgufEntry>& entries() const;

   private:
    GgufFile();
    struct Contents;
    std::unique_ptr<Contents> contents;
};

}  // namespace stillroom
