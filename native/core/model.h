// A decoder opened from a GGUF for our engine: hyper-parameters and views of the frozen, memory-mapped weights.
// Knows which architectures there are; not how they compute (graph).
#pragma once
#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/gguf_file.h"

namespace stillroom {

// A frozen matrix (out, in): rows of `in` values, in any type that ggml can dequantise.
struct Weight {
    std::string name;  // GGUF's name without ".weight"
    ggml_type type = GGML_TYPE_F32;
    int64_t in = 0, out = 0;
    const uint8_t* data = nullptr;
    int64_t row_bytes = 0;
    int64_t block = 1;  // values per quantised block
    explicit operator bool() const { return data != nullptr; }
    // Where value `first` (a multiple of block) of row `row` begins.
    const uint8_t* at(int64_t row, int64_t first) const { return data + row * row_bytes + first / block * ggml_type_size(type); }
    // From now on its values are these, packed in that type.
    void point_to(ggml_type type, const void* values);
    // Dequantises `count` values, a multiple of block, by ggml's routine: those that begin there, or of a row from `first` on.
    void unpack(const uint8_t* from, int64_t count, float* out) const;
    void read(int64_t row, int64_t first, int64_t count, float* out) const { unpack(at(row, first), count, out); }
};

// The weights of a norm, or a bias: values that the model, or the weights under training, own.
class Vector {
   public:
    Vector() = default;
    Vector(const float* values, int64_t count) : values(values), count(count) {}
    const float* data() const { return values; }
    int64_t size() const { return count; }
    bool empty() const { return count == 0; }

   private:
    const float* values = nullptr;
    int64_t count = 0;
};

struct Layer {
    Vector attention_norm, feed_forward_norm;  // (width)
    Vector q_norm, k_norm;                     // (head width), qwen3
    Vector q_bias, k_bias, v_bias;             // qwen2
    Weight q, k, v, o, gate, up, down;
    std::array<Weight*, 7> matrices() { return {&q, &k, &v, &o, &gate, &up, &down}; }
    std::array<const Weight*, 7> matrices() const { return {&q, &k, &v, &o, &gate, &up, &down}; }
};

// A matrix of a model's file, and the views of it: two where the head is the embeddings. layer: -1 for those of none.
struct Matrix {
    std::string name;  // of the tensor
    int64_t layer;
    std::vector<Weight*> views;
};

// RoPE (Su et al. 2021) with linear or YaRN scaling (Peng et al. 2023) and per-pair frequency factors (Llama 3).
struct Rope {
    bool interleaved = true;  // pairs (2i, 2i+1), GGUF's llama; else (i, i + n/2), GGUF's qwen
    int64_t width = 0;        // rotated values of a head, from the first
    std::vector<double> frequencies;  // (width / 2) radians a position
    float magnitude = 1;
};

struct Model {
    std::shared_ptr<const GgufFile> file;
    std::string architecture;
    int64_t layer_count = 0, width = 0, feed_forward = 0, heads = 0, key_value_heads = 0, head_width = 0;
    int64_t vocabulary = 0, context_length = 0;
    float epsilon = 1e-5f;
    Rope rope;
    Weight embeddings;  // (vocabulary, width)
    Weight head;        // the same view when tied
    bool tied = false;
    Vector output_norm;
    std::vector<Layer> layers;
    std::shared_ptr<std::deque<std::vector<float>>> vectors = std::make_shared<std::deque<std::vector<float>>>();  // what the views above point into

    // Embeddings and head first.
    std::vector<Matrix> matrices();

    // Failure(input) naming the reason when the engine cannot run it. kept: the numbers of the layers that it is to consist of, rising; empty: all.
    static std::shared_ptr<const Model> open(const std::string& path, const std::vector<int32_t>& kept = {});
};

}  // namespace stillroom
