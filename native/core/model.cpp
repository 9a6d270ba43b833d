// Reads the hyper-parameters of llama, qwen2 and qwen3 from a GGUF and finds their weights. Anything else is refused by name.
#include "core/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "core/failure.h"

namespace stillroom {

void Weight::unpack(const uint8_t* from, int64_t count, float* to) const {
    if (type == GGML_TYPE_F32) std::memcpy(to, from, count * sizeof(float));
    else ggml_get_type_traits(type)->to_float(from, to, count);
}

void Weight::point_to(ggml_type given, const void* values) {
    type = given;
    data = static_cast<const uint8_t*>(values);
    row_bytes = static_cast<int64_t>(ggml_row_size(type, in));
    block = ggml_blck_size(type);
}

std::vector<Matrix> Model::matrices() {
    std::vector<Matrix> all;
    const auto add = [&](int64_t layer, const std::vector<Weight*>& views) { all.push_back({views.front()->name + ".weight", layer, views}); };
    if (tied) add(-1, {&embeddings, &head});
    else {
        add(-1, {&embeddings});
        add(-1, {&head});
    }
    for (int64_t l = 0; l < layer_count; l++)
        for (Weight* weight : layers[l].matrices()) add(l, {weight});
    return all;
}

namespace {

struct ModelReader {
    const GgufFile& file;
    const std::string& architecture;
    std::deque<std::vector<float>>& vectors;
    std::set<std::string> used;

    [[noreturn]] void refuse(const std::string& reason) const { throw Failure(Code::input, file.path() + ": " + reason); }

    int64_t integer(const std::string& key, int64_t fallback = -1) const {
        const auto value = file.integer(architecture + "." + key);
        if (!value && fallback < 0) refuse("expected " + architecture + "." + key + " in the metadata, found none");
        const int64_t found = value.value_or(fallback);
        if (found < 0 || found > (int64_t{1} << 31)) refuse(architecture + "." + key + " is out of range: " + std::to_string(found));
        return found;
    }
    double number(const std::string& key, double fallback) const { return file.number(architecture + "." + key).value_or(fallback); }

    Vector vector(const std::string& name, int64_t length, bool needed = true) {
        const GgufTensor* tensor = file.find(name);
        if (!tensor && !needed) return {};
        if (!tensor) refuse("tensor " + name + " is missing");
        if (tensor->elements() != length || tensor->type != GGML_TYPE_F32)
            refuse("tensor " + name + ": expected " + std::to_string(length) + " f32 values, found " + std::to_string(tensor->elements()) + " of type " +
                   ggml_type_name(tensor->type));
        used.insert(name);
        std::vector<float>& values = vectors.emplace_back(length);
        std::memcpy(values.data(), tensor->data, length * sizeof(float));
        return {values.data(), length};
    }

