// A smaller vocabulary for a student: which tokens and merges of a tokenizer a choice of tokens needs, so that texts of these tokens are cut as
// before and every other text is still cut, into smaller pieces; and which tokens of a larger one a smaller one has. Knows llama.cpp's BPE and SentencePiece tokenizers; no texts.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/gguf_file.h"
#include "core/gguf_writer.h"

namespace stillroom {

struct Vocabulary {
    std::vector<int32_t> tokens;  // numbers in the whole vocabulary, rising: what stays, in its order
    std::vector<int32_t> merges;  // places in the list of merges, rising; BPE's only
};

// Always stay: control and user-defined tokens, those that the metadata names, and all single bytes that the vocabulary has. Then the wanted ones in their
// order, each with the pieces that merges make it from, while no more than `most` tokens are taken in all. Failure(input) for another kind of tokenizer,
// Failure(usage) when `most` is too small for those that always stay, naming their number.
Vocabulary trim_vocabulary(const GgufFile& file, const std::vector<int32_t>& wanted, int64_t most);

// Keys of the whole vocabulary that write_vocabulary replaces or leaves out.
std::set<std::string, std::less<>> vocabulary_keys(const GgufFile& file);
// The tokenizer of what stays.
void write_vocabulary(GgufWriter& writer, const GgufFile& file, const Vocabulary& vocabulary);

// Where the tokenizer of `part` is a trimmed form of that of `whole`, once or several times: for each of its tokens the number in `whole`, rising. That is where
// its tokens and merges are some of the other's in the same order, with the same types and scores, and hold every piece and merge that makes one of its
// tokens there: texts of its tokens are cut alike by both. nullopt for all others.
std::optional<std::vector<int32_t>> trimmed_from(const GgufFile& part, const GgufFile& whole);

// How tokenizers that have the same tokens differ in what cuts text into them, as "KEY is A in one.gguf and B in other.gguf"; nullopt where they do not.
std::optional<std::string> tokenizer_difference(const GgufFile& one, const GgufFile& other);

}  // namespace stillroom
