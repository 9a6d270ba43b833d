// Continuous batching on a toy: what a request gets depends on nothing around it, memory is waited for and never overrun, requests leave
// when they should, cancelled or done.
#include "core/decode/decoder.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "core/decode/paged_executor.h"
#include "core/failure.h"
#include "tests/check.h"
#include "tests/toy.h"
#include "tests/vocabulary.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

constexpr int64_t vocabulary = 61, page_bytes = 2 * 2 * 2 * 4 * Pages::length * 4;
const Shape shape = {2, 24, 40, 6, 2, 4, vocabulary, true, false, false, true, {"q", "down"}};

struct Bench {
    Toy toy{shape};
    std::shared_ptr<const Tokens> tokens = letters(vocabulary);
    std::unique_ptr<Graph> graph;
    std::shared_ptr<Lora> lora;
    Bench() {
        toy.model->context_length = 400;
        graph = std::make_unique<Graph>(toy.model, choose_kernels(""), 2);
        lora = lora_of(toy.model, shape.targets);
    }
    std::unique_ptr<Decoder> decoder(int64_t pages = 1000, DecodeLimits limits = {}) {
        return std::make_unique<Decoder>(std::make_unique<PagedExecutor>(*graph, lora, graph->precisions.forward, pages * page_bytes), tokens, graph->threads, graph->kernels, limits);
    }
};

std::vector<int32_t> prompt_of(int64_t count, uint64_t seed) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; i++) tokens.push_back(static_cast<int32_t>(random_bits(seed, 1, i) % 25));
    return tokens;
}
std::vector<int32_t> joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

// Requests of all kinds: greedy and drawn, short and long, half of them behind one beginning.
std::vector<DecodeRequest> mixture(int count) {
    std::vector<DecodeRequest> requests;
    for (int i = 0; i < count; i++) {
        DecodeRequest one;
        one.prompt = joined(i % 2 ? prompt_of(70, 7) : std::vector<int32_t>(), prompt_of(1 + i * 7 % 50, 100 + i));
        one.max_tokens = 1 + i * 5 % 40;
        one.sampling.temperature = i % 3 == 0 ? 0 : 1;
        one.sampling.top_k = i % 4 == 0 ? 10 : 0;
        one.sampling.seed = i;
        one.sampling.log_probabilities = i % 3;
        one.sampling.repetition_penalty = i % 5 ? 1 : 1.2f;
        requests.push_back(one);
    }
    return requests;
}

std::map<int64_t, Decoded> run(Decoder& decoder, int64_t most_steps = 10000, const std::function<void(const Decoder::Step&)>& after = {}) {
    std::map<int64_t, Decoded> finished;
    for (int64_t i = 0; i < most_steps; i++) {
        Decoder::Step step = decoder.step();
        if (after) after(step);
        for (Decoded& one : step.finished) finished.emplace(one.id, std::move(one));
        if (step.waiting + step.running == 0) return finished;
    }
    fail(__FILE__, __LINE__, "the decoder does not come to an end");
    return finished;
}

bool same(const Decoded& a, const Decoded& b) {
    auto equal = [](const TokenProbability& x, const TokenProbability& y) { return x.token == y.token && x.log_probability == y.log_probability; };
    if (a.tokens != b.tokens || a.text != b.text || a.ending != b.ending || a.probabilities.size() != b.probabilities.size()) return false;
    for (size_t i = 0; i < a.probabilities.size(); i++)
        if (!std::equal(a.probabilities[i].begin(), a.probabilities[i].end(), b.probabilities[i].begin(), b.probabilities[i].end(), equal)) return false;
    return true;
}

DecodeRequest greedy(std::vector<int32_t> prompt, int32_t most) {
    DecodeRequest one;
    one.prompt = std::move(prompt);
    one.max_tokens = most;
    return one;
}

}  // namespace

