// The GGUF reader: what it reads, and that no wrong number in a file is believed.
#include "core/gguf_file.h"

#include <random>

#include "check.h"
#include "core/failure.h"
#include "gguf_bytes.h"

using namespace stillroom;
using stillroom::testing::Bytes;

namespace {

// Four keys, an f32 matrix of (3 rows, 2 columns) with the values 0 to 5, and a q8_0 row of 32 values.
Bytes good_file() {
    Bytes file;
    file.header(2, 5);
    file.text("general.architecture").u32(8).text("toy");
    file.text("toy.layers").u32(2).put<uint16_t>(7);
    file.text("toy.rate").u32(6).put(0.5f);
    file.text("toy.list").u32(9).u32(5).u64(3).put<int32_t>(-1).put<int32_t>(2).put<int32_t>(3);
    file.text("toy.words").u32(9).u32(8).u64(2).text("a").text("bc");
    file.tensor("matrix", {2, 3}, 0, 0).tensor("row", {32}, 8, 32);
    file.pad();
    for (int i = 0; i < 6; ++i) file.put(static_cast<float>(i));
    file.pad();
    for (int i = 0; i < 34; ++i) file.put<uint8_t>(static_cast<uint8_t>(i));
    return file;
}

bool accepted(const Bytes& file) {
    try {
        GgufFile::parse("test", file.begin(), file.data.size());
        return true;
    } catch (const Failure& failure) {
        CHECK(failure.code == Code::input);
        return false;
    }
}

// A file of one tensor, with as many bytes of data as given.
Bytes one_tensor(const std::vector<int64_t>& shape, uint32_t type, uint64_t offset, size_t bytes) {
    Bytes file;
    file.header(1, 0).tensor("t", shape, type, offset).pad();
    file.data.append(bytes, '\0');
    return file;
}

// A file of one key "k" whose type and value the caller appends.
Bytes one_key() {
    Bytes file;
    file.header(0, 1).text("k");
    return file;
}

}  // namespace

TEST(gguf_reads_values_and_tensors) {
    const Bytes bytes = good_file();
    const auto file = GgufFile::parse("test", bytes.begin(), bytes.data.size());
    CHECK_EQUAL(file->text("general.architecture").value(), "toy");
    CHECK_EQUAL(file->integer("toy.layers").value(), 7);
    CHECK_EQUAL(file->number("toy.layers").value(), 7.0);
    CHECK_EQUAL(file->number("toy.rate").value(), 0.5);
    CHECK(file->integers("toy.list").value() == (std::vector<int64_t>{-1, 2, 3}));
    CHECK(file->texts("toy.words").value() == (std::vector<std::string>{"a", "bc"}));
    CHECK_EQUAL(file->array_length("toy.words").value(), 2u);
    CHECK(!file->integer("absent").has_value());
    CHECK_THROWS(file->integer("toy.rate"), Failure);
    CHECK_THROWS(file->text("toy.layers"), Failure);
    CHECK_THROWS(file->texts("toy.list"), Failure);
    const GgufTensor& matrix = file->require("matrix");
    CHECK_EQUAL(matrix.shape[0], 2);
    CHECK_EQUAL(matrix.shape[1], 3);
    CHECK_EQUAL(matrix.elements(), 6);
    CHECK_EQUAL(reinterpret_cast<const float*>(matrix.data)[5], 5.0f);
    CHECK_EQUAL(file->require("row").bytes, 34u);
    CHECK_EQUAL(file->require("row").data[33], 33);
    CHECK(file->find("absent") == nullptr);
    CHECK_THROWS(file->require("absent"), Failure);
    CHECK_EQUAL(file->entries().size(), 5u);
}

TEST(gguf_refuses_every_truncation) {
    const Bytes bytes = good_file();
    for (size_t size = 0; size < bytes.data.size(); ++size) {
        // An own allocation of that size, so that a sanitizer sees a read past its end.
        const std::vector<uint8_t> part(bytes.begin(), bytes.begin() + size);
        CHECK_THROWS(GgufFile::parse("test", part.data(), part.size()), Failure);
    }
}

TEST(gguf_survives_flipped_bytes) {
    std::mt19937 random(1);
    const Bytes good = good_file();
    for (int i = 0; i < 20000; ++i) {
        Bytes file = good;
        for (uint32_t flips = 1 + random() % 3; flips > 0; --flips) file.data[random() % file.data.size()] = static_cast<char>(random());
        accepted(file);
    }
}

