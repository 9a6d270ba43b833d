// The forward pass over pages against the one without a cache: the same logits, however the tokens are cut into steps.
#include "core/decode/forward.h"

#include <algorithm>

#include "tests/check.h"
#include "tests/toy.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

const std::vector<std::string> every = {"q", "k", "v", "o", "gate", "up", "down", "head", "embeddings"};

// llama, qwen2 and qwen3 in small: groups of heads, both pairings of RoPE, biases, QK norm, tied or not; head widths that fill no vector.
const std::vector<Shape> shapes = {
    {2, 24, 40, 6, 2, 4, 61, true, false, false, true, every},  {2, 18, 33, 3, 3, 6, 29, true, false, false, false, every},
    {2, 20, 37, 4, 1, 10, 61, false, true, false, true, every}, {3, 14, 15, 7, 7, 2, 37, false, true, false, false, every},
    {2, 32, 48, 4, 2, 16, 53, false, false, true, false, every}, {1, 66, 70, 3, 1, 22, 35, false, false, true, true, every},
};

std::vector<int32_t> text_of(int64_t count, int64_t vocabulary, uint64_t seed) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; i++) tokens.push_back(static_cast<int32_t>(random_bits(seed, 0, i) % vocabulary));
    return tokens;
}

// Logits (T, V) without a cache.
std::vector<float> reference(Graph& graph, const Lora* lora, const std::vector<int32_t>& tokens) {
    Batch batch;
    batch.tokens = tokens;
    batch.segments = {{0, static_cast<int32_t>(tokens.size()), -1}};
    for (size_t t = 0; t < tokens.size(); t++) {
        batch.query_positions.push_back(static_cast<int32_t>(t));
        batch.query_tokens.push_back(0);
    }
    batch.check(graph.model->vocabulary, graph.model->context_length);
    graph.forward(batch, lora, Graph::Keep::nothing);
    const float* logits = graph.logits(0, graph.head_rows());
    return {logits, logits + graph.head_rows() * graph.model->vocabulary};
}

// Logits (T, V) over pages, the tokens cut into steps of these sizes, in turn.
std::vector<float> paged(Graph& graph, const Lora* lora, const std::vector<int32_t>& tokens, const std::vector<int64_t>& cuts) {
    const Model& m = *graph.model;
    KeyValues store(m.layer_count, m.key_value_heads, m.head_width);
    Forward forward(graph, graph.precisions.forward);
    std::vector<int32_t> pages;
    // Not in order, as they come.
    for (int32_t i = 0; i <= static_cast<int32_t>(tokens.size()) / Pages::length; i++) pages.push_back(i ^ 1);
    for (int32_t page : pages) store.reserve(page);
    std::vector<float> all;
    size_t at = 0;
    for (size_t cut = 0; at < tokens.size(); cut++) {
        std::vector<StepToken> step;
        for (int64_t i = 0; i < cuts[cut % cuts.size()] && at < tokens.size(); i++, at++)
            step.push_back({tokens[at], static_cast<int32_t>(at), &pages, true});
        const float* logits = forward.run(step, lora, store);
        all.insert(all.end(), logits, logits + step.size() * m.vocabulary);
    }
    return all;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    double worst = a.size() == b.size() ? 0 : INFINITY;
    for (size_t i = 0; i < a.size(); i++) worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - b[i]));
    return worst;
}

}  // namespace

TEST(paged_logits_equal_those_without_a_cache) {
    for (const Kernels* kernels : available_kernels())
        for (const Shape& shape : shapes) {
            const Toy toy(shape);
            toy.model->context_length = 200;
            Graph graph(toy.model, *kernels, 2);
            const auto tokens = text_of(101, shape.vocabulary, 3);
            const auto adapter = lora_of(toy.model, shape.targets);
            for (const Lora* lora : {static_cast<const Lora*>(nullptr), static_cast<const Lora*>(adapter.get())}) {
                const auto expected = reference(graph, lora, tokens);
                const auto whole = paged(graph, lora, tokens, {101});
                CHECK(largest_difference(whole, expected) < 2e-5);
                CHECK(paged(graph, lora, tokens, {31, 1, 2, 40}) == whole);  // cut anywhere, bit for bit
            }
            CHECK(largest_difference(reference(graph, adapter.get(), tokens), reference(graph, nullptr, tokens)) > 0.1);
        }
}

TEST(threads_and_steps_do_not_change_a_bit_of_the_paged_logits) {
    const Toy toy(shapes[0]);
    toy.model->context_length = 200;
    const auto tokens = text_of(101, 61, 3);
    std::vector<std::vector<float>> results;
    for (int threads : {1, 2, 3}) {
        Graph graph(toy.model, choose_kernels(""), threads);
        results.push_back(paged(graph, nullptr, tokens, {40}));
    }
    CHECK(results[1] == results[0]);
    CHECK(results[2] == results[0]);
    Graph graph(toy.model, choose_kernels(""), 2);
    CHECK(paged(graph, nullptr, tokens, {1}) == results[0]);
}

TEST(a_sequence_reads_no_pages_but_its_own) {
    for (const Kernels* kernels : available_kernels()) {
        const Toy toy(shapes[0]);
        const Model& m = *toy.model;
        toy.model->context_length = 200;
        Graph graph(toy.model, *kernels, 2);
        const auto tokens = text_of(70, m.vocabulary, 3);
        const auto expected = paged(graph, nullptr, tokens, {1});
        // All pages hold no numbers at first. The neighbour in every step stands on two of them, and goes wrong.
        KeyValues store(m.layer_count, m.key_value_heads, m.head_width);
        for (int32_t page = 0; page < 5; page++) {
            store.reserve(page);
            std::fill_n(store.keys(page, 0, 0), store.page_bytes() / sizeof(float), NAN);
        }
        Forward forward(graph, graph.precisions.forward);
        const std::vector<int32_t> own = {3, 0, 2}, others = {1, 4};
        for (size_t t = 0; t < tokens.size(); t++) {
            const float* logits = forward.run({{5, 40, &others, true}, {tokens[t], static_cast<int32_t>(t), &own, true}}, nullptr, store);
            CHECK(std::isnan(logits[0]));
            CHECK(std::equal(logits + m.vocabulary, logits + 2 * m.vocabulary, expected.begin() + t * m.vocabulary));
        }
    }
}
