// Truncation needs the candidates sorted only as far as it reaches; a draw is one number of the request's own seed and token index,
// taken along the kept tokens in the order of their ids.
#include "core/decode/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "core/backend.h"
#include "core/failure.h"
#include "core/random.h"

namespace stillroom {

namespace {

constexpr float impossible = -std::numeric_limits<float>::infinity();

struct Candidate {
    float logit;
    int32_t token;
    bool operator<(const Candidate& other) const { return logit != other.logit ? logit > other.logit : token < other.token; }
};

// The n best of the logits, best first.
std::vector<Candidate> best_of(const float* logits, int32_t vocabulary, int64_t n) {
    std::vector<Candidate> all(vocabulary);
    for (int32_t i = 0; i < vocabulary; i++) all[i] = {logits[i], i};
    n = std::min<int64_t>(n, vocabulary);
    std::partial_sort(all.begin(), all.begin() + n, all.end());
    all.resize(n);
    return all;
}

// How many of the candidates, best first, it takes until the sum of exp(logit - shift) reaches mass; all when it does not.
size_t nucleus(const std::vector<Candidate>& sorted, double shift, double mass) {
    double sum = 0;
    size_t count = 0;
    while (count < sorted.size() && sum < mass) sum += std::exp(sorted[count++].logit - shift);
    return count;
}

}  // namespace

Sampler::Sampler(const SamplerOptions& given, const llama_vocab* vocab, const Kernels& chosen) : options(given), kernels(chosen) {
    auto require = [](bool good, const char* what, const char* name, double value) {
        if (!good) throw Failure(Code::usage, std::string("expected ") + what + " for " + name + ", received " + std::to_string(value));
    };
    require(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty), "a positive number", "repetitionPenalty", options.repetition_penalty);
    require(options.repetition_window >= 0, "a number from 0", "repetitionWindow", options.repetition_window);
    require(options.top_k >= 0, "a number from 0", "topK", options.top_k);
    require(options.top_p > 0 && options.top_p <= 1, "a number above 0, at most 1", "topP", options.top_p);
    require(options.min_p >= 0 && options.min_p <= 1, "a number from 0 to 1", "minP", options.min_p);
    require(options.temperature == 0 || (options.temperature >= 1e-3f && options.temperature <= 100), "0 or a number from 0.001 to 100", "temperature",
            options.temperature);
    if (options.grammar.empty()) return;
    const Quiet quiet;
    grammar.reset(llama_sampler_init_grammar(vocab, options.grammar.c_str(), "root"));
    if (!grammar) throw Failure(Code::usage, "expected a GBNF grammar with a rule root for grammar; llama.cpp cannot take it: " + Quiet::error());
}

bool Sampler::allowed(int32_t token) const {
    llama_token_data one{token, 0, 0};
    llama_token_data_array array{&one, 1, -1, false};
    llama_sampler_apply(grammar.get(), &array);
    return one.logit != impossible;
}

void Sampler::mask(float* logits, int32_t vocabulary) const {
    std::vector<llama_token_data> all(vocabulary);
    for (int32_t i = 0; i < vocabulary; i++) all[i] = {i, logits[i], 0};
    llama_token_data_array array{all.data(), all.size(), -1, false};
    llama_sampler_apply(grammar.get(), &array);
    for (const llama_token_data& one : all) logits[one.id] = one.logit;
}

// ln sum exp of the logits.
double Sampler::log_sum(const float* logits, int32_t vocabulary, Buffer& scratch) const {
    const float high = kernels.maximum(vocabulary, logits);
    float* copy = scratch.reserve(vocabulary);
    std::copy(logits, logits + vocabulary, copy);
    return high + std::log(static_cast<double>(kernels.exp_shifted(vocabulary, copy, high)));
}

int32_t Sampler::most_likely(const float* logits, int32_t vocabulary) const {
    return static_cast<int32_t>(std::find(logits, logits + vocabulary, kernels.maximum(vocabulary, logits)) - logits);
}

