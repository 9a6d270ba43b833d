// llama.cpp's tokenizer of a GGUF, opened without its weights. Knows text and ids; not prompts. Safe to use from several threads.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace stillroom {

class Tokens {
   public:
    static std::shared_ptr<const Tokens> open(const std::string& path);

    const llama_vocab* handle() const { return vocab; }
    int32_t vocabulary() const;
    int32_t bos() const;  // -1: the model has none
    int32_t eos() const;
    bool adds_bos() const;
    std::vector<int32_t> end_tokens() const;  // ascending
    // add_special: BOS and EOS as the model asks; parse_special: text of control tokens becomes those tokens.
    std::vector<int32_t> tokenize(const std::string& text, bool add_special, bool parse_special) const;
    // UTF-8, possibly cut within a character. special: control tokens appear as their text.
    std::string detokenize(const std::vector<int32_t>& tokens, bool special) const;

   private:
    explicit Tokens(LlamaModel model);
    LlamaModel model;
    const llama_vocab* vocab;
};

// The bytes of one token as they follow other text (a leading space stays).
std::string token_piece(const llama_vocab* vocab, int32_t token, bool special);

}  // namespace stillroom
