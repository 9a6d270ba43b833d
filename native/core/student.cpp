// Which rows and columns of each tensor stay, and their copies.
#include "core/student.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "core/failure.h"
#include "core/gguf_writer.h"
#include "core/vocabulary.h"

namespace stillroom {

namespace {

using Kept = std::vector<int32_t>;

void check(const Kept& kept, int64_t of, const std::string& what) {
    if (kept.empty()) throw Failure(Code::usage, "expected one of the " + what + " at least, received none");
    for (size_t i = 0; i < kept.size(); ++i)
        if (kept[i] < 0 || kept[i] >= of || (i > 0 && kept[i] <= kept[i - 1]))
            throw Failure(Code::usage, "expected rising numbers below " + std::to_string(of) + " for " + what + ", received " + std::to_string(kept[i]));
}

void check_each(const std::vector<Kept>& kept, size_t layers, int64_t of, const std::string& what) {
    if (kept.size() != layers) throw Failure(Code::usage, "expected " + what + " of " + std::to_string(layers) + " layers, received " + std::to_string(kept.size()));
    for (const Kept& one : kept) {
        check(one, of, what);
        if (one.size() != kept[0].size()) throw Failure(Code::usage, "expected as many " + what + " of every layer");
    }
}

// Rows of `each` a piece.
Kept spread(const Kept& pieces, int64_t each) {
    Kept rows;
    for (const int32_t piece : pieces)
        for (int64_t i = 0; i < each; ++i) rows.push_back(static_cast<int32_t>(piece * each + i));
    return rows;
}

// The rows and columns of a tensor that stay; empty: all.
struct Cut {
    Kept rows, columns;
};

// Of a tensor within a layer, by the rest of its name.
Cut cut_of(const std::string& name, const Model& model, const Kept& feed_forward, const Kept& groups) {
    const int64_t group = model.heads / model.key_value_heads * model.head_width;
    const bool bias = name.size() > 5 && name.compare(name.size() - 5, 5, ".bias") == 0;
    Cut cut;
    if (name.rfind("attn_q.", 0) == 0) cut.rows = spread(groups, group);
    if (name.rfind("attn_k.", 0) == 0 || name.rfind("attn_v.", 0) == 0) cut.rows = spread(groups, model.head_width);
    if (name.rfind("attn_output.", 0) == 0) cut.columns = spread(groups, group);
    if (name.rfind("ffn_gate.", 0) == 0 || name.rfind("ffn_up.", 0) == 0) cut.rows = feed_forward;
    if (name.rfind("ffn_down.", 0) == 0) cut.columns = feed_forward;
    if (bias) std::swap(cut.rows, cut.columns);  // a vector is one row
    return cut;
}

GgufWriter::Source rows_of(const GgufTensor& tensor, Cut cut, ggml_type type) {
    return [&tensor, cut = std::move(cut), type](AtomicFile& file) {
        const int64_t in = tensor.shape[0], count = cut.rows.empty() ? tensor.shape[1] : static_cast<int64_t>(cut.rows.size());
        std::vector<float> row(in);
        std::vector<ggml_fp16_t> halves(in);
        for (int64_t r = 0; r < count; ++r) {
            tensor.read_row(cut.rows.empty() ? r : cut.rows[r], row.data());
            int64_t width = in;
            if (!cut.columns.empty()) {
                width = static_cast<int64_t>(cut.columns.size());
                for (int64_t c = 0; c < width; ++c) row[c] = row[cut.columns[c]];  // rising: never behind what is still to be read
            }
            if (type == GGML_TYPE_F32) {
                file.write(row.data(), width * sizeof(float));
                continue;
            }
            for (int64_t c = 0; c < width; ++c)
                if (!(std::fabs(row[c]) < 65520.0f)) throw Failure(Code::input, "tensor " + tensor.name + " holds a value that f16 cannot; write the student in f32");
            ggml_fp32_to_fp16_row(row.data(), halves.data(), width);
            file.write(halves.data(), width * sizeof(ggml_fp16_t));
        }
    };
}

// "blk.12.attn_q.weight" as 12 and "attn_q.weight"; -1 for a tensor outside the layers.
std::pair<int32_t, std::string> place_of(const std::string& name) {
    if (name.rfind("blk.", 0) != 0) return {-1, name};
    const size_t dot = name.find('.', 4);
    return {std::stoi(name.substr(4, dot - 4)), name.substr(dot + 1)};
}

}  // namespace

void write_student(const std::string& teacher, const StudentParts& parts, bool halves, const std::string& out) {
    if (same_file(teacher, out)) throw Failure(Code::usage, out + ": the student must not replace its teacher");
    const auto model = Model::open(teacher);
    const GgufFile& file = *model->file;
    check(parts.layers, model->layer_count, "layers");
    check_each(parts.feed_forward, parts.layers.size(), model->feed_forward, "feed-forward channels");
    check_each(parts.groups, parts.layers.size(), model->key_value_heads, "groups of heads");

    GgufWriter writer;
    const std::string key = model->architecture + ".";
    const auto group = static_cast<uint32_t>(model->heads / model->key_value_heads);
    const auto kept_groups = static_cast<uint32_t>(parts.groups[0].size());
    const std::pair<const char*, uint32_t> sizes[] = {{"block_count", static_cast<uint32_t>(parts.layers.size())},
                                                      {"feed_forward_length", static_cast<uint32_t>(parts.feed_forward[0].size())},
                                                      {"attention.head_count", kept_groups * group},
                                                      {"attention.head_count_kv", kept_groups},
                                                      // What readers take for width / heads where it is not written.
                                                      {"attention.key_length", static_cast<uint32_t>(model->head_width)},
                                                      {"attention.value_length", static_cast<uint32_t>(model->head_width)},
                                                      {"rope.dimension_count", static_cast<uint32_t>(model->rope.width)}};
    std::set<std::string, std::less<>> replaced = {"general.file_type", "general.name", "general.size_label"};
    for (const auto& [name, size] : sizes) replaced.insert(key + name);
    std::optional<Vocabulary> vocabulary;
    if (parts.tokens) {
        vocabulary = trim_vocabulary(file, parts.tokens->wanted, parts.tokens->most);
        replaced.merge(vocabulary_keys(file));
    }
    writer.copy_metadata(file, replaced);
    if (vocabulary) write_vocabulary(writer, file, *vocabulary);
    writer.text("general.name", file.text("general.name").value_or(model->architecture) + " student");
    writer.u32("general.file_type", halves ? 1 : 0);  // llama.cpp's LLAMA_FTYPE_MOSTLY_F16 and _ALL_F32
    for (const auto& [name, size] : sizes) writer.u32(key + name, size);

    for (const GgufTensor& tensor : file.tensors()) {
        const auto [layer, rest] = place_of(tensor.name);
        std::string name = tensor.name;
        Cut cut;
        if (layer >= 0) {
            const auto found = std::lower_bound(parts.layers.begin(), parts.layers.end(), layer);
            if (found == parts.layers.end() || *found != layer) continue;
            const auto place = found - parts.layers.begin();
            name = "blk." + std::to_string(place) + "." + rest;
            cut = cut_of(rest, *model, parts.feed_forward[place], parts.groups[place]);
        } else if (vocabulary && (name == "token_embd.weight" || name == "output.weight")) {
            cut.rows = vocabulary->tokens;
        }
        std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.dimensions);
        if (!cut.columns.empty()) shape[0] = static_cast<int64_t>(cut.columns.size());
        if (!cut.rows.empty()) shape[1] = static_cast<int64_t>(cut.rows.size());
        const ggml_type written = halves && tensor.dimensions > 1 ? GGML_TYPE_F16 : GGML_TYPE_F32;
        writer.tensor(name, written, shape, rows_of(tensor, std::move(cut), written));
    }
    writer.write(out);
}

