// Parses a GGUF header out of a mapping. Every number is checked against the bytes that are there before it is used;
// what we accept, ggml's own reader accepts too (which aborts or throws on some of what we refuse).
#include "core/gguf_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "core/failure.h"

namespace stillroom {

namespace {

// GGUF's value types by their number in the file.
enum ValueType : uint32_t { U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64 };
constexpr const char* value_names[] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};
constexpr uint32_t value_sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // 0: not fixed

// ggml's reader compares every name with every other; more than this would stall it. Real files hold a few thousand.
constexpr uint64_t most_entries = 1 << 16;
constexpr size_t default_alignment = 32;
constexpr size_t least_alignment = 8;  // the strictest scalar in any ggml type

struct Value {
    ValueType type;
    ValueType element;   // of an array
    uint64_t count;      // of an array
    const uint8_t* at;   // first byte of the value, or of the first element
};

// Text from the file in a message: short, and without control characters.
std::string quoted(std::string_view text) {
    std::string result = "\"";
    for (const char c : text.substr(0, 60)) result += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
    return result + (text.size() > 60 ? "…\"" : "\"");
}

struct GgufReader {
    const std::string& name;
    const uint8_t* data;
    size_t size;
    size_t at = 0;

    [[noreturn]] void fail(const std::string& message) const {
        throw Failure(Code::input, name + ": not a valid GGUF at byte " + std::to_string(at) + ": " + message);
    }
    size_t rest() const { return size - at; }

    template <typename T>
    T read(const char* what) {
        if (rest() < sizeof(T)) fail(std::string("the file ends within ") + what);
        T value;
        std::memcpy(&value, data + at, sizeof(T));
        at += sizeof(T);
        return value;
    }
    std::string_view text(const char* what) {
        const auto length = read<uint64_t>(what);
        if (length > rest()) fail(std::string(what) + " of " + std::to_string(length) + " bytes runs past the end of the file");
        const std::string_view result(reinterpret_cast<const char*>(data + at), length);
        at += length;
        return result;
    }
    ValueType type(std::string_view key) {
        const auto number = read<uint32_t>("a value type");
        if (number > F64) fail("key " + quoted(key) + " has the unknown type " + std::to_string(number));
        return static_cast<ValueType>(number);
    }
    void skip(ValueType type, uint64_t count, std::string_view key) {
        if (type == TEXT) {
            // Each string takes 8 bytes at least, so the loop is bounded by the file.
            if (count > rest() / 8) fail("key " + quoted(key) + " has more strings than the file can hold");
            for (uint64_t i = 0; i < count; ++i) text("a string");
            return;
        }
        if (count > rest() / value_sizes[type]) fail("the value of key " + quoted(key) + " runs past the end of the file");
        at += count * value_sizes[type];
    }
};

template <typename T>
T load(const uint8_t* from) {
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
}

bool is_integer(ValueType type) { return type <= I32 || type == U64 || type == I64; }

// nullopt when a u64 does not fit.
std::optional<int64_t> load_integer(ValueType type, const uint8_t* from) {
    switch (type) {
        case U8: return load<uint8_t>(from);
        case I8: return load<int8_t>(from);
        case U16: return load<uint16_t>(from);
        case I16: return load<int16_t>(from);
        case U32: return load<uint32_t>(from);
        case I32: return load<int32_t>(from);
        case BOOL: return load<uint8_t>(from) != 0;
        case I64: return load<int64_t>(from);
        case U64: {
            const auto value = load<uint64_t>(from);
            if (value > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
            return static_cast<int64_t>(value);
        }
        default: return std::nullopt;
    }
}

}  // namespace

struct GgufFile::Contents {
    std::string path;
    const uint8_t* data = nullptr;
    size_t size = 0;
    bool mapped = false;
    size_t alignment = default_alignment;
    std::map<std::string_view, Value> values;  // keys point into the file
    std::vector<GgufEntry> entries;
    std::vector<GgufTensor> tensors;
    std::map<std::string_view, size_t> by_name;  // keys point into tensors

    ~Contents() {
        if (mapped) munmap(const_cast<uint8_t*>(data), size);
    }

