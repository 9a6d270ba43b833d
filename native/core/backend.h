// llama.cpp as a guest in the process: loaded once, quiet, and kept from files that it would abort on. Owns the log callback.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/gguf_file.h"
#include "llama.h"

namespace stillroom {

struct FreeModel {
    void operator()(llama_model* model) const;
};
struct FreeContext {
    void operator()(llama_context* context) const;
};
// Outlives its contexts and adapters (llama.cpp frees the adapters with it).
using LlamaModel = std::unique_ptr<llama_model, FreeModel>;
using LlamaContext = std::unique_ptr<llama_context, FreeContext>;

// Loads ggml's CPU backend from beside its library; safe from any thread, any number of times.
void start_backend();

// While one of these lives, llama.cpp's messages on this thread go nowhere; error() is the last of its error lines.
// Messages of other threads go where they went before us (node-llama-cpp may be in the process).
class Quiet {
   public:
    Quiet();
    ~Quiet();
    static std::string error();
};

// Failure(input) for metadata on which llama.cpp's loader would abort the process instead of returning an error.
void check_vocabulary(const GgufFile& file);
void check_hyperparameters(const GgufFile& file);

// Makes a GPU available to llama.cpp: the first of these libraries of ggml backends that finds a device, unless there is one already.
// Failure(missing) when none does.
void start_gpu(const std::vector<std::string>& libraries);

// Opens with llama.cpp what GgufFile and the checks above have seen. gpu_layers: how many layers, from the last, lie on the GPU.
// Failure(input) with llama.cpp's own words.
LlamaModel load_model(const std::string& path, bool vocabulary_only, int32_t gpu_layers = 0);

}  // namespace stillroom