int32_t Sampler::draw(const float* logits, int32_t vocabulary, uint64_t stream, uint64_t index, Buffer& scratch) const {
    const float high = kernels.maximum(vocabulary, logits), least = options.min_p > 0 ? high + std::log(options.min_p) : impossible;
    float* kept = nullptr;
    if (options.top_k > 0 || options.top_p < 1) {
        std::vector<Candidate> best;
        size_t count = 0;
        if (options.top_k > 0) {
            best = best_of(logits, vocabulary, options.top_k);
            double mass = 0;
            for (const Candidate& one : best) mass += std::exp(one.logit - high);
            count = options.top_p < 1 ? nucleus(best, high, options.top_p * mass) : best.size();
        } else {
            const double total = log_sum(logits, vocabulary, scratch);
            for (int64_t n = 256; best.size() < static_cast<size_t>(vocabulary) && count >= best.size(); n *= 8) {
                best = best_of(logits, vocabulary, n);
                count = nucleus(best, total, options.top_p);
            }
        }
        best.resize(count);
        kept = scratch.reserve(vocabulary);
        std::fill(kept, kept + vocabulary, impossible);
        for (const Candidate& one : best) kept[one.token] = one.logit;
    } else {
        kept = scratch.reserve(vocabulary);
        std::copy(logits, logits + vocabulary, kept);
    }
    const float inverse = 1 / options.temperature;
    for (int32_t i = 0; i < vocabulary; i++) kept[i] = kept[i] < least ? impossible : (kept[i] - high) * inverse;
    kernels.exp_shifted(vocabulary, kept, 0);
    double total = 0;
    for (int32_t i = 0; i < vocabulary; i++) total += kept[i];
    const double at = static_cast<double>(random_bits(options.seed, stream, index) >> 11) * 0x1p-53 * total;
    double sum = 0;
    for (int32_t i = 0; i < vocabulary; i++)
        if ((sum += kept[i]) > at) return i;
    return most_likely(logits, vocabulary);  // rounding of the last sum
}

// Most tokens that a model wants are allowed, and to ask the grammar about all of them takes long: it is asked about the wanted one
// first. Where it refuses, the choice is made again among those it allows; without truncation that gives the same probabilities.
int32_t Sampler::choose(float* logits, int32_t vocabulary, uint64_t index, Buffer& scratch) const {
    auto pick = [&](uint64_t stream) {
        return options.temperature == 0 ? most_likely(logits, vocabulary) : draw(logits, vocabulary, stream, index, scratch);
    };
    const int32_t first = pick(0);
    if (!grammar) return first;
    const Quiet quiet;
    if (allowed(first)) return first;
    mask(logits, vocabulary);
    return kernels.maximum(vocabulary, logits) == impossible ? -1 : pick(1);
}

int32_t Sampler::next(float* logits, int32_t vocabulary, const std::vector<int32_t>& before, uint64_t index, Buffer& scratch) {
    if (!std::isfinite(kernels.maximum(vocabulary, logits))) throw Failure(Code::input, "the model's logits are not finite numbers");
    last.clear();
    std::vector<float> given;
    double total = 0;
    if (options.log_probabilities >= 0) {
        given.assign(logits, logits + vocabulary);
        total = log_sum(logits, vocabulary, scratch);
    }
    if (options.repetition_penalty != 1) {
        const auto window = static_cast<int64_t>(std::min<size_t>(before.size(), static_cast<size_t>(options.repetition_window)));
        const std::unordered_set<int32_t> seen(before.end() - window, before.end());
        for (const int32_t token : seen) logits[token] = logits[token] > 0 ? logits[token] / options.repetition_penalty : logits[token] * options.repetition_penalty;
    }
    const int32_t token = choose(logits, vocabulary, index, scratch);
    if (token < 0) return token;
    if (grammar) {
        const Quiet quiet;
        llama_sampler_accept(grammar.get(), token);
    }
    if (options.log_probabilities < 0) return token;
    last.push_back({token, static_cast<float>(given[token] - total)});
    if (options.log_probabilities > 0)
        for (const Candidate& one : best_of(given.data(), vocabulary, options.log_probabilities)) last.push_back({one.token, static_cast<float>(one.logit - total)});
    return token;
}

}  // namespace stillroom