    void parse() {
        GgufReader reader{path, data, size};
        if (size < 4 || std::memcmp(data, "GGUF", 4) != 0) reader.fail("expected the magic \"GGUF\"");
        reader.at = 4;
        const auto version = reader.read<uint32_t>("the version");
        if ((version & 0xffff) == 0 && version != 0) reader.fail("the file is big-endian, or its version is damaged");
        if (version != 2 && version != 3) reader.fail("expected version 2 or 3, found " + std::to_string(version));
        const auto tensor_count = reader.read<uint64_t>("the tensor count");
        const auto value_count = reader.read<uint64_t>("the key count");
        if (tensor_count > most_entries) reader.fail("more than " + std::to_string(most_entries) + " tensors: " + std::to_string(tensor_count));
        if (value_count > most_entries) reader.fail("more than " + std::to_string(most_entries) + " keys: " + std::to_string(value_count));

        for (uint64_t i = 0; i < value_count; ++i) parse_value(reader);
        parse_alignment(reader);
        std::vector<uint64_t> offsets;
        for (uint64_t i = 0; i < tensor_count; ++i) offsets.push_back(parse_tensor(reader));
        place_tensors(reader, offsets);
    }

    void parse_value(GgufReader& reader) {
        const size_t start = reader.at;
        const std::string_view key = reader.text("a key");
        if (key.empty()) reader.fail("a key is empty");
        Value value{reader.type(key), U8, 1, nullptr};
        if (value.type == ARRAY) {
            value.element = reader.type(key);
            if (value.element == ARRAY) reader.fail("key " + quoted(key) + " is an array of arrays");
            value.count = reader.read<uint64_t>("an array's length");
        }
        value.at = data + reader.at;
        reader.skip(value.type == ARRAY ? value.element : value.type, value.count, key);
        if (!values.emplace(key, value).second) reader.fail("key " + quoted(key) + " stands twice");
        entries.push_back({key, {reinterpret_cast<const char*>(data + start), reader.at - start}});
    }

    void parse_alignment(const GgufReader& reader) {
        const auto found = values.find("general.alignment");
        if (found == values.end()) return;
        if (found->second.type != U32) reader.fail("expected a u32 for general.alignment, found " + std::string(value_names[found->second.type]));
        alignment = load<uint32_t>(found->second.at);
        if (alignment < least_alignment || (alignment & (alignment - 1)) != 0)
            reader.fail("expected a power of two of at least 8 for general.alignment, found " + std::to_string(alignment));
    }

    // Returns the offset that the file gives for the data.
    uint64_t parse_tensor(GgufReader& reader) {
        const std::string_view name = reader.text("a tensor name");
        if (name.empty() || name.size() >= GGML_MAX_NAME) reader.fail("a tensor name has " + std::to_string(name.size()) + " bytes, expected 1 to 63");
        if (name.find('\0') != name.npos) reader.fail("a tensor name holds a NUL byte");
        GgufTensor tensor{std::string(name), GGML_TYPE_F32, {1, 1, 1, 1}, 0, 0, nullptr};
        const auto dimensions = reader.read<uint32_t>("a tensor's number of dimensions");
        if (dimensions < 1 || dimensions > GGML_MAX_DIMS)
            reader.fail("tensor " + quoted(name) + " has " + std::to_string(dimensions) + " dimensions, expected 1 to 4");
        tensor.dimensions = static_cast<int>(dimensions);
        int64_t elements = 1;
        for (uint32_t i = 0; i < dimensions; ++i) {
            tensor.shape[i] = reader.read<int64_t>("a tensor's shape");
            if (tensor.shape[i] < 1) reader.fail("tensor " + quoted(name) + " has a dimension of " + std::to_string(tensor.shape[i]));
            if (__builtin_mul_overflow(elements, tensor.shape[i], &elements)) reader.fail("the shape of tensor " + quoted(name) + " overflows");
        }
        const auto type = reader.read<uint32_t>("a tensor's type");
        if (type >= GGML_TYPE_COUNT || ggml_blck_size(static_cast<ggml_type>(type)) == 0 || ggml_type_size(static_cast<ggml_type>(type)) == 0)
            reader.fail("tensor " + quoted(name) + " has the unknown type " + std::to_string(type));
        tensor.type = static_cast<ggml_type>(type);
        const int64_t block = ggml_blck_size(tensor.type);
        if (tensor.shape[0] % block != 0)
            reader.fail("tensor " + quoted(name) + " has rows of " + std::to_string(tensor.shape[0]) + " values, which is no multiple of the " +
                        std::to_string(block) + " in a block of " + ggml_type_name(tensor.type));
        if (__builtin_mul_overflow(static_cast<size_t>(elements / block), ggml_type_size(tensor.type), &tensor.bytes))
            reader.fail("the size of tensor " + quoted(name) + " overflows");
        const auto offset = reader.read<uint64_t>("a tensor's offset");
        tensors.push_back(std::move(tensor));
        return offset;
    }

