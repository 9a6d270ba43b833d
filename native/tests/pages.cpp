// Pages and who owns them: equal beginnings share, nothing is copied, memory is never promised twice, what is unfinished is forgotten.
#include "core/decode/page_table.h"

#include <algorithm>
#include <map>

#include "core/failure.h"
#include "core/random.h"
#include "tests/check.h"

using namespace stillroom;

namespace {

constexpr int64_t length = Pages::length;

// Tokens of several pages, each page filled with one number.
std::vector<int32_t> pages_of(const std::vector<int32_t>& numbers) {
    std::vector<int32_t> tokens;
    for (const int32_t number : numbers) tokens.insert(tokens.end(), length, number);
    return tokens;
}
// The same and one token more, so that all of them can be shared.
std::vector<int32_t> prompt_of(const std::vector<int32_t>& numbers) {
    std::vector<int32_t> tokens = pages_of(numbers);
    tokens.push_back(99);
    return tokens;
}
PageTable table_of(int64_t pages, bool shares = true, bool keeps = true) { return PageTable({pages, 1000, 10000, shares, keeps, pages * 1000 + 999}); }

}  // namespace

TEST(pages_are_found_by_their_text_from_its_beginning) {
    Pages pages(4);
    const auto text = pages_of({7, 8});
    const int32_t first = pages.take(), second = pages.take();
    pages.remember(first, -1, text.data());
    pages.remember(second, first, text.data() + length);
    CHECK_EQUAL(pages.find(-1, text.data()), first);
    CHECK_EQUAL(pages.find(first, text.data() + length), second);
    CHECK_EQUAL(pages.find(-1, text.data() + length), -1);   // the same tokens behind another beginning
    CHECK_EQUAL(pages.find(second, text.data() + length), -1);
    // A second page of the same text does not take the first one's place, and nothing is found behind it.
    const int32_t copy = pages.take();
    pages.remember(copy, -1, text.data());
    CHECK_EQUAL(pages.find(-1, text.data()), first);
    CHECK_EQUAL(pages.find(copy, text.data() + length), -1);
}

TEST(the_page_without_owners_for_the_longest_time_goes_first) {
    Pages pages(3);
    std::vector<int32_t> taken;
    for (int32_t number : {1, 2, 3}) {
        taken.push_back(pages.take());
        pages.remember(taken.back(), -1, pages_of({number}).data());
    }
    CHECK_THROWS(pages.take(), Failure);
    for (int i : {1, 0, 2}) pages.release(taken[i]);
    pages.own(taken[1]);  // and back: now 0 is the oldest
    pages.release(taken[1]);
    CHECK_EQUAL(pages.owned(), 0);
    CHECK_EQUAL(pages.take(), taken[0]);
    CHECK_EQUAL(pages.find(-1, pages_of({1}).data()), -1);
    CHECK_EQUAL(pages.find(-1, pages_of({2}).data()), taken[1]);
    CHECK_EQUAL(pages.take(), taken[2]);
    CHECK_EQUAL(pages.take(), taken[1]);
}

TEST(sequences_that_begin_alike_own_the_same_pages) {
    PageTable table = table_of(10);
    CHECK_EQUAL(table.admit(0, prompt_of({1, 2, 3}), 3 * length + 5), 0);
    CHECK_EQUAL(table.owned(), 4);
    CHECK_EQUAL(table.admit(1, prompt_of({1, 2, 4}), 3 * length + 1), 2 * length);
    CHECK_EQUAL(table.owned(), 6);
    CHECK_EQUAL(table.pages_of(0)[1], table.pages_of(1)[1]);
    CHECK(table.pages_of(0)[2] != table.pages_of(1)[2]);
    CHECK_EQUAL(table.other_owner(1, table.pages_of(1)[0]), 0);
    CHECK_EQUAL(table.other_owner(1, table.pages_of(1)[2]), -1);
    // The last token of a prompt is computed, so its page is one's own.
    CHECK_EQUAL(table.admit(2, pages_of({1, 2}), 2 * length), length);
    CHECK_EQUAL(table.owned(), 7);
    // What nobody shares any more stays and is found again.
    for (int64_t id : {0, 1, 2}) {
        table.computed(id, 4 * length);
        table.release(id);
    }
    CHECK_EQUAL(table.owned(), 0);
    CHECK_EQUAL(table.admit(3, prompt_of({1, 2, 3}), 3 * length + 1), 3 * length);
}

