// One decoder layer, forward and backward: RMSNorm, projections with LoRA, QK norm, RoPE, attention, SwiGLU (docs/numerics.md).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/graph.h"
#include "core/random.h"

namespace stillroom {

namespace {
// Outputs that linear_backward packs at once, a multiple of backward_group.
constexpr int64_t output_slice = 4096;
}  // namespace

void Graph::norm(const float* x, const Vector& weight, int64_t n, float* y) {
    const int64_t width = weight.size();
    threads.run(Kernel::norm, n, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; t++) kernels.rms_norm(width, x + t * width, weight.data(), model->epsilon, y + t * width);
    });
}

void Graph::norm_backward(const float* x, const Vector& weight, int64_t n, const float* dy, float* d, float* gradients) {
    const int64_t width = weight.size();
    add_norm_gradient(weight, n, x, dy, gradients);
    threads.run(Kernel::norm, n, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; t++) {
            const float* row = x + t * width;
            const float inverse = 1.0f / std::sqrt(kernels.dot(width, row, row) / static_cast<float>(width) + model->epsilon);
            kernels.rms_norm_backward(width, row, weight.data(), inverse, dy + t * width, d + t * width);
        }
    });
}

// d (n, D): the gradient of n normed heads on entry, of raw on return (QK norm is RMSNorm of each head, Qwen3).
void Graph::head_norm_backward(const float* raw, const Vector& weight, int64_t n, float* d, float* gradients) {
    const int64_t width = weight.size();
    float* result = product.reserve(n * width);
    std::fill(result, result + n * width, 0.0f);
    norm_backward(raw, weight, n, d, result, gradients);
    std::memcpy(d, result, n * width * sizeof(float));
}

// Rotates each pair of each head by its position; back: by the opposite angle, which is the gradient.
void Graph::rotate(Rows rows, float* x, int64_t heads, bool back) {
    const int64_t width = model->head_width, half = model->rope.width / 2;
    const int64_t step = model->rope.interleaved ? 2 : 1, other = model->rope.interleaved ? 1 : half;
    const float sign = back ? -1.0f : 1.0f;
    threads.run(Kernel::rope, rows.count, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; r++) {
            const int64_t position = batch->positions[rows.token(r)];
            const float* sine = sines.data() + position * half;
            const float* cosine = cosines.data() + position * half;
            for (int64_t h = 0; h < heads; h++) {
                float* head = x + (r * heads + h) * width;
                for (int64_t i = 0; i < half; i++) {
                    const float a = head[i * step], b = head[i * step + other], s = sine[i] * sign;
                    head[i * step] = a * cosine[i] - b * s;
                    head[i * step + other] = a * s + b * cosine[i];
                }
            }
        }
    });
}

// 1 / (1 - rate) for a kept channel, 0 for a dropped one.
float Graph::mask(uint64_t stream, uint64_t index) const {
    return uniform(dropout.seed ^ (dropout.step << 20) ^ dropout.micro_batch, stream, index) < dropout.rate ? 0.0f : 1.0f / (1.0f - dropout.rate);
}

// out (N, width) += x masked as the tokens of its rows are.
void Graph::add_masked(int64_t layer, Target target, Rows rows, const float* x, int64_t width, float* out) {
    const uint64_t stream = static_cast<uint64_t>(layer) * target_count + target;
    threads.run(Kernel::dropout, rows.count, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; r++)
            for (int64_t i = 0; i < width; i++) out[r * width + i] += x[r * width + i] * mask(stream, rows.token(r) * width + i);
    });
}

// The input of the low-rank path under dropout (N, width); x itself when there is none.
const float* Graph::dropped(int64_t layer, Target target, Rows rows, const float* x, int64_t width) {
    if (dropout.rate == 0.0f) return x;
    float* out = drop.reserve(rows.count * width);
    std::fill(out, out + rows.count * width, 0.0f);
    add_masked(layer, target, rows, x, width, out);
    return out;
}