    Weight matrix(const std::string& name, int64_t in, int64_t out, bool needed = true) {
        const std::string full = name + ".weight";
        const GgufTensor* tensor = file.find(full);
        if (!tensor && !needed) return {};
        if (!tensor) refuse("tensor " + full + " is missing");
        if (tensor->shape[0] != in || tensor->shape[1] != out || tensor->shape[2] != 1 || tensor->shape[3] != 1)
            refuse("tensor " + full + ": expected " + std::to_string(in) + " x " + std::to_string(out) + ", found " + std::to_string(tensor->shape[0]) +
                   " x " + std::to_string(tensor->shape[1]));
        const ggml_type_traits* traits = ggml_get_type_traits(tensor->type);
        if (tensor->type != GGML_TYPE_F32 && (!traits || !traits->to_float)) refuse("tensor " + full + " has a type that cannot be dequantised");
        used.insert(full);
        Weight weight;
        weight.name = name;
        weight.in = in;
        weight.out = out;
        weight.point_to(tensor->type, tensor->data);
        return weight;
    }
};

// Radians a position for each pair, and the factor on sine and cosine, as ggml_rope_ext computes them.
Rope read_rope(ModelReader& reader, const Model& model) {
    Rope rope;
    rope.interleaved = model.architecture == "llama";
    rope.width = reader.integer("rope.dimension_count", model.head_width);
    if (rope.width != model.head_width)
        reader.refuse("rope.dimension_count " + std::to_string(rope.width) + " differs from the head width " + std::to_string(model.head_width));
    if (rope.width % 2) reader.refuse("the head width " + std::to_string(rope.width) + " is odd, RoPE needs pairs");
    const double base = reader.number("rope.freq_base", 10000.0);
    const std::string scaling = reader.file.text(model.architecture + ".rope.scaling.type").value_or("linear");
    if (scaling != "linear" && scaling != "none" && scaling != "yarn") reader.refuse("rope.scaling.type \"" + scaling + "\" is not supported");
    double factor = reader.number("rope.scaling.factor", reader.number("rope.scale_linear", 0.0));
    if (factor == 0.0 || scaling == "none") factor = 1.0;
    if (!(factor > 0.0) || !(base > 1.0)) reader.refuse("RoPE scaling factor and base must be positive");
    const Vector factors = reader.vector("rope_freqs.weight", rope.width / 2, false);
    const bool yarn = scaling == "yarn";
    const double n = static_cast<double>(rope.width);
    const double original = static_cast<double>(reader.integer("rope.scaling.original_context_length", model.context_length));
    auto correction = [&](double turns) { return n * std::log(original / (turns * 2 * M_PI)) / (2 * std::log(base)); };
    const double low = std::max(0.0, std::floor(correction(reader.number("rope.scaling.yarn_beta_fast", 32.0))));
    const double high = std::min(n - 1, std::ceil(correction(reader.number("rope.scaling.yarn_beta_slow", 1.0))));
    for (int64_t i = 0; i < rope.width / 2; i++) {
        const double full = std::pow(base, -2.0 * i / n) / (factors.empty() ? 1.0 : factors.data()[i]);
        const double ramp = yarn ? 1.0 - std::min(1.0, std::max(0.0, (i - low) / std::max(0.001, high - low))) : 0.0;
        rope.frequencies.push_back(full / factor * (1.0 - ramp) + full * ramp);
    }
    rope.magnitude = static_cast<float>(reader.number("rope.scaling.attn_factor", 1.0) * (yarn ? 1.0 + 0.1 * std::log(factor) : 1.0));
    if (reader.number("rope.scaling.yarn_log_multiplier", 0.0) != 0.0) reader.refuse("rope.scaling.yarn_log_multiplier is not supported");
    return rope;
}

}  // namespace

std::shared_ptr<const Model> Model::open(const std::string& path, const std::vector<int32_t>& kept) {
    auto model = std::make_shared<Model>();
    model->file = GgufFile::open(path);
    const GgufFile& file = *model->file;
    model->architecture = file.text("general.architecture").value_or("");
    ModelReader reader{file, model->architecture, *model->vectors, {}};
    const std::string& name = model->architecture;
    if (name.empty()) reader.refuse("expected general.architecture in the metadata, found none");
    if (name != "llama" && name != "qwen2" && name != "qwen3")
        reader.refuse("architecture \"" + name + "\" is not supported by the training engine (llama, qwen2, qwen3 are)");
    if (file.integer(name + ".expert_count").value_or(0) != 0) reader.refuse("mixture-of-experts models are not supported by the training engine");
    if (file.integer(name + ".attention.sliding_window").value_or(0) != 0) reader.refuse("sliding-window attention is not supported by the training engine");
    if (reader.number("attention.scale", 0.0) != 0.0) reader.refuse("attention.scale is not supported by the training engine");

    Model& m = *model;
    m.layer_count = reader.integer("block_count");
    m.width = reader.integer("embedding_length");
    m.feed_forward = reader.integer("feed_forward_length");
    m.heads = reader.integer("attention.head_count");
    m.key_value_heads = reader.integer("attention.head_count_kv", m.heads);
    m.context_length = reader.integer("context_length");
    if (!m.layer_count || !m.width || !m.feed_forward || !m.heads || !m.key_value_heads || !m.context_length) reader.refuse("a size in the metadata is 0");
    if (m.layer_count > 4096) reader.refuse("block_count is out of range: " + std::to_string(m.layer_count));
    if (m.heads % m.key_value_heads) reader.refuse("head_count is no multiple of head_count_kv");
    m.head_width = reader.integer("attention.key_length", m.width / m.heads);
    if (!m.head_width || reader.integer("attention.value_length", m.head_width) != m.head_width) reader.refuse("key and value lengths of a head differ");
    m.epsilon = static_cast<float>(reader.number("attention.layer_norm_rms_epsilon", 1e-5));
    m.rope = read_rope(reader, m);

    const GgufTensor& table = file.require("token_embd.weight");
    m.vocabulary = table.shape[1];
    if (m.vocabulary > (int64_t{1} << 30)) reader.refuse("the vocabulary is out of range: " + std::to_string(m.vocabulary));
    m.embeddings = reader.matrix("token_embd", m.width, m.vocabulary);
    m.head = reader.matrix("output", m.width, m.vocabulary, false);
    m.tied = !m.head;
    if (m.tied) {
        m.head = m.embeddings;
        m.head.name = "output";
    }
    m.output_norm = reader.vector("output_norm.weight", m.width);
    const int64_t q_width = m.heads * m.head_width, kv_width = m.key_value_heads * m.head_width;
    for (int64_t i = 0; i < m.layer_count; i++) {
        const std::string at = "blk." + std::to_string(i) + ".";
        Layer layer;
        layer.attention_norm = reader.vector(at + "attn_norm.weight", m.width);
        layer.feed_forward_norm = reader.vector(at + "ffn_norm.weight", m.width);
        layer.q = reader.matrix(at + "attn_q", m.width, q_width);
        layer.k = reader.matrix(at + "attn_k", m.width, kv_width);
        layer.v = reader.matrix(at + "attn_v", m.width, kv_width);
        layer.o = reader.matrix(at + "attn_output", q_width, m.width);
        layer.gate = reader.matrix(at + "ffn_gate", m.width, m.feed_forward);
        layer.up = reader.matrix(at + "ffn_up", m.width, m.feed_forward);
        layer.down = reader.matrix(at + "ffn_down", m.feed_forward, m.width);
        layer.q_bias = reader.vector(at + "attn_q.bias", q_width, false);
        layer.k_bias = reader.vector(at + "attn_k.bias", kv_width, false);
        layer.v_bias = reader.vector(at + "attn_v.bias", kv_width, false);
        layer.q_norm = reader.vector(at + "attn_q_norm.weight", m.head_width, name == "qwen3");
        layer.k_norm = reader.vector(at + "attn_k_norm.weight", m.head_width, name == "qwen3");
        if (name != "qwen3" && !layer.q_norm.empty()) reader.refuse("tensor " + at + "attn_q_norm.weight does not belong to " + name);
        m.layers.push_back(std::move(layer));
    }
    for (const GgufTensor& tensor : file.tensors())
        if (!reader.used.count(tensor.name)) reader.refuse("tensor " + tensor.name + " is not part of the " + name + " decoder that the training engine computes");
    if (kept.empty()) return model;
    std::vector<Layer> layers;
    for (size_t i = 0; i < kept.size(); i++) {
        if (kept[i] < 0 || kept[i] >= m.layer_count || (i > 0 && kept[i] <= kept[i - 1]))
            throw Failure(Code::usage, "expected rising numbers below " + std::to_string(m.layer_count) + " for layers, received " + std::to_string(kept[i]));
        layers.push_back(m.layers[kept[i]]);
    }
    m.layers = std::move(layers);
    m.layer_count = static_cast<int64_t>(kept.size());
    return model;
}

}  // namespace stillroom