    // As in ggml: the data follows in the order of the tensors, each padded to the alignment, without gaps.
    void place_tensors(GgufReader& reader, const std::vector<uint64_t>& offsets) {
        for (size_t i = 0; i < tensors.size(); ++i)
            if (!by_name.emplace(tensors[i].name, i).second) reader.fail("tensor " + quoted(tensors[i].name) + " stands twice");
        if (tensors.empty()) return;
        const size_t padding = (alignment - reader.at % alignment) % alignment;
        if (padding > reader.rest()) reader.fail("the file ends before the tensor data");
        reader.at += padding;
        const size_t start = reader.at;
        for (size_t i = 0; i < tensors.size(); ++i) {
            GgufTensor& tensor = tensors[i];
            if (offsets[i] != reader.at - start)
                reader.fail("tensor " + quoted(tensor.name) + " has the data offset " + std::to_string(offsets[i]) + ", expected " +
                            std::to_string(reader.at - start));
            if (tensor.bytes > reader.rest()) reader.fail("the data of tensor " + quoted(tensor.name) + " runs past the end of the file");
            tensor.data = data + reader.at;
            reader.at += tensor.bytes;
            const size_t gap = (alignment - (reader.at - start) % alignment) % alignment;
            reader.at += std::min(gap, reader.rest());  // the last tensor may lack its padding
        }
    }

    const Value* value(std::string_view key) const {
        const auto found = values.find(key);
        return found == values.end() ? nullptr : &found->second;
    }
    [[noreturn]] void mismatch(const char* expected, std::string_view key, const Value& found) const {
        std::string name = value_names[found.type];
        if (found.type == ARRAY) name += std::string(" of ") + value_names[found.element];
        throw Failure(Code::input, path + ": expected " + expected + " for " + std::string(key) + ", found " + name);
    }
};

std::vector<TensorType> tensor_types(const GgufFile& file) {
    std::vector<TensorType> types;
    for (const GgufTensor& tensor : file.tensors()) types.emplace_back(tensor.name, ggml_type_name(tensor.type));
    return types;
}

std::optional<ggml_type> type_named(std::string_view name) {
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const auto type = static_cast<ggml_type>(t);
        const char* known = ggml_type_name(type);
        if (known && name == known && (type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float)) return type;
    }
    return std::nullopt;
}

void GgufTensor::read_row(int64_t row, float* to) const {
    const size_t row_bytes = ggml_row_size(type, shape[0]);
    const uint8_t* from = data + row * row_bytes;
    if (type == GGML_TYPE_F32) std::memcpy(to, from, row_bytes);
    else ggml_get_type_traits(type)->to_float(from, to, shape[0]);
}

GgufFile::GgufFile() : contents(std::make_unique<Contents>()) {}
GgufFile::~GgufFile() = default;

void GgufFile::hand_back() const {
    if (contents->mapped) madvise(const_cast<uint8_t*>(contents->data), contents->size, MADV_DONTNEED);
}

std::shared_ptr<const GgufFile> GgufFile::open(const std::string& path) {
    std::shared_ptr<GgufFile> file(new GgufFile());
    Contents& contents = *file->contents;
    contents.path = path;
    // O_NONBLOCK: a named pipe must not hang us; it is refused below.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) throw Failure(Code::io, path + ": cannot be opened: " + std::strerror(errno));
    struct stat status {};
    const bool regular = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    void* mapping = MAP_FAILED;
    if (regular && status.st_size > 0) mapping = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, descriptor, 0);
    const int error = errno;
    ::close(descriptor);
    if (!regular) throw Failure(Code::input, path + ": expected a file");
    if (status.st_size == 0) throw Failure(Code::input, path + ": the file is empty");
    if (mapping == MAP_FAILED) throw Failure(Code::io, path + ": cannot be mapped: " + std::strerror(error));
    contents.data = static_cast<const uint8_t*>(mapping);
    contents.size = static_cast<size_t>(status.st_size);
    contents.mapped = true;
    contents.parse();
    return file;
}

std::shared_ptr<const GgufFile> GgufFile::parse(const std::string& name, const uint8_t* data, size_t size) {
    std::shared_ptr<GgufFile> file(new GgufFile());
    file->contents->path = name;
    file->contents->data = data;
    file->contents->size = size;
    file->contents->parse();
    return file;
}

