// Which pages of keys and values belong to whom: pages of a fixed number of positions, owned by every sequence whose text begins with
// what they hold, remembered by that text. Knows tokens and counts; neither the content nor where it lies.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace stillroom {

class Pages {
   public:
    static constexpr int64_t length = 32;  // positions of a page

    explicit Pages(int64_t capacity);

    int64_t capacity() const { return static_cast<int64_t>(pages.size()); }
    int64_t owned() const { return owned_count; }
    int64_t owners(int32_t page) const { return pages[page].owners; }

    // The remembered page of these tokens behind `parent` (-1: at the beginning), or -1. The owners stay as they are.
    int32_t find(int32_t parent, const int32_t* tokens) const;
    void own(int32_t page);  // one owner more
    // A page without content, owned once: a free one, else the one that nobody has owned for the longest time. Failure(internal) without either.
    int32_t take();
    // From now on find() gives this page, unless it gives an equal one already. The content may follow, before anything reads it.
    void remember(int32_t page, int32_t parent, const int32_t* tokens);
    void forget(int32_t page);
    // One owner less. A remembered page keeps its content until its memory is needed.
    void release(int32_t page);

   private:
    using Key = std::pair<uint64_t, std::vector<int32_t>>;  // the parent's identity, the tokens
    struct Page {
        int64_t owners = 0;
        uint64_t identity = 0;  // of its content, never used again; 0: not remembered
        uint64_t idle_since = 0;
        Key key;
    };
    Key key_of(int32_t parent, const int32_t* tokens) const;

    std::vector<Page> pages;
    std::vector<int32_t> unused;                  // without content
    std::set<std::pair<uint64_t, int32_t>> idle;  // remembered and without owners, by the time they became so
    std::map<Key, int32_t> remembered;
    int64_t owned_count = 0;
    uint64_t next_identity = 1, clock = 0;
};

}  // namespace stillroom
