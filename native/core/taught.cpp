// Packs the head of a teacher's distribution and sums up the rest.
#include "core/taught.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "core/failure.h"
#include "core/graph.h"

namespace stillroom {

void Taught::check(int64_t queries, int64_t vocabulary) const {
    auto refuse = [](const std::string& message) { throw Failure(Code::usage, "batch: " + message); };
    if (static_cast<int64_t>(tails.size()) != queries || static_cast<int64_t>(entries.size()) != queries * top_k)
        refuse("expected " + std::to_string(queries) + " positions of " + std::to_string(top_k) + " entries from a teacher, received " +
               std::to_string(tails.size()) + " and " + std::to_string(entries.size()) + " entries");
    for (uint32_t entry : entries)
        if (entry != taught_nothing && taught_token(entry) >= vocabulary)
            refuse("a teacher's token " + std::to_string(taught_token(entry)) + " is outside the vocabulary of " + std::to_string(vocabulary));
    for (float tail : tails)
        if (!(tail >= 0 && tail <= 1)) refuse("expected a teacher's tail from 0 to 1, received " + std::to_string(tail));
}

TopEntries::TopEntries(const Kernels& kernels, int64_t vocabulary, int64_t top_k, float temperature)
    : kernels(kernels), vocabulary(vocabulary), top_k(top_k), temperature(temperature), work(vocabulary) {
    if (vocabulary > taught_vocabulary)
        throw Failure(Code::usage, "expected a teacher's vocabulary of at most " + std::to_string(taught_vocabulary) + " tokens, received " + std::to_string(vocabulary));
    if (top_k < 1) throw Failure(Code::usage, "expected at least 1 for topK, received " + std::to_string(top_k));
    if (!(temperature > 0 && std::isfinite(temperature))) throw Failure(Code::usage, "expected a positive number for temperature");
}

void TopEntries::take(const float* logits, uint32_t* entries, float* tail) {
    // The larger logit first, of equal ones the lower token; a heap whose front is the worst of those kept.
    const auto before = [logits](int32_t a, int32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); };
    const int64_t kept = std::min(top_k, vocabulary);
    best.resize(kept);
    std::iota(best.begin(), best.end(), 0);
    std::make_heap(best.begin(), best.end(), before);
    for (int64_t i = kept; i < vocabulary; i++) {
        if (!(logits[i] > logits[best.front()])) continue;
        std::pop_heap(best.begin(), best.end(), before);
        best.back() = static_cast<int32_t>(i);
        std::push_heap(best.begin(), best.end(), before);
    }
    std::sort_heap(best.begin(), best.end(), before);
    // The tail is summed without what is kept, not as the difference of two sums that may be nearly equal.
    std::copy(logits, logits + vocabulary, work.begin());
    const float high = logits[best.front()] / temperature;
    kernels.scale(vocabulary, 1 / temperature, work.data());
    for (int32_t token : best) work[token] = -INFINITY;
    const double rest = kernels.exp_shifted(vocabulary, work.data(), high);
    double total = rest;
    for (int32_t token : best) total += std::exp(static_cast<double>(logits[token]) / temperature - high);
    for (int64_t i = 0; i < top_k; i++)
        entries[i] = i < kept ? taught_entry(best[i], static_cast<double>(logits[best[i]]) / temperature - high - std::log(total)) : taught_nothing;
    *tail = static_cast<float>(rest / total);
}

Taught teach(Graph& graph, const Batch& batch, int64_t top_k, float temperature) {
    const int64_t queries = static_cast<int64_t>(batch.query_positions.size()), vocabulary = graph.model->vocabulary;
    std::vector<TopEntries> packers;
    for (int i = 0; i < graph.threads.count(); i++) packers.emplace_back(graph.kernels, vocabulary, top_k, temperature);
    Taught by_row, result;
    by_row.entries.resize(graph.head_rows() * top_k);
    by_row.tails.resize(graph.head_rows());
    for (int64_t first = 0; first < graph.head_rows(); first += graph.head_chunk()) {
        const int64_t count = std::min(graph.head_chunk(), graph.head_rows() - first);
        const float* logits = graph.logits(first, count);
        graph.threads.run(Kernel::loss, count, [&](int64_t begin, int64_t end, int thread) {
            for (int64_t r = begin; r < end; r++)
                packers[thread].take(logits + r * vocabulary, by_row.entries.data() + (first + r) * top_k, by_row.tails.data() + first + r);
        });
    }
    result.top_k = top_k;
    for (int64_t q = 0; q < queries; q++) {
        const auto from = by_row.entries.begin() + graph.head_row(q) * top_k;
        result.entries.insert(result.entries.end(), from, from + top_k);
        result.tails.push_back(by_row.tails[graph.head_row(q)]);
    }
    return result;
}

}  // namespace stillroom
