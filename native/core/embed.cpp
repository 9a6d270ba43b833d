// Pools the states behind the final norm over each query's path, on the graph's threads.
#include "core/embed.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "core/failure.h"

namespace stillroom {

namespace {

[[noreturn]] void refuse() { throw Failure(Code::input, "the model gives no finite embedding for these tokens"); }

}  // namespace

Pooling pooling_of(const std::string& name) {
    if (name == "mean") return Pooling::mean;
    if (name == "last") return Pooling::last;
    throw Failure(Code::usage, "expected mean or last for pooling, received \"" + name + "\"");
}

void Pool::add(const float* state) {
    if (pooling == Pooling::last) std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t c = 0; c < sums.size(); c++) sums[c] += state[c];
    count++;
}

// The length of the sum is divided out, so that the mean needs no division by the number of tokens.
void Pool::take(float* embedding) {
    double squares = 0;
    for (double sum : sums) squares += sum * sum;
    const double scale = 1 / std::sqrt(squares);
    if (count == 0 || !std::isfinite(scale) || !std::isfinite(squares)) refuse();
    for (size_t c = 0; c < sums.size(); c++) embedding[c] = static_cast<float>(sums[c] * scale);
    std::fill(sums.begin(), sums.end(), 0.0);
    count = 0;
}

std::vector<int32_t> path_of(const Batch& batch, int32_t position) {
    const auto after = std::upper_bound(batch.segments.begin(), batch.segments.end(), position,
                                        [](int32_t token, const Segment& segment) { return token < segment.start; });
    std::vector<int32_t> path;
    int32_t last = position;
    for (auto s = static_cast<int32_t>(after - batch.segments.begin()) - 1; s >= 0;) {
        const Segment& segment = batch.segments[s];
        for (int32_t t = last; t >= segment.start; t--) path.push_back(t);
        s = segment.parent;
        if (s >= 0) last = batch.segments[s].start + batch.segments[s].length - 1;
    }
    std::reverse(path.begin(), path.end());
    return path;
}

std::vector<float> embed(Graph& graph, const Batch& batch, const Lora* lora, Pooling pooling) {
    const int64_t width = graph.model->width;
    const auto count = static_cast<int64_t>(batch.query_positions.size());
    Batch asked = batch;
    if (pooling == Pooling::mean) {
        asked.query_positions.resize(batch.tokens.size());
        std::iota(asked.query_positions.begin(), asked.query_positions.end(), 0);
    }
    std::vector<float> result(count * width);
    if (count == 0) return result;
    graph.forward(asked, lora, Graph::Keep::nothing);
    std::atomic<bool> finite{true};
    graph.threads.run(Kernel::loss, count, [&](int64_t begin, int64_t end, int) {
        Pool pool(pooling, width);
        for (int64_t q = begin; q < end; q++) try {
                if (pooling == Pooling::last)
                    pool.add(graph.state(graph.head_row(q)));
                else  // every token is a query, so its head row is its index
                    for (int32_t token : path_of(batch, batch.query_positions[q])) pool.add(graph.state(token));
                pool.take(result.data() + q * width);
            } catch (const Failure&) {
                finite = false;  // no exception crosses the pool of threads
            }
    });
    if (!finite) refuse();
    return result;
}

}  // namespace stillroom
