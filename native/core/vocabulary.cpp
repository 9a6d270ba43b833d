// Why trimmed tokenizers agree: docs/architecture.md.
#include "core/vocabulary.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>

#include "core/failure.h"

namespace stillroom {

namespace {

constexpr const char* tokens_key = "tokenizer.ggml.tokens";
constexpr const char* types_key = "tokenizer.ggml.token_type";
constexpr const char* scores_key = "tokenizer.ggml.scores";
constexpr const char* merges_key = "tokenizer.ggml.merges";
constexpr const char* suppressed_key = "tokenizer.ggml.suppress_tokens";
constexpr const char* teacher_ids_key = "stillroom.vocab.teacher_ids";
constexpr const char* teacher_size_key = "stillroom.vocab.teacher_size";
enum TokenType : int64_t { normal = 1, unused = 5 };  // llama.cpp's numbers

bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// The keys that name a token, with the token; those that llama.cpp assumes where the file is silent among them.
std::map<std::string, int64_t> named_tokens(const GgufFile& file, bool sentence_piece) {
    std::map<std::string, int64_t> named = sentence_piece ? std::map<std::string, int64_t>{{"bos", 1}, {"eos", 2}, {"unknown", 0}}
                                                          : std::map<std::string, int64_t>{{"bos", 11}, {"eos", 11}};
    std::map<std::string, int64_t> found;
    for (const auto& [name, token] : named) found["tokenizer.ggml." + name + "_token_id"] = token;
    for (const GgufEntry& entry : file.entries())
        if (entry.key.rfind("tokenizer.ggml.", 0) == 0 && ends_with(entry.key, "_token_id")) found[std::string(entry.key)] = *file.integer(entry.key);
    return found;
}

class Tokenizer {
   public:
    explicit Tokenizer(const GgufFile& file) : file(file) {
        const std::string model = file.text("tokenizer.ggml.model").value_or("");
        sentence_piece = model == "llama";
        if (!sentence_piece && model != "gpt2")
            throw Failure(Code::input, file.path() + ": the vocabulary of a \"" + model + "\" tokenizer cannot be trimmed (those of gpt2, byte-level BPE, and of llama, SentencePiece, can)");
        if (auto list = file.texts(tokens_key)) texts = std::move(*list);
        types.assign(texts.size(), normal);
        if (auto list = file.integers(types_key)) types = std::move(*list);
        if (types.size() != texts.size()) refuse(types_key);
        for (size_t i = 0; i < texts.size(); ++i) tokens.emplace(texts[i], static_cast<int32_t>(i));
        if (sentence_piece) {
            scores = file.numbers(scores_key).value_or(std::vector<double>());
            if (scores.size() != texts.size()) refuse(scores_key);
            return;
        }
        if (!file.has(merges_key)) refuse(merges_key);
        const auto list = *file.texts(merges_key);
        for (size_t i = 0; i < list.size(); ++i) {
            const size_t space = list[i].find(' ', 1);
            if (space == std::string::npos) refuse(merges_key);
            ranks.emplace(list[i], static_cast<int32_t>(i));
        }
    }

    // Puts a token and the pieces that it is merged from into these sets.
    void add(int32_t token, std::set<int32_t>& kept, std::set<int32_t>& merges) const {
        if (!kept.insert(token).second || types[token] != normal) return;
        std::vector<std::string> symbols = characters(texts[token]);
        const auto keep = [&](const std::string& text) {
            const auto found = tokens.find(text);
            if (found != tokens.end()) kept.insert(found->second);
        };
        for (const std::string& symbol : symbols) keep(symbol);
        while (symbols.size() > 1) {
            const auto [place, merge] = best_pair(symbols);
            if (place < 0) return;  // no merges lead to it: the tokenizer takes it whole, or never
            if (!sentence_piece) merges.insert(merge);
            symbols[place] += symbols[place + 1];
            symbols.erase(symbols.begin() + place + 1);
            keep(symbols[place]);
        }
    }

    bool always(int32_t token) const {
        if (types[token] != normal) return types[token] != unused;  // bytes of SentencePiece among them
        return !sentence_piece && characters(texts[token]).size() == 1;
    }

    const GgufFile& file;
    bool sentence_piece = false;
    std::vector<std::string> texts;

   private:
    [[noreturn]] void refuse(const char* key) const { throw Failure(Code::input, file.path() + ": the tokenizer's " + key + " are missing or do not fit its tokens"); }

    static std::vector<std::string> characters(const std::string& text) {
        std::vector<std::string> result;
        for (size_t at = 0; at < text.size();) {
            const auto first = static_cast<uint8_t>(text[at]);
            const size_t length = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
            result.push_back(text.substr(at, length));
            at += length;
        }
        return result;
    }

