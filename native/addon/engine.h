// What the engine's three addon files share: a model with its graph, on which one piece of work runs at a time.
#pragma once
#include <memory>
#include <mutex>

#include "addon/handle.h"
#include "core/graph.h"

namespace stillroom::addon {

struct Engine {
    Engine(std::shared_ptr<const Model> model, const Kernels& kernels, int threads, Precisions precisions)
        : graph(std::move(model), kernels, threads, precisions) {}
    Graph graph;
    std::mutex mutex;  // held by whoever runs the graph
};

// Runs body on the engine's graph in a task, one at a time.
template <typename Result, typename Body, typename Finish>
Napi::Value run_graph(Napi::Env env, const std::shared_ptr<Handle<Engine>>& engine, Body body, Finish finish) {
    const auto open = engine->use();
    return Task<Result>::start(
        env, engine->lifetime,
        [open, body] {
            const std::lock_guard<std::mutex> lock(open->mutex);
            return body(open->graph);
        },
        finish);
}
// The same for a body that gives nothing.
template <typename Body>
Napi::Value run_graph(Napi::Env env, const std::shared_ptr<Handle<Engine>>& engine, Body body) {
    return run_graph<Nothing>(env, engine, [body](Graph& graph) { return body(graph), Nothing{}; }, undefined);
}

Napi::Value create_lora(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine);
// A promise of NativeWeights; the engine computes with them from then on.
Napi::Value create_weights(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine);
Napi::Value create_trainer(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine);
Napi::Value create_decoder(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine);
// A promise of NativeSensitivity, which stays valid when the model is closed.
Napi::Value open_sensitivity(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine);
// null for null and undefined; Failure(usage) when the adapter was made for another model.
std::shared_ptr<Lora> unwrap_lora(const Napi::Value& value, const std::string& name, const Engine& engine);

// Copies and checks the batch on the JavaScript thread.
Batch checked_batch(const Napi::Value& value, const Model& model);

}  // namespace stillroom::addon
