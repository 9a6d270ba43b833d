// The log callback, the loading of CPU backends, and the list of metadata that makes llama.cpp abort.
#include "core/backend.h"

#include <dlfcn.h>

#include <mutex>
#include <set>

#include "core/failure.h"
#include "ggml-backend.h"

namespace stillroom {

namespace {

thread_local int quiet_depth = 0;
thread_local std::string last_error;
thread_local bool continues_error = false;

ggml_log_callback previous_callback = nullptr;
void* previous_data = nullptr;

void on_log(ggml_log_level level, const char* text, void*) {
    if (quiet_depth == 0) {
        if (previous_callback) previous_callback(level, text, previous_data);
        return;
    }
    // CONT continues the line before it.
    if (level == GGML_LOG_LEVEL_ERROR) last_error = text;
    if (level == GGML_LOG_LEVEL_CONT && continues_error) last_error += text;
    if (level != GGML_LOG_LEVEL_CONT) continues_error = level == GGML_LOG_LEVEL_ERROR;
}

// The folder of the loaded libggml, where its CPU backends lie.
std::string library_folder() {
    Dl_info info{};
    if (!dladdr(reinterpret_cast<void*>(&ggml_backend_load_all_from_path), &info) || !info.dli_fname) return "";
    const std::string file = info.dli_fname;
    const size_t slash = file.rfind('/');
    return slash == std::string::npos ? "" : file.substr(0, slash);
}

}  // namespace

void FreeModel::operator()(llama_model* model) const {
    const Quiet quiet;
    llama_model_free(model);
}
void FreeContext::operator()(llama_context* context) const {
    const Quiet quiet;
    llama_free(context);
}

void start_backend() {
    static std::once_flag once;
    std::call_once(once, [] {
        llama_log_get(&previous_callback, &previous_data);
        llama_log_set(on_log, nullptr);
        const Quiet quiet;
        // A statically linked ggml, or node-llama-cpp before us, has registered the CPU already.
        if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) ggml_backend_load_all_from_path(library_folder().c_str());
        llama_backend_init();
        if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU))
            throw Failure(Code::missing, "no CPU backend of ggml beside its library (" + library_folder() + "); reinstall node-llama-cpp");
    });
}

Quiet::Quiet() {
    if (quiet_depth++ == 0) last_error.clear();
}
Quiet::~Quiet() { --quiet_depth; }

std::string Quiet::error() {
    std::string text = last_error;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    // "llama_model_load: error: …": the function's name helps no one.
    const size_t colon = text.find(": ");
    if (colon != std::string::npos && text.find(' ') > colon) text.erase(0, colon + 2);
    return text.empty() ? "llama.cpp gave no reason" : text;
}

void check_vocabulary(const GgufFile& file) {
    const auto refuse = [&](const std::string& message) { throw Failure(Code::input, file.path() + ": " + message); };
    const auto kind = file.text("tokenizer.ggml.model");
    const auto tokens = file.texts("tokenizer.ggml.tokens");
    if (!kind || *kind == "none" || *kind == "no_vocab" || !tokens || tokens->empty()) refuse("the file holds no tokenizer");
    // llama.cpp asserts that token texts differ, after cutting them at NUL and naming empty ones by their index.
    std::set<std::string> seen;
    for (size_t i = 0; i < tokens->size(); ++i) {
        const std::string& token = (*tokens)[i];
        std::string text = token.c_str();
        if (text.empty()) text = "[EMPTY_" + std::to_string(i) + "]";
        if (!seen.insert(std::move(text)).second) refuse("token " + std::to_string(i) + " of the vocabulary has the text of an earlier one");
    }
    for (const char* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"}) {
        const auto id = file.integer(key);
        if (id && (*id < 0 || (*id >= static_cast<int64_t>(tokens->size()) && *id != UINT32_MAX)))
            refuse(std::string(key) + " is " + std::to_string(*id) + ", outside the vocabulary of " + std::to_string(tokens->size()));
    }
}

void check_hyperparameters(const GgufFile& file) {
    const auto refuse = [&](const std::string& message) { throw Failure(Code::input, file.path() + ": " + message); };
    const std::string architecture = file.text("general.architecture").value_or("");
    if (architecture.empty()) refuse("expected general.architecture in the metadata, found none");
    if (file.text("general.type").value_or("model") == "adapter") refuse("the file is a LoRA adapter, not a model");
    const auto integer = [&](const char* key) { return file.integer(architecture + "." + key); };
    const int64_t layers = integer("block_count").value_or(0);
    if (layers < 1 || layers > 512) refuse("expected 1 to 512 for " + architecture + ".block_count, found " + std::to_string(layers));
    const int64_t experts = integer("expert_count").value_or(0);
    if (experts < 0 || experts > 512) refuse("expected 0 to 512 for " + architecture + ".expert_count, found " + std::to_string(experts));
    const std::string scaling = file.text(architecture + ".rope.scaling.type").value_or("none");
    if (scaling != "none" && scaling != "linear" && scaling != "yarn" && scaling != "longrope")
        refuse(architecture + ".rope.scaling.type has the unknown value \"" + scaling + "\"");
    for (const char* key : {"embedding_length", "context_length"}) {
        const int64_t value = integer(key).value_or(0);
        if (value < 1 || value > INT32_MAX) refuse("expected a positive 31-bit integer for " + architecture + "." + key + ", found " + std::to_string(value));
    }
}

void start_gpu(const std::vector<std::string>& libraries) {
    static std::mutex mutex;
    start_backend();
    const std::lock_guard<std::mutex> lock(mutex);
    const Quiet quiet;
    auto found = [] { return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU) || ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_IGPU); };
    std::string reasons;
    for (size_t i = 0; i < libraries.size() && !found(); i++) {
        const bool loads = ggml_backend_load(libraries[i].c_str());
        reasons += (i > 0 ? "; " : ": ") + (loads ? libraries[i] + " finds no device" : Quiet::error());
    }
    if (!found()) throw Failure(Code::missing, "llama.cpp finds no GPU" + reasons);
}

LlamaModel load_model(const std::string& path, bool vocabulary_only, int32_t gpu_layers) {
    start_backend();
    const Quiet quiet;
    llama_model_params parameters = llama_model_default_params();
    parameters.vocab_only = vocabulary_only;
    parameters.n_gpu_layers = gpu_layers;
    // Without layers for it a GPU that was started for others takes no part: it would still hold keys and values and compute large products.
    ggml_backend_dev_t none[] = {nullptr};
    if (gpu_layers == 0) parameters.devices = none;
    LlamaModel model(llama_model_load_from_file(path.c_str(), parameters));
    if (!model) throw Failure(Code::input, path + ": llama.cpp cannot open the model: " + Quiet::error());
    return model;
}

}  // namespace stillroom
