// The pages of each sequence under way: who is let in, what it shares with others, what its leaving frees. Knows no content.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/decode/pages.h"

namespace stillroom {

struct PageLimits {
    int64_t pages;       // that memory holds
    int64_t page_bytes;  // for messages
    int64_t context;     // most tokens of a sequence
    bool shares;         // whether sequences may have pages in common
    bool keeps;          // whether a page keeps its content when its last owner has left
    int64_t bytes;       // what memory was given as, which pages may not fill; for messages
};

class PageTable {
   public:
    explicit PageTable(const PageLimits& limits);

    // Why a sequence of so many tokens can never run; empty when it can.
    std::string refuses(int64_t tokens) const;
    // Takes a sequence in when pages for `tokens` of it are free, and says how many of the prompt's first others have or compute; else -1.
    int64_t admit(int64_t sequence, const std::vector<int32_t>& prompt, int64_t tokens);
    void computed(int64_t sequence, int64_t tokens) { sequences.at(sequence).computed = tokens; }
    // Whether others own what this sequence has still to compute.
    bool relied_on(int64_t sequence) const;
    void release(int64_t sequence);

    const std::vector<int32_t>& pages_of(int64_t sequence) const { return sequences.at(sequence).pages; }
    // The earliest other sequence under way that owns the page; -1 without one.
    int64_t other_owner(int64_t sequence, int32_t page) const;
    int64_t owned() const { return pages.owned(); }

   private:
    struct Sequence {
        std::vector<int32_t> pages;
        int64_t shared;    // pages, the first ones, that another sequence computes
        int64_t computed;  // tokens
    };
    const PageLimits limits;
    Pages pages;
    std::map<int64_t, Sequence> sequences;  // ids ascend in the order of admission
};

}  // namespace stillroom