TEST(an_answer_depends_on_nothing_around_it) {
    Bench bench;
    const auto requests = mixture(32);
    std::vector<Decoded> alone;
    for (const auto& request : requests) {
        auto decoder = bench.decoder();
        decoder->add(request);
        alone.push_back(run(*decoder).at(0));
        CHECK(alone.back().ending == Ending::end || static_cast<int32_t>(alone.back().tokens.size()) == request.max_tokens);
    }
    int64_t shared = 0;
    auto compare = [&](const std::vector<size_t>& order, int64_t together, int64_t pages, DecodeLimits limits) {
        for (size_t from = 0; from < order.size(); from += together) {
            auto decoder = bench.decoder(pages, limits);
            for (size_t i = from; i < std::min(order.size(), from + together); i++) decoder->add(requests[order[i]]);
            const auto answers = run(*decoder);
            for (const auto& [id, answer] : answers) {
                CHECK(same(answer, alone[order[from + id]]));
                shared += answer.shared_tokens;
            }
            CHECK_EQUAL(answers.size(), std::min(order.size() - from, static_cast<size_t>(together)));
        }
    };
    std::vector<size_t> order(requests.size());
    std::iota(order.begin(), order.end(), 0);
    for (int64_t together : {2, 8, 32}) compare(order, together, 1000, {});
    CHECK(shared > 1500);
    for (uint64_t shuffle = 0; shuffle < 2; shuffle++) {
        for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random_bits(shuffle, 9, i) % i]);
        // Few pages, few sequences and short steps: waiting, evicting and cut prompts change nothing either.
        compare(order, 32, 1000, {});
        compare(order, 32, 9, {7, 5});
        compare(order, 32, 30, {33, 64});
    }
}

TEST(a_request_waits_for_memory_and_one_too_large_is_refused_with_numbers) {
    Bench bench;
    auto decoder = bench.decoder(4);
    for (int i = 0; i < 6; i++) decoder->add(greedy(prompt_of(40, i), 20));  // 59 tokens: two pages each
    int64_t most = 0;
    const auto answers = run(*decoder, 10000, [&](const Decoder::Step& step) { most = std::max(most, step.running); });
    CHECK_EQUAL(answers.size(), size_t{6});
    CHECK_EQUAL(most, 2);
    decoder->add(greedy(prompt_of(100, 1), 29));  // 128 tokens are computed: all four pages
    try {
        decoder->add(greedy(prompt_of(100, 1), 30));
        CHECK(false);
    } catch (const Failure& failure) {
        CHECK_EQUAL(std::string(failure.what()), "a prompt of 100 tokens with an answer of up to 30 does not fit: their keys and values take " +
                                                     std::to_string(5 * page_bytes) + " bytes, memory is " + std::to_string(4 * page_bytes));
    }
    CHECK_EQUAL(run(*decoder).size(), size_t{1});
    CHECK_THROWS(bench.decoder()->add(greedy(prompt_of(390, 1), 12)), Failure);  // beyond the context
}

TEST(prompts_that_begin_alike_are_computed_once) {
    Bench bench;
    auto decoder = bench.decoder(1000, {40, 64});  // the first prompt takes three steps
    const auto beginning = prompt_of(100, 3);
    for (int i = 0; i < 4; i++) decoder->add(greedy(joined(beginning, prompt_of(5, 10 + i)), 3));
    int64_t prompts = 0;
    const auto answers = run(*decoder, 100, [&](const Decoder::Step& step) { prompts += step.prompt_tokens; });
    CHECK_EQUAL(answers.at(0).shared_tokens, 0);
    for (int i = 1; i < 4; i++) CHECK_EQUAL(answers.at(i).shared_tokens, 96);
    CHECK_EQUAL(prompts, 105 + 3 * 9);
    // And once more when all of them are gone.
    decoder->add(greedy(joined(beginning, prompt_of(5, 20)), 3));
    CHECK_EQUAL(run(*decoder).at(4).shared_tokens, 96);
}

TEST(a_cancelled_request_leaves_alone_in_every_state) {
    Bench bench;
    const auto beginning = prompt_of(100, 3);
    std::vector<DecodeRequest> requests;
    for (int i = 0; i < 6; i++) requests.push_back(greedy(joined(beginning, prompt_of(5, 10 + i)), 12));
    auto all = bench.decoder();
    for (const auto& request : requests) all->add(request);
    const auto expected = run(*all);
    // Request `gone` is called off before step `when` of a decoder whose prompts take several steps and of which four run at once.
    for (int64_t gone : {0, 1, 3, 5})
        for (int64_t when : {0, 1, 2, 3, 5, 9}) {
            auto decoder = bench.decoder(1000, {40, 4});
            for (const auto& request : requests) decoder->add(request);
            int64_t count = 0;
            bool found = when == 0 && decoder->cancel(gone);
            const auto answers = run(*decoder, 1000, [&](const Decoder::Step&) {
                if (++count == when) found = decoder->cancel(gone);
            });
            CHECK(found);
            CHECK_EQUAL(answers.size(), requests.size());
            for (const auto& [id, answer] : answers) {
                if (id != gone) CHECK(same(answer, expected.at(id)));
                else {
                    CHECK(answer.ending == Ending::cancelled);
                    CHECK(answer.tokens.size() < 12);
                    CHECK(std::equal(answer.tokens.begin(), answer.tokens.end(), expected.at(id).tokens.begin()));
                }
            }
            CHECK(!decoder->cancel(gone));
            // Nothing half-computed is left behind.
            decoder->add(requests[gone]);
            CHECK(same(run(*decoder).at(6), expected.at(gone)));
        }
}

