// NativeLora, NativeWeights and NativeTrainer.
#include <algorithm>
#include <cstring>

#include "addon/engine.h"
#include "addon/wrap.h"
#include "core/train.h"
#include "core/weights.h"

namespace stillroom::addon {

namespace {

constexpr napi_type_tag lora_tag = {0x7374696c6c726f6f, 0x6d2d6c6f72610000}, weights_tag = {0x7374696c6c726f6f, 0x6d2d776569676874};

std::vector<int64_t> to_layers(const Napi::Value& value) {
    if (value.IsUndefined()) return {};
    return to_list<int64_t>(value, "layers", [](const Napi::Value& one, const std::string& at) { return to_integer(one, at, 0, 1 << 20); });
}

// Of what takes a student's states to a teacher's; 0 where it is not given.
int64_t to_hidden_width(const Napi::Value& value) { return value.IsUndefined() ? 0 : to_integer(value, "hiddenWidth", 1, 1 << 20); }

Napi::Value from_layers(Napi::Env env, const std::vector<int64_t>& layers) {
    const Napi::Array array = Napi::Array::New(env, layers.size());
    for (size_t i = 0; i < layers.size(); i++) array.Set(static_cast<uint32_t>(i), static_cast<double>(layers[i]));
    return array;
}

Napi::Value from_options(Napi::Env env, const LoraOptions& options) {
    Napi::Object object = Napi::Object::New(env);
    const Napi::Array targets = Napi::Array::New(env, options.targets.size());
    for (size_t i = 0; i < options.targets.size(); i++) targets.Set(static_cast<uint32_t>(i), options.targets[i]);
    object.Set("rank", options.rank);
    object.Set("alpha", options.alpha);
    object.Set("dropout", options.dropout);
    object.Set("rsLora", options.rs_lora);
    object.Set("targets", targets);
    if (!options.layers.empty()) object.Set("layers", from_layers(env, options.layers));
    object.Set("seed", static_cast<double>(options.seed));
    if (options.head.outputs > 0) {
        Napi::Object head = Napi::Object::New(env);
        head.Set("outputs", static_cast<double>(options.head.outputs));
        head.Set("loss", name_of(options.head.loss));
        head.Set("parameters", from_floats(env, options.head.parameters));
        object.Set("head", head);
    }
    return object;
}

constexpr int64_t most_exact = (int64_t{1} << 53) - 1;

Napi::Value from_shapes(Napi::Env env, const Parameters& parameters) {
    const auto shapes = parameters.shapes();
    const Napi::Array described = Napi::Array::New(env, shapes.size());
    for (size_t i = 0; i < shapes.size(); i++) described.Set(static_cast<uint32_t>(i), from_shape(env, shapes[i]));
    return described;
}

// The tensors of a flat array, but so many of the last, written straight into JavaScript's memory: no copy of the whole stands beside it.
Napi::Value from_flat(Napi::Env env, const Parameters& parameters, const float* flat, size_t without = 0) {
    const auto shapes = parameters.shapes();
    const size_t count = shapes.size() - without;
    const Napi::Array array = Napi::Array::New(env, count);
    for (size_t i = 0; i < count; i++) {
        const Napi::HandleScope scope(env);
        const int64_t size = shapes[i].rows * shapes[i].columns;
        Napi::Object object = from_shape(env, shapes[i]);
        Napi::Float32Array data = Napi::Float32Array::New(env, size);
        parameters.read(flat, i, 0, size, data.Data());
        object.Set("data", data);
        array.Set(static_cast<uint32_t>(i), object);
    }
    return array;
}

// body(call) while no other thread runs the engine: what it reads or writes is in use there.
template <typename Body>
auto locked(const std::shared_ptr<Handle<Engine>>& engine, Body body) {
    return [engine, body](const Napi::CallbackInfo& call) -> Napi::Value {
        const auto open = engine->use();
        const std::lock_guard<std::mutex> lock(open->mutex);
        return body(call);
    };
}

// shapes, read and write, which adapters and weights have in common.
void add_parameters(Napi::Object object, const std::shared_ptr<Parameters>& parameters, const std::shared_ptr<Handle<Engine>>& engine) {
    object.Set("shapes", from_shapes(object.Env(), *parameters));
    const auto shapes = parameters->shapes();
    // (index, array, first = 0): a stretch of one tensor.
    auto stretch = [shapes](const Napi::CallbackInfo& call, const char* name, auto body) {
        const auto index = static_cast<size_t>(to_integer(call[0], "index", 0, static_cast<int64_t>(shapes.size()) - 1));
        const int64_t size = shapes[index].rows * shapes[index].columns;
        auto array = in_place<float>(call[1], name, napi_float32_array, "a Float32Array");
        const int64_t first = call[2].IsUndefined() ? 0 : to_integer(call[2], "first", 0, size), count = static_cast<int64_t>(array.ElementLength());
        if (count > size - first) throw unexpected("a Float32Array of at most " + std::to_string(size - first), name, call[1]);
        body(index, first, count, array.Data());
        return call.Env().Undefined();
    };
    add_method(object, "read", locked(engine, [=](const Napi::CallbackInfo& call) -> Napi::Value {
        return stretch(call, "into", [&](size_t index, int64_t first, int64_t count, float* into) {
            parameters->read(parameters->values.data(), index, first, count, into);
        });
    }));
    add_method(object, "write", locked(engine, [=](const Napi::CallbackInfo& call) -> Napi::Value {
        return stretch(call, "from", [&](size_t index, int64_t first, int64_t count, const float* from) { parameters->write(index, first, count, from); });
    }));
}

// Calls body(data, bytes) for the parts of the state that [offset, offset + count) covers, in order.
template <typename Body>
void cover(const std::vector<Moments::Piece>& pieces, int64_t offset, int64_t count, Body body) {
    for (const auto& [data, size] : pieces) {
        const int64_t here = std::min(count, size - offset);
        if (here > 0) {
            body(data + offset, here);
            count -= here;
        }
        offset = std::max<int64_t>(0, offset - size);
    }
}

// The optimiser's state, read and written where it lies.
Napi::Value from_state(Napi::Env env, const std::shared_ptr<Handle<Trainer>>& trainer, const std::shared_ptr<Handle<Engine>>& engine) {
    int64_t bytes = 0;
    for (const auto& piece : trainer->use()->optimizer.state()) bytes += piece.size;
    // (offset, array)
    auto stretch = [trainer, bytes](const Napi::CallbackInfo& call, const char* name, auto body) {
        const int64_t offset = to_integer(call[0], "offset", 0, bytes);
        auto array = in_place<uint8_t>(call[1], name, napi_uint8_array, "a Uint8Array");
        if (static_cast<int64_t>(array.ElementLength()) > bytes - offset)
            throw unexpected("at most " + std::to_string(bytes - offset) + " bytes", name, call[1]);
        uint8_t* at = array.Data();
        cover(trainer->use()->optimizer.state(), offset, static_cast<int64_t>(array.ElementLength()), [&](uint8_t* data, int64_t size) {
            body(data, at, size);
            at += size;
        });
        return call.Env().Undefined();
    };
    Napi::Object object = Napi::Object::New(env);
    object.Set("bytes", static_cast<double>(bytes));
    add_method(object, "read", locked(engine, [=](const Napi::CallbackInfo& call) -> Napi::Value {
        return stretch(call, "into", [](uint8_t* state, uint8_t* array, int64_t size) { std::memcpy(array, state, size); });
    }));
    add_method(object, "write", locked(engine, [=](const Napi::CallbackInfo& call) -> Napi::Value {
        return stretch(call, "from", [](uint8_t* state, uint8_t* array, int64_t size) { std::memcpy(state, array, size); });
    }));
    return object;
}

}  // namespace

std::shared_ptr<Lora> unwrap_lora(const Napi::Value& value, const std::string& name, const Engine& engine) {
    if (value.IsNull() || value.IsUndefined()) return nullptr;
    auto lora = unwrap<Lora>(value, lora_tag, "an adapter (createLora)", name);
    if (lora->model != engine.graph.model) throw Failure(Code::usage, name + " was made for another model (" + lora->model->file->path() + ")");
    return lora;
}

Napi::Value create_lora(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const Napi::Object from = to_object(info[0], "options");
    LoraOptions options;
    options.rank = static_cast<int>(to_integer(from.Get("rank"), "rank", 1, 4096));
    options.alpha = static_cast<float>(to_number(from.Get("alpha"), "alpha"));
    options.dropout = static_cast<float>(to_number(from.Get("dropout"), "dropout"));
    options.rs_lora = to_boolean(from.Get("rsLora"), "rsLora");
    options.seed = static_cast<uint64_t>(to_integer(from.Get("seed"), "seed", 0, most_exact));
    options.targets = to_texts(from.Get("targets"), "targets");
    options.layers = to_layers(from.Get("layers"));
    if (!from.Get("head").IsUndefined()) {
        const Napi::Object head = to_object(from.Get("head"), "head");
        options.head.outputs = to_integer(head.Get("outputs"), "outputs", 1, 1 << 20);
        options.head.loss = head_loss_of(to_text(head.Get("loss"), "loss"));
        options.head.parameters = to_floats(head.Get("parameters"), "parameters");
    }
    options.hidden_width = to_hidden_width(from.Get("hiddenWidth"));
    const auto lora = std::make_shared<Lora>(engine->use()->graph.model, options);
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("options", from_options(info.Env(), lora->options));
    add_parameters(object, lora, engine);
    const size_t beside = lora->projection.outputs > 0 ? 1 : 0;
    add_method(object, "tensors", [lora, beside](const Napi::CallbackInfo& call) { return from_flat(call.Env(), *lora, lora->values.data(), beside); });
    add_method(object, "load", locked(engine, [lora](const Napi::CallbackInfo& call) -> Napi::Value {
        lora->load(to_tensors(call[0], "tensors"));
        return call.Env().Undefined();
    }));
    wrap(object, lora, lora_tag);
    return object;
}

Napi::Value create_weights(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const Napi::Object from = to_object(info[0], "options");
    const WeightsOptions options{to_texts(from.Get("targets"), "targets"), to_layers(from.Get("layers")), to_hidden_width(from.Get("hiddenWidth"))};
    const auto open = engine->use();
    return run_graph<std::shared_ptr<Weights>>(
        info.Env(), engine,
        [options](Graph& graph) {
            if (graph.training()) throw Failure(Code::usage, "the weights of this model are under training already (createWeights)");
            return std::make_shared<Weights>(graph.model, options, graph.threads);
        },
        [engine, open](Napi::Env env, std::shared_ptr<Weights>& weights) -> Napi::Value {
            {
                const std::lock_guard<std::mutex> lock(open->mutex);
                open->graph.train(weights);
            }
            Napi::Object object = Napi::Object::New(env);
            add_parameters(object, weights, engine);
            add_async_method(object, "save", [weights, engine](const Napi::CallbackInfo& call) {
                const std::string path = to_path(call[0], "path");
                return run_graph(call.Env(), engine, [weights, path](Graph&) { weights->save(path); });
            });
            add_async_method(object, "quantize", [weights, engine](const Napi::CallbackInfo& call) {
                const auto types = to_tensor_types(call[0], "types");
                return run_graph(call.Env(), engine, [weights, types](Graph& graph) { weights->quantize(types, graph.threads); });
            });
            wrap(object, weights, weights_tag);
            return object;
        });
}

namespace {
// NativeLora or NativeWeights.
std::shared_ptr<Parameters> unwrap_parameters(const Napi::Value& value, const Engine& engine) {
    const std::string what = "an adapter (createLora) or weights (createWeights)";
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&weights_tag)) {
        const auto lora = unwrap_lora(value, "parameters", engine);
        if (!lora) throw unexpected(what, "parameters", value);
        return lora;
    }
    const auto weights = unwrap<Weights>(value, weights_tag, what, "parameters");
    if (weights->model() != engine.graph.model) throw Failure(Code::usage, "parameters were made for another model (" + weights->base->file->path() + ")");
    return weights;
}
}  // namespace

