// Facts about a model from its GGUF header, for any architecture, and whether the training engine can open it.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/gguf_file.h"

namespace stillroom {

// As NativeModelInfo in src/support/native.ts; 0 where the architecture has no such number.
struct ModelInfo {
    std::string path;
    size_t file_bytes = 0;
    std::string architecture;
    std::optional<std::string> name;
    int64_t parameters = 0, layers = 0, width = 0, feed_forward = 0, heads = 0, key_value_heads = 0, head_width = 0;
    int64_t context_length = 0, vocabulary = 0;
    bool tied_embeddings = false;
    std::map<std::string, int64_t> types;
    std::optional<std::string> chat_template;
    std::optional<std::string> reason;  // why the engine cannot open it
    bool tunable() const { return !reason; }
};

// Failure(input) when the file does not say what it is (general.architecture).
ModelInfo describe(const GgufFile& file);

}  // namespace stillroom
