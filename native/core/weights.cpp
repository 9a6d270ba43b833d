// Lays out the chosen tensors, unpacks them, and points the model's views at them.
#include "core/weights.h"

#include <algorithm>
#include <set>

#include "core/failure.h"
#include "core/gguf_writer.h"

namespace stillroom {

namespace {
const char* const weight_names[] = {"q", "k", "v", "o", "gate", "up", "down", "norms", "biases", "head", "final_norm", "embeddings"};

std::set<std::string> chosen_targets(const std::vector<std::string>& targets) {
    std::string all;
    for (const char* name : weight_names) all += (all.empty() ? "" : ", ") + std::string(name);
    if (targets.empty()) throw Failure(Code::usage, "expected at least one of " + all + " for targets, received none");
    for (const std::string& name : targets)
        if (std::find(std::begin(weight_names), std::end(weight_names), name) == std::end(weight_names))
            throw Failure(Code::usage, "expected names out of " + all + " for targets, received \"" + name + "\"");
    return {targets.begin(), targets.end()};
}

// The refusal of targets that the model has nothing of: biases alone are in some models and not in others.
Failure nothing_of(const std::set<std::string>& chosen) {
    std::string lacking, others;
    for (const char* name : weight_names) {
        std::string& list = chosen.count(name) ? lacking : others;
        list += (list.empty() ? "" : ", ") + std::string(name);
    }
    return Failure(Code::usage, "expected names that the model has for targets, received " + lacking + ", of which it has none; it has " + others);
}
}  // namespace

Weights::Weights(std::shared_ptr<const Model> given, const WeightsOptions& options, Threads& threads)
    : base(std::move(given)), view(std::make_shared<Model>(*base)), lowest(base->layer_count) {
    Model& m = *view;
    const std::set<std::string> chosen = chosen_targets(options.targets);
    const std::vector<bool> layers = choose_layers(m.layer_count, options.layers);

    // First the layout, then the values, then the views: the array must not move under them.
    std::vector<Weight*> matrices;
    std::vector<Vector*> vectors;
    std::vector<Tensor> vector_tensors;
    int64_t size = 0;
    auto matrix = [&](Weight& weight) {
        matrices.push_back(&weight);
        tensors.push_back({weight.name + ".weight", weight.out, weight.in, size});
        size += weight.out * weight.in;
    };
    auto vector = [&](const std::string& name, Vector& values) {
        if (values.empty()) return;
        vectors.push_back(&values);
        vector_tensors.push_back({name, 1, values.size(), 0});
    };
    const bool embeddings = chosen.count("embeddings"), head = chosen.count("head"), shared = m.tied && embeddings && head;
    if (embeddings) matrix(m.embeddings);
    for (int64_t l = 0; l < m.layer_count; l++) {
        if (!layers[l]) continue;
        const size_t before = matrices.size() + vectors.size();
        Layer& layer = m.layers[l];
        const std::string at = "blk." + std::to_string(l) + ".";
        const auto weights = layer.matrices();
        for (int t = 0; t < 7; t++)
            if (chosen.count(weight_names[t])) matrix(*weights[t]);
        if (chosen.count("norms")) {
            vector(at + "attn_norm.weight", layer.attention_norm);
            vector(at + "ffn_norm.weight", layer.feed_forward_norm);
            vector(at + "attn_q_norm.weight", layer.q_norm);
            vector(at + "attn_k_norm.weight", layer.k_norm);
        }
        if (chosen.count("biases")) {
            vector(at + "attn_q.bias", layer.q_bias);
            vector(at + "attn_k.bias", layer.k_bias);
            vector(at + "attn_v.bias", layer.v_bias);
        }
        if (matrices.size() + vectors.size() > before) lowest = std::min(lowest, l);
    }
    if (chosen.count("final_norm")) vector("output_norm.weight", m.output_norm);
    if (head && !shared) matrix(m.head);
    if (embeddings) lowest = -1;
    for (Tensor& tensor : vector_tensors) {
        tensor.offset = size;
        size += tensor.columns;
        tensors.push_back(tensor);
    }
    if (tensors.empty()) throw nothing_of(chosen);
    projection = {options.hidden_width, m.width, size};
    if (options.hidden_width > 0) tensors.push_back({Projection::name, projection.outputs, projection.inputs, size});

    values.resize(size + projection.size());
    for (size_t i = 0; i < matrices.size(); i++) {
        Weight& weight = *matrices[i];
        float* to = values.data() + tensors[i].offset;
        threads.run(weight.out, [&](int64_t begin, int64_t end, int) {
            for (int64_t row = begin; row < end; row++) weight.read(row, 0, weight.in, to + row * weight.in);
        });
        weight.point_to(GGML_TYPE_F32, to);
    }
    for (size_t i = 0; i < vectors.size(); i++) {
        float* to = values.data() + tensors[matrices.size() + i].offset;
        std::copy(vectors[i]->data(), vectors[i]->data() + vectors[i]->size(), to);
        *vectors[i] = Vector(to, vectors[i]->size());
    }
    if (shared) {
        m.head = m.embeddings;
        m.head.name = base->head.name;
    }
    m.tied = m.head.data == m.embeddings.data;
    if (base->file) base->file->hand_back();
}

void Weights::quantize(const std::vector<TensorType>& types, Threads& threads) {
    if (!rounded.empty()) throw Failure(Code::usage, "the weights under training are quantised already");
    Model& m = *view;
    std::vector<Rounded> all;
    const Model before = m;
    try {
        for (Matrix& matrix : m.matrices()) {
            const Weight& exact = *matrix.views.front();
            const auto given = std::find_if(types.begin(), types.end(), [&](const TensorType& type) { return type.first == matrix.name; });
            const auto type = given == types.end() ? std::nullopt : type_named(given->second);
            if (!type || exact.in % ggml_blck_size(*type)) throw Failure(Code::usage, "expected a type for " + matrix.name + " that it can have");
            const auto bytes = static_cast<int64_t>(ggml_row_size(*type, exact.in)) * exact.out;
            Rounded& made = all.emplace_back(Rounded{exact, std::move(matrix.views), std::vector<uint8_t>(bytes)});
            for (Weight* weight : made.views) weight->point_to(*type, made.codes.data());
        }
    } catch (...) {
        m = before;
        throw;
    }
    rounded = std::move(all);
    changed(threads);
}

void Weights::changed(Threads& threads) {
    for (Rounded& matrix : rounded) threads.run(matrix.exact.out, [&](int64_t begin, int64_t end, int) { matrix.round(begin, end); });
}

void Weights::Rounded::round(int64_t first, int64_t last) {
    const Weight& type = *views.front();
    std::vector<float> row(exact.in);
    for (int64_t i = first; i < last; i++) {
        exact.read(i, 0, exact.in, row.data());
        ggml_quantize_chunk(type.type, row.data(), codes.data() + i * type.row_bytes, 0, 1, exact.in, nullptr);
    }
}

int64_t Weights::offset_of(const void* weights) const {
    for (const Rounded& matrix : rounded)
        if (weights == matrix.codes.data()) weights = matrix.exact.data;
    const float* at = static_cast<const float*>(weights);
    return at >= values.data() && at < values.data() + values.size() ? at - values.data() : -1;
}

bool Weights::trains(const void* weights) const { return offset_of(weights) >= 0; }

float* Weights::gradient(const void* weights, float* gradients) const {
    const int64_t offset = offset_of(weights);
    return offset < 0 ? nullptr : gradients + offset;
}

std::vector<NamedTensor> Weights::shapes() const {
    std::vector<NamedTensor> list;
    for (const Tensor& tensor : tensors) list.push_back({tensor.name, tensor.rows, tensor.columns, {}});
    return list;
}

void Weights::read(const float* flat, size_t tensor, int64_t first, int64_t count, float* out) const {
    std::copy_n(flat + tensors[tensor].offset + first, count, out);
}

void Weights::write(size_t tensor, int64_t first, int64_t count, const float* from) {
    const Tensor& into = tensors[tensor];
    std::copy_n(from, count, values.data() + into.offset + first);
    for (Rounded& matrix : rounded)
        if (count > 0 && matrix.exact.data == reinterpret_cast<const uint8_t*>(values.data() + into.offset))
            matrix.round(first / into.columns, (first + count - 1) / into.columns + 1);
}

const Weights::Tensor* Weights::find(const std::string& name) const {
    for (const Tensor& tensor : tensors)
        if (tensor.name == name) return &tensor;
    return nullptr;
}

void Weights::save(const std::string& path) const {
    const GgufFile& file = *base->file;
    if (same_file(file.path(), path)) throw Failure(Code::usage, path + ": the trained model must not replace its base");
    GgufWriter writer;
    writer.copy_metadata(file);
    auto add = [&](const std::string& name, const GgufTensor& original) {
        const std::vector<int64_t> shape(original.shape, original.shape + original.dimensions);
        const Tensor* trained = find(name);
        if (!trained) return writer.tensor(name, original.type, shape, [&original](AtomicFile& out) { out.write(original.data, original.bytes); });
        writer.tensor(name, GGML_TYPE_F32, shape, [this, trained](AtomicFile& out) {
            out.write(values.data() + trained->offset, trained->rows * trained->columns * sizeof(float));
        });
    };
    for (const GgufTensor& tensor : file.tensors()) add(tensor.name, tensor);
    if (base->tied && !view->tied) add("output.weight", file.require("token_embd.weight"));
    writer.write(path);
}

}  // namespace stillroom