namespace {
std::optional<Distillation> to_distillation(const Napi::Value& value) {
    if (value.IsUndefined()) return std::nullopt;
    const Napi::Object from = to_object(value, "distillation");
    const std::string loss = to_text(from.Get("loss"), "loss");
    Distillation options;
    if (loss == "forward_kl") options.kind = Distillation::Kind::forward_kl;
    else if (loss == "reverse_kl") options.kind = Distillation::Kind::reverse_kl;
    else if (loss == "jsd") options.kind = Distillation::Kind::jsd;
    else throw unexpected("forward_kl, reverse_kl or jsd", "loss", from.Get("loss"));
    const auto number = [&](const char* name, const char* what, auto holds) {
        const double number = to_number(from.Get(name), name);
        if (!holds(number)) throw unexpected(what, name, from.Get(name));
        return number;
    };
    options.beta = number("beta", "a number above 0 and below 1", [](double x) { return x > 0 && x < 1; });
    options.temperature = number("temperature", "a number above 0", [](double x) { return x > 0; });
    options.label_weight = number("labelWeight", "a number from 0 to 1", [](double x) { return x >= 0 && x <= 1; });
    if (!from.Get("hiddenWeight").IsUndefined()) options.hidden_weight = number("hiddenWeight", "a number of at least 0", [](double x) { return x >= 0; });
    return options;
}
}  // namespace

