// Pairs factors, checks shapes, and turns the one factor that llama.cpp wants transposed.
#include "core/adapter.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/failure.h"
#include "core/gguf_writer.h"
#include "core/text.h"

namespace stillroom {

namespace {

constexpr const char* embeddings = "token_embd";

// (rows, columns) row-major → (columns, rows) row-major.
std::vector<float> transposed(const std::vector<float>& from, int64_t rows, int64_t columns) {
    std::vector<float> to(from.size());
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
    return to;
}

}  // namespace

std::vector<FactorPair> factor_pairs(const std::vector<NamedTensor>& tensors) {
    std::vector<FactorPair> pairs;
    std::map<std::string, size_t> index;
    for (const NamedTensor& tensor : tensors) {
        const bool is_a = ends_with(tensor.name, ".lora_a");
        if (!is_a && !ends_with(tensor.name, ".lora_b"))
            throw Failure(Code::usage, "expected a name that ends in .lora_a or .lora_b for an adapter's tensor, received \"" + tensor.name + "\"");
        int64_t elements = 0;
        if (tensor.rows < 1 || tensor.columns < 1 || __builtin_mul_overflow(tensor.rows, tensor.columns, &elements) ||
            elements != static_cast<int64_t>(tensor.data.size()))
            throw Failure(Code::usage, "expected " + std::to_string(tensor.rows) + " x " + std::to_string(tensor.columns) + " values for " + tensor.name +
                                           ", received " + std::to_string(tensor.data.size()));
        const std::string weight = tensor.name.substr(0, tensor.name.size() - 7);
        const auto [found, added] = index.emplace(weight, pairs.size());
        if (added) pairs.push_back({weight, nullptr, nullptr});
        const NamedTensor*& slot = is_a ? pairs[found->second].a : pairs[found->second].b;
        if (slot) throw Failure(Code::usage, "tensor " + tensor.name + " stands twice in the adapter");
        slot = &tensor;
    }
    for (const FactorPair& pair : pairs) {
        if (!pair.a || !pair.b) throw Failure(Code::usage, "the adapter has " + pair.weight + (pair.a ? ".lora_a without .lora_b" : ".lora_b without .lora_a"));
        if (pair.a->rows != pair.b->columns)
            throw Failure(Code::usage, "the factors of " + pair.weight + " have the ranks " + std::to_string(pair.a->rows) + " and " + std::to_string(pair.b->columns));
    }
    return pairs;
}

void write_adapter(const std::string& path, const Adapter& adapter, const std::string& name) {
    if (!(adapter.alpha > 0) || !std::isfinite(adapter.alpha))
        throw Failure(Code::usage, "expected a positive number for alpha, received " + std::to_string(adapter.alpha));
    if (adapter.architecture.empty()) throw Failure(Code::usage, "expected a name for architecture, received \"\"");
    const auto pairs = factor_pairs(adapter.tensors);
    if (pairs.empty()) throw Failure(Code::usage, "the adapter has no tensors");
    GgufWriter writer;
    writer.text("general.architecture", adapter.architecture);
    writer.text("general.type", "adapter");
    writer.text("general.name", name);
    writer.u32("general.file_type", 0);  // all f32
    writer.text("adapter.type", "lora");
    writer.f32("adapter.lora.alpha", adapter.alpha);
    for (const FactorPair& pair : pairs) {
        const auto put = [&](const char* end, int64_t rows, int64_t columns, GgufWriter::Source source) {
            writer.tensor(pair.weight + ".weight" + end, GGML_TYPE_F32, {columns, rows}, std::move(source));
        };
        const auto plain = [](const NamedTensor* tensor) {
            return [tensor](AtomicFile& file) { file.write(tensor->data.data(), tensor->data.size() * sizeof(float)); };
        };
        // llama.cpp looks rows of the embeddings' A up by token, so that one factor stands transposed: (vocabulary, rank).
        if (pair.weight == embeddings) {
            put(".lora_a", pair.a->columns, pair.a->rows, [a = pair.a](AtomicFile& file) {
                const auto turned = transposed(a->data, a->rows, a->columns);
                file.write(turned.data(), turned.size() * sizeof(float));
            });
        } else {
            put(".lora_a", pair.a->rows, pair.a->columns, plain(pair.a));
        }
        put(".lora_b", pair.b->rows, pair.b->columns, plain(pair.b));
    }
    writer.write(path);
}

Adapter read_adapter(const GgufFile& file) {
    const auto refuse = [&](const std::string& message) -> Failure { return Failure(Code::input, file.path() + ": " + message); };
    const auto expect = [&](const char* key, const char* expected) {
        const std::string found = file.text(key).value_or("");
        if (found != expected) throw refuse(std::string("not a LoRA adapter: expected \"") + expected + "\" for " + key + ", found \"" + found + "\"");
    };
    expect("general.type", "adapter");
    expect("adapter.type", "lora");
    Adapter adapter;
    adapter.architecture = file.text("general.architecture").value_or("");
    if (adapter.architecture.empty()) throw refuse("expected general.architecture in the metadata, found none");
    const auto alpha = file.number("adapter.lora.alpha");
    if (!alpha || !(*alpha > 0) || !std::isfinite(*alpha)) throw refuse("expected a positive number for adapter.lora.alpha");
    adapter.alpha = static_cast<float>(*alpha);
    if (file.has("adapter.alora.invocation_tokens")) throw refuse("activated LoRA (alora) is not supported");
    for (const GgufTensor& tensor : file.tensors()) {
        const bool is_a = ends_with(tensor.name, ".weight.lora_a");
        if (!is_a && !ends_with(tensor.name, ".weight.lora_b")) throw refuse("tensor " + tensor.name + " is no factor of a weight");
        if (tensor.shape[2] != 1 || tensor.shape[3] != 1) throw refuse("tensor " + tensor.name + " is no matrix");
        const auto* traits = ggml_get_type_traits(tensor.type);
        if (tensor.type != GGML_TYPE_F32 && !traits->to_float)
            throw refuse("tensor " + tensor.name + " has the type " + ggml_type_name(tensor.type) + ", which cannot be converted to f32");
        NamedTensor factor{tensor.name.substr(0, tensor.name.size() - 14) + (is_a ? ".lora_a" : ".lora_b"), tensor.shape[1], tensor.shape[0], {}};
        factor.data.resize(static_cast<size_t>(tensor.elements()));
        if (tensor.type == GGML_TYPE_F32) {
            const auto* from = reinterpret_cast<const float*>(tensor.data);
            std::copy(from, from + tensor.elements(), factor.data.begin());
        } else {
            traits->to_float(tensor.data, factor.data.data(), tensor.elements());
        }
        if (is_a && factor.name == std::string(embeddings) + ".lora_a") {
            factor.data = transposed(factor.data, factor.rows, factor.columns);
            std::swap(factor.rows, factor.columns);
        }
        adapter.tensors.push_back(std::move(factor));
    }
    if (adapter.tensors.empty()) throw refuse("the adapter has no tensors");
    try {
        factor_pairs(adapter.tensors);
    } catch (const Failure& failure) {
        throw refuse(failure.what());
    }
    return adapter;
}

}  // namespace stillroom