Energies energies(const Model& model, const Importance& importance) {
    if (importance.tokens <= 0) throw Failure(Code::usage, "expected an importance matrix that has seen tokens for importance, received an empty one");
    const auto add = [&](const Weight& weight, int64_t each, std::vector<double>& to) {
        const auto found = importance.sums.find(weight.name + ".weight");
        if (found == importance.sums.end() || static_cast<int64_t>(found->second.size()) != weight.in)
            throw Failure(Code::usage, "expected an importance matrix of this model for importance; it has nothing for " + weight.name);
        std::vector<double> norms(weight.in);
        std::vector<float> row(weight.in);
        for (int64_t r = 0; r < weight.out; ++r) {
            weight.read(r, 0, weight.in, row.data());
            for (int64_t c = 0; c < weight.in; ++c) norms[c] += static_cast<double>(row[c]) * row[c];
        }
        const size_t before = to.size();
        to.resize(before + weight.in / each);
        for (int64_t c = 0; c < weight.in; ++c) to[before + c / each] += found->second[c] / static_cast<double>(importance.tokens) * norms[c];
    };
    Energies result;
    for (const Layer& layer : model.layers) {
        add(layer.down, 1, result.feed_forward);
        add(layer.o, model.heads / model.key_value_heads * model.head_width, result.groups);
    }
    return result;
}

}  // namespace stillroom