TEST(a_prompt_that_was_cut_short_is_computed_anew) {
    Bench bench;
    auto decoder = bench.decoder(1000, {40, 4});
    const DecodeRequest request = greedy(prompt_of(105, 3), 12);
    decoder->add(request);
    const Decoded expected = run(*decoder).at(0);
    auto other = bench.decoder(1000, {40, 4});
    other->add(request);
    other->step();  // 40 of its tokens: the second page is half full
    CHECK(other->cancel(0));
    CHECK(run(*other).at(0).ending == Ending::cancelled);
    other->add(request);
    const Decoded again = run(*other).at(1);
    CHECK_EQUAL(again.shared_tokens, 32);
    CHECK(same(again, expected));
}

TEST(a_stop_text_ends_an_answer_where_it_stands) {
    Bench bench;
    auto decoder = bench.decoder();
    DecodeRequest request = greedy(prompt_of(20, 1), 30);
    request.sampling.temperature = 1;
    decoder->add(request);
    const Decoded whole = run(*decoder).at(0);
    CHECK(whole.tokens.size() > 12);
    // Every piece of the text, within tokens and across them, alone and after one that never comes.
    for (size_t from = 1; from + 8 < whole.text.size(); from += 2)
        for (size_t length : {1, 2, 5}) {
            const std::string stop = whole.text.substr(from, length);
            request.stops = {"never", stop};
            const int64_t id = decoder->add(request);
            const Decoded cut = run(*decoder).at(id);
            const size_t at = whole.text.find(stop);
            CHECK(cut.ending == Ending::stop);
            CHECK_EQUAL(cut.text, whole.text.substr(0, at));
            // The tokens go on to the one that completes the stop text, and no further.
            std::string text, before;
            for (const int32_t token : cut.tokens) {
                before = text;
                text += token_piece(bench.tokens->handle(), token, false);
            }
            CHECK(text.find(stop) == at && before.find(stop) == std::string::npos);
        }
    request.stops = {"never"};
    const int64_t id = decoder->add(request);
    CHECK(same(run(*decoder).at(id), whole));
}

TEST(an_end_token_ends_an_answer_and_is_no_part_of_it) {
    Bench bench;
    auto decoder = bench.decoder();
    int ends = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        DecodeRequest request = greedy(prompt_of(10, seed), 100);
        request.sampling.temperature = 2;
        request.sampling.seed = seed;
        request.sampling.log_probabilities = 0;
        decoder->add(request);
    }
    for (const auto& [id, answer] : run(*decoder)) {
        ends += answer.ending == Ending::end;
        CHECK(answer.ending == Ending::end || answer.tokens.size() == 100);
        CHECK(std::find(answer.tokens.begin(), answer.tokens.end(), letters_end) == answer.tokens.end());
        CHECK_EQUAL(answer.probabilities.size(), answer.tokens.size());
        CHECK(answer.seconds >= answer.first_seconds);
    }
    CHECK(ends > 5);
}

TEST(bad_requests_are_named_and_cost_nothing) {
    Bench bench;
    auto decoder = bench.decoder();
    CHECK_THROWS(decoder->add(greedy({}, 5)), Failure);
    CHECK_THROWS(decoder->add(greedy({1, vocabulary}, 5)), Failure);
    CHECK_THROWS(decoder->add(greedy({1, -1}, 5)), Failure);
    CHECK_THROWS(decoder->add(greedy({1}, 0)), Failure);
    DecodeRequest request = greedy({1}, 5);
    request.stops = {""};
    CHECK_THROWS(decoder->add(request), Failure);
    CHECK(!decoder->cancel(0));
    CHECK_EQUAL(decoder->step().running, 0);
    decoder->add(greedy({1}, 5));
    CHECK_EQUAL(run(*decoder).size(), size_t{1});
    // Logits that are no numbers end the decoder, not the process.
    const std::vector<float> no_numbers(bench.toy.model->width, NAN);
    bench.toy.model->output_norm = Vector(no_numbers.data(), bench.toy.model->width);
    decoder->add(greedy({2}, 5));
    CHECK_THROWS(decoder->step(), Failure);
    CHECK_THROWS(decoder->step(), Failure);
}