TEST(gguf_refuses_bad_headers) {
    CHECK(accepted(Bytes().header(0, 0)));
    CHECK(accepted(Bytes().header(0, 0, 2)));
    for (const uint32_t version : {0u, 1u, 4u, 0x03000000u, 0xffffffffu}) CHECK(!accepted(Bytes().header(0, 0, version)));
    for (const uint64_t count : {uint64_t{1}, uint64_t{1} << 20, uint64_t{1} << 63, UINT64_MAX}) {
        CHECK(!accepted(Bytes().header(count, 0)));
        CHECK(!accepted(Bytes().header(0, count)));
    }
}

TEST(gguf_refuses_bad_keys) {
    CHECK(accepted(one_key().u32(4).u32(1)));
    CHECK(!accepted(Bytes().header(0, 1).text("").u32(4).u32(1)));
    CHECK(!accepted(Bytes().header(0, 1).u64(UINT64_MAX).u32(4).u32(1)));
    CHECK(!accepted(Bytes().header(0, 2).text("k").u32(4).u32(1).text("k").u32(4).u32(1)));
    CHECK(!accepted(one_key().u32(13).u32(1)));
    CHECK(!accepted(one_key().u32(9).u32(9).u64(1).u32(4).u64(1).u32(1)));
    // Lengths whose product with the element size wraps around.
    CHECK(!accepted(one_key().u32(9).u32(4).u64(uint64_t{1} << 62).u32(1)));
    CHECK(!accepted(one_key().u32(9).u32(8).u64(uint64_t{1} << 61).u64(0)));
    CHECK(!accepted(one_key().u32(8).u64(UINT64_MAX - 7)));
    Bytes large = one_key().u32(10).u64(UINT64_MAX);
    const auto file = GgufFile::parse("test", large.begin(), large.data.size());
    CHECK_THROWS(file->integer("k"), Failure);
}

TEST(gguf_refuses_bad_alignment) {
    const auto aligned = [](uint32_t type, uint32_t value) { return Bytes().header(0, 1).text("general.alignment").u32(type).u32(value); };
    CHECK(accepted(aligned(4, 64)));
    for (const uint32_t value : {0u, 1u, 13u, 33u}) CHECK(!accepted(aligned(4, value)));
    CHECK(!accepted(aligned(5, 32)));
    Bytes far;
    far.header(1, 1).text("general.alignment").u32(4).u32(0x80000000u).tensor("t", {1}, 0, 0).pad().put(1.0f);
    CHECK(!accepted(far));
}

TEST(gguf_refuses_bad_tensors) {
    CHECK(accepted(one_tensor({4}, 0, 0, 16)));
    CHECK(!accepted(one_tensor({4}, 0, 0, 15)));
    CHECK(!accepted(one_tensor({4}, 0, 32, 64)));
    CHECK(!accepted(one_tensor({4}, 0, UINT64_MAX - 31, 64)));
    CHECK(!accepted(one_tensor({}, 0, 0, 64)));
    CHECK(!accepted(one_tensor({1, 1, 1, 1, 1}, 0, 0, 64)));
    CHECK(!accepted(one_tensor({4, 0}, 0, 0, 64)));
    CHECK(!accepted(one_tensor({-1, -1}, 0, 0, 64)));
    // Products that wrap around to something small: elements, then bytes.
    CHECK(!accepted(one_tensor({int64_t{1} << 32, int64_t{1} << 32}, 0, 0, 64)));
    CHECK(!accepted(one_tensor({int64_t{1} << 62}, 0, 0, 64)));
    CHECK(!accepted(one_tensor({int64_t{1} << 31, int64_t{1} << 31}, 27, 0, 64)));
    CHECK(!accepted(one_tensor({31}, 8, 0, 64)));
    for (const uint32_t type : {4u, 31u, static_cast<uint32_t>(GGML_TYPE_COUNT), 0xffffffffu}) CHECK(!accepted(one_tensor({32}, type, 0, 4096)));
    for (const size_t length : {size_t{0}, size_t{64}, size_t{300}})
        CHECK(!accepted(Bytes().header(1, 0).tensor(std::string(length, 'n'), {1}, 0, 0).pad().put(1.0f)));
    CHECK(!accepted(Bytes().header(2, 0).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32).pad().text(std::string(64, ' '))));
    CHECK(!accepted(Bytes().header(2, 0).tensor("t", {8}, 0, 0).tensor("u", {8}, 0, 0).pad().text(std::string(64, ' '))));
}

TEST(gguf_refuses_what_is_no_file) {
    const std::string folder = stillroom::testing::temporary_folder();
    CHECK_THROWS(GgufFile::open(folder), Failure);
    CHECK_THROWS(GgufFile::open(folder + "/absent.gguf"), Failure);
}
