// Facts are read leniently, so that any architecture can be shown; the verdict is the engine's own (model).
#include "core/model_info.h"

#include <algorithm>

#include "core/failure.h"
#include "core/model.h"

namespace stillroom {

namespace {

// Some architectures give one number per layer; the largest stands for them.
int64_t count(const GgufFile& file, const std::string& key) {
    if (!file.has(key)) return 0;
    try {
        return *file.integer(key);
    } catch (const Failure&) {
        const auto values = file.integers(key);
        return values->empty() ? 0 : *std::max_element(values->begin(), values->end());
    }
}

// Why the training engine cannot open it; the engine itself knows best.
std::optional<std::string> reason_against(const GgufFile& file, const ModelInfo& info) {
    if (file.text("general.type").value_or("model") == "adapter") return "the file is a LoRA adapter, not a model";
    if (file.integer("split.count").value_or(1) > 1) return "the model is split over several files; join them first (llama-gguf-split --merge)";
    const size_t tokens = file.has("tokenizer.ggml.tokens") ? *file.array_length("tokenizer.ggml.tokens") : 0;
    if (tokens != 0 && info.vocabulary != static_cast<int64_t>(tokens))
        return "the tokenizer has " + std::to_string(tokens) + " tokens, token_embd.weight " + std::to_string(info.vocabulary);
    try {
        Model::open(file.path());
    } catch (const Failure& failure) {
        std::string message = failure.what();
        const std::string prefix = file.path() + ": ";
        if (message.compare(0, prefix.size(), prefix) == 0) message.erase(0, prefix.size());
        return message;
    }
    return std::nullopt;
}

}  // namespace

ModelInfo describe(const GgufFile& file) {
    ModelInfo info;
    info.path = file.path();
    info.file_bytes = file.file_bytes();
    info.architecture = file.text("general.architecture").value_or("");
    if (info.architecture.empty()) throw Failure(Code::input, file.path() + ": expected general.architecture in the metadata, found none");
    info.name = file.text("general.name");
    const auto integer = [&](const char* key) { return count(file, info.architecture + "." + key); };
    info.layers = integer("block_count");
    info.width = integer("embedding_length");
    info.feed_forward = integer("feed_forward_length");
    info.heads = integer("attention.head_count");
    info.key_value_heads = integer("attention.head_count_kv");
    if (info.key_value_heads == 0) info.key_value_heads = info.heads;
    info.head_width = integer("attention.key_length");
    if (info.head_width == 0 && info.heads > 0) info.head_width = info.width / info.heads;
    info.context_length = integer("context_length");
    if (const GgufTensor* embeddings = file.find("token_embd.weight")) info.vocabulary = embeddings->shape[1];
    info.tied_embeddings = file.find("token_embd.weight") && !file.find("output.weight");
    for (const GgufTensor& tensor : file.tensors()) {
        ++info.types[ggml_type_name(tensor.type)];
        // RoPE's frequency factors are constants, not parameters.
        if (tensor.name.rfind("rope_", 0) != 0) info.parameters += tensor.elements();
    }
    info.chat_template = file.text("tokenizer.chat_template");
    info.reason = reason_against(file, info);
    return info;
}

}  // namespace stillroom
