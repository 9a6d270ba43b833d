// Row by row: dequantise, add the rank-r delta in f32, write.
#include "core/merge.h"

#include <cmath>
#include <map>

#include "core/adapter.h"
#include "core/failure.h"
#include "core/gguf_writer.h"

namespace stillroom {

namespace {

constexpr const char* embeddings_name = "token_embd.weight";
constexpr const char* head_name = "output.weight";

std::string dimensions(int64_t rows, int64_t columns) { return std::to_string(rows) + " x " + std::to_string(columns); }

// W: (out, in) of the base; the delta's row o is scale * sum over k of B[o,k] A[k,:]; for embeddings (rows are tokens)
// scale * sum over k of A[k,o] B[:,k].
void check_fit(const GgufFile& base, const FactorPair& pair, const GgufTensor& weight) {
    const bool embeddings = pair.weight == "token_embd";
    const int64_t in = embeddings ? pair.b->rows : pair.a->columns;
    const int64_t out = embeddings ? pair.a->columns : pair.b->rows;
    if (weight.shape[0] != in || weight.shape[1] != out || weight.shape[2] != 1 || weight.shape[3] != 1)
        throw Failure(Code::input, base.path() + ": the adapter's " + pair.weight + " is for a weight of " + dimensions(out, in) + ", the model's is " +
                                       dimensions(weight.shape[1], weight.shape[0]));
    if (weight.type != GGML_TYPE_F32 && !ggml_get_type_traits(weight.type)->to_float)
        throw Failure(Code::input, base.path() + ": tensor " + weight.name + " has the type " + ggml_type_name(weight.type) + ", which cannot be converted to f32");
}

GgufWriter::Source merged_rows(const GgufTensor& weight, const FactorPair& pair, float scale) {
    return [&weight, &pair, scale](AtomicFile& file) {
        const bool embeddings = pair.weight == "token_embd";
        const int64_t in = weight.shape[0], out = weight.shape[1], rank = pair.rank();
        // (rank, in): for embeddings B turned round, so that both cases add rows of it.
        std::vector<float> turned;
        if (embeddings) {
            turned.resize(static_cast<size_t>(rank * in));
            for (int64_t i = 0; i < in; ++i)
                for (int64_t k = 0; k < rank; ++k) turned[k * in + i] = pair.b->data[i * rank + k];
        }
        const float* directions = embeddings ? turned.data() : pair.a->data.data();
        std::vector<float> row(static_cast<size_t>(in));
        for (int64_t o = 0; o < out; ++o) {
            weight.read_row(o, row.data());
            for (int64_t k = 0; k < rank; ++k) {
                const float factor = scale * (embeddings ? pair.a->data[k * out + o] : pair.b->data[o * rank + k]);
                const float* direction = directions + k * in;
                for (int64_t i = 0; i < in; ++i) row[i] += factor * direction[i];
            }
            file.write(row.data(), row.size() * sizeof(float));
        }
    };
}

GgufWriter::Source copied(const GgufTensor& weight) {
    return [&weight](AtomicFile& file) { file.write(weight.data, weight.bytes); };
}

}  // namespace

void merge(const std::string& base_path, const std::vector<NamedTensor>& tensors, float scale, const std::string& out) {
    if (!std::isfinite(scale)) throw Failure(Code::usage, "expected a finite number for scale, received " + std::to_string(scale));
    if (same_file(base_path, out)) throw Failure(Code::usage, out + ": the merged model must not replace its base");
    const auto base = GgufFile::open(base_path);
    if (base->integer("split.count").value_or(1) > 1)
        throw Failure(Code::input, base_path + ": the model is split over several files; join them first (llama-gguf-split --merge)");
    const auto pairs = factor_pairs(tensors);
    const GgufTensor& embeddings = base->require(embeddings_name);
    const bool tied = base->find(head_name) == nullptr;

    std::map<std::string, const FactorPair*> by_weight;
    for (const FactorPair& pair : pairs) {
        const std::string name = pair.weight + ".weight";
        const GgufTensor* weight = tied && name == head_name ? &embeddings : base->find(name);
        if (!weight) throw Failure(Code::input, base_path + ": the adapter has factors for " + name + ", which the model has not");
        check_fit(*base, pair, *weight);
        by_weight.emplace(name, &pair);
    }

    GgufWriter writer;
    writer.copy_metadata(*base);
    const auto add = [&](const std::string& name, const GgufTensor& weight) {
        const auto found = by_weight.find(name);
        const std::vector<int64_t> shape(weight.shape, weight.shape + weight.dimensions);
        if (found == by_weight.end()) {
            writer.tensor(name, weight.type, shape, copied(weight));
        } else {
            writer.tensor(name, GGML_TYPE_F32, shape, merged_rows(weight, *found->second, scale));
        }
    };
    for (const GgufTensor& weight : base->tensors()) add(weight.name, weight);
    if (tied && (by_weight.count(head_name) || by_weight.count(embeddings_name))) add(head_name, embeddings);
    writer.write(out);
}

}  // namespace stillroom