// y (N, out) = or += x W^T + bias + scale (x A^T) B^T of the x that is packed; u keeps x A^T (N, rank).
void Graph::linear_forward(int64_t layer, Target target, const Weight& weight, const float* bias, Rows rows, const float* x, float* y, Buffer& u,
                           bool accumulate) {
    const int64_t n = rows.count;
    if (importance) {
        std::vector<double>& sums = importance->sums[weight.name + ".weight"];
        sums.resize(weight.in);
        for (int64_t t = 0; t < n; t++)
            for (int64_t i = 0; i < weight.in; i++) sums[i] += static_cast<double>(x[t * weight.in + i]) * x[t * weight.in + i];
    }
    Addend added;
    if (const LoraPair* pair = lora ? lora->find(layer, target) : nullptr) {
        const int64_t rank = lora->options.rank;
        const float* input = dropped(layer, target, rows, x, weight.in);
        if (input != x) products.pack(input, n, weight.in, weight.in, 1.0f, packed_drop);
        float* low = u.reserve(n * rank);
        products.multiply_transposed(input != x ? packed_drop : packed, lora->values.data() + pair->a, rank, low, rank, false);
        products.pack(low, n, rank, rank, lora->options.scale(), packed_u);
        added = {&packed_u, lora->values.data() + pair->b};
    }
    products.forward(packed, {{weight, y, added}}, accumulate);
    if (!bias) return;
    threads.run(n, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; t++) kernels.add(weight.out, bias, y + t * weight.out);
    });
}

// dx = or += dy W + the low-rank path; dW, or dA and dB, added to gradients. dx may be null: then only these are computed.
void Graph::linear_backward(int64_t layer, Target target, const Weight& weight, Rows rows, const float* x, const float* dy, const float* u, float* d,
                            bool accumulate, float* gradients) {
    const int64_t n = rows.count;
    add_weight_gradient(weight, n, x, dy, gradients);
    const LoraPair* pair = lora ? lora->find(layer, target) : nullptr;
    if (!pair && !d) return;
    // The head's outputs are many: packed a slice at a time they take no memory and stay in the cache. An adapter needs them whole.
    for (int64_t first = 0; !pair && first < weight.out; first += output_slice) {
        products.pack_operand(dy + first, n, std::min(output_slice, weight.out - first), weight.out, precisions.backward, backward_group, false, packed);
        products.backward(packed, weight, d, weight.in, accumulate || first > 0, first);
    }
    if (!pair) return;
    products.pack_operand(dy, n, weight.out, weight.out, precisions.backward, backward_group, true, packed);
    const int64_t rank = lora->options.rank;
    const float scale = lora->options.scale();
    const float *a = lora->values.data() + pair->a, *b = lora->values.data() + pair->b;
    float* low = du.reserve(n * rank);
    products.multiply_transposed(packed, b, rank, low, rank, false);
    kernels.scale(n * rank, scale, low);
    if (d) {
        products.pack(low, n, rank, rank, 1.0f, packed_u);
        const bool masked = dropout.rate != 0.0f;
        products.backward(packed, weight, d, weight.in, accumulate, 0, masked ? Addend{} : Addend{&packed_u, a});
        if (masked) {
            float* back = product.reserve(n * weight.in);
            products.multiply(packed_u, a, weight.in, weight.in, back, weight.in, false);
            add_masked(layer, target, rows, back, weight.in, d);
        }
    }
    products.pack_transposed(u, n, rank, rank, scale, packed_t);
    products.multiply(packed_t, dy, weight.out, weight.out, gradients + pair->b, weight.out, true);
    const float* input = dropped(layer, target, rows, x, weight.in);
    products.pack_transposed(low, n, rank, rank, 1.0f, packed_t);
    products.multiply(packed_t, input, weight.in, weight.in, gradients + pair->a, weight.in, true);
}

void Graph::copy(const float* x, int64_t n, int64_t width, float* out) {
    threads.run(n, [&](int64_t begin, int64_t end, int) { std::memcpy(out + begin * width, x + begin * width, (end - begin) * width * sizeof(float)); });
}

