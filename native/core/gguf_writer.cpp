// GGUF v3 byte by byte: header in memory, tensor data streamed.
#include "core/gguf_writer.h"

#include "core/failure.h"

namespace stillroom {

namespace {

constexpr uint32_t type_u32 = 4, type_i32 = 5, type_f32 = 6, type_text = 8, type_array = 9;

template <typename T>
void put(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof(T));
}
void put_text(std::string& to, std::string_view value) {
    put<uint64_t>(to, value.size());
    to.append(value);
}
size_t padding(size_t at, size_t alignment) { return (alignment - at % alignment) % alignment; }

}  // namespace

void GgufWriter::text(std::string_view key, std::string_view value) {
    put_text(metadata, key);
    put(metadata, type_text);
    put_text(metadata, value);
    ++metadata_count;
}

void GgufWriter::u32(std::string_view key, uint32_t value) {
    put_text(metadata, key);
    put(metadata, type_u32);
    put(metadata, value);
    ++metadata_count;
}

void GgufWriter::f32(std::string_view key, float value) {
    put_text(metadata, key);
    put(metadata, type_f32);
    put(metadata, value);
    ++metadata_count;
}

void GgufWriter::i32s(std::string_view key, const std::vector<int32_t>& values) {
    put_text(metadata, key);
    put(metadata, type_array);
    put(metadata, type_i32);
    put<uint64_t>(metadata, values.size());
    metadata.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int32_t));
    ++metadata_count;
}

void GgufWriter::copy_elements(const GgufFile& from, std::string_view key, const std::vector<int32_t>& places) {
    const auto elements = from.elements(key);
    put_text(metadata, key);
    put(metadata, type_array);
    put(metadata, from.element_type(key));
    put<uint64_t>(metadata, places.size());
    for (const int32_t place : places) metadata.append(elements[place]);
    ++metadata_count;
}

void GgufWriter::copy_metadata(const GgufFile& from, const std::set<std::string, std::less<>>& except, const Prefix& prefix) {
    for (const GgufEntry& entry : from.entries()) {
        if (except.count(entry.key)) continue;
        const bool renamed = entry.key.substr(0, prefix.from.size()) == prefix.from;
        put_text(metadata, renamed ? prefix.to + std::string(entry.key.substr(prefix.from.size())) : std::string(entry.key));
        metadata.append(entry.bytes.substr(sizeof(uint64_t) + entry.key.size()));
        ++metadata_count;
    }
    alignment = from.alignment();
}

void GgufWriter::tensor(const std::string& name, ggml_type type, const std::vector<int64_t>& shape, Source source) {
    if (name.empty() || name.size() >= GGML_MAX_NAME) throw Failure(Code::usage, "tensor name \"" + name + "\": expected 1 to 63 bytes");
    size_t bytes = ggml_row_size(type, shape[0]);
    for (size_t i = 1; i < shape.size(); ++i) bytes *= static_cast<size_t>(shape[i]);
    entries.push_back({name, type, shape, bytes, std::move(source)});
}

void GgufWriter::write(const std::string& path) const {
    std::string header = "GGUF";
    put<uint32_t>(header, 3);
    put<uint64_t>(header, entries.size());
    put<uint64_t>(header, metadata_count);
    header += metadata;
    size_t offset = 0;
    for (const Entry& entry : entries) {
        put_text(header, entry.name);
        put<uint32_t>(header, static_cast<uint32_t>(entry.shape.size()));
        for (const int64_t size : entry.shape) put(header, size);
        put<uint32_t>(header, entry.type);
        put<uint64_t>(header, offset);
        offset += entry.bytes + padding(entry.bytes, alignment);
    }
    header.append(padding(header.size(), alignment), '\0');

    AtomicFile file(path);
    file.write(header.data(), header.size());
    for (const Entry& entry : entries) {
        const size_t before = file.written();
        entry.source(file);
        if (file.written() - before != entry.bytes) throw Failure(Code::internal, path + ": tensor " + entry.name + " was written with a wrong size");
        file.zeros(padding(entry.bytes, alignment));
    }
    file.commit();
}

}  // namespace stillroom