TEST(without_sharing_or_keeping_nothing_is_shared_or_kept) {
    PageTable apart = table_of(10, false, false), fleeting = table_of(10, true, false);
    apart.admit(0, prompt_of({1}), length + 1);
    CHECK_EQUAL(apart.admit(1, prompt_of({1}), length + 1), 0);
    fleeting.admit(0, prompt_of({1}), length + 1);
    CHECK_EQUAL(fleeting.admit(1, prompt_of({1}), length + 1), length);
    for (int64_t id : {0, 1}) {
        fleeting.computed(id, length + 1);
        fleeting.release(id);
    }
    CHECK_EQUAL(fleeting.admit(2, prompt_of({1}), length + 1), 0);
}

TEST(admission_counts_every_page_once) {
    PageTable table = table_of(4);
    CHECK_EQUAL(table.admit(0, prompt_of({1, 2}), 3 * length), 0);
    CHECK_EQUAL(table.admit(1, prompt_of({5}), 2 * length), -1);
    CHECK_EQUAL(table.admit(1, prompt_of({1, 2}), 3 * length), 2 * length);  // one page of its own
    table.computed(0, 3 * length);
    table.computed(1, 3 * length);
    table.release(0);
    table.release(1);
    // Two pages lie idle: owning them takes two, and one more is needed.
    CHECK_EQUAL(table.admit(2, prompt_of({8}), 2 * length), 0);
    CHECK_EQUAL(table.admit(3, prompt_of({1, 2}), 3 * length), -1);
    CHECK_EQUAL(table.refuses(4 * length), "");
    CHECK(table.refuses(4 * length + 1).find("5000 bytes, memory is 4999") != std::string::npos);
    CHECK(table_of(1000).refuses(10001).find("10001 tokens are more than the model's context of 10000") != std::string::npos);
}

TEST(what_was_not_computed_is_forgotten_unless_others_rely_on_it) {
    PageTable table = table_of(10);
    table.admit(0, prompt_of({1, 2, 3}), 3 * length + 1);
    table.computed(0, length + 3);
    CHECK(!table.relied_on(0));
    table.admit(1, prompt_of({1, 4}), 2 * length + 1);
    CHECK(!table.relied_on(0));  // on a page that is whole
    table.admit(2, prompt_of({1, 2}), 2 * length + 1);
    CHECK(table.relied_on(0));
    CHECK(!table.relied_on(1));
    table.release(2);
    CHECK(!table.relied_on(0));
    table.release(0);
    CHECK_EQUAL(table.admit(3, prompt_of({1, 2, 3}), 3 * length + 1), length);
}

// A thousand arrivals and departures against a plain account of who holds which text where.
TEST(random_traffic_never_shares_two_texts_nor_promises_memory_twice) {
    PageTable table = table_of(24);
    std::map<int64_t, std::vector<int32_t>> live;  // prompts
    std::map<int64_t, std::vector<int32_t>> owned;
    int64_t shared = 0, refused = 0;
    for (int64_t id = 0; id < 1000; id++) {
        std::vector<int32_t> numbers;
        for (uint64_t i = 0; i < 1 + random_bits(1, id, 0) % 4; i++) numbers.push_back(static_cast<int32_t>(random_bits(2, id, i) % 2));
        const auto prompt = prompt_of(numbers);
        const int64_t got = table.admit(id, prompt, static_cast<int64_t>(prompt.size() + random_bits(3, id, 0) % 60));
        if (got < 0) refused++;
        else {
            live[id] = prompt;
            owned[id] = table.pages_of(id);
            shared += got / length;
        }
        std::map<int32_t, std::vector<int32_t>> text;  // of each page, from the beginning
        for (const auto& [one, pages] : owned)
            for (size_t i = 0; i < pages.size(); i++) {
                const size_t end = std::min(live[one].size(), (i + 1) * length);
                std::vector<int32_t> until(live[one].begin(), live[one].begin() + static_cast<int64_t>(end));
                if (end < (i + 1) * length) until.push_back(static_cast<int32_t>(1000 + one));  // its own answer follows
                const auto [at, fresh] = text.emplace(pages[i], until);
                CHECK(fresh || at->second == until);
            }
        CHECK_EQUAL(table.owned(), static_cast<int64_t>(text.size()));
        CHECK(table.owned() <= 24);
        while (!live.empty() && (got < 0 || random_bits(4, id, live.size()) % 3 == 0)) {
            auto gone = live.begin();
            std::advance(gone, random_bits(5, id, live.size()) % live.size());
            // In the order of work: all before it are computed too.
            for (auto one = live.begin(); one != std::next(gone); ++one) table.computed(one->first, static_cast<int64_t>(one->second.size()));
            table.release(gone->first);
            owned.erase(gone->first);
            live.erase(gone);
            if (random_bits(6, id, live.size()) % 2) break;
        }
    }
    CHECK(shared > 300);
    CHECK(refused > 50);
}