// (N, width): those rows of x (T, width), copied to `space` unless they are all.
const float* Graph::gathered(Rows rows, const float* x, int64_t width, Buffer& space) {
    if (!rows.tokens) return x;
    float* out = space.reserve(rows.count * width);
    for (int64_t r = 0; r < rows.count; r++) std::memcpy(out + r * width, x + rows.tokens[r] * width, width * sizeof(float));
    return out;
}

// out (T, width) = x (N, width) at its rows, zero elsewhere.
void Graph::scatter(Rows rows, const float* x, int64_t width, float* out) {
    if (rows.tokens) std::fill(out, out + total * width, 0.0f);
    for (int64_t r = 0; r < rows.count; r++) std::memcpy(out + rows.token(r) * width, x + r * width, width * sizeof(float));
}

// x (T, C) → out (N, C) at the layer's rows. The keys and values are those of all tokens.
void Graph::layer_forward(int64_t l, const float* x, float* out, State& s) {
    const Model& m = *model;
    const Layer& layer = m.layers[l];
    const Rows all{total}, rows = rows_of(l);
    const int64_t n = rows.count, q_width = m.heads * m.head_width, kv_width = m.key_value_heads * m.head_width;
    const bool qk_norm = !layer.q_norm.empty();
    auto pack = [&](const float* operand, int64_t count, int64_t width) {
        products.pack_operand(operand, count, width, width, precisions.forward, forward_group, lora, packed);
    };
    float* h = normed;
    norm(x, layer.attention_norm, total, h);
    pack(h, total, m.width);
    float *q = s.q.reserve(n * q_width), *k = s.k.reserve(total * kv_width), *v = s.v.reserve(total * kv_width);
    float *q_raw = qk_norm ? s.q_raw.reserve(n * q_width) : q, *k_raw = qk_norm ? s.k_raw.reserve(total * kv_width) : k;
    linear_forward(l, target_k, layer.k, layer.k_bias.data(), all, h, k_raw, s.u[target_k], false);
    linear_forward(l, target_v, layer.v, layer.v_bias.data(), all, h, v, s.u[target_v], false);
    const float* h_rows = gathered(rows, h, m.width, normed_rows);
    if (h_rows != h) pack(h_rows, n, m.width);
    linear_forward(l, target_q, layer.q, layer.q_bias.data(), rows, h_rows, q_raw, s.u[target_q], false);
    if (qk_norm) {
        norm(q_raw, layer.q_norm, n * m.heads, q);
        norm(k_raw, layer.k_norm, total * m.key_value_heads, k);
    }
    rotate(rows, q, m.heads, false);
    rotate(all, k, m.key_value_heads, false);
    float* mixed = s.attention.reserve(n * q_width);
    attention.forward(*batch, rows, {m.heads, m.key_value_heads, m.head_width}, q, k, v, mixed, s.lse.reserve(n * m.heads));

    // Where nothing is kept, middle and out are one buffer (below the last layer also x), and the residual sums happen in place.
    float* middle = l < lowest ? out : s.middle.reserve(n * m.width);
    if (const float* from = gathered(rows, x, m.width, normed_rows); from != middle) copy(from, n, m.width, middle);
    pack(mixed, n, q_width);
    linear_forward(l, target_o, layer.o, nullptr, rows, mixed, middle, s.u[target_o], true);

    norm(middle, layer.feed_forward_norm, n, h);
    pack(h, n, m.width);
    float *gate = s.gate.reserve(n * m.feed_forward), *up = s.up.reserve(n * m.feed_forward);
    linear_forward(l, target_gate, layer.gate, nullptr, rows, h, gate, s.u[target_gate], false);
    linear_forward(l, target_up, layer.up, nullptr, rows, h, up, s.u[target_up], false);
    float* act = activated;
    threads.run(Kernel::swiglu, n, [&](int64_t begin, int64_t end, int) {
        kernels.swiglu((end - begin) * m.feed_forward, gate + begin * m.feed_forward, up + begin * m.feed_forward, act + begin * m.feed_forward);
    });
    if (out != middle) copy(middle, n, m.width, out);
    pack(act, n, m.feed_forward);
    linear_forward(l, target_down, layer.down, nullptr, rows, act, out, s.u[target_down], true);
}

