// Why trimmed tokenizers agree: docs/architecture.md.
#include "core/text.h"
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
constexpr const char* model_key = "tokenizer.ggml.model";
constexpr const char* pre_key = "tokenizer.ggml.pre";
constexpr const char* space_key = "tokenizer.ggml.add_space_prefix";
enum TokenType : int64_t { normal = 1, unused = 5 };  // llama.cpp's numbers

bool merges_pairs(std::string_view model) { return model == "gpt2" || model == "llama"; }

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
        const std::string model = file.text(model_key).value_or("");
        sentence_piece = model == "llama";
        if (!merges_pairs(model))
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

    // Whether a token of ours is that of the other one, wherever they stand.
    bool same(size_t token, const Tokenizer& other, size_t theirs) const {
        return texts[token] == other.texts[theirs] && types[token] == other.types[theirs] && (!sentence_piece || scores[token] == other.scores[theirs]);
    }

    // The places of our merges in the other's list; nullopt where it has not all of them in this order.
    std::optional<std::set<int32_t>> merges_in(const Tokenizer& other) const {
        std::map<int32_t, int32_t> places;
        for (const auto& [merge, place] : ranks) {
            const auto found = other.ranks.find(merge);
            if (found == other.ranks.end()) return std::nullopt;
            places.emplace(place, found->second);
        }
        std::set<int32_t> rising;
        for (const auto& [own, theirs] : places) {
            if (!rising.empty() && theirs <= *rising.rbegin()) return std::nullopt;
            rising.insert(rising.end(), theirs);
        }
        return rising;
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
        throw Failure(Code::usage, "expected at least " + std::to_string(kept.size()) + ", the control tokens and bytes of the teacher, for vocabulary, received " + std::to_string(most));
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
    std::set<std::string, std::less<>> keys = {tokens_key, types_key, scores_key, merges_key, suppressed_key, "tokenizer.huggingface.json"};
    // Numbers of a teacher's tokens, which the box in models/ still has; nobody reads them.
    for (const GgufEntry& entry : file.entries())
        if (entry.key.rfind("stillroom.vocab.", 0) == 0) keys.emplace(entry.key);
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
}

std::optional<std::vector<int32_t>> trimmed_from(const GgufFile& part, const GgufFile& whole) {
    for (const char* key : {model_key, pre_key})
        if (part.text(key) != whole.text(key)) return std::nullopt;
    if (!merges_pairs(part.text(model_key).value_or(""))) return std::nullopt;
    if (part.boolean(space_key) != whole.boolean(space_key)) return std::nullopt;
    const Tokenizer ours(part), theirs(whole);
    std::vector<int32_t> ids;
    size_t id = 0;
    for (size_t token = 0; token < ours.texts.size(); ++token, ++id) {
        while (id < theirs.texts.size() && !ours.same(token, theirs, id)) ++id;
        if (id == theirs.texts.size()) return std::nullopt;
        ids.push_back(static_cast<int32_t>(id));
    }
    const auto merges = ours.merges_in(theirs);
    if (!merges) return std::nullopt;
    std::set<int32_t> pieces, needed;
    for (const int32_t token : ids) theirs.add(token, pieces, needed);
    if (pieces.size() != ids.size() || !std::includes(merges->begin(), merges->end(), needed.begin(), needed.end())) return std::nullopt;
    return ids;
}

std::optional<std::string> tokenizer_difference(const GgufFile& one, const GgufFile& other) {
    const auto told = [&](const std::string& what, const std::string& ours, const std::string& theirs) {
        return what + " is " + ours + " in " + one.path() + " and " + theirs + " in " + other.path();
    };
    const auto quoted = [](const std::string& text) { return "\"" + text + "\""; };
    const std::string model = one.text(model_key).value_or(""), model_of_other = other.text(model_key).value_or("");
    if (model != model_of_other) return told(model_key, quoted(model), quoted(model_of_other));
    // What llama.cpp takes where a file is silent.
    const auto pre = [](const GgufFile& file) { return file.text(pre_key).value_or("default"); };
    if (pre(one) != pre(other)) return told(pre_key, quoted(pre(one)), quoted(pre(other)));
    const auto space = [&](const GgufFile& file) { return file.boolean(space_key).value_or(model == "llama"); };
    if (space(one) != space(other)) return told(space_key, space(one) ? "true" : "false", space(other) ? "true" : "false");
    const auto ours = one.texts(merges_key).value_or(std::vector<std::string>()), theirs = other.texts(merges_key).value_or(std::vector<std::string>());
    const size_t shared = std::min(ours.size(), theirs.size());
    for (size_t place = 0; place < shared; ++place)
        if (ours[place] != theirs[place]) return told("number " + std::to_string(place) + " of " + merges_key + ", from 0,", quoted(ours[place]), quoted(theirs[place]));
    if (ours.size() != theirs.size()) return told(std::string("the number of ") + merges_key, std::to_string(ours.size()), std::to_string(theirs.size()));
    const auto scores = one.numbers(scores_key).value_or(std::vector<double>()), scores_of_other = other.numbers(scores_key).value_or(std::vector<double>());
    // Of SentencePiece they say which pair goes first.
    if (model == "llama" && scores != scores_of_other) return std::string(scores_key) + " of " + one.path() + " and " + other.path() + " differ";
    return std::nullopt;
}

}  // namespace stillroom
