// The losses of distillation: gradients through the whole decoder against differences, on odd shapes; values against a twin in double over the whole
// vocabulary; the packing of what a teacher says, and what is drawn of it.
#include "core/distillation.h"

#include <algorithm>
#include <numeric>

#include "core/embed.h"
#include "core/failure.h"
#include "core/train.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

using Kind = Distillation::Kind;
const std::vector<Distillation> losses = {
    {Kind::forward_kl, 0.5, 1, 0},   {Kind::forward_kl, 0.5, 2, 0.3}, {Kind::reverse_kl, 0.5, 1, 0.5}, {Kind::reverse_kl, 0.5, 3, 0},
    {Kind::jsd, 0.1, 1, 0},          {Kind::jsd, 0.9, 0.7, 0.2},      {Kind::jsd, 0.5, 1, 0.4},        {Kind::forward_kl, 0.5, 1.5, 1},
};

// Softmax of values / heat, in double.
std::vector<double> softmax(const float* values, int64_t n, double heat) {
    std::vector<double> p(values, values + n);
    const double high = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& x : p) sum += x = std::exp((x - high) / heat);
    for (double& x : p) x /= sum;
    return p;
}

// A teacher of random logits: its entries for each query of the batch.
void ask(Batch& batch, int64_t vocabulary, const Teaching& teaching, uint64_t seed) {
    TopEntries packer(choose_kernels(""), vocabulary, teaching);
    const int64_t top_k = teaching.top_k;
    const auto by_token = draws(batch);
    Taught& taught = batch.taught;
    taught.top_k = top_k;
    taught.tail = teaching.tail;
    taught.entries.resize(batch.query_positions.size() * top_k);
    taught.tails.resize(batch.query_positions.size());
    for (size_t q = 0; q < batch.query_positions.size(); q++) {
        const auto logits = random_values(vocabulary, seed + batch.query_positions[q], 4);
        packer.take(logits.data(), by_token[batch.query_positions[q]], taught.entries.data() + q * top_k, taught.tails.data() + q);
    }
}

// The divergence of a query from its definition: over entries that stand for what they were drawn for.
double sampled_twin(const Taught& taught, size_t query, const std::vector<double>& q) {
    double sum = 0, mass = 0;
    for (int64_t i = 0; i < taught.top_k && taught.entries[query * taught.top_k + i] != taught_nothing; i++) {
        const uint32_t entry = taught.entries[query * taught.top_k + i];
        const double p = std::max<double>(std::exp(taught_log(entry)), taught.tails[query]);
        mass += p;
        sum += p * (taught_log(entry) - std::log(q[taught_token(entry)]));
    }
    return sum / mass - std::log(mass);
}

// The loss from its definition, bucket by bucket.
double twin(Graph& graph, const Batch& batch, const Distillation& loss, const Lora* lora) {
    graph.forward(batch, lora, Graph::Keep::nothing);
    const int64_t vocabulary = graph.model->vocabulary, k = batch.taught.top_k;
    const float* logits = graph.logits(0, graph.head_rows());
    double sum = 0;
    for (size_t query = 0; query < batch.query_positions.size(); query++) {
        const float* row = logits + graph.head_row(query) * vocabulary;
        const auto q = softmax(row, vocabulary, loss.temperature);
        sum -= loss.label_weight * std::log(softmax(row, vocabulary, 1)[batch.query_tokens[query]]);
        const double factor = (1 - loss.label_weight) * loss.temperature * loss.temperature;
        if (batch.taught.tail == Tail::sample) {
            sum += factor * sampled_twin(batch.taught, query, q);
            continue;
        }
        std::vector<double> teacher, student;
        double rest = 1;
        for (int64_t i = 0; i < k && batch.taught.entries[query * k + i] != taught_nothing; i++) {
            const uint32_t entry = batch.taught.entries[query * k + i];
            teacher.push_back(std::exp(taught_log(entry)));
            student.push_back(q[taught_token(entry)]);
            rest -= student.back();
        }
        if (static_cast<int64_t>(teacher.size()) < vocabulary) {
            teacher.push_back(batch.taught.tails[query]);
            student.push_back(rest);
        }
        const double mass = std::accumulate(teacher.begin(), teacher.end(), 0.0);
        double divergence = 0;
        for (size_t b = 0; b < teacher.size(); b++) {
            const double p = teacher[b] / mass, s = student[b], m = loss.beta * p + (1 - loss.beta) * s;
            if (loss.kind == Kind::forward_kl) divergence += p * std::log(p / s);
            if (loss.kind == Kind::reverse_kl) divergence += s * std::log(s / p);
            if (loss.kind == Kind::jsd) divergence += loss.beta * p * std::log(p / m) + (1 - loss.beta) * s * std::log(s / m);
        }
        sum += factor * divergence;
    }
    return sum;
}

}  // namespace