// dout (N, C): the gradient of the layer's output at its rows, lost. d (T, C): the gradient of its input, on return; may be dout where
// the rows are all tokens.
void Graph::layer_backward(int64_t l, const float* x, State& s, float* dout, float* d, float* gradients) {
    const Model& m = *model;
    const Layer& layer = m.layers[l];
    const Rows all{total}, rows = rows_of(l);
    const int64_t n = rows.count, ff = m.feed_forward;
    const bool qk_norm = !layer.q_norm.empty();
    float *h = normed, *dh = dnormed, *act = activated, *dact = dactivated;
    float *gate = s.gate.data(), *up = s.up.data();
    threads.run(Kernel::swiglu, n, [&](int64_t begin, int64_t end, int) {
        kernels.swiglu((end - begin) * ff, gate + begin * ff, up + begin * ff, act + begin * ff);
    });
    linear_backward(l, target_down, layer.down, rows, act, dout, s.u[target_down].data(), dact, false, gradients);
    // The gradients take their places.
    threads.run(Kernel::swiglu, n, [&](int64_t begin, int64_t end, int) {
        kernels.swiglu_backward((end - begin) * ff, gate + begin * ff, up + begin * ff, dact + begin * ff, gate + begin * ff, up + begin * ff);
    });
    const float* middle = s.middle.data();
    norm(middle, layer.feed_forward_norm, n, h);
    linear_backward(l, target_gate, layer.gate, rows, h, gate, s.u[target_gate].data(), dh, false, gradients);
    linear_backward(l, target_up, layer.up, rows, h, up, s.u[target_up].data(), dh, true, gradients);
    norm_backward(middle, layer.feed_forward_norm, n, dh, dout, gradients);

    float *dmixed = dattention, *q = dq, *k = dk, *v = dv;
    linear_backward(l, target_o, layer.o, rows, s.attention.data(), dout, s.u[target_o].data(), dmixed, false, gradients);
    attention.backward(*batch, rows, {m.heads, m.key_value_heads, m.head_width}, s.q.data(), s.k.data(), s.v.data(), s.attention.data(), s.lse.data(), dmixed, q,
                       k, v);
    rotate(rows, q, m.heads, true);
    rotate(all, k, m.key_value_heads, true);
    if (qk_norm) {
        head_norm_backward(s.q_raw.data(), layer.q_norm, n * m.heads, q, gradients);
        head_norm_backward(s.k_raw.data(), layer.k_norm, total * m.key_value_heads, k, gradients);
    }
    add_bias_gradient(layer.q_bias, n, q, gradients);
    add_bias_gradient(layer.k_bias, total, k, gradients);
    add_bias_gradient(layer.v_bias, total, v, gradients);
    norm(x, layer.attention_norm, total, h);
    const float* h_rows = gathered(rows, h, m.width, normed_rows);
    // Below the lowest layer only the embeddings may ask for a gradient, and this norm for its own.
    const bool deeper = l > lowest || into_embeddings || (trained && trained->gradient(layer.attention_norm.data(), gradients));
    float *down = deeper ? dh : nullptr, *down_rows = deeper && rows.tokens ? dnormed_rows.reserve(n * m.width) : down;
    linear_backward(l, target_q, layer.q, rows, h_rows, q, s.u[target_q].data(), down_rows, false, gradients);
    if (down_rows != down) scatter(rows, down_rows, m.width, down);
    linear_backward(l, target_k, layer.k, all, h, k, s.u[target_k].data(), down, true, gradients);
    linear_backward(l, target_v, layer.v, all, h, v, s.u[target_v].data(), down, true, gradients);
    if (!deeper) return;
    if (dout != d) scatter(rows, dout, m.width, d);
    norm_backward(x, layer.attention_norm, total, dh, d, gradients);
}

}  // namespace stillroom
