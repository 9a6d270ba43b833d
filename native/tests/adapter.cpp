// Adapter files and merging: by hand-made matrices whose products can be written down, and that a failure leaves no file.
#include "core/adapter.h"

#include <filesystem>
#include <fstream>

#include "check.h"
#include "core/failure.h"
#include "core/files.h"
#include "core/gguf_writer.h"
#include "core/merge.h"

using namespace stillroom;

namespace {

GgufWriter::Source floats(std::vector<float> values) {
    return [values](AtomicFile& file) { file.write(values.data(), values.size() * sizeof(float)); };
}

// Tied embeddings of 3 tokens and 2 channels: 1 … 6; a square weight: 10, 20, 30, 40.
std::string write_base(const std::string& folder) {
    GgufWriter writer;
    writer.text("general.architecture", "llama");
    writer.text("nul", std::string("a\0b", 3));
    writer.tensor("token_embd.weight", GGML_TYPE_F32, {2, 3}, floats({1, 2, 3, 4, 5, 6}));
    writer.tensor("blk.0.attn_q.weight", GGML_TYPE_F32, {2, 2}, floats({10, 20, 30, 40}));
    const std::string path = folder + "/base.gguf";
    writer.write(path);
    return path;
}

std::vector<float> values_of(const GgufFile& file, const char* name) {
    const GgufTensor& tensor = file.require(name);
    CHECK(tensor.type == GGML_TYPE_F32);
    const auto* from = reinterpret_cast<const float*>(tensor.data);
    return {from, from + tensor.elements()};
}

const std::vector<NamedTensor> embedding_factors = {{"token_embd.lora_a", 2, 3, {1, 0, 2, 0, 1, 0}}, {"token_embd.lora_b", 2, 2, {1, 2, -1, 0}}};

}  // namespace

TEST(merge_adds_the_scaled_product) {
    const std::string folder = stillroom::testing::temporary_folder();
    const std::string base = write_base(folder), out = folder + "/out.gguf";
    merge(base, {{"blk.0.attn_q.lora_b", 2, 1, {1, 3}}, {"blk.0.attn_q.lora_a", 1, 2, {1, 2}}}, 0.5f, out);
    const auto file = GgufFile::open(out);
    CHECK(values_of(*file, "blk.0.attn_q.weight") == (std::vector<float>{10.5f, 21, 31.5f, 43}));
    CHECK(values_of(*file, "token_embd.weight") == (std::vector<float>{1, 2, 3, 4, 5, 6}));
    CHECK(!file->find("output.weight"));
    const auto original = GgufFile::open(base);
    CHECK_EQUAL(file->entries().size(), original->entries().size());
    for (size_t i = 0; i < original->entries().size(); ++i) CHECK(file->entries()[i].bytes == original->entries()[i].bytes);
}

TEST(merge_unties_what_only_one_side_changes) {
    const std::string folder = stillroom::testing::temporary_folder();
    const std::string base = write_base(folder), out = folder + "/out.gguf";
    merge(base, embedding_factors, 1, out);
    const auto embeddings = GgufFile::open(out);
    CHECK(values_of(*embeddings, "token_embd.weight") == (std::vector<float>{2, 1, 5, 4, 7, 4}));
    CHECK(values_of(*embeddings, "output.weight") == (std::vector<float>{1, 2, 3, 4, 5, 6}));
    merge(base, {{"output.lora_a", 1, 2, {1, 0}}, {"output.lora_b", 3, 1, {1, 2, 3}}}, 1, out);
    const auto head = GgufFile::open(out);
    CHECK(values_of(*head, "token_embd.weight") == (std::vector<float>{1, 2, 3, 4, 5, 6}));
    CHECK(values_of(*head, "output.weight") == (std::vector<float>{2, 2, 5, 4, 8, 6}));
}

TEST(merge_refuses_what_does_not_fit) {
    const std::string folder = stillroom::testing::temporary_folder();
    const std::string base = write_base(folder), out = folder + "/out.gguf";
    const auto refused = [&](std::vector<NamedTensor> tensors) { CHECK_THROWS(merge(base, tensors, 1, out), Failure); };
    refused({{"blk.1.attn_q.lora_a", 1, 2, {1, 2}}, {"blk.1.attn_q.lora_b", 2, 1, {1, 3}}});
    refused({{"blk.0.attn_q.lora_a", 1, 3, {1, 2, 3}}, {"blk.0.attn_q.lora_b", 2, 1, {1, 3}}});
    refused({{"blk.0.attn_q.lora_a", 1, 2, {1, 2}}});
    refused({{"blk.0.attn_q.lora_a", 1, 2, {1, 2}}, {"blk.0.attn_q.lora_b", 1, 2, {1, 3}}});
    refused({{"blk.0.attn_q.lora_a", 1, 2, {1}}, {"blk.0.attn_q.lora_b", 2, 1, {1, 3}}});
    refused({{"blk.0.attn_q", 1, 2, {1, 2}}});
    CHECK_THROWS(merge(base, embedding_factors, NAN, out), Failure);
    CHECK_THROWS(merge(base, embedding_factors, 1, base), Failure);
    int files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++files;
    CHECK_EQUAL(files, 1);
}

TEST(adapter_files_come_back_as_they_went) {
    const std::string path = stillroom::testing::temporary_folder() + "/adapter.gguf";
    Adapter adapter{"llama", 8, {{"blk.0.attn_q.lora_a", 2, 3, {1, 2, 3, 4, 5, 6}}, {"blk.0.attn_q.lora_b", 1, 2, {7, 8}}}};
    for (const auto& factor : embedding_factors) adapter.tensors.push_back(factor);
    write_adapter(path, adapter, "name");
    const auto file = GgufFile::open(path);
    // llama.cpp looks up rows of the embeddings' A by token.
    CHECK_EQUAL(file->require("token_embd.weight.lora_a").shape[0], 2);
    CHECK_EQUAL(file->require("token_embd.weight.lora_a").shape[1], 3);
    CHECK_EQUAL(file->require("blk.0.attn_q.weight.lora_a").shape[0], 3);
    const Adapter back = read_adapter(*file);
    CHECK_EQUAL(back.architecture, "llama");
    CHECK_EQUAL(back.alpha, 8.0f);
    CHECK_EQUAL(back.tensors.size(), adapter.tensors.size());
    for (size_t i = 0; i < back.tensors.size() && i < adapter.tensors.size(); ++i) {
        CHECK_EQUAL(back.tensors[i].name, adapter.tensors[i].name);
        CHECK_EQUAL(back.tensors[i].rows, adapter.tensors[i].rows);
        CHECK_EQUAL(back.tensors[i].columns, adapter.tensors[i].columns);
        CHECK(back.tensors[i].data == adapter.tensors[i].data);
    }
    CHECK_THROWS(read_adapter(*GgufFile::open(write_base(stillroom::testing::temporary_folder()))), Failure);
}

TEST(atomic_files_leave_the_old_one_until_they_are_whole) {
    const std::string folder = stillroom::testing::temporary_folder();
    const std::string path = folder + "/file";
    std::ofstream(path) << "old";
    {
        AtomicFile file(path);
        file.write("new", 3);
    }
    std::string text;
    std::ifstream(path) >> text;
    CHECK_EQUAL(text, "old");
    AtomicFile file(path);
    file.write("new", 3);
    file.commit();
    std::ifstream(path) >> text;
    CHECK_EQUAL(text, "new");
    int files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++files;
    CHECK_EQUAL(files, 1);
    CHECK_THROWS(AtomicFile(folder + "/absent/file"), Failure);
}
