// Lays out the adapter's factors in one flat array and draws their first values.
#include "core/lora.h"

#include <cmath>
#include <map>

#include "core/failure.h"
#include "core/random.h"

namespace stillroom {

namespace {
const char* const target_names[target_count] = {"q", "k", "v", "o", "gate", "up", "down", "head", "embeddings"};
}

float LoraOptions::scale() const { return rs_lora ? alpha / std::sqrt(static_cast<float>(rank)) : alpha / static_cast<float>(rank); }

Lora::Lora(std::shared_ptr<const Model> given, LoraOptions chosen) : options(std::move(chosen)), model(std::move(given)) {
    if (options.rank < 1 || options.rank > 4096) throw Failure(Code::usage, "expected a whole number from 1 to 4096 for rank, received " + std::to_string(options.rank));
    if (!std::isfinite(options.alpha) || options.alpha <= 0) throw Failure(Code::usage, "expected a positive number for alpha, received " + std::to_string(options.alpha));
    if (!(options.dropout >= 0 && options.dropout < 1)) throw Failure(Code::usage, "expected a number in [0, 1) for dropout, received " + std::to_string(options.dropout));
    if (options.head.outputs != 0) options.head.check();
    if (options.targets.empty() && options.head.outputs == 0) throw Failure(Code::usage, "expected at least one of q, k, v, o, gate, up, down, head, embeddings for targets, received none");
    bool chosen_targets[target_count] = {};
    for (const std::string& name : options.targets) {
        int found = -1;
        for (int t = 0; t < target_count; t++)
            if (name == target_names[t]) found = t;
        if (found < 0) throw Failure(Code::usage, "expected q, k, v, o, gate, up, down, head or embeddings for targets, received \"" + name + "\"");
        chosen_targets[found] = true;
    }
    const Model& m = *model;
    const int64_t layers = m.layer_count, rank = options.rank;
    const std::vector<bool> chosen_layers = choose_layers(layers, options.layers);
    index.assign((layers + 1) * target_count, -1);
    int64_t size = 0;
    auto add = [&](int64_t layer, int target, const Weight& weight, int64_t in, int64_t out) {
        index[layer * target_count + target] = static_cast<int>(pairs.size());
        pairs.push_back({weight.name, in, out, size, size + rank * in});
        size += rank * (in + out);
    };
    if (chosen_targets[target_embeddings]) add(layers, target_embeddings, m.embeddings, m.vocabulary, m.width);
    for (int64_t l = 0; l < layers; l++) {
        const Layer& layer = m.layers[l];
        const auto weights = layer.matrices();
        for (int t = 0; t < 7; t++)
            if (chosen_targets[t] && chosen_layers[l]) add(l, t, *weights[t], weights[t]->in, weights[t]->out);
    }
    if (chosen_targets[target_head]) add(layers, target_head, m.head, m.width, m.vocabulary);
    head_weight = size;
    head_bias = head_weight + options.head.outputs * m.width;
    projection = {options.hidden_width, m.width, head_bias + options.head.outputs};
    values.assign(projection.offset + projection.size(), 0.0f);
    for (size_t p = 0; p < pairs.size(); p++) {
        const float bound = 1.0f / std::sqrt(static_cast<float>(pairs[p].in));
        for (int64_t i = 0; i < rank * pairs[p].in; i++) values[pairs[p].a + i] = (2 * uniform(options.seed, p, i) - 1) * bound;
    }
}

const LoraPair* Lora::find(int64_t layer, Target target) const {
    const int64_t row = target >= target_head ? model->layer_count : layer;
    const int found = index[row * target_count + target];
    return found < 0 ? nullptr : &pairs[found];
}

std::vector<NamedTensor> Lora::shapes() const {
    std::vector<NamedTensor> list;
    for (const LoraPair& pair : pairs) {
        list.push_back({pair.name + ".lora_a", options.rank, pair.in, {}});
        list.push_back({pair.name + ".lora_b", pair.out, options.rank, {}});
    }
    if (options.head.outputs > 0) {
        list.push_back({"score.weight", options.head.outputs, model->width, {}});
        list.push_back({"score.bias", 1, options.head.outputs, {}});
    }
    if (projection.outputs > 0) list.push_back({Projection::name, projection.outputs, projection.inputs, {}});
    return list;
}

int64_t Lora::place(size_t factor, int64_t e) const {
    if (factor == 2 * pairs.size() + (options.head.outputs > 0 ? 2 : 0)) return projection.offset + e;
    if (factor / 2 == pairs.size()) return (factor % 2 == 0 ? head_weight : head_bias) + e;
    const LoraPair& pair = pairs[factor / 2];
    return factor % 2 == 0 ? pair.a + e : pair.b + e % options.rank * pair.out + e / options.rank;
}

void Lora::read(const float* flat, size_t factor, int64_t first, int64_t count, float* out) const {
    for (int64_t i = 0; i < count; i++) out[i] = flat[place(factor, first + i)];
}

void Lora::write(size_t factor, int64_t first, int64_t count, const float* from) {
    for (int64_t i = 0; i < count; i++) values[place(factor, first + i)] = from[i];
}

int64_t Lora::lowest_layer() const {
    if (find(0, target_embeddings)) return -1;
    int64_t lowest = 0;
    auto adapted = [&] {
        for (int t = 0; t < target_head; t++)
            if (find(lowest, static_cast<Target>(t))) return true;
        return false;
    };
    while (lowest < model->layer_count && !adapted()) lowest++;
    return lowest;
}

void Lora::load(const std::vector<NamedTensor>& given) {
    const std::vector<NamedTensor> known = shapes();
    std::map<std::string, size_t> index_of;
    for (size_t i = 0; i < known.size(); i++) index_of[known[i].name] = i;
    for (const NamedTensor& tensor : given) {
        const auto found = index_of.find(tensor.name);
        if (found == index_of.end()) throw Failure(Code::usage, "adapter tensor " + tensor.name + " belongs to no target of this adapter");
        const auto& [name, rows, columns, data] = known[found->second];
        if (tensor.rows != rows || tensor.columns != columns || static_cast<int64_t>(tensor.data.size()) != rows * columns)
            throw Failure(Code::usage, "adapter tensor " + name + ": expected " + std::to_string(rows) + " x " + std::to_string(columns) +
                                           ", received " + std::to_string(tensor.rows) + " x " + std::to_string(tensor.columns));
    }
    for (const NamedTensor& tensor : given) write(index_of[tensor.name], 0, static_cast<int64_t>(tensor.data.size()), tensor.data.data());
}

}  // namespace stillroom