Napi::Value create_trainer(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto parameters = unwrap_parameters(info[0], *engine->use());
    const Napi::Object from = to_object(info[1], "options");
    OptimizerOptions options;
    options.beta1 = static_cast<float>(to_number(from.Get("beta1"), "beta1"));
    options.beta2 = static_cast<float>(to_number(from.Get("beta2"), "beta2"));
    options.epsilon = static_cast<float>(to_number(from.Get("epsilon"), "epsilon"));
    options.weight_decay = static_cast<float>(to_number(from.Get("weightDecay"), "weightDecay"));
    options.clip_norm = static_cast<float>(to_number(from.Get("clipNorm"), "clipNorm"));
    const std::string optimizer = to_text_or_null(from.Get("optimizer"), "optimizer").value_or("adamw");
    if (optimizer != "adamw" && optimizer != "adamw_8bit") throw unexpected("adamw or adamw_8bit", "optimizer", from.Get("optimizer"));
    options.eight_bit = optimizer == "adamw_8bit";
    const Napi::Value frozen = from.Get("frozenBytes");
    const std::optional<Distillation> distillation = to_distillation(from.Get("distillation"));
    const auto handle = Handle<Trainer>::make(
        "the trainer", std::make_shared<Trainer>(parameters, options, to_boolean(from.Get("recompute"), "recompute"),
                                                 static_cast<uint64_t>(to_integer(from.Get("seed"), "seed", 0, most_exact)),
                                                 frozen.IsUndefined() ? 0 : to_integer(frozen, "frozenBytes", 0, most_exact), distillation));
    Napi::Object object = Napi::Object::New(info.Env());
    add_close(object, handle);
    add_async_method(object, "accumulate", [handle, engine](const Napi::CallbackInfo& call) {
        const auto trainer = handle->use();
        const auto batch = std::make_shared<Batch>(checked_batch(call[0], *engine->use()->graph.model));
        const auto step = static_cast<uint64_t>(to_integer(call[1], "step", 0, most_exact));
        const auto micro_batch = static_cast<uint64_t>(to_integer(call[2], "microBatch", 0, most_exact));
        return run_graph<Trainer::Step>(
            call.Env(), engine, [=](Graph& graph) { return trainer->accumulate(graph, *batch, step, micro_batch); },
            [](Napi::Env env, Trainer::Step& step) -> Napi::Value {
                Napi::Object result = Napi::Object::New(env);
                result.Set("lossSum", step.loss_sum);
                result.Set("count", static_cast<double>(step.count));
                result.Set("finite", step.finite);
                result.Set("hiddenSum", step.hidden_sum);
                return result;
            });
    });
    add_async_method(object, "observe", [handle, engine](const Napi::CallbackInfo& call) {
        const auto trainer = handle->use();
        const auto batch = std::make_shared<Batch>(checked_batch(call[0], *engine->use()->graph.model));
        return run_graph(call.Env(), engine, [trainer, batch](Graph& graph) { trainer->observe(graph, *batch); });
    });
    add_async_method(object, "fit", [handle, engine](const Napi::CallbackInfo& call) {
        return run_graph(call.Env(), engine, [trainer = handle->use()](Graph& graph) { trainer->fit(graph); });
    });
    add_async_method(object, "update", [handle, engine](const Napi::CallbackInfo& call) {
        const auto trainer = handle->use();
        const Napi::Object options = to_object(call[0], "options");
        const auto rate = static_cast<float>(to_number(options.Get("learningRate"), "learningRate"));
        const double divisor = to_number(options.Get("divisor"), "divisor");
        return run_graph<double>(
            call.Env(), engine, [=](Graph& graph) { return trainer->update(graph, rate, divisor); },
            [](Napi::Env env, double& norm) -> Napi::Value {
                Napi::Object result = Napi::Object::New(env);
                result.Set("gradientNorm", norm);
                return result;
            });
    });
    // These read or write what a running accumulate writes, so they wait for it.
    add_method(object, "discard", locked(engine, [handle, engine](const Napi::CallbackInfo& call) -> Napi::Value {
        handle->use()->discard(engine->use()->graph);
        return call.Env().Undefined();
    }));
    add_method(object, "gradients", locked(engine, [handle](const Napi::CallbackInfo& call) -> Napi::Value {
        const auto trainer = handle->use();
        return from_flat(call.Env(), *trainer->parameters, trainer->gradients().data());
    }));
    object.Set("state", from_state(info.Env(), handle, engine));
    return object;
}

}  // namespace stillroom::addon
