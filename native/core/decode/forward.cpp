// Every value of a row is computed by the same operations in the same order whatever stands beside it: results do not depend on the batch.
#include "core/decode/forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace stillroom {

namespace {
constexpr int64_t rows_of_unit = 16;  // rows that one thread attends for at once
}

Forward::Forward(Graph& given, Precision chosen) : graph(given), precision(chosen), products(given.kernels, given.threads), scratch(given.threads.count()) {
    if (precision != Precision::int8 && precision != Precision::f32) return;
    for (const Layer& layer : graph.model->layers)
        for (const Weight* weight : layer.matrices()) products.prepare(*weight, precision);
    products.prepare(graph.model->head, precision);
}

void Forward::embed(const std::vector<StepToken>& step) {
    const Model& m = *graph.model;
    const LoraPair* pair = lora ? lora->find(0, target_embeddings) : nullptr;
    graph.threads.run(Kernel::embed, static_cast<int64_t>(step.size()), [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; t++) {
            float* to = x.data() + t * m.width;
            m.embeddings.read(step[t].token, 0, m.width, to);
            for (int64_t r = 0; pair && r < lora->options.rank; r++) {
                const float a = lora->values[pair->a + r * pair->in + step[t].token] * lora->options.scale();
                const float* b = lora->values.data() + pair->b + r * pair->out;
                for (int64_t c = 0; c < m.width; c++) to[c] += a * b[c];
            }
        }
    });
}

void Forward::norm(const float* from, const float* weight, int64_t width, int64_t rows, float* y) {
    graph.threads.run(Kernel::norm, rows, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; t++) graph.kernels.rms_norm(width, from + t * width, weight, graph.model->epsilon, y + t * width);
    });
}

// (T, half) sines and cosines of the step's positions.
void Forward::angles(const std::vector<StepToken>& step) {
    const Rope& rope = graph.model->rope;
    const int64_t half = rope.width / 2, count = static_cast<int64_t>(step.size());
    float *s = sines.reserve(count * half), *c = cosines.reserve(count * half);
    graph.threads.run(Kernel::rope, count, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; t++)
            for (int64_t i = 0; i < half; i++) {
                const double angle = static_cast<double>(step[t].position) * rope.frequencies[i];
                s[t * half + i] = static_cast<float>(std::sin(angle)) * rope.magnitude;
                c[t * half + i] = static_cast<float>(std::cos(angle)) * rope.magnitude;
            }
    });
}

void Forward::rotate(int64_t first, int64_t last, float* rows, int64_t heads) const {
    const Rope& rope = graph.model->rope;
    const int64_t width = graph.model->head_width, half = rope.width / 2, stride = rope.interleaved ? 2 : 1, other = rope.interleaved ? 1 : half;
    for (int64_t at = first * heads; at < last * heads; at++) {
        const float *s = sines.data() + at / heads * half, *c = cosines.data() + at / heads * half;
        float* head = rows + at * width;
        for (int64_t i = 0; i < half; i++) {
            const float a = head[i * stride], b = head[i * stride + other];
            head[i * stride] = a * c[i] - b * s[i];
            head[i * stride + other] = a * s[i] + b * c[i];
        }
    }
}

// y (T, N) += bias + scale (x A^T) B^T.
void Forward::add_rest(int64_t layer, Target target, const Vector& bias, int64_t rows, const Packed& from, Products::Output output) {
    const int64_t width = output.weight.out;
    for (int64_t t = 0; !bias.empty() && t < rows; t++) graph.kernels.add(width, bias.data(), output.y + t * width);
    const LoraPair* pair = lora ? lora->find(layer, target) : nullptr;
    if (!pair) return;
    const int64_t rank = lora->options.rank;
    float* u = low.reserve(rows * rank);
    products.multiply_transposed(from, lora->values.data() + pair->a, rank, u, rank, false);
    products.pack(u, rows, rank, rank, lora->options.scale(), packed_low);
    products.multiply(packed_low, lora->values.data() + pair->b, width, width, output.y, width, true);
}

// Queries and keys turned by their positions, keys and values into the sequences' pages.
void Forward::place(const std::vector<StepToken>& step, int64_t layer, KeyValues& store) {
    const int64_t heads = graph.model->key_value_heads, width = graph.model->head_width;
    graph.threads.run(Kernel::rope, static_cast<int64_t>(step.size()), [&](int64_t begin, int64_t end, int) {
        rotate(begin, end, q.data(), graph.model->heads);
        rotate(begin, end, k.data(), heads);
        for (int64_t t = begin; t < end; t++) {
            const int64_t at = step[t].position % Pages::length;
            const int32_t page = (*step[t].pages)[step[t].position / Pages::length];
            for (int64_t head = 0; head < heads; head++) {
                const float *key = k.data() + (t * heads + head) * width, *value = v.data() + (t * heads + head) * width;
                float* keys = store.keys(page, layer, head);
                for (int64_t i = 0; i < width; i++) keys[i * Pages::length + at] = key[i];
                std::memcpy(store.values(page, layer, head) + at * width, value, width * sizeof(float));
            }
        }
    });
}