const std::string& GgufFile::path() const { return contents->path; }
size_t GgufFile::file_bytes() const { return contents->size; }
size_t GgufFile::alignment() const { return contents->alignment; }
const std::vector<GgufTensor>& GgufFile::tensors() const { return contents->tensors; }
const std::vector<GgufEntry>& GgufFile::entries() const { return contents->entries; }
bool GgufFile::has(std::string_view key) const { return contents->value(key) != nullptr; }

const GgufTensor* GgufFile::find(std::string_view name) const {
    const auto found = contents->by_name.find(name);
    return found == contents->by_name.end() ? nullptr : &contents->tensors[found->second];
}

const GgufTensor& GgufFile::require(std::string_view name) const {
    const GgufTensor* tensor = find(name);
    if (!tensor) throw Failure(Code::input, contents->path + ": tensor " + std::string(name) + " is missing");
    return *tensor;
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) return std::nullopt;
    const auto result = is_integer(value->type) ? load_integer(value->type, value->at) : std::nullopt;
    if (!result) contents->mismatch("an integer below 2^63", key, *value);
    return result;
}

std::optional<double> GgufFile::number(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) return std::nullopt;
    if (value->type == F32) return load<float>(value->at);
    if (value->type == F64) return load<double>(value->at);
    if (!is_integer(value->type)) contents->mismatch("a number", key, *value);
    return static_cast<double>(*integer(key));
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) return std::nullopt;
    if (value->type != BOOL) contents->mismatch("a boolean", key, *value);
    return *value->at != 0;
}

std::optional<std::string> GgufFile::text(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) return std::nullopt;
    if (value->type != TEXT) contents->mismatch("a string", key, *value);
    return std::string(reinterpret_cast<const char*>(value->at + 8), load<uint64_t>(value->at));
}

std::optional<size_t> GgufFile::array_length(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) return std::nullopt;
    if (value->type != ARRAY) contents->mismatch("an array", key, *value);
    return value->count;
}

std::optional<std::vector<int64_t>> GgufFile::integers(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) return std::nullopt;
    if (value->type != ARRAY || !(is_integer(value->element) || value->element == BOOL)) contents->mismatch("an array of integers", key, *value);
    std::vector<int64_t> result(value->count);
    for (uint64_t i = 0; i < value->count; ++i) {
        const auto item = load_integer(value->element, value->at + i * value_sizes[value->element]);
        if (!item) contents->mismatch("integers below 2^63", key, *value);
        result[i] = *item;
    }
    return result;
}

std::optional<std::vector<double>> GgufFile::numbers(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) return std::nullopt;
    if (value->type != ARRAY || (value->element != F32 && value->element != F64)) contents->mismatch("an array of floats", key, *value);
    std::vector<double> result(value->count);
    for (uint64_t i = 0; i < value->count; ++i) {
        const uint8_t* at = value->at + i * value_sizes[value->element];
        result[i] = value->element == F32 ? load<float>(at) : load<double>(at);
    }
    return result;
}

uint32_t GgufFile::element_type(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) throw Failure(Code::input, contents->path + ": expected " + std::string(key) + " in the metadata, found none");
    if (value->type != ARRAY) contents->mismatch("an array", key, *value);
    return value->element;
}

std::vector<std::string_view> GgufFile::elements(std::string_view key) const {
    const uint32_t type = element_type(key);
    const Value& value = *contents->value(key);
    std::vector<std::string_view> result;
    result.reserve(value.count);
    const uint8_t* at = value.at;
    for (uint64_t i = 0; i < value.count; ++i) {
        const size_t bytes = type == TEXT ? 8 + load<uint64_t>(at) : value_sizes[type];
        result.emplace_back(reinterpret_cast<const char*>(at), bytes);
        at += bytes;
    }
    return result;
}

std::optional<std::vector<std::string>> GgufFile::texts(std::string_view key) const {
    const Value* value = contents->value(key);
    if (!value) return std::nullopt;
    if (value->type != ARRAY || value->element != TEXT) contents->mismatch("an array of strings", key, *value);
    std::vector<std::string> result;
    result.reserve(value->count);
    const uint8_t* at = value->at;
    for (uint64_t i = 0; i < value->count; ++i) {
        const auto length = load<uint64_t>(at);
        result.emplace_back(reinterpret_cast<const char*>(at + 8), length);
        at += 8 + length;
    }
    return result;
}

}  // namespace stillroom
