// Which rows and columns of each tensor stay, and their copies.
#include "core/student.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "core/failure.h"
#include "core/gguf_writer.h"
#include "core/random.h"
#include "core/text.h"
#include "core/vocabulary.h"

namespace stillroom {

namespace {

using Kept = std::vector<int32_t>;

void check(const Kept& kept, int64_t of, const std::string& what, bool rising = true) {
    if (kept.empty()) throw Failure(Code::usage, "expected one of the " + what + " at least, received none");
    int32_t before = -1;
    for (const int32_t one : kept) {
        if (one == -1) continue;
        if (one < 0 || one >= of || (rising && one <= before))
            throw Failure(Code::usage, "expected rising numbers below " + std::to_string(of) + " for " + what + ", received " + std::to_string(one));
        before = one;
    }
}

void check_each(const std::vector<Kept>& kept, size_t layers, int64_t of, const std::string& what, bool rising = true) {
    if (kept.size() != layers) throw Failure(Code::usage, "expected " + what + " of " + std::to_string(layers) + " layers, received " + std::to_string(kept.size()));
    for (const Kept& one : kept) {
        check(one, of, what, rising);
        if (one.size() != kept[0].size()) throw Failure(Code::usage, "expected as many " + what + " of every layer");
    }
}

// Rows of `each` a piece.
Kept spread(const Kept& pieces, int64_t each) {
    Kept rows;
    for (const int32_t piece : pieces)
        for (int64_t i = 0; i < each; ++i) rows.push_back(piece < 0 ? -1 : static_cast<int32_t>(piece * each + i));
    return rows;
}

// Of each head the rows in the order of architecture llama: those of a rotary pair, (i, i + n/2) in qwen2, stand beside each other.
Kept paired(const Kept& rows, int64_t head_width) {
    Kept ordered(rows.size());
    for (int64_t row = 0; row < static_cast<int64_t>(rows.size()); ++row) {
        const int64_t within = row % head_width;
        ordered[row] = rows[row - within + within / 2 + within % 2 * (head_width / 2)];
    }
    return ordered;
}

// The rows and columns of a tensor in a student, by their numbers in the teacher's or -1; empty: all.
struct Cut {
    Kept rows, columns;
};

// Of a tensor within a layer, by the rest of its name.
Cut cut_of(const std::string& name, const Model& model, const StudentParts& parts, size_t place, bool as_llama) {
    const auto begins = [&](const char* part) { return name.rfind(part, 0) == 0; };
    Cut cut;
    if (begins("attn_q.")) cut = {spread(parts.heads[place], model.head_width), parts.width};
    if (begins("attn_k.") || begins("attn_v.")) cut = {spread(parts.key_value[place], model.head_width), parts.width};
    if (as_llama && (begins("attn_q.") || begins("attn_k."))) cut.rows = paired(cut.rows, model.head_width);
    if (begins("attn_output.")) cut = {parts.width, spread(parts.heads[place], model.head_width)};
    if (begins("ffn_gate.") || begins("ffn_up.")) cut = {parts.feed_forward[place], parts.width};
    if (begins("ffn_down.")) cut = {parts.width, parts.feed_forward[place]};
    if (begins("attn_norm.") || begins("ffn_norm.")) cut.columns = parts.width;
    if (ends_with(name, ".bias")) cut = {{}, cut.rows};  // a vector is one row
    return cut;
}

// Values that a teacher has not. Matrices: normal, deviation 0.02 (Radford et al. 2019), the last ones of a new layer zero, so that it begins as the identity.
struct Fill {
    uint64_t seed, stream;
    float constant;  // in place of draws; NaN for draws
    float at(int64_t index) const {
        if (!std::isnan(constant)) return constant;
        constexpr double turn = 6.283185307179586;
        const double u = 1.0 - uniform(seed, stream, 2 * index), v = uniform(seed, stream, 2 * index + 1);
        return static_cast<float>(0.02 * std::sqrt(-2 * std::log(u)) * std::cos(turn * v));  // Box and Muller 1958
    }
};
Fill fill_of(const std::string& name, bool new_layer, uint64_t seed) {
    uint64_t stream = 0;
    for (const char letter : name) stream = mix_bits(stream ^ static_cast<unsigned char>(letter));
    if (ends_with(name, "norm.weight")) return {seed, stream, 1.0f};
    const bool last = ends_with(name, "attn_output.weight") || ends_with(name, "ffn_down.weight");
    return {seed, stream, ends_with(name, ".bias") || (new_layer && last) ? 0.0f : std::numeric_limits<float>::quiet_NaN()};
}

GgufWriter::Source rows_of(const GgufTensor& tensor, Cut cut, Fill fill, ggml_type type) {
    return [&tensor, cut = std::move(cut), fill, type](AtomicFile& file) {
        const int64_t in = tensor.shape[0], count = cut.rows.empty() ? tensor.shape[1] : static_cast<int64_t>(cut.rows.size());
        const int64_t width = cut.columns.empty() ? in : static_cast<int64_t>(cut.columns.size());
        std::vector<float> read(in), row(width);
        std::vector<ggml_fp16_t> halves(width);
        for (int64_t r = 0; r < count; ++r) {
            const int64_t from = cut.rows.empty() ? r : cut.rows[r];
            if (from >= 0) tensor.read_row(from, read.data());
            for (int64_t c = 0; c < width; ++c) {
                const int64_t column = cut.columns.empty() ? c : cut.columns[c];
                row[c] = from >= 0 && column >= 0 ? read[column] : fill.at(r * width + c);
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
    check(parts.width, model->width, "channels of the width");
    check_each(parts.heads, parts.layers.size(), model->heads, "query heads", false);
    check_each(parts.key_value, parts.layers.size(), model->key_value_heads, "key-value heads", false);
    if (parts.heads[0].size() % parts.key_value[0].size() != 0)
        throw Failure(Code::usage, "expected a multiple of the " + std::to_string(parts.key_value[0].size()) + " key-value heads for query heads, received " + std::to_string(parts.heads[0].size()));

    // llama.cpp opens a qwen2 only where its heads together are as wide as the model. Its llama has no such bound, and is the same computation but for the
    // order of rows that RoPE pairs; it takes the biases too.
    const bool as_llama = model->architecture == "qwen2" && parts.heads[0].size() * static_cast<size_t>(model->head_width) != parts.width.size();
    const std::string architecture = as_llama ? "llama" : model->architecture, own = model->architecture + ".", key = architecture + ".";

    GgufWriter writer;
    const std::pair<const char*, uint32_t> sizes[] = {{"block_count", static_cast<uint32_t>(parts.layers.size())},
                                                      {"feed_forward_length", static_cast<uint32_t>(parts.feed_forward[0].size())},
                                                      {"embedding_length", static_cast<uint32_t>(parts.width.size())},
                                                      {"attention.head_count", static_cast<uint32_t>(parts.heads[0].size())},
                                                      {"attention.head_count_kv", static_cast<uint32_t>(parts.key_value[0].size())},
                                                      // What readers take for width / heads where it is not written.
                                                      {"attention.key_length", static_cast<uint32_t>(model->head_width)},
                                                      {"attention.value_length", static_cast<uint32_t>(model->head_width)},
                                                      {"rope.dimension_count", static_cast<uint32_t>(model->rope.width)}};
    std::set<std::string, std::less<>> replaced = {"general.architecture", "general.file_type", "general.name", "general.size_label"};
    for (const auto& [name, size] : sizes) replaced.insert(own + name);
    std::optional<Vocabulary> vocabulary;
    if (parts.tokens) {
        vocabulary = trim_vocabulary(file, parts.tokens->wanted, parts.tokens->most);
        replaced.merge(vocabulary_keys(file));
    }
    writer.copy_metadata(file, replaced, {own, key});
    if (vocabulary) write_vocabulary(writer, file, *vocabulary);
    writer.text("general.architecture", architecture);
    writer.text("general.name", file.text("general.name").value_or(model->architecture) + " student");
    writer.u32("general.file_type", halves ? 1 : 0);  // llama.cpp's LLAMA_FTYPE_MOSTLY_F16 and _ALL_F32
    for (const auto& [name, size] : sizes) writer.u32(key + name, size);

    const auto add = [&](const GgufTensor& tensor, const std::string& name, Cut cut, bool new_layer) {
        std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.dimensions);
        if (!cut.columns.empty()) shape[0] = static_cast<int64_t>(cut.columns.size());
        if (!cut.rows.empty()) shape[1] = static_cast<int64_t>(cut.rows.size());
        const ggml_type written = halves && tensor.dimensions > 1 ? GGML_TYPE_F16 : GGML_TYPE_F32;
        if (new_layer) (tensor.dimensions > 1 ? cut.rows : cut.columns).assign(shape[tensor.dimensions > 1 ? 1 : 0], -1);
        writer.tensor(name, written, shape, rows_of(tensor, std::move(cut), fill_of(name, new_layer, parts.seed), written));
    };
    for (const GgufTensor& tensor : file.tensors()) {
        const auto [layer, rest] = place_of(tensor.name);
        if (layer >= 0) {
            // A new layer has the tensors of the first.
            for (size_t place = 0; place < parts.layers.size(); ++place) {
                const bool is_new = parts.layers[place] < 0;
                if (parts.layers[place] == layer || (is_new && layer == 0))
                    add(tensor, "blk." + std::to_string(place) + "." + rest, cut_of(rest, *model, parts, place, as_llama), is_new);
            }
            continue;
        }
        const bool by_token = tensor.name == "token_embd.weight" || tensor.name == "output.weight";
        Cut cut;
        if (by_token && vocabulary) cut.rows = vocabulary->tokens;
        if (by_token || tensor.name == "output_norm.weight") cut.columns = parts.width;
        add(tensor, tensor.name, std::move(cut), false);
    }
    writer.write(out);
}

Energies energies(const Model& model, const Importance& importance) {
    if (importance.tokens <= 0) throw Failure(Code::usage, "expected an importance matrix that has seen tokens for importance, received an empty one");
    // Adds to the last values of `to`.
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
        double* last = to.data() + to.size() - weight.in / each;
        for (int64_t c = 0; c < weight.in; ++c) last[c / each] += found->second[c] / static_cast<double>(importance.tokens) * norms[c];
    };
    Energies result;
    for (const Layer& layer : model.layers) {
        result.feed_forward.resize(result.feed_forward.size() + model.feed_forward);
        add(layer.down, 1, result.feed_forward);
        result.heads.resize(result.heads.size() + model.heads);
        add(layer.o, model.head_width, result.heads);
        result.width.resize(result.width.size() + model.width);
        for (const Weight* reads : {&layer.q, &layer.k, &layer.v, &layer.gate, &layer.up}) add(*reads, 1, result.width);
    }
    return result;
}

}  // namespace stillroom