void Forward::attend(const std::vector<StepToken>& step, int64_t layer, KeyValues& store) {
    const int64_t heads = graph.model->key_value_heads, count = static_cast<int64_t>(step.size()), blocks = (count + rows_of_unit - 1) / rows_of_unit;
    graph.threads.run(Kernel::attention, blocks * heads, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t unit = begin; unit < end; unit++) {
            const int64_t first = unit / heads * rows_of_unit;
            attend_rows(step, layer, store, unit % heads, order.data() + first, std::min(rows_of_unit, count - first), scratch[thread]);
        }
    });
}

// Softmax over the pages of each row in their order, kept as a running maximum and sum (Milakov & Gimelshein 2018).
void Forward::attend_rows(const std::vector<StepToken>& step, int64_t layer, KeyValues& store, int64_t head, const int32_t* rows, int64_t count, Scratch& s) {
    const int64_t width = graph.model->head_width, group = graph.model->heads / graph.model->key_value_heads, q_width = graph.model->heads * width;
    const int64_t mr = graph.kernels.tile_rows, most = count * group, blocked = (most + mr - 1) / mr * mr;
    float *queries = s.queries.reserve(most * width), *sums = s.mixed.reserve(most * width), *high = s.high.reserve(most), *total = s.sum.reserve(most);
    s.scores.reserve(most * Pages::length);
    s.packed_queries.reserve(blocked * width);
    s.packed_scores.reserve(blocked * Pages::length);
    for (int64_t r = 0; r < count; r++)
        std::memcpy(queries + r * group * width, q.data() + rows[r] * q_width + head * group * width, group * width * sizeof(float));
    std::fill(sums, sums + most * width, 0.0f);
    std::fill(high, high + most, -INFINITY);
    std::fill(total, total + most, 0.0f);
    attend_pages({step, layer, head, rows, store, s}, 0, count, 0);
    for (int64_t r = 0; r < count; r++)
        for (int64_t i = 0; i < group; i++) {
            const float* from = sums + (r * group + i) * width;
            float* to = mixed.data() + rows[r] * q_width + (head * group + i) * width;
            for (int64_t c = 0; c < width; c++) to[c] = from[c] / total[r * group + i];
        }
}

// Rows [first, last) from page `depth` on. As long as they share pages they meet them together, their queries packed once and a page's
// keys and values read once for all of them; then each of those that still do goes on by itself.
void Forward::attend_pages(const Attended& a, int64_t first, int64_t last, int64_t depth) {
    const Kernels& kernels = graph.kernels;
    const int64_t width = graph.model->head_width, group = graph.model->heads / graph.model->key_value_heads;
    auto sees = [&](int64_t r) { return a.step[a.rows[r]].position >= depth * Pages::length; };
    auto page_of = [&](int64_t r) { return (*a.step[a.rows[r]].pages)[depth]; };
    auto together = [&](int64_t from) {  // past the rows that share its page
        int64_t to = from;
        while (to < last && sees(to) && page_of(to) == page_of(from)) to++;
        return to;
    };
    kernels.pack((last - first) * group, width, a.scratch.queries.data() + first * group * width, width, 1, 1.0f / std::sqrt(static_cast<float>(width)),
                 a.scratch.packed_queries.data());
    for (; sees(first) && together(first) == last; depth++) attend_page(a, first, last, depth);
    for (int64_t from = first, to; from < last; from = to) {
        to = std::max(together(from), from + 1);
        if (sees(from)) attend_pages(a, from, to, depth);
    }
}

// All of the rows and one page that they share: scores, their exponentials, and the values weighted by them.
void Forward::attend_page(const Attended& a, int64_t first, int64_t last, int64_t depth) {
    const Kernels& kernels = graph.kernels;
    const int64_t width = graph.model->head_width, group = graph.model->heads / graph.model->key_value_heads;
    const int64_t mr = kernels.tile_rows, nr = kernels.tile_columns, m = (last - first) * group;
    const int32_t page = (*a.step[a.rows[first]].pages)[depth];
    auto visible = [&](int64_t r) { return std::min<int64_t>(Pages::length, a.step[a.rows[r]].position - depth * Pages::length + 1); };
    int64_t n = 0;
    for (int64_t r = first; r < last; r++) n = std::max(n, visible(r));
    float *scores = a.scratch.scores.data(), *weights = a.scratch.packed_scores.data(), *out = a.scratch.mixed.data() + first * group * width;
    const float *keys = a.store.keys(page, a.layer, a.head), *values = a.store.values(page, a.layer, a.head);
    for (int64_t j = 0; j < n; j += nr)
        kernels.multiply(m, static_cast<int>(std::min(nr, n - j)), width, a.scratch.packed_queries.data(), mr * width, keys + j, Pages::length, scores + j,
                         Pages::length, false);
    for (int64_t i = 0; i < m; i++) {
        const int64_t seen = visible(first + i / group);
        float *row = scores + i * Pages::length, &high = a.scratch.high.data()[first * group + i], &total = a.scratch.sum.data()[first * group + i];
        const float top = std::max(high, kernels.maximum(seen, row)), shrink = std::exp(high - top);
        total = total * shrink + kernels.exp_shifted(seen, row, top);
        std::fill(row + seen, row + n, 0.0f);
        if (shrink != 1.0f) kernels.scale(width, shrink, out + i * width);
        high = top;
    }
    kernels.pack(m, n, scores, Pages::length, 1, 1.0f, weights);
    for (int64_t j = 0; j < width; j += nr)
        kernels.multiply(m, static_cast<int>(std::min(nr, width - j)), n, weights, mr * n, values + j, width, out + j, width, true);
}

