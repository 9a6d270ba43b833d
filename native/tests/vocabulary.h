// A vocabulary without a model for the native tests: token i is a letter, from the 27th on a letter and a digit.
#pragma once
#include <fstream>
#include <memory>
#include <string>

#include "core/tokens.h"
#include "tests/check.h"
#include "tests/gguf_bytes.h"

namespace stillroom::testing {

constexpr int32_t letters_end = 25;  // the end token in place of "z", a control token without text

inline std::shared_ptr<const Tokens> letters(int32_t count) {
    constexpr uint32_t u32 = 4, i32 = 5, string = 8, array = 9;
    Bytes bytes;
    bytes.header(0, 8);
    bytes.text("general.architecture").u32(string).text("llama");
    bytes.text("tokenizer.ggml.model").u32(string).text("gpt2");
    bytes.text("tokenizer.ggml.pre").u32(string).text("default");
    bytes.text("tokenizer.ggml.merges").u32(array).u32(string).u64(0);
    bytes.text("tokenizer.ggml.bos_token_id").u32(u32).u32(letters_end);
    bytes.text("tokenizer.ggml.eos_token_id").u32(u32).u32(letters_end);
    bytes.text("tokenizer.ggml.token_type").u32(array).u32(i32).u64(count);
    for (int32_t i = 0; i < count; i++) bytes.u32(i == letters_end ? 3 : 1);
    bytes.text("tokenizer.ggml.tokens").u32(array).u32(string).u64(count);
    for (int32_t i = 0; i < count; i++)
        bytes.text(i == letters_end ? "</s>" : static_cast<char>('a' + i % 26) + (i < 26 ? std::string() : std::to_string(i / 26)));
    bytes.pad();
    const std::string path = temporary_folder() + "/letters.gguf";
    std::ofstream(path, std::ios::binary) << bytes.data;
    return Tokens::open(path);
}

}  // namespace stillroom::testing
