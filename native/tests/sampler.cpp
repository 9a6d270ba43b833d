// The sampler against plain twins that sort everything in double, and its claims: penalties, seeds, grammar, log-probabilities.
#include "core/decode/sampler.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "core/failure.h"
#include "core/random.h"
#include "tests/check.h"
#include "tests/gradient.h"
#include "tests/vocabulary.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

constexpr int32_t vocabulary = 1500;

int32_t next(const SamplerOptions& options, std::vector<float> logits, const std::vector<int32_t>& before = {}, uint64_t index = 0) {
    Buffer scratch;
    Sampler sampler(options, nullptr, choose_kernels(""));
    return sampler.next(logits.data(), static_cast<int32_t>(logits.size()), before, index, scratch);
}

// The definition of docs/numerics.md, line by line.
int32_t plain(const SamplerOptions& o, const std::vector<float>& given, const std::vector<int32_t>& before, uint64_t index) {
    std::vector<double> z(given.begin(), given.end());
    const size_t window = std::min<size_t>(before.size(), o.repetition_window);
    for (int32_t token : std::set<int32_t>(before.end() - static_cast<int64_t>(window), before.end()))
        z[token] = z[token] > 0 ? z[token] / o.repetition_penalty : z[token] * o.repetition_penalty;
    std::vector<int32_t> kept(z.size());
    std::iota(kept.begin(), kept.end(), 0);
    std::stable_sort(kept.begin(), kept.end(), [&](int32_t a, int32_t b) { return z[a] > z[b]; });
    if (o.temperature == 0) return kept[0];
    const double high = z[kept[0]];
    if (o.top_k > 0) kept.resize(std::min<size_t>(kept.size(), o.top_k));
    auto weight = [&](int32_t token, double t) { return std::exp((z[token] - high) / t); };
    double mass = 0, sum = 0;
    for (int32_t token : kept) mass += weight(token, 1);
    size_t count = 0;
    while (count < kept.size() && (o.top_p == 1 || sum < o.top_p * mass)) sum += weight(kept[count++], 1);
    kept.resize(count);
    kept.erase(std::remove_if(kept.begin(), kept.end(), [&](int32_t token) { return weight(token, 1) < o.min_p; }), kept.end());
    std::sort(kept.begin(), kept.end());
    double total = 0, at = 0;
    for (int32_t token : kept) total += weight(token, o.temperature);
    const double drawn = static_cast<double>(random_bits(o.seed, 0, index) >> 11) * 0x1p-53 * total;
    for (int32_t token : kept)
        if ((at += weight(token, o.temperature)) > drawn) return token;
    return kept.back();
}

}  // namespace

TEST(sampling_equals_a_plain_twin) {
    const int32_t ks[] = {0, 1, 5, 40, 700, 5000};
    const float ps[] = {1, 0.95f, 0.5f, 0.01f, 0.9999f}, mins[] = {0, 0.05f, 0.5f}, temperatures[] = {0, 0.3f, 1, 2}, penalties[] = {1, 1.3f, 0.8f};
    int differing = 0, trials = 0;
    std::set<int32_t> tokens;
    for (uint64_t i = 0; i < 600; i++) {
        SamplerOptions o;
        o.top_k = ks[random_bits(1, i, 0) % 6];
        o.top_p = ps[random_bits(1, i, 1) % 5];
        o.min_p = mins[random_bits(1, i, 2) % 3];
        o.temperature = temperatures[random_bits(1, i, 3) % 4];
        o.repetition_penalty = penalties[random_bits(1, i, 4) % 3];
        o.repetition_window = static_cast<int32_t>(random_bits(1, i, 5) % 30);
        o.seed = i;
        const auto logits = random_values(vocabulary, 50 + i, i % 3 == 0 ? 1.0f : 12.0f);
        std::vector<int32_t> before;
        for (uint64_t t = 0; t < i % 50; t++) before.push_back(static_cast<int32_t>(random_bits(2, i, t) % vocabulary));
        const int32_t token = next(o, logits, before, i % 7);
        tokens.insert(token);
        trials++;
        differing += token != plain(o, logits, before, i % 7);
    }
    CHECK_EQUAL(differing, 0);
    CHECK(tokens.size() > 200);
}

TEST(draws_follow_the_probabilities_and_the_seed) {
    const std::vector<float> logits = {std::log(0.5f), std::log(0.25f), std::log(0.125f), std::log(0.125f)};
    SamplerOptions o;
    o.temperature = 1;
    int counts[4] = {};
    for (uint64_t i = 0; i < 16000; i++) counts[next(o, logits, {}, i)]++;
    // Five standard deviations: sqrt(16000 p (1 - p)) is 63 at most.
    CHECK_NEAR(counts[0], 8000, 316);
    CHECK_NEAR(counts[1], 4000, 274);
    CHECK_NEAR(counts[2], 2000, 209);
    CHECK_NEAR(counts[3], 2000, 209);
    int equal = 0;
    for (uint64_t i = 0; i < 100; i++) {
        SamplerOptions other = o;
        other.seed = 1;
        CHECK_EQUAL(next(o, logits, {}, i), next(o, logits, {}, i));
        equal += next(o, logits, {}, i) == next(other, logits, {}, i);
    }
    CHECK(equal < 60);
}

