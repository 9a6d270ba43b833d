// The passes over the layers: embeddings, decoder layers and the head, forward and backward. The parts of a layer are in layer.cpp.
#include "core/graph.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/failure.h"

namespace stillroom {

Graph::Graph(std::shared_ptr<const Model> given, const Kernels& chosen, int count, Precisions narrow)
    : model(std::move(given)), kernels(chosen), threads(count), precisions(narrow), products(kernels, threads), attention(kernels, threads) {}

void Graph::train(std::shared_ptr<const Weights> under_training) {
    weights = std::move(under_training);
    model = weights->model();
    head_trained = weights->trains(model->head.data);
}

void Graph::rope_table() {
    const int64_t half = model->rope.width / 2;
    int64_t needed = 0;
    for (int32_t position : batch->positions) needed = std::max<int64_t>(needed, position + 1);
    if (needed <= table_positions) return;
    needed = (needed + 255) / 256 * 256;
    float* sine = sines.reserve(needed * half);
    float* cosine = cosines.reserve(needed * half);
    for (int64_t p = 0; p < needed; p++)
        for (int64_t i = 0; i < half; i++) {
            const double angle = static_cast<double>(p) * model->rope.frequencies[i];
            sine[p * half + i] = static_cast<float>(std::sin(angle)) * model->rope.magnitude;
            cosine[p * half + i] = static_cast<float>(std::cos(angle)) * model->rope.magnitude;
        }
    table_positions = needed;
}

// The logits and what a layer computes in passing are never needed together: one memory holds the one, then the other.
void Graph::share_workspace() {
    const Model& m = *model;
    const int64_t width = total * m.width, ff = total * m.feed_forward, q = total * m.heads * m.head_width, kv = total * m.key_value_heads * m.head_width;
    const std::pair<float**, int64_t> arrays[] = {{&normed, width}, {&activated, ff}, {&dnormed, width}, {&dactivated, ff}, {&dattention, q},
                                                  {&dq, q},         {&dk, kv},        {&dv, kv},         {&dx, width},      {&dlast, head_rows() * m.width}};
    const size_t used = keep == Keep::nothing ? 2 : std::size(arrays);  // the forward pass needs the first two
    const auto rounded = [](int64_t count) { return (count + 15) / 16 * 16; };
    int64_t floats = 0;
    for (size_t i = 0; i < used; i++) floats += rounded(arrays[i].second);
    float* at = workspace.reserve(std::max(floats, std::min(head_chunk(), head_rows()) * m.vocabulary));
    for (size_t i = 0; i < used; i++) {
        *arrays[i].first = at;
        at += rounded(arrays[i].second);
    }
}

void Graph::embed() {
    const int64_t width = model->width, rank = lora ? lora->options.rank : 0;
    const LoraPair* pair = lora ? lora->find(0, target_embeddings) : nullptr;
    float* x = inputs[0].data();
    threads.run(Kernel::embed, total, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; t++) {
            const int32_t token = batch->tokens[t];
            float* to = x + t * width;
            model->embeddings.read(token, 0, width, to);
            for (int64_t r = 0; pair && r < rank; r++) {
                const float a = lora->values[pair->a + r * pair->in + token] * lora->options.scale();
                const float* b = lora->values.data() + pair->b + r * pair->out;
                for (int64_t c = 0; c < width; c++) to[c] += a * b[c];
            }
        }
    });
}

void Graph::embed_backward(const float* gradient, float* gradients) {
    add_embedding_gradient(gradient, gradients);
    const LoraPair* pair = lora ? lora->find(0, target_embeddings) : nullptr;
    if (!pair) return;
    const int64_t width = model->width, rank = lora->options.rank;
    const float scale = lora->options.scale();
    threads.run(Kernel::embed, rank, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; r++)
            for (int64_t t = 0; t < total; t++) {
                const int64_t a = pair->a + r * pair->in + batch->tokens[t];
                gradients[a] += scale * kernels.dot(width, gradient + t * width, lora->values.data() + pair->b + r * width);
                const float factor = scale * lora->values[a];
                float* db = gradients + pair->b + r * width;
                for (int64_t c = 0; c < width; c++) db[c] += factor * gradient[t * width + c];
            }
    });
}