float* Forward::run(const std::vector<StepToken>& step, const Lora* adapter, KeyValues& store) {
    const Model& m = *graph.model;
    const int64_t count = static_cast<int64_t>(step.size()), q_width = m.heads * m.head_width, kv_width = m.key_value_heads * m.head_width;
    lora = adapter;
    order.resize(step.size());
    for (size_t t = 0; t < step.size(); t++) order[t] = static_cast<int32_t>(t);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        if (step[a].pages != step[b].pages && *step[a].pages != *step[b].pages) return *step[a].pages < *step[b].pages;
        return step[a].position < step[b].position;
    });
    for (auto [buffer, width] : {std::pair<Buffer*, int64_t>{&x, m.width}, {&h, m.width}, {&q, q_width}, {&k, kv_width}, {&v, kv_width}, {&raw, q_width},
                                 {&mixed, q_width}, {&gate, m.feed_forward}, {&up, m.feed_forward}})
        buffer->reserve(count * width);
    embed(step);
    angles(step);
    for (int64_t l = 0; l < m.layer_count; l++) {
        const Layer& layer = m.layers[l];
        norm(x.data(), layer.attention_norm.data(), m.width, count, h.data());
        products.pack_operand(h.data(), count, m.width, m.width, precision, forward_group, lora, packed);
        products.forward(packed, {{layer.q, q.data()}, {layer.k, k.data()}, {layer.v, v.data()}}, false);
        add_rest(l, target_q, layer.q_bias, count, packed, {layer.q, q.data()});
        add_rest(l, target_k, layer.k_bias, count, packed, {layer.k, k.data()});
        add_rest(l, target_v, layer.v_bias, count, packed, {layer.v, v.data()});
        if (!layer.q_norm.empty()) {
            norm(q.data(), layer.q_norm.data(), m.head_width, count * m.heads, raw.data());
            std::memcpy(q.data(), raw.data(), count * q_width * sizeof(float));
            norm(k.data(), layer.k_norm.data(), m.head_width, count * m.key_value_heads, raw.data());
            std::memcpy(k.data(), raw.data(), count * kv_width * sizeof(float));
        }
        place(step, l, store);
        attend(step, l, store);
        products.pack_operand(mixed.data(), count, q_width, q_width, precision, forward_group, lora, packed);
        products.forward(packed, {{layer.o, x.data()}}, true);
        add_rest(l, target_o, {}, count, packed, {layer.o, x.data()});
        norm(x.data(), layer.feed_forward_norm.data(), m.width, count, h.data());
        products.pack_operand(h.data(), count, m.width, m.width, precision, forward_group, lora, packed);
        products.forward(packed, {{layer.gate, gate.data()}, {layer.up, up.data()}}, false);
        add_rest(l, target_gate, {}, count, packed, {layer.gate, gate.data()});
        add_rest(l, target_up, {}, count, packed, {layer.up, up.data()});
        graph.threads.run(Kernel::swiglu, count, [&](int64_t begin, int64_t end, int) {
            const int64_t from = begin * m.feed_forward;
            graph.kernels.swiglu((end - begin) * m.feed_forward, gate.data() + from, up.data() + from, gate.data() + from);
        });
        products.pack_operand(gate.data(), count, m.feed_forward, m.feed_forward, precision, forward_group, lora, packed);
        products.forward(packed, {{layer.down, x.data()}}, true);
        add_rest(l, target_down, {}, count, packed, {layer.down, x.data()});
    }
    int64_t wanted = 0;
    last.reserve(count * m.width);
    for (int64_t t = 0; t < count; t++)
        if (step[t].wanted) std::memcpy(last.data() + wanted++ * m.width, x.data() + t * m.width, m.width * sizeof(float));
    if (wanted == 0) return nullptr;
    const Profile::Scope scope(graph.threads.profile, Part::head);
    norm(last.data(), m.output_norm.data(), m.width, wanted, h.data());
    products.pack_operand(h.data(), wanted, m.width, m.width, precision, forward_group, lora, packed);
    float* result = logits.reserve(wanted * m.vocabulary);
    products.forward(packed, {{m.head, result}}, false);
    add_rest(0, target_head, {}, wanted, packed, {m.head, result});
    return result;
}

}  // namespace stillroom