TEST(losses_of_distillation_and_their_gradients_equal_twins_and_differences) {
    for (const Kernels* kernels : available_kernels())
        for (size_t i = 0; i < shapes.size(); i++) {
            const Shape& shape = shapes[i];
            const Distillation& loss = losses[i % losses.size()];
            const Toy toy(shape);
            Graph graph(toy.model, *kernels, 2);
            const auto lora = lora_of(toy.model, shape.targets);
            Batch batch = forest(shape.vocabulary);
            // From one entry to more than there are tokens; forward KL from a sample and from buckets by turns.
            const Tail tail = loss.kind == Kind::forward_kl && i / losses.size() % 2 == 0 ? Tail::sample : Tail::bucket;
            const int64_t top_k = std::vector<int64_t>{1, 3, 8, 40}[(tail == Tail::sample ? i + 1 : i / 2) % 4];
            ask(batch, shape.vocabulary, {top_k, static_cast<float>(loss.temperature), tail}, i);
            Trainer trainer(lora, {}, false, 0, 0, loss);
            const auto step = trainer.accumulate(graph, batch, 0, 0);
            CHECK(step.finite);
            CHECK_NEAR(step.loss_sum, twin(graph, batch, loss, lora.get()), 2e-5 * (1 + std::fabs(step.loss_sum)));
            const auto value = [&](const std::vector<float>& at) {
                std::copy(at.begin(), at.end(), lora->values.begin());
                return twin(graph, batch, loss, lora.get());
            };
            std::vector<float> gradient = trainer.gradients();
            CHECK(direction_error(value, lora->values, gradient) < 0.02);
            // Two entries off by half of the gradient's norm.
            const auto [low, high] = std::minmax_element(gradient.begin(), gradient.end());
            const auto half = static_cast<float>(0.5 * norm_of(gradient));
            *low += half;
            *high += half;
            CHECK(direction_error(value, lora->values, gradient) > 0.05);
        }
}

TEST(a_loss_of_labels_alone_is_cross_entropy) {
    const Toy toy(shapes[4]);
    Graph graph(toy.model, choose_kernels(""), 2);
    const auto lora = lora_of(toy.model, all);
    Batch batch = forest(toy.model->vocabulary);
    ask(batch, toy.model->vocabulary, {5, 1, Tail::sample}, 3);
    Trainer plain(lora, {}, false, 0), taught(lora, {}, false, 0, 0, Distillation{Kind::forward_kl, 0.5, 1, 1});
    const double expected = plain.accumulate(graph, batch, 0, 0).loss_sum;
    CHECK_NEAR(taught.accumulate(graph, batch, 0, 0).loss_sum, expected, 1e-5);
    for (size_t i = 0; i < plain.gradients().size(); i++) CHECK_NEAR(taught.gradients()[i], plain.gradients()[i], 1e-5);
    batch.taught = {};
    CHECK_THROWS(taught.accumulate(graph, batch, 0, 1), Failure);
}

TEST(a_taught_batch_that_is_not_finite_adds_nothing) {
    const Toy toy(shapes[0]);
    Graph graph(toy.model, choose_kernels(""), 1);
    const auto lora = lora_of(toy.model, linear);
    Batch batch = forest(toy.model->vocabulary);
    ask(batch, toy.model->vocabulary, {2, 1, Tail::bucket}, 3);
    Trainer trainer(lora, {}, false, 0, 0, Distillation{});
    CHECK(trainer.accumulate(graph, batch, 0, 0).finite);
    const std::vector<float> before = trainer.gradients();
    const float kept = lora->values[0];
    lora->values[0] = NAN;
    CHECK(!trainer.accumulate(graph, batch, 0, 1).finite);
    lora->values[0] = kept;
    CHECK(trainer.gradients() == before);
}

TEST(a_student_that_is_its_teacher_has_no_loss_and_no_gradient) {
    const Toy toy(shapes[9]);
    Graph graph(toy.model, choose_kernels(""), 2);
    const auto lora = lora_of(toy.model, all);
    for (const Kind kind : {Kind::forward_kl, Kind::reverse_kl, Kind::jsd}) {
        Batch batch = forest(toy.model->vocabulary);
        graph.forward(batch, lora.get(), Graph::Keep::nothing);
        batch.taught = teach(graph, batch, {6, 2, Tail::bucket});
        batch.check(toy.model->vocabulary, 64);
        Trainer trainer(lora, {}, false, 0, 0, Distillation{kind, 0.5, 2, 0}), other(lora, {}, false, 0);
        // What is left is the rounding of the entries.
        CHECK_NEAR(trainer.accumulate(graph, batch, 0, 0).loss_sum, 0, 1e-4);
        other.accumulate(graph, batch, 0, 0);
        const auto largest = [](const std::vector<float>& g) { return std::fabs(*std::max_element(g.begin(), g.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); })); };
        CHECK(largest(trainer.gradients()) < 0.01f * largest(other.gradients()));
    }
    // Of a sample the loss is 0 as well, but for that rounding; its gradient is 0 in the mean only.
    Batch batch = forest(toy.model->vocabulary);
    graph.forward(batch, lora.get(), Graph::Keep::nothing);
    batch.taught = teach(graph, batch, {6, 2, Tail::sample});
    Trainer trainer(lora, {}, false, 0, 0, Distillation{Kind::forward_kl, 0.5, 2, 0});
    CHECK_NEAR(trainer.accumulate(graph, batch, 0, 0).loss_sum, 0, 4 * static_cast<double>(batch.query_tokens.size()) / (2 * taught_steps));
}