void Graph::forward(const Batch& given, const Lora* adapter, Keep what, const Dropout& masks, FrozenStates* frozen) {
    const Profile::Scope scope(threads.profile, Part::forward);
    batch = &given;
    lora = adapter;
    keep = what;
    dropout = masks;
    total = static_cast<int64_t>(given.tokens.size());
    const int64_t width = model->width, layers = model->layer_count;
    queried = given.query_positions;
    if (importance) {
        queried.resize(total);
        std::iota(queried.begin(), queried.end(), 0);
    }
    std::sort(queried.begin(), queried.end());
    queried.erase(std::unique(queried.begin(), queried.end()), queried.end());
    row_of_query.resize(given.query_positions.size());
    for (size_t q = 0; q < row_of_query.size(); q++)
        row_of_query[q] = static_cast<int32_t>(std::lower_bound(queried.begin(), queried.end(), given.query_positions[q]) - queried.begin());
    const int64_t count = head_rows();
    if (count == 0) return;

    trained = lora ? nullptr : weights.get();
    const Parameters* parameters = lora ? static_cast<const Parameters*>(lora) : trained;
    const int64_t reached = parameters ? parameters->lowest_layer() : layers;
    into_embeddings = reached < 0;
    lowest = keep == Keep::nothing ? layers : std::max<int64_t>(reached, 0);
    const size_t slots = slot(layers - 1) + 1;
    inputs.resize(std::max(inputs.size(), slots));
    states.resize(std::max<size_t>(states.size(), keep == Keep::everything ? slots : 1));
    for (size_t i = 0; i < slots; i++) inputs[i].reserve(total * width);
    last.reserve(count * width);
    rope_table();
    share_workspace();
    // What enters the lowest trained layer, or the final norm.
    float* entering = lowest < layers ? inputs[slot(lowest)].data() : last.data();
    const Rows entered = lowest < layers ? Rows{total} : rows_of(layers - 1);
    const bool known = frozen && lowest > 0 && frozen->read(given, entered, width, entering);
    if (!known) {
        embed();
        if (traced) traced->clear();
        for (int64_t l = 0; l < lowest; l++) {
            if (traced) traced->emplace_back(inputs[slot(l)].data(), inputs[slot(l)].data() + total * width);
            layer_forward(l, inputs[slot(l)].data(), output_of(l), states[0]);
        }
        if (frozen && lowest > 0) frozen->write(given, entered, width, entering);
    }
    for (int64_t l = lowest; l < layers; l++) layer_forward(l, inputs[slot(l)].data(), output_of(l), states[keep == Keep::everything ? slot(l) : 0]);
    norm(last.data(), model->output_norm, count, hidden.reserve(count * width));
}

void Graph::forward_from(int64_t layer, const float* x) {
    const Profile::Scope scope(threads.profile, Part::forward);
    std::copy(x, x + total * model->width, inputs[0].data());
    for (int64_t l = layer; l < model->layer_count; l++) layer_forward(l, inputs[0].data(), output_of(l), states[0]);
    norm(last.data(), model->output_norm, head_rows(), hidden.data());
}

float* Graph::logits(int64_t first, int64_t count) {
    const Profile::Scope scope(threads.profile, Part::head);
    const int64_t width = model->width;
    float* out = workspace.data();
    const float* h = hidden.data() + first * width;
    products.pack_operand(h, count, width, width, precisions.forward, forward_group, lora, packed);
    linear_forward(0, target_head, model->head, nullptr, {count, queried.data() + first}, h, out, head_u, false);
    return out;
}

void Graph::head_backward(int64_t first, int64_t count, float* gradients) {
    const Profile::Scope scope(threads.profile, Part::head);
    const int64_t width = model->width;
    float* dh = dhidden.reserve(head_rows() * width);
    linear_backward(0, target_head, model->head, {count, queried.data() + first}, hidden.data() + first * width, workspace.data(), head_u.data(),
                    dh + first * width, false, gradients);
}

void Graph::backward(float* gradients) {
    const Profile::Scope scope(threads.profile, Part::backward);
    const int64_t width = model->width, layers = model->layer_count, count = head_rows();
    std::fill(dlast, dlast + count * width, 0.0f);
    norm_backward(last.data(), model->output_norm, count, dhidden.data(), dlast, gradients);
    for (int64_t l = layers - 1; l >= lowest; l--) {
        State& state = states[keep == Keep::everything ? slot(l) : 0];
        // Computing a layer again writes its output where the next layer's input lies: the same values, bit for bit. The last layer's
        // state is still there.
        if (keep == Keep::inputs && !is_last(l)) layer_forward(l, inputs[slot(l)].data(), output_of(l), state);
        layer_backward(l, inputs[slot(l)].data(), state, is_last(l) ? dlast : dx, dx, gradients);
    }
    if (into_embeddings) embed_backward(dx, gradients);
}

}  // namespace stillroom
