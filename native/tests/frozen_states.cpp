// Hidden states kept from epoch to epoch: the same bits as computed ones, for whatever rows meet in a batch, and none beyond the room.
#include "core/frozen_states.h"

#include <cstring>

#include "core/train.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

// Rows one behind the other, each alone or behind a beginning that all share; every token is asked for.
Batch rows_of(const std::vector<std::vector<int32_t>>& rows, int shared) {
    Batch batch;
    const auto add = [&](const int32_t* tokens, int count, int parent) {
        batch.segments.push_back({static_cast<int32_t>(batch.tokens.size()), count, parent});
        batch.tokens.insert(batch.tokens.end(), tokens, tokens + count);
    };
    if (shared > 0) add(rows[0].data(), shared, -1);
    for (const auto& row : rows) add(row.data() + shared, static_cast<int>(row.size()) - shared, shared > 0 ? 0 : -1);
    for (size_t t = 0; t < batch.tokens.size(); t++) {
        batch.query_positions.push_back(static_cast<int32_t>(t));
        batch.query_tokens.push_back(batch.tokens[t]);
    }
    batch.check(16, 64);
    return batch;
}

const std::vector<int32_t> first = {1, 2, 3, 4, 5}, second = {1, 2, 3, 9}, third = {1, 2, 3, 4, 5, 6, 7}, fourth = {8, 2};

// (9, 2) states of first and second, whose first three tokens are the same text.
const std::vector<float> x = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 16, 17};

}  // namespace

TEST(states_are_known_by_text_and_segments) {
    FrozenStates states(1 << 20);
    const Batch one = rows_of({first, second}, 0);
    std::vector<float> out(9 * 2);
    CHECK(!states.read(one, {9}, 2, out.data()));
    states.write(one, {9}, 2, x.data());
    CHECK(states.read(one, {9}, 2, out.data()));
    CHECK(out == x);
    // Another order, and some of the tokens only.
    CHECK(states.read(rows_of({second, first}, 0), {9}, 2, out.data()));
    CHECK_EQUAL(out[6], 16.0f);
    CHECK_EQUAL(out[16], 8.0f);
    const int32_t some[] = {3, 8};
    CHECK(states.read(one, {2, some}, 2, out.data()));
    CHECK_EQUAL(out[0], 6.0f);
    CHECK_EQUAL(out[2], 16.0f);
    // The same texts, cut otherwise; a longer text.
    CHECK(!states.read(rows_of({first, second}, 3), {6}, 2, out.data()));
    CHECK(!states.read(rows_of({third}, 0), {7}, 2, out.data()));
}

TEST(states_keep_within_their_room) {
    const Batch batch = rows_of({first, second}, 0);
    std::vector<float> out(9 * 2);
    for (const int64_t room : {int64_t{0}, int64_t{500}, int64_t{700}}) {
        FrozenStates states(room);
        states.write(batch, {9}, 2, x.data());
        CHECK(!states.read(batch, {9}, 2, out.data()));
        CHECK(states.bytes() <= room);
    }
}

TEST(a_gradient_has_the_same_bits_with_states_that_were_kept) {
    const std::vector<Batch> batches = {rows_of({first, second, third}, 3), rows_of({fourth, first}, 0), rows_of({third, second}, 3), rows_of({first}, 0),
                                        rows_of({first, fourth}, 0),        rows_of({second, first, third}, 3)};
    for (const bool recompute : {false, true})
        for (const bool head : {false, true}) {
            const Toy toy({3, 12, 17, 3, 1, 4, 16, false, true, false, false, {}});
            LoraOptions options;
            options.rank = 3;
            options.dropout = 0.1f;
            options.targets = head ? std::vector<std::string>{"head"} : linear;
            if (!head) options.layers = {2};
            Graph graph(toy.model, choose_kernels(""), 2);
            const auto lora = std::make_shared<Lora>(toy.model, options);
            for (size_t i = 0; i < lora->values.size(); i++) lora->values[i] += 0.01f * static_cast<float>(i % 7);
            Trainer plain(lora, {}, recompute, 5), kept(lora, {}, recompute, 5, 1 << 20);
            for (int epoch = 0; epoch < 2; epoch++)
                for (size_t i = 0; i < batches.size(); i++) {
                    const double loss = plain.accumulate(graph, batches[i], epoch, i).loss_sum;
                    CHECK_EQUAL(kept.accumulate(graph, batches[i], epoch, i).loss_sum, loss);
                }
            CHECK(std::memcmp(plain.gradients().data(), kept.gradients().data(), plain.gradients().size() * sizeof(float)) == 0);
        }
}
