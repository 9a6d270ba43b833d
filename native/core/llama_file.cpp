// Opens what GgufFile and the checks have seen; an adapter is compared with its model before llama.cpp sees either.
#include "core/llama_file.h"

#include <algorithm>

#include "core/adapter.h"
#include "core/failure.h"
#include "core/gguf_file.h"

namespace stillroom {

namespace {

constexpr int64_t attention_bytes = int64_t{256} << 20;  // of the attention weights of one micro-batch

void check_adapter(const GgufFile& base, const Adapter& adapter, const std::string& path) {
    const auto refuse = [&](const std::string& message) { throw Failure(Code::input, path + ": " + message); };
    const std::string architecture = base.text("general.architecture").value_or("");
    if (adapter.architecture != architecture)
        refuse("the adapter is for architecture \"" + adapter.architecture + "\", the model is of \"" + architecture + "\"");
    const bool tied = !base.find("output.weight");
    for (const FactorPair& pair : factor_pairs(adapter.tensors)) {
        // llama.cpp has no own head then: it refuses a LoRA on it, and aborts on one that the shared tensor would hand to it.
        if (tied && (pair.weight == "output" || pair.weight == "token_embd"))
            refuse("llama.cpp cannot run a LoRA on " + pair.weight + " beside a model with tied embeddings; merge it into the model instead");
        const GgufTensor* weight = base.find(pair.weight + ".weight");
        if (!weight) refuse("the adapter has factors for " + pair.weight + ".weight, which the model has not");
        const bool embeddings = pair.weight == "token_embd";
        if (weight->shape[0] != (embeddings ? pair.b->rows : pair.a->columns) || weight->shape[1] != (embeddings ? pair.a->columns : pair.b->rows))
            refuse("the factors of " + pair.weight + " do not fit the model's weight of " + std::to_string(weight->shape[1]) + " x " + std::to_string(weight->shape[0]));
    }
}

}  // namespace

LlamaFile LlamaFile::open(const std::string& path, const std::string& adapter, int32_t gpu_layers) {
    const auto file = GgufFile::open(path);
    check_hyperparameters(*file);
    const std::string tokenizer = file->text("tokenizer.ggml.model").value_or("");
    if (tokenizer != "none" && tokenizer != "no_vocab") check_vocabulary(*file);
    if (!adapter.empty()) check_adapter(*file, read_adapter(*GgufFile::open(adapter)), adapter);
    LlamaFile opened{load_model(path, false, gpu_layers)};
    opened.causal = file->boolean(file->text("general.architecture").value_or("") + ".attention.causal").value_or(true);
    if (llama_model_has_encoder(opened.model.get()) || !llama_model_has_decoder(opened.model.get()))
        throw Failure(Code::input, path + ": expected a decoder-only model");
    if (adapter.empty()) return opened;
    const Quiet quiet;
    opened.adapter = llama_adapter_lora_init(opened.model.get(), adapter.c_str());
    if (!opened.adapter) throw Failure(Code::input, adapter + ": llama.cpp cannot open the adapter: " + Quiet::error());
    return opened;
}

LlamaContext LlamaFile::context(const llama_context_params& parameters) const {
    const Quiet quiet;
    LlamaContext made(llama_init_from_model(model.get(), parameters));
    if (!made) throw Failure(Code::input, "llama.cpp cannot make a context of " + std::to_string(parameters.n_ctx) + " tokens: " + Quiet::error());
    float scale = 1;
    llama_adapter_lora* adapters[] = {adapter};
    if (adapter && llama_set_adapters_lora(made.get(), adapters, 1, &scale) != 0)
        throw Failure(Code::internal, "llama.cpp cannot apply the adapter: " + Quiet::error());
    return made;
}

void LlamaFile::make_exact(llama_context_params& parameters) const {
    parameters.type_k = parameters.type_v = GGML_TYPE_F32;
    parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    const int64_t row_bytes = int64_t{4} * parameters.n_ctx * std::max(1, llama_model_n_head(model.get()));
    parameters.n_ubatch = static_cast<uint32_t>(std::min<int64_t>(parameters.n_batch, std::max<int64_t>(attention_bytes / row_bytes, 32)));
}

int32_t LlamaBatch::add(int32_t token, int32_t position, const std::vector<int32_t>& sequences, bool wants_logits) {
    tokens.push_back(token);
    positions.push_back(position);
    owners.push_back(sequences);
    logits.push_back(wants_logits);
    outputs += wants_logits;
    return size() - 1;
}

void LlamaBatch::run() {
    std::vector<int32_t> counts;
    std::vector<int32_t*> pointers;
    for (auto& owner : owners) {
        counts.push_back(static_cast<int32_t>(owner.size()));
        pointers.push_back(owner.data());
    }
    const Quiet quiet;
    const llama_batch batch{size(), tokens.data(), nullptr, positions.data(), counts.data(), pointers.data(), logits.data()};
    const int32_t result = llama_decode(context, batch);
    if (result == 0) return;
    llama_memory_clear(llama_get_memory(context), true);
    throw Failure(Code::internal, "llama.cpp could not decode " + std::to_string(size()) + " tokens (" + std::to_string(result) + "): " + Quiet::error());
}

float* LlamaBatch::logits_of(int32_t index) const {
    const Quiet quiet;
    float* row = llama_get_logits_ith(context, index);
    if (!row) throw Failure(Code::internal, "llama.cpp gave no logits: " + Quiet::error());
    return row;
}

const float* LlamaBatch::state_of(int32_t index) const {
    const Quiet quiet;
    const float* row = llama_get_embeddings_ith(context, index);
    if (!row) throw Failure(Code::internal, "llama.cpp gave no embeddings: " + Quiet::error());
    return row;
}

void LlamaBatch::clear() {
    tokens.clear();
    positions.clear();
    owners.clear();
    logits.clear();
    outputs = 0;
}

}  // namespace stillroom
