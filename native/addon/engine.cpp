// NativeModel and the measurements: what runs on our own engine. Translates; decides nothing.
#include "addon/engine.h"

#include <utility>

#include "addon/addon.h"
#include "addon/wrap.h"
#include "core/embed.h"
#include "core/loss.h"
#include "core/measure.h"
#include "core/student.h"

namespace stillroom::addon {

namespace {

constexpr napi_type_tag model_tag = {0x7374696c6c726f6f, 0x6d2d6d6f64656c00};

Napi::Value score(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    const auto lora = unwrap_lora(info[1], "lora", *engine->use());
    return run_graph<std::vector<double>>(
        info.Env(), engine,
        [batch, lora](Graph& graph) {
            graph.forward(*batch, lora.get(), Graph::Keep::nothing);
            return log_probabilities(graph, *batch);
        },
        [](Napi::Env env, std::vector<double>& result) { return from_doubles(env, result); });
}

Napi::Value teach(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    const auto lora = unwrap_lora(info[1], "lora", *engine->use());
    const Teaching teaching = to_teaching(info[2]);
    return run_graph<Taught>(
        info.Env(), engine,
        [batch, lora, teaching](Graph& graph) {
            graph.forward(*batch, lora.get(), Graph::Keep::nothing);
            return stillroom::teach(graph, *batch, teaching);
        },
        from_taught);
}

Napi::Value embed(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    const auto lora = unwrap_lora(info[1], "lora", *engine->use());
    const Pooling pooling = pooling_of(to_text(info[2], "pooling"));
    return run_graph<std::vector<float>>(
        info.Env(), engine, [=](Graph& graph) { return stillroom::embed(graph, *batch, lora.get(), pooling); },
        [](Napi::Env env, std::vector<float>& result) { return from_floats(env, result); });
}

std::shared_ptr<Lora> with_head(const Napi::Value& value, const Engine& engine) {
    auto lora = unwrap_lora(value, "lora", engine);
    if (!lora || lora->options.head.outputs == 0) throw unexpected("an adapter with a head", "lora", value);
    return lora;
}

Napi::Value answer(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    const auto lora = with_head(info[1], *engine->use());
    return run_graph<std::vector<float>>(
        info.Env(), engine,
        [batch, lora](Graph& graph) {
            graph.forward(*batch, lora.get(), Graph::Keep::nothing);
            return head_outputs(graph, *batch, *lora);
        },
        [](Napi::Env env, std::vector<float>& result) { return from_floats(env, result); });
}

Napi::Value answer_loss(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    const auto lora = with_head(info[1], *engine->use());
    return run_graph<double>(
        info.Env(), engine,
        [batch, lora](Graph& graph) {
            graph.forward(*batch, lora.get(), Graph::Keep::nothing);
            return head_loss(graph, *batch, *lora, nullptr);
        },
        [](Napi::Env env, double& sum) { return Napi::Number::New(env, sum); });
}

Napi::Value logits(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    const auto lora = unwrap_lora(info[1], "lora", *engine->use());
    return run_graph<std::vector<float>>(
        info.Env(), engine,
        [batch, lora](Graph& graph) {
            graph.forward(*batch, lora.get(), Graph::Keep::nothing);
            const int64_t vocabulary = graph.model->vocabulary, rows = graph.head_rows();
            std::vector<float> all(batch->query_positions.size() * vocabulary);
            for (int64_t first = 0; first < rows; first += graph.head_chunk()) {
                const int64_t count = std::min(graph.head_chunk(), rows - first);
                const float* chunk = graph.logits(first, count);
                for (size_t q = 0; q < batch->query_positions.size(); q++) {
                    const int64_t row = graph.head_row(q) - first;
                    if (row >= 0 && row < count) std::copy(chunk + row * vocabulary, chunk + (row + 1) * vocabulary, all.begin() + q * vocabulary);
                }
            }
            return all;
        },
        [](Napi::Env env, std::vector<float>& result) { return from_floats(env, result); });
}

Napi::Value compare_models(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    const auto other = unwrap<Handle<Engine>>(info[2], model_tag, "a model (openModel)", "other");
    const auto first = engine->use(), second = other->use();
    const auto lora = unwrap_lora(info[1], "lora", *first), other_lora = unwrap_lora(info[3], "otherLora", *second);
    if (first == second) throw Failure(Code::usage, "expected a second model for other, received the same one");
    return Task<Comparison>::start(
        info.Env(), engine->lifetime,
        [=] {
            // Before the other reads its embeddings: the batch was checked against the first's vocabulary.
            if (first->graph.model->vocabulary != second->graph.model->vocabulary)
                throw Failure(Code::usage, "models of different vocabularies cannot be compared: " + std::to_string(first->graph.model->vocabulary) + " and " +
                                               std::to_string(second->graph.model->vocabulary) + " tokens");
            const std::scoped_lock lock(first->mutex, second->mutex);
            first->graph.forward(*batch, lora.get(), Graph::Keep::nothing);
            second->graph.forward(*batch, other_lora.get(), Graph::Keep::nothing);
            return compare(first->graph, second->graph);
        },
        [](Napi::Env env, Comparison& comparison) -> Napi::Value {
            Napi::Object result = Napi::Object::New(env);
            result.Set("klSum", comparison.kl_sum);
            result.Set("agreements", static_cast<double>(comparison.agreements));
            result.Set("positions", static_cast<double>(comparison.rows));
            return result;
        },
        other->lifetime);
}

Napi::Value collect_importance(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    const auto importance = unwrap_importance(info[1], "importance");
    return run_graph(info.Env(), engine, [batch, importance](Graph& graph) {
        graph.importance = importance.get();
        graph.forward(*batch, nullptr, Graph::Keep::nothing);
        graph.importance = nullptr;
        importance->tokens += static_cast<int64_t>(batch->tokens.size());
    });
}

Napi::Value energies_of(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto importance = unwrap_importance(info[0], "importance");
    return run_graph<Energies>(
        info.Env(), engine, [importance](Graph& graph) { return energies(*graph.model, *importance); },
        [](Napi::Env env, Energies& found) -> Napi::Value {
            Napi::Object result = Napi::Object::New(env);
            result.Set("feedForward", from_doubles(env, found.feed_forward));
            result.Set("heads", from_doubles(env, found.heads));
            result.Set("width", from_doubles(env, found.width));
            return result;
        });
}

// Where time went since the last call.
Napi::Value take_profile(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto open = engine->use();
    const std::lock_guard<std::mutex> lock(open->mutex);
    const Profile profile = std::exchange(open->graph.threads.profile, Profile());
    const Napi::Array rows = Napi::Array::New(info.Env());
    for (size_t p = 0; p < part_names.size(); p++) {
        double parallel = 0;
        auto add = [&](const char* kernel, double seconds, int64_t calls) {
            if (calls == 0) return;
            Napi::Object row = Napi::Object::New(info.Env());
            row.Set("part", part_names[p]);
            row.Set("kernel", kernel);
            row.Set("seconds", seconds);
            row.Set("calls", static_cast<double>(calls));
            rows.Set(rows.Length(), row);
            parallel += seconds;
        };
        for (size_t k = 0; k < kernel_names.size(); k++) add(kernel_names[k], profile.rows[p][k].seconds, profile.rows[p][k].calls);
        if (profile.totals[p] > 0) add("one_thread", profile.totals[p] - parallel, 1);
    }
    return rows;
}

Napi::Value from_engine(Napi::Env env, std::shared_ptr<Engine> opened) {
    const auto engine = Handle<Engine>::make("the model", std::move(opened));
    Napi::Object object = Napi::Object::New(env);
    object.Set("info", from_info(env, describe(*engine->object->graph.model->file)));
    add_method(object, "createLora", [engine](const Napi::CallbackInfo& info) { return create_lora(info, engine); });
    add_async_method(object, "createWeights", [engine](const Napi::CallbackInfo& info) { return create_weights(info, engine); });
    add_method(object, "createTrainer", [engine](const Napi::CallbackInfo& info) { return create_trainer(info, engine); });
    add_async_method(object, "createDecoder", [engine](const Napi::CallbackInfo& info) { return create_decoder(info, engine); });
    add_async_method(object, "score", [engine](const Napi::CallbackInfo& info) { return score(info, engine); });
    add_async_method(object, "teach", [engine](const Napi::CallbackInfo& info) { return teach(info, engine); });
    add_async_method(object, "embed", [engine](const Napi::CallbackInfo& info) { return embed(info, engine); });
    add_async_method(object, "answer", [engine](const Napi::CallbackInfo& info) { return answer(info, engine); });
    add_async_method(object, "answerLoss", [engine](const Napi::CallbackInfo& info) { return answer_loss(info, engine); });
    add_async_method(object, "logits", [engine](const Napi::CallbackInfo& info) { return logits(info, engine); });
    add_async_method(object, "compare", [engine](const Napi::CallbackInfo& info) { return compare_models(info, engine); });
    add_method(object, "profile", [engine](const Napi::CallbackInfo& info) { return take_profile(info, engine); });
    add_async_method(object, "collectImportance", [engine](const Napi::CallbackInfo& info) { return collect_importance(info, engine); });
    add_async_method(object, "openSensitivity", [engine](const Napi::CallbackInfo& info) { return open_sensitivity(info, engine); });
    add_async_method(object, "energies", [engine](const Napi::CallbackInfo& info) { return energies_of(info, engine); });
    add_async_method(object, "close", [engine](const Napi::CallbackInfo& info) { return engine->lifetime->close(info.Env()); });
    wrap(object, engine, model_tag);
    return object;
}

Napi::Value open_model(const Napi::CallbackInfo& info) {
    const std::string path = to_path(info[0], "path");
    const Napi::Object options = to_object(info[1], "options");
    const int threads = static_cast<int>(to_integer(options.Get("threads"), "threads", 1, 1024));
    const Kernels& kernels = choose_kernels(to_text_or_null(options.Get("variant"), "variant").value_or(""));
    const Precisions precisions = choose_precisions(kernels, to_text_or_null(options.Get("precision"), "precision").value_or("f32"));
    std::vector<int32_t> layers;
    if (!options.Get("layers").IsUndefined()) layers = to_int32s(options.Get("layers"), "layers");
    return Task<std::shared_ptr<Engine>>::start(
        info.Env(), nullptr, [=, &kernels] { return std::make_shared<Engine>(Model::open(path, layers), kernels, threads, precisions); }, from_engine);
}

Napi::Value measure_fma_peak(const Napi::CallbackInfo& info) {
    const Kernels& kernels = choose_kernels(to_text_or_null(info[0], "variant").value_or(""));
    return Task<double>::start(
        info.Env(), nullptr, [&kernels] { return kernels.fma_peak(0.05); }, [](Napi::Env env, double& rate) { return Napi::Number::New(env, rate); });
}

Napi::Value measure_bandwidth(const Napi::CallbackInfo& info) {
    const int threads = static_cast<int>(to_integer(info[0], "threads", 1, 1024));
    return Task<double>::start(
        info.Env(), nullptr, [threads] { return stillroom::measure_bandwidth(threads); }, [](Napi::Env env, double& rate) { return Napi::Number::New(env, rate); });
}

Napi::Value measure_linear(const Napi::CallbackInfo& info) {
    const Napi::Object from = to_object(info[0], "options");
    LinearTrial trial;
    trial.type = to_text(from.Get("type"), "type");
    trial.rows = to_integer(from.Get("rows"), "rows", 1, 1 << 16);
    trial.inputs = to_integer(from.Get("inputs"), "inputs", 1, 1 << 16);
    trial.outputs = to_integer(from.Get("outputs"), "outputs", 1, 1 << 16);
    trial.backward = to_boolean(from.Get("backward"), "backward");
    trial.repeat = static_cast<int>(to_integer(from.Get("repeat"), "repeat", 1, 1000));
    trial.precision = to_text_or_null(from.Get("precision"), "precision").value_or("f32");
    trial.prepared = !from.Get("prepared").IsUndefined() && to_boolean(from.Get("prepared"), "prepared");
    trial.variant = to_text_or_null(from.Get("variant"), "variant").value_or("");
    return Task<double>::start(
        info.Env(), nullptr, [trial] { return measure_linear(trial); }, [](Napi::Env env, double& rate) { return Napi::Number::New(env, rate); });
}

}  // namespace

Batch checked_batch(const Napi::Value& value, const Model& model) {
    Batch batch = to_batch(value, "batch");
    batch.check(model.vocabulary, model.context_length);
    return batch;
}

void init_engine(Napi::Env env, Napi::Object exports) {
    const auto& kernels = available_kernels();
    const Napi::Array variants = Napi::Array::New(env, kernels.size());
    for (size_t i = 0; i < kernels.size(); i++) variants.Set(static_cast<uint32_t>(i), kernels[i]->name);
    exports.Set("variants", variants);
    exports.Set("cores", physical_cores());
    add_async_method(exports, "openModel", open_model);
    add_async_method(exports, "measureFmaPeak", measure_fma_peak);
    add_async_method(exports, "measureBandwidth", measure_bandwidth);
    add_async_method(exports, "measureLinear", measure_linear);
}

}  // namespace stillroom::addon
