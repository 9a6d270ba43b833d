// A sequence takes the pages of its whole answer when it is let in: what runs never waits for memory, so nothing can deadlock.
#include "core/decode/page_table.h"

#include <algorithm>

#include "core/failure.h"

namespace stillroom {

namespace {
int64_t pages_for(int64_t tokens) { return (tokens + Pages::length - 1) / Pages::length; }
}  // namespace

PageTable::PageTable(const PageLimits& given) : limits(given), pages(given.pages) {}

std::string PageTable::refuses(int64_t tokens) const {
    if (tokens > limits.context) return std::to_string(tokens) + " tokens are more than the model's context of " + std::to_string(limits.context);
    const int64_t needed = pages_for(tokens);
    if (needed <= limits.pages) return "";
    return "their keys and values take " + std::to_string(needed * limits.page_bytes) + " bytes, memory is " + std::to_string(limits.bytes);
}

int64_t PageTable::admit(int64_t sequence, const std::vector<int32_t>& prompt, int64_t tokens) {
    const int64_t needed = pages_for(tokens), length = Pages::length, whole = static_cast<int64_t>(prompt.size()) / length;
    // The last token of a prompt is always computed: its logits are asked for.
    const int64_t most = limits.shares ? (static_cast<int64_t>(prompt.size()) - 1) / length : 0;
    Sequence next{{}, 0, 0};
    int64_t idle = 0;  // shared pages without an owner: owning them takes memory too
    while (next.shared < most) {
        const int32_t page = pages.find(next.shared > 0 ? next.pages.back() : -1, prompt.data() + next.shared * length);
        if (page < 0) break;
        idle += pages.owners(page) == 0;
        next.pages.push_back(page);
        next.shared++;
    }
    if (pages.owned() + idle + needed - next.shared > limits.pages) return -1;
    for (const int32_t page : next.pages) pages.own(page);
    for (int64_t i = next.shared; i < needed; i++) {
        next.pages.push_back(pages.take());
        if (limits.shares && i < whole) pages.remember(next.pages[i], i > 0 ? next.pages[i - 1] : -1, prompt.data() + i * length);
    }
    next.computed = next.shared * length;
    const int64_t shared = next.computed;
    sequences.emplace(sequence, std::move(next));
    return shared;
}

bool PageTable::relied_on(int64_t sequence) const {
    const Sequence& one = sequences.at(sequence);
    for (int64_t i = std::max(one.shared, one.computed / Pages::length); i < static_cast<int64_t>(one.pages.size()); i++)
        if (pages.owners(one.pages[i]) > 1) return true;
    return false;
}

void PageTable::release(int64_t sequence) {
    const Sequence& one = sequences.at(sequence);
    // From the last on: what stands behind others goes before them when memory is needed.
    for (int64_t i = static_cast<int64_t>(one.pages.size()); i-- > 0;) {
        const bool unfinished = i >= one.shared && (i + 1) * Pages::length > one.computed;
        if (unfinished || (!limits.keeps && pages.owners(one.pages[i]) == 1)) pages.forget(one.pages[i]);
        pages.release(one.pages[i]);
    }
    sequences.erase(sequence);
}

int64_t PageTable::other_owner(int64_t sequence, int32_t page) const {
    for (const auto& [id, one] : sequences)
        if (id != sequence)
            for (const int32_t owned : one.pages)
                if (owned == page) return id;
    return -1;
}

}  // namespace stillroom