TEST(entries_are_the_most_likely_tokens_in_order_and_the_tail_is_the_rest) {
    for (const Kernels* kernels : available_kernels())
        for (const int64_t vocabulary : {1, 7, 100, 1009})
            for (const int64_t k : {1, 5, 64}) {
                std::vector<float> logits = random_values(vocabulary, 3 + k, 9);
                if (vocabulary > 20) logits[20] = logits[5] = 8.9f;  // a tie: the lower token first
                TopEntries packer(*kernels, vocabulary, {k, 1.5f, Tail::bucket});
                std::vector<uint32_t> entries(k);
                float tail = -1;
                packer.take(logits.data(), 0.5f, entries.data(), &tail);
                const auto p = softmax(logits.data(), vocabulary, 1.5);
                std::vector<int32_t> order(vocabulary);
                std::iota(order.begin(), order.end(), 0);
                std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b] || (logits[a] == logits[b] && a < b); });
                double rest = 1;
                for (int64_t i = 0; i < k; i++) {
                    if (i >= vocabulary) {
                        CHECK_EQUAL(entries[i], taught_nothing);
                        continue;
                    }
                    CHECK_EQUAL(taught_token(entries[i]), order[i]);
                    CHECK_NEAR(taught_log(entries[i]), std::log(p[order[i]]), 0.5 / taught_steps + 1e-5);
                    rest -= p[order[i]];
                }
                CHECK_NEAR(tail, rest, 1e-6);
            }
    CHECK_THROWS(TopEntries(choose_kernels(""), taught_vocabulary + 1, {4, 1, Tail::bucket}), Failure);
    CHECK_THROWS(TopEntries(choose_kernels(""), 10, {4, 0, Tail::bucket}), Failure);
}

TEST(what_is_drawn_stands_for_the_whole_distribution) {
    for (const Kernels* kernels : available_kernels())
        for (const int64_t vocabulary : {1, 7, 100, 1009})
            for (const int64_t k : {1, 5, 64}) {
                const std::vector<float> logits = random_values(vocabulary, 3 + k, 9);
                const auto p = softmax(logits.data(), vocabulary, 1.5);
                TopEntries packer(*kernels, vocabulary, {k, 1.5f, Tail::sample});
                // Over equally spaced draws each token stands for its own probability in the mean, and entries are sums of distinct tokens to 1.
                const int rounds = 400;
                std::vector<double> mean(vocabulary);
                float step = -1;
                for (int round = 0; round < rounds; round++) {
                    std::vector<uint32_t> entries(k);
                    packer.take(logits.data(), (static_cast<float>(round) + 0.5f) / rounds, entries.data(), &step);
                    const int64_t count = std::min(k, vocabulary);
                    std::vector<bool> seen(vocabulary);
                    double sum = 0;
                    for (int64_t i = 0; i < k; i++) {
                        CHECK_EQUAL(entries[i] == taught_nothing, i >= count);
                        if (entries[i] == taught_nothing) continue;
                        const int32_t token = taught_token(entries[i]);
                        CHECK(!seen[token]);
                        seen[token] = true;
                        CHECK_NEAR(taught_log(entries[i]), std::log(p[token]), 0.5 / taught_steps + 1e-5);
                        const double stands = std::max(p[token], static_cast<double>(step));
                        mean[token] += stands / rounds;
                        sum += stands;
                    }
                    CHECK_NEAR(sum, 1, 1e-5);
                }
                CHECK_EQUAL(step > 0, k < vocabulary);
                for (int64_t token = 0; token < vocabulary; token++) CHECK_NEAR(mean[token], p[token], step / rounds + 1e-5);
            }
}

TEST(a_draw_is_given_by_the_tokens_of_its_path) {
    Batch batch = forest(31);
    const auto together = draws(batch);
    for (size_t t = 0; t < batch.tokens.size(); t++) {
        Batch alone;
        for (const int32_t at : path_of(batch, static_cast<int32_t>(t))) alone.tokens.push_back(batch.tokens[at]);
        alone.segments = {{0, static_cast<int32_t>(alone.tokens.size()), -1}};
        CHECK_EQUAL(draws(alone).back(), together[t]);
        CHECK(together[t] >= 0 && together[t] < 1);
    }
    std::vector<float> distinct = together;
    std::sort(distinct.begin(), distinct.end());
    CHECK(std::unique(distinct.begin(), distinct.end()) - distinct.begin() > static_cast<int64_t>(together.size() / 2));
}
