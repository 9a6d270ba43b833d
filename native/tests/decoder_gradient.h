// The gradient of a decoder's whole loss against differences of it: toys of odd shapes, and a batch for them.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/loss.h"
#include "core/parameters.h"
#include "tests/toy.h"

namespace stillroom::testing {

inline const std::vector<std::string> linear = {"q", "k", "v", "o", "gate", "up", "down"};
inline const std::vector<std::string> all = {"q", "k", "v", "o", "gate", "up", "down", "head", "embeddings"};

// 20 shapes: odd widths, groups of heads, both pairings, biases, norms, tied or not, and the targets alone.
inline const std::vector<Shape> shapes = {
    {1, 4, 3, 1, 1, 4, 5, true, false, false, true, linear},    {1, 6, 5, 3, 1, 2, 7, true, false, false, false, linear},
    {2, 12, 17, 3, 1, 4, 11, false, true, false, true, linear}, {2, 16, 9, 4, 2, 4, 13, false, false, true, true, linear},
    {1, 18, 33, 3, 3, 6, 19, true, false, false, true, all},    {2, 10, 7, 5, 1, 2, 23, false, true, false, false, all},
    {1, 20, 37, 2, 1, 10, 29, true, false, false, true, linear}, {3, 8, 11, 2, 2, 4, 17, false, false, true, false, linear},
    {1, 22, 13, 2, 1, 8, 31, false, false, true, true, all},    {2, 14, 15, 7, 7, 2, 37, true, false, false, false, linear},
    {1, 34, 35, 2, 1, 16, 33, true, false, false, true, linear}, {1, 66, 5, 3, 1, 22, 35, false, true, false, true, linear},
    {2, 12, 17, 6, 3, 2, 11, true, false, false, true, {"q"}},  {2, 12, 17, 6, 3, 2, 11, true, false, false, true, {"k"}},
    {2, 12, 17, 6, 3, 2, 11, true, false, false, true, {"v"}},  {2, 12, 17, 6, 3, 2, 11, true, false, false, true, {"o"}},
    {2, 12, 17, 6, 3, 2, 11, true, false, false, true, {"gate", "up"}}, {2, 12, 17, 6, 3, 2, 11, true, false, false, true, {"down"}},
    {2, 12, 17, 6, 3, 2, 11, true, false, false, false, {"head"}}, {2, 12, 17, 6, 3, 2, 11, true, false, false, true, {"embeddings"}},
};

inline Batch forest(int64_t vocabulary) {
    Batch batch;
    batch.segments = {{0, 3, -1}, {3, 2, 0}, {5, 4, 0}, {9, 2, -1}};
    for (int i = 0; i < 11; i++) batch.tokens.push_back(static_cast<int32_t>((i * 5 + 1) % vocabulary));
    batch.query_positions = {2, 2, 4, 6, 8, 10, 10};
    for (int i = 0; i < 7; i++) batch.query_tokens.push_back(static_cast<int32_t>((i * 3 + 2) % vocabulary));
    batch.check(vocabulary, 64);
    return batch;
}

inline double loss_at(Graph& graph, Parameters& parameters, const Batch& batch, const std::vector<float>& values) {
    std::copy(values.begin(), values.end(), parameters.values.begin());  // in place: a model may look at them
    graph.forward(batch, parameters.lora(), Graph::Keep::nothing);
    double sum = 0;
    for (double p : log_probabilities(graph, batch)) sum -= p;
    return sum;
}

inline double norm_of(const std::vector<float>& gradient) {
    double squares = 0;
    for (float g : gradient) squares += static_cast<double>(g) * g;
    return std::sqrt(squares);
}

// |g·d - (loss(w + e d) - loss(w - e d)) / 2e| relative to |g||d|/sqrt(n), over directions d that each touch one tensor's stretch of the array. value: the
// loss at an array; it is called with values as they were at the end.
template <typename Value>
double direction_error(const Value& value, const std::vector<float>& values, const std::vector<float>& gradient, float step = 4e-3f) {
    const std::vector<float> at = values;
    const int64_t size = static_cast<int64_t>(at.size()), stretch = std::max<int64_t>(1, size / 12);
    const double norm = norm_of(gradient);
    double worst = 0;
    for (int64_t first = 0; first < size; first += stretch) {
        const int64_t last = std::min(size, first + stretch);
        const auto direction = random_values(last - first, 11 + first);
        std::vector<float> high = at, low = at;
        double slope = 0, length = 0;
        for (int64_t i = first; i < last; i++) {
            high[i] += step * direction[i - first];
            low[i] -= step * direction[i - first];
            slope += static_cast<double>(gradient[i]) * direction[i - first];
            length += static_cast<double>(direction[i - first]) * direction[i - first];
        }
        const double difference = (value(high) - value(low)) / (2.0 * step);
        worst = std::max(worst, std::fabs(difference - slope) / (norm * std::sqrt(length / size) + 1e-9));
    }
    value(at);
    return worst;
}
inline double direction_error(Graph& graph, Parameters& parameters, const Batch& batch, const std::vector<float>& gradient) {
    return direction_error([&](const std::vector<float>& at) { return loss_at(graph, parameters, batch, at); }, parameters.values, gradient);
}

}  // namespace stillroom::testing
