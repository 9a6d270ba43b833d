// Calls llama.cpp twice where its first answer is the size it needs.
#include "core/tokens.h"

#include <climits>

#include "core/failure.h"

namespace stillroom {

std::shared_ptr<const Tokens> Tokens::open(const std::string& path) {
    check_vocabulary(*GgufFile::open(path));
    std::shared_ptr<const Tokens> tokens(new Tokens(load_model(path, true)));
    if (tokens->adds_bos() && tokens->bos() < 0) throw Failure(Code::input, path + ": the tokenizer asks for a BOS token and has none");
    if (llama_vocab_get_add_eos(tokens->vocab) && tokens->eos() < 0) throw Failure(Code::input, path + ": the tokenizer asks for an EOS token and has none");
    return tokens;
}

Tokens::Tokens(LlamaModel loaded) : model(std::move(loaded)), vocab(llama_model_get_vocab(model.get())) {}

int32_t Tokens::vocabulary() const { return llama_vocab_n_tokens(vocab); }
int32_t Tokens::bos() const { return llama_vocab_bos(vocab); }
int32_t Tokens::eos() const { return llama_vocab_eos(vocab); }
bool Tokens::adds_bos() const { return llama_vocab_get_add_bos(vocab); }

std::vector<int32_t> Tokens::end_tokens() const {
    std::vector<int32_t> ends;
    for (int32_t token = 0; token < vocabulary(); ++token)
        if (llama_vocab_is_eog(vocab, token)) ends.push_back(token);
    return ends;
}

std::vector<int32_t> Tokens::tokenize(const std::string& text, bool add_special, bool parse_special) const {
    // A token is a byte at least, and llama.cpp counts in 32 bits.
    if (text.size() > static_cast<size_t>(INT_MAX / 2)) throw Failure(Code::usage, "expected less than 1 GiB for text, received " + std::to_string(text.size()) + " bytes");
    const Quiet quiet;
    const auto length = static_cast<int32_t>(text.size());
    std::vector<int32_t> tokens(text.size() / 2 + 16);
    int32_t count = llama_tokenize(vocab, text.data(), length, tokens.data(), static_cast<int32_t>(tokens.size()), add_special, parse_special);
    if (count < 0 && count != INT_MIN) {
        tokens.resize(static_cast<size_t>(-count));
        count = llama_tokenize(vocab, text.data(), length, tokens.data(), static_cast<int32_t>(tokens.size()), add_special, parse_special);
    }
    if (count < 0) throw Failure(Code::internal, "llama.cpp could not tokenise a text of " + std::to_string(length) + " bytes");
    tokens.resize(static_cast<size_t>(count));
    return tokens;
}

std::string Tokens::detokenize(const std::vector<int32_t>& tokens, bool special) const {
    for (const int32_t token : tokens)
        if (token < 0 || token >= vocabulary())
            throw Failure(Code::usage, "expected a token below " + std::to_string(vocabulary()) + " for tokens, received " + std::to_string(token));
    if (tokens.empty()) return "";
    const Quiet quiet;
    const auto count = static_cast<int32_t>(tokens.size());
    std::string text(tokens.size() * 8 + 16, '\0');
    int32_t length = llama_detokenize(vocab, tokens.data(), count, text.data(), static_cast<int32_t>(text.size()), false, special);
    if (length < 0) {
        text.resize(static_cast<size_t>(-length));
        length = llama_detokenize(vocab, tokens.data(), count, text.data(), static_cast<int32_t>(text.size()), false, special);
    }
    if (length < 0) throw Failure(Code::internal, "llama.cpp could not detokenise " + std::to_string(count) + " tokens");
    text.resize(static_cast<size_t>(length));
    return text;
}

std::string token_piece(const llama_vocab* vocab, int32_t token, bool special) {
    std::string piece(64, '\0');
    int32_t length = llama_token_to_piece(vocab, token, piece.data(), static_cast<int32_t>(piece.size()), 0, special);
    if (length < 0) {
        piece.resize(static_cast<size_t>(-length));
        length = llama_token_to_piece(vocab, token, piece.data(), static_cast<int32_t>(piece.size()), 0, special);
    }
    piece.resize(static_cast<size_t>(length < 0 ? 0 : length));
    return piece;
}

}  // namespace stillroom
