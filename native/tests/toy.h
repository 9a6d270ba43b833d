// Toy decoders in memory, of any shape, with weights from a seed; and an adapter for one.
#pragma once
#include <cmath>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/lora.h"
#include "tests/gradient.h"

namespace stillroom::testing {

struct Shape {
    int64_t layers, width, feed_forward, heads, key_value_heads, head_width, vocabulary;
    bool interleaved, bias, qk_norm, tied;
    std::vector<std::string> targets;
};

// A model in memory; its weights live in a deque, whose elements do not move.
struct Toy {
    std::deque<std::vector<float>> storage;
    std::shared_ptr<Model> model = std::make_shared<Model>();
    uint64_t seed = 100;

    Weight matrix(const std::string& name, int64_t in, int64_t out) {
        storage.push_back(random_values(in * out, seed++, 1.5f / std::sqrt(static_cast<float>(in))));
        Weight weight;
        weight.name = name;
        weight.in = in;
        weight.out = out;
        weight.data = reinterpret_cast<const uint8_t*>(storage.back().data());
        weight.row_bytes = in * static_cast<int64_t>(sizeof(float));
        return weight;
    }
    Vector vector(int64_t n, float base) {
        storage.push_back(random_values(n, seed++, 0.3f));
        for (float& value : storage.back()) value += base;
        return {storage.back().data(), n};
    }
    explicit Toy(const Shape& s) {
        Model& m = *model;
        m.layer_count = s.layers;
        m.width = s.width;
        m.feed_forward = s.feed_forward;
        m.heads = s.heads;
        m.key_value_heads = s.key_value_heads;
        m.head_width = s.head_width;
        m.vocabulary = s.vocabulary;
        m.context_length = 64;
        m.rope.interleaved = s.interleaved;
        m.rope.width = s.head_width;
        for (int64_t i = 0; i < s.head_width / 2; i++) m.rope.frequencies.push_back(std::pow(100.0, -2.0 * i / s.head_width));
        m.embeddings = matrix("token_embd", s.width, s.vocabulary);
        m.tied = s.tied;
        m.head = s.tied ? m.embeddings : matrix("output", s.width, s.vocabulary);
        m.head.name = "output";
        m.output_norm = vector(s.width, 1);
        const int64_t q = s.heads * s.head_width, kv = s.key_value_heads * s.head_width;
        for (int64_t l = 0; l < s.layers; l++) {
            const std::string at = "blk." + std::to_string(l) + ".";
            Layer layer;
            layer.attention_norm = vector(s.width, 1);
            layer.feed_forward_norm = vector(s.width, 1);
            if (s.qk_norm) {
                layer.q_norm = vector(s.head_width, 1);
                layer.k_norm = vector(s.head_width, 1);
            }
            if (s.bias) {
                layer.q_bias = vector(q, 0);
                layer.k_bias = vector(kv, 0);
                layer.v_bias = vector(kv, 0);
            }
            layer.q = matrix(at + "attn_q", s.width, q);
            layer.k = matrix(at + "attn_k", s.width, kv);
            layer.v = matrix(at + "attn_v", s.width, kv);
            layer.o = matrix(at + "attn_output", q, s.width);
            layer.gate = matrix(at + "ffn_gate", s.width, s.feed_forward);
            layer.up = matrix(at + "ffn_up", s.width, s.feed_forward);
            layer.down = matrix(at + "ffn_down", s.feed_forward, s.width);
            m.layers.push_back(std::move(layer));
        }
    }
};

inline std::shared_ptr<Lora> lora_of(const std::shared_ptr<Model>& model, const std::vector<std::string>& targets, float dropout = 0,
                                     int64_t hidden_width = 0, const HeadOptions& head = {}) {
    LoraOptions options;
    options.rank = 3;
    options.alpha = 4;
    options.dropout = dropout;
    options.targets = targets;
    options.hidden_width = hidden_width;
    options.head = head;
    auto lora = std::make_shared<Lora>(model, options);
    lora->values = random_values(static_cast<int64_t>(lora->values.size()), 7, 0.4f);  // B too
    return lora;
}

}  // namespace stillroom::testing