TEST(ties_go_to_the_lower_token_and_bad_logits_are_an_error) {
    CHECK_EQUAL(next({}, {1, 3, 2, 3}), 1);
    CHECK_THROWS(next({}, std::vector<float>(20, NAN)), Failure);
    CHECK_THROWS(next({}, std::vector<float>(20, -INFINITY)), Failure);
    CHECK_THROWS(next({}, {1, INFINITY, 2}), Failure);
}

TEST(repetition_penalty_looks_at_its_window) {
    SamplerOptions o;
    o.repetition_penalty = 2;
    o.repetition_window = 2;
    const std::vector<float> logits = {3, 2, -1, 1.6f};
    CHECK_EQUAL(next(o, logits), 0);
    CHECK_EQUAL(next(o, logits, {0, 2}), 1);      // 3 / 2 < 2
    CHECK_EQUAL(next(o, logits, {0, 1}), 3);      // 1.5 and 1 < 1.6
    CHECK_EQUAL(next(o, logits, {0, 2, 3}), 0);   // beyond the window
    CHECK_EQUAL(next(o, {-1, -1.5f, -9, -9}, {0, 0}), 1);  // a negative one is multiplied, once
}

TEST(log_probabilities_are_those_before_sampling) {
    SamplerOptions o;
    o.log_probabilities = 2;
    o.repetition_penalty = 10;
    std::vector<float> logits = {std::log(0.1f), std::log(0.6f), std::log(0.3f)};
    for (float& z : logits) z += 5;
    Buffer scratch;
    Sampler sampler(o, nullptr, choose_kernels(""));
    CHECK_EQUAL(sampler.next(std::vector<float>(logits).data(), 3, {1}, 0, scratch), 2);
    const auto& got = sampler.probabilities();
    CHECK_EQUAL(got.size(), size_t{3});
    CHECK_EQUAL(got[0].token, 2);
    CHECK_NEAR(got[0].log_probability, std::log(0.3), 1e-6);
    CHECK_EQUAL(got[1].token, 1);
    CHECK_NEAR(got[1].log_probability, std::log(0.6), 1e-6);
    CHECK_NEAR(got[2].log_probability, std::log(0.3), 1e-6);
}

TEST(a_grammar_allows_what_it_says) {
    const auto tokens = letters(60);
    auto answer = [&](SamplerOptions o, uint64_t seed) {
        o.seed = seed;
        Sampler sampler(o, tokens->handle(), choose_kernels(""));
        Buffer scratch;
        std::string text;
        for (uint64_t i = 0; i < 20; i++) {
            auto logits = random_values(60, 100 * seed + i, 8);
            const int32_t token = sampler.next(logits.data(), 60, {}, i, scratch);
            if (token < 0) return text + "|";
            if (token == letters_end) return text + ".";
            text += token_piece(tokens->handle(), token, false);
        }
        return text;
    };
    for (float temperature : {0.0f, 1.0f}) {
        SamplerOptions o;
        o.temperature = temperature;
        o.grammar = "root ::= [ab]+ \"c\" (\"de\" | \"xy\")";
        std::set<std::string> endings;
        for (uint64_t seed = 0; seed < 40; seed++) {
            const std::string text = answer(o, seed);
            const size_t c = text.find('c');
            if (c == std::string::npos) {
                CHECK_EQUAL(text.find_first_not_of("ab"), std::string::npos);
                continue;
            }
            CHECK(c > 0 && text.find_first_not_of("ab") == c);
            endings.insert(text.substr(c));
        }
        CHECK(endings == (std::set<std::string>{"cde.", "cxy."}));
    }
    SamplerOptions dead;
    dead.grammar = "root ::= \"a\" \"Ä\"";  // no token spells it
    CHECK_EQUAL(answer(dead, 1), "a|");
}

TEST(bad_sampling_options_are_named) {
    auto message = [](auto change) {
        SamplerOptions o;
        change(o);
        try {
            Sampler(o, letters(60)->handle(), choose_kernels(""));
        } catch (const Failure& failure) {
            return std::string(failure.what());
        }
        return std::string();
    };
    CHECK_EQUAL(message([](auto& o) { o.temperature = -1; }), "expected 0 or a number from 0.001 to 100 for temperature, received -1.000000");
    CHECK(message([](auto& o) { o.temperature = NAN; }).find("for temperature") != std::string::npos);
    CHECK(message([](auto& o) { o.top_k = -1; }).find("for topK") != std::string::npos);
    CHECK(message([](auto& o) { o.top_p = 0; }).find("for topP") != std::string::npos);
    CHECK(message([](auto& o) { o.min_p = 1.5f; }).find("for minP") != std::string::npos);
    CHECK(message([](auto& o) { o.repetition_penalty = 0; }).find("for repetitionPenalty") != std::string::npos);
    CHECK(message([](auto& o) { o.repetition_window = -1; }).find("for repetitionWindow") != std::string::npos);
    CHECK(message([](auto& o) { o.grammar = "branch ::= \"a\""; }).find("for grammar") != std::string::npos);
    CHECK(message([](auto& o) { o.grammar = "root ::= root \"a\""; }).find("left recursion") != std::string::npos);
}
