// A remembered page's identity stands for the whole text before and in it, so equal tokens behind another beginning are another page.
#include "core/decode/pages.h"

#include "core/failure.h"

namespace stillroom {

Pages::Pages(int64_t capacity) : pages(static_cast<size_t>(capacity)) {
    for (int64_t page = capacity; page-- > 0;) unused.push_back(static_cast<int32_t>(page));
}

Pages::Key Pages::key_of(int32_t parent, const int32_t* tokens) const {
    return {parent < 0 ? 0 : pages[parent].identity, std::vector<int32_t>(tokens, tokens + length)};
}

int32_t Pages::find(int32_t parent, const int32_t* tokens) const {
    // Behind a page that is not remembered nothing is: its text has no name.
    if (parent >= 0 && pages[parent].identity == 0) return -1;
    const auto found = remembered.find(key_of(parent, tokens));
    return found == remembered.end() ? -1 : found->second;
}

void Pages::own(int32_t page) {
    Page& one = pages[page];
    if (one.owners++ > 0) return;
    owned_count++;
    idle.erase({one.idle_since, page});
}

int32_t Pages::take() {
    if (unused.empty()) {
        if (idle.empty()) throw Failure(Code::internal, "no page of keys and values is free");
        forget(idle.begin()->second);
    }
    const int32_t page = unused.back();
    unused.pop_back();
    pages[page].owners = 1;
    owned_count++;
    return page;
}

void Pages::remember(int32_t page, int32_t parent, const int32_t* tokens) {
    if (parent >= 0 && pages[parent].identity == 0) return;
    Page& one = pages[page];
    one.key = key_of(parent, tokens);
    if (remembered.emplace(one.key, page).second) one.identity = next_identity++;
}

void Pages::forget(int32_t page) {
    Page& one = pages[page];
    if (one.identity == 0) return;
    remembered.erase(one.key);
    one.identity = 0;
    if (one.owners > 0) return;
    idle.erase({one.idle_since, page});
    unused.push_back(page);
}

void Pages::release(int32_t page) {
    Page& one = pages[page];
    if (--one.owners > 0) return;
    owned_count--;
    if (one.identity == 0) {
        unused.push_back(page);
        return;
    }
    one.idle_since = ++clock;
    idle.insert({one.idle_since, page});
}

}  // namespace stillroom
