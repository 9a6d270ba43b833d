// Packs the head of a teacher's distribution, and draws from the rest or sums it up.
#include "core/taught.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "core/failure.h"
#include "core/graph.h"
#include "core/random.h"

namespace stillroom {

namespace {

// Neither infinite nor NaN, and not all 0.
bool usable(const uint16_t* state, int64_t width) {
    bool some = false;
    for (int64_t d = 0; d < width; d++) {
        if ((state[d] & 0x7c00) == 0x7c00) return false;
        some = some || (state[d] & 0x7fff) != 0;
    }
    return some;
}

}  // namespace

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
    if (static_cast<int64_t>(hidden.size()) != queries * hidden_width)
        refuse("expected " + std::to_string(queries) + " states of " + std::to_string(hidden_width) + " values from a teacher, received " +
               std::to_string(hidden.size()) + " values");
    for (int64_t q = 0; hidden_width > 0 && q < queries; q++)
        if (!usable(hidden.data() + q * hidden_width, hidden_width)) refuse("a teacher's state is not finite, or all 0");
}

std::vector<float> draws(const Batch& batch) {
    std::vector<float> result(batch.tokens.size());
    std::vector<uint64_t> ends;  // (S) of the path up to a segment's last token
    for (const Segment& segment : batch.segments) {
        uint64_t path = segment.parent < 0 ? 0 : ends[segment.parent];
        for (int32_t t = segment.start; t < segment.start + segment.length; t++) {
            path = mix_bits(path ^ static_cast<uint64_t>(batch.tokens[t]));
            result[t] = uniform(path, 0, 0);
        }
        ends.push_back(path);
    }
    return result;
}

TopEntries::TopEntries(const Kernels& kernels, int64_t vocabulary, const Teaching& teaching)
    : kernels(kernels), vocabulary(vocabulary), teaching(teaching), work(vocabulary) {
    if (vocabulary > taught_vocabulary)
        throw Failure(Code::usage, "expected a teacher's vocabulary of at most " + std::to_string(taught_vocabulary) + " tokens, received " + std::to_string(vocabulary));
    if (teaching.top_k < 1) throw Failure(Code::usage, "expected at least 1 for topK, received " + std::to_string(teaching.top_k));
    if (!(teaching.temperature > 0 && std::isfinite(teaching.temperature))) throw Failure(Code::usage, "expected a positive number for temperature");
}

void TopEntries::choose(const float* logits) {
    // The larger logit first, of equal ones the lower token; a heap whose front is the worst of those kept.
    const auto before = [logits](int32_t a, int32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); };
    const int64_t kept = std::min(teaching.top_k, vocabulary);
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
}

void TopEntries::take(const float* logits, float draw, uint32_t* entries, float* tail) {
    choose(logits);
    const double heat = teaching.temperature;
    const float high = logits[best.front()] / teaching.temperature;
    // The tail is summed without what is kept, not as the difference of two sums that may be nearly equal.
    std::copy(logits, logits + vocabulary, work.begin());
    kernels.scale(vocabulary, 1 / teaching.temperature, work.data());
    for (int32_t token : best) work[token] = -INFINITY;
    double rest = kernels.exp_shifted(vocabulary, work.data(), high);
    double total = rest;
    masses.clear();
    for (int32_t token : best) {
        masses.push_back(std::exp(logits[token] / heat - high));
        total += masses.back();
    }
    const double log_total = std::log(total);
    const auto entry = [&](int32_t token) { return taught_entry(token, logits[token] / heat - high - log_total); };
    std::fill(entries, entries + teaching.top_k, taught_nothing);
    int64_t exact = static_cast<int64_t>(best.size());
    if (teaching.tail == Tail::bucket || exact == vocabulary) {
        std::transform(best.begin(), best.end(), entries, entry);
        *tail = teaching.tail == Tail::bucket ? static_cast<float>(rest / total) : 0;
        return;
    }
    // Those stay exact that are worth more than a draw from all behind them. The others join the rest, which has one entry more for each.
    while (exact > 0 && masses[exact - 1] * static_cast<double>(teaching.top_k - exact + 1) <= rest + masses[exact - 1]) {
        exact--;
        rest += masses[exact];
        work[best[exact]] = static_cast<float>(masses[exact]);
    }
    std::transform(best.begin(), best.begin() + exact, entries, entry);
    // Systematic sampling: points at equal distances along the masses laid end to end in the order of the tokens, none of which is longer than a distance.
    const double distance = rest / static_cast<double>(teaching.top_k - exact);
    double point = draw * distance, end = 0;
    for (int64_t token = 0, i = exact; token < vocabulary && i < teaching.top_k; token++) {
        end += work[token];
        if (!(end > point)) continue;
        entries[i++] = entry(static_cast<int32_t>(token));
        point += distance;
    }
    *tail = static_cast<float>(distance / total);
}

void add_state(Taught& taught, const float* state, int64_t width) {
    const size_t at = taught.hidden.size();
    taught.hidden_width = width;
    taught.hidden.resize(at + width);
    ggml_fp32_to_fp16_row(state, taught.hidden.data() + at, width);
    if (!usable(taught.hidden.data() + at, width)) throw Failure(Code::input, "the teacher's hidden state is not finite in f16, or all 0: it cannot be kept");
}

Taught teach(Graph& graph, const Batch& batch, const Teaching& teaching) {
    const int64_t queries = static_cast<int64_t>(batch.query_positions.size()), vocabulary = graph.model->vocabulary, top_k = teaching.top_k;
    std::vector<TopEntries> packers;
    for (int i = 0; i < graph.threads.count(); i++) packers.emplace_back(graph.kernels, vocabulary, teaching);
    const std::vector<float> by_token = draws(batch);
    std::vector<float> by_row_draws(graph.head_rows());
    for (int64_t q = 0; q < queries; q++) by_row_draws[graph.head_row(q)] = by_token[batch.query_positions[q]];
    Taught by_row, result;
    by_row.entries.resize(graph.head_rows() * top_k);
    by_row.tails.resize(graph.head_rows());
    for (int64_t first = 0; first < graph.head_rows(); first += graph.head_chunk()) {
        const int64_t count = std::min(graph.head_chunk(), graph.head_rows() - first);
        const float* logits = graph.logits(first, count);
        graph.threads.run(Kernel::loss, count, [&](int64_t begin, int64_t end, int thread) {
            for (int64_t r = first + begin; r < first + end; r++)
                packers[thread].take(logits + (r - first) * vocabulary, by_row_draws[r], by_row.entries.data() + r * top_k, by_row.tails.data() + r);
        });
    }
    result.top_k = top_k;
    result.tail = teaching.tail;
    for (int64_t q = 0; q < queries; q++) {
        const auto from = by_row.entries.begin() + graph.head_row(q) * top_k;
        result.entries.insert(result.entries.end(), from, from + top_k);
        result.tails.push_back(by_row.tails[graph.head_row(q)]);
        if (teaching.hidden) add_state(result, graph.state(graph.head_row(q)), graph.model->width);
    }
    return result;
}

}  // namespace stillroom
