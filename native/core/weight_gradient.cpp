// Gradients of weights under training, added where they lie in the flat array: linear layers, norms, biases and embeddings. Each element
// is summed by one thread in the order of the tokens, so that the number of threads does not change it. What is frozen costs nothing here.
#include <algorithm>
#include <cmath>

#include "core/graph.h"

namespace stillroom {

// dW (out, in) += dy^T x over n rows.
void Graph::add_weight_gradient(const Weight& weight, int64_t n, const float* x, const float* dy, float* gradients) {
    float* dw = trained ? trained->gradient(weight.data, gradients) : nullptr;
    if (dw) products.add_outer(dy, n, weight.out, x, weight.in, dw);
}

// db (out) += the sum of dy's n rows.
void Graph::add_bias_gradient(const Vector& bias, int64_t n, const float* dy, float* gradients) {
    float* db = trained ? trained->gradient(bias.data(), gradients) : nullptr;
    if (!db) return;
    const int64_t width = bias.size();
    threads.run(Kernel::weight_gradient, width, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = 0; t < n; t++) kernels.add(end - begin, dy + t * width + begin, db + begin);
    });
}

// dw (C) += the sum over n rows of dy x / rms(x).
void Graph::add_norm_gradient(const Vector& weight, int64_t n, const float* x, const float* dy, float* gradients) {
    float* dw = trained ? trained->gradient(weight.data(), gradients) : nullptr;
    if (!dw) return;
    const int64_t width = weight.size();
    float* inverse = inverses.reserve(n);
    threads.run(Kernel::weight_gradient, n, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = begin; t < end; t++)
            inverse[t] = 1.0f / std::sqrt(kernels.dot(width, x + t * width, x + t * width) / static_cast<float>(width) + model->epsilon);
    });
    threads.run(Kernel::weight_gradient, width, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = 0; t < n; t++)
            for (int64_t c = begin; c < end; c++) dw[c] += dy[t * width + c] * x[t * width + c] * inverse[t];
    });
}

// Only the rows of tokens that the batch has: dE[token] += d of its positions.
void Graph::add_embedding_gradient(const float* d, float* gradients) {
    float* de = trained ? trained->gradient(model->embeddings.data, gradients) : nullptr;
    if (!de) return;
    const int64_t width = model->width;
    threads.run(Kernel::weight_gradient, width, [&](int64_t begin, int64_t end, int) {
        for (int64_t t = 0; t < total; t++) kernels.add(end - begin, d + t * width + begin, de + batch->tokens[t] * width + begin);
    });
}

}  // namespace stillroom