    // The pair that is merged next, of equals the first, and the place of its merge; -1 for none.
    std::pair<int, int32_t> best_pair(const std::vector<std::string>& symbols) const {
        std::pair<int, int32_t> best{-1, -1};
        double least = 0;
        for (size_t i = 0; i + 1 < symbols.size(); ++i) {
            double rank;
            int32_t merge = -1;
            if (sentence_piece) {
                const auto found = tokens.find(symbols[i] + symbols[i + 1]);
                if (found == tokens.end()) continue;
                rank = -scores[found->second];
            } else {
                const auto found = ranks.find(symbols[i] + " " + symbols[i + 1]);
                if (found == ranks.end()) continue;
                rank = merge = found->second;
            }
            if (best.first < 0 || rank < least) {
                best = {static_cast<int>(i), merge};
                least = rank;
            }
        }
        return best;
    }

    std::vector<int64_t> types;
    std::vector<double> scores;
    std::unordered_map<std::string, int32_t> tokens, ranks;
};

}  // namespace

Vocabulary trim_vocabulary(const GgufFile& file, const std::vector<int32_t>& wanted, int64_t most) {
    const Tokenizer tokenizer(file);
    const auto size = static_cast<int32_t>(tokenizer.texts.size());
    std::set<int32_t> kept, merges;
    for (int32_t token = 0; token < size; ++token)
        if (tokenizer.always(token)) tokenizer.add(token, kept, merges);
    for (const auto& [key, token] : named_tokens(file, tokenizer.sentence_piece))
        if (token >= 0 && token < size) tokenizer.add(static_cast<int32_t>(token), kept, merges);
    if (static_cast<int64_t>(kept.size()) > most)
        throw Failure(Code::usage, "expected at least " + std::to_string(kept.size()) + " for vocabulary, the control tokens and bytes of the teacher, received " + std::to_string(most));
    for (const int32_t token : wanted) {
        if (token < 0 || token >= size) throw Failure(Code::usage, "expected tokens below " + std::to_string(size) + " for wanted, received " + std::to_string(token));
        if (kept.count(token)) continue;
        std::set<int32_t> pieces, pieces_merges;
        tokenizer.add(token, pieces, pieces_merges);
        const auto fresh = std::count_if(pieces.begin(), pieces.end(), [&](int32_t piece) { return !kept.count(piece); });
        if (static_cast<int64_t>(kept.size()) + fresh > most) continue;
        kept.insert(pieces.begin(), pieces.end());
        merges.insert(pieces_merges.begin(), pieces_merges.end());
    }
    return {{kept.begin(), kept.end()}, {merges.begin(), merges.end()}};
}

std::set<std::string, std::less<>> vocabulary_keys(const GgufFile& file) {
    std::set<std::string, std::less<>> keys = {tokens_key,     types_key,       scores_key,       merges_key,
                                               suppressed_key, teacher_ids_key, teacher_size_key, "tokenizer.huggingface.json"};
    for (const auto& [key, token] : named_tokens(file, Tokenizer(file).sentence_piece)) keys.insert(key);
    keys.insert(file.text("general.architecture").value_or("") + ".vocab_size");
    return keys;
}

void write_vocabulary(GgufWriter& writer, const GgufFile& file, const Vocabulary& vocabulary) {
    const std::vector<int32_t>& tokens = vocabulary.tokens;
    const auto student_id = [&](int64_t token) -> std::optional<int32_t> {
        const auto found = std::lower_bound(tokens.begin(), tokens.end(), token);
        if (found == tokens.end() || *found != token) return std::nullopt;
        return static_cast<int32_t>(found - tokens.begin());
    };
    for (const char* key : {tokens_key, types_key, scores_key})
        if (file.has(key)) writer.copy_elements(file, key, tokens);
    if (file.has(merges_key)) writer.copy_elements(file, merges_key, vocabulary.merges);
    if (const auto suppressed = file.integers(suppressed_key)) {
        std::vector<int32_t> left;
        for (const int64_t token : *suppressed)
            if (const auto id = student_id(token)) left.push_back(*id);
        writer.i32s(suppressed_key, left);
    }
    for (const auto& [key, token] : named_tokens(file, Tokenizer(file).sentence_piece))
        if (const auto id = student_id(token)) writer.u32(key, *id);
    const std::string size = file.text("general.architecture").value_or("") + ".vocab_size";
    if (file.has(size)) writer.u32(size, static_cast<uint32_t>(tokens.size()));
    writer.i32s(teacher_ids_key, tokens);
    writer.u32(teacher_size_key, static_cast<uint32_t>(*file.array_length(tokens_key)));
}

}  // namespace stillroom
