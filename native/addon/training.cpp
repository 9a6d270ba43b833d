// NativeLora and NativeTrainer.
#include "addon/engine.h"
#include "addon/wrap.h"
#include "core/train.h"

namespace stillroom::addon {

namespace {

constexpr napi_type_tag lora_tag = {0x7374696c6c726f6f, 0x6d2d6c6f72610000};

Napi::Value from_options(Napi::Env env, const LoraOptions& options) {
    Napi::Object object = Napi::Object::New(env);
    const Napi::Array targets = Napi::Array::New(env, options.targets.size());
    for (size_t i = 0; i < options.targets.size(); i++) targets.Set(static_cast<uint32_t>(i), options.targets[i]);
    object.Set("rank", options.rank);
    object.Set("alpha", options.alpha);
    object.Set("dropout", options.dropout);
    object.Set("rsLora", options.rs_lora);
    object.Set("targets", targets);
    object.Set("seed", static_cast<double>(options.seed));
    return object;
}

constexpr int64_t most_exact = (int64_t{1} << 53) - 1;

// The factors of a flat array, written straight into JavaScript's memory: no copy of the whole stands beside it.
Napi::Value from_factors(Napi::Env env, const Lora& lora, const float* flat) {
    const auto shapes = lora.shapes();
    const Napi::Array array = Napi::Array::New(env, shapes.size());
    for (size_t i = 0; i < shapes.size(); i++) {
        const Napi::HandleScope scope(env);
        Napi::Object object = from_shape(env, shapes[i]);
        Napi::Float32Array data = Napi::Float32Array::New(env, shapes[i].rows * shapes[i].columns);
        lora.read(flat, i, data.Data());
        object.Set("data", data);
        array.Set(static_cast<uint32_t>(i), object);
    }
    return array;
}

// The optimiser's state at one moment, to be read piece by piece; held until it is released.
Napi::Value from_state(Napi::Env env, std::vector<uint8_t> state) {
    const auto bytes = std::make_shared<std::vector<uint8_t>>(std::move(state));
    Napi::Object object = Napi::Object::New(env);
    object.Set("bytes", static_cast<double>(bytes->size()));
    add_method(object, "read", [bytes](const Napi::CallbackInfo& call) {
        const auto offset = static_cast<size_t>(to_integer(call[0], "offset", 0, static_cast<int64_t>(bytes->size())));
        if (!call[1].IsTypedArray() || call[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) throw unexpected("a Uint8Array", "into", call[1]);
        auto into = call[1].As<Napi::Uint8Array>();
        if (into.ElementLength() > bytes->size() - offset)
            throw unexpected("at most " + std::to_string(bytes->size() - offset) + " bytes", "into", call[1]);
        std::copy_n(bytes->data() + offset, into.ElementLength(), into.Data());
        return call.Env().Undefined();
    });
    add_method(object, "release", [bytes](const Napi::CallbackInfo& call) {
        std::vector<uint8_t>().swap(*bytes);
        return call.Env().Undefined();
    });
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
    const Napi::Array targets = to_array(from.Get("targets"), "targets");
    for (uint32_t i = 0; i < targets.Length(); i++) options.targets.push_back(to_text(targets.Get(i), "targets[" + std::to_string(i) + "]"));
    const auto lora = std::make_shared<Lora>(engine->use()->graph.model, options);
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("options", from_options(info.Env(), lora->options));
    const auto shapes = lora->shapes();
    const Napi::Array described = Napi::Array::New(info.Env(), shapes.size());
    for (size_t i = 0; i < shapes.size(); i++) described.Set(static_cast<uint32_t>(i), from_shape(info.Env(), shapes[i]));
    object.Set("shapes", described);
    add_method(object, "tensors", [lora](const Napi::CallbackInfo& call) { return from_factors(call.Env(), *lora, lora->values.data()); });
    add_method(object, "read", [lora, shapes](const Napi::CallbackInfo& call) {
        const auto index = static_cast<size_t>(to_integer(call[0], "index", 0, static_cast<int64_t>(shapes.size()) - 1));
        const auto size = static_cast<size_t>(shapes[index].rows * shapes[index].columns);
        if (!call[1].IsTypedArray() || call[1].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array ||
            call[1].As<Napi::TypedArray>().ElementLength() != size)
            throw unexpected("a Float32Array of " + std::to_string(size), "into", call[1]);
        lora->read(lora->values.data(), index, call[1].As<Napi::Float32Array>().Data());
        return call.Env().Undefined();
    });
    // The engine may be reading the values in another thread: wait for it.
    add_method(object, "load", [lora, engine](const Napi::CallbackInfo& call) {
        const auto tensors = to_tensors(call[0], "tensors");
        const auto open = engine->use();
        const std::lock_guard<std::mutex> lock(open->mutex);
        lora->load(tensors);
        return call.Env().Undefined();
    });
    wrap(object, lora, lora_tag);
    return object;
}

Napi::Value create_trainer(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto lora = unwrap_lora(info[0], "lora", *engine->use());
    if (!lora) throw unexpected("an adapter (createLora)", "lora", info[0]);
    const Napi::Object from = to_object(info[1], "options");
    OptimizerOptions options;
    options.beta1 = static_cast<float>(to_number(from.Get("beta1"), "beta1"));
    options.beta2 = static_cast<float>(to_number(from.Get("beta2"), "beta2"));
    options.epsilon = static_cast<float>(to_number(from.Get("epsilon"), "epsilon"));
    options.weight_decay = static_cast<float>(to_number(from.Get("weightDecay"), "weightDecay"));
    options.clip_norm = static_cast<float>(to_number(from.Get("clipNorm"), "clipNorm"));
    const auto trainer = std::make_shared<Trainer>(lora, options, to_boolean(from.Get("recompute"), "recompute"),
                                                   static_cast<uint64_t>(to_integer(from.Get("seed"), "seed", 0, most_exact)));
    Napi::Object object = Napi::Object::New(info.Env());
    add_async_method(object, "accumulate", [trainer, engine](const Napi::CallbackInfo& call) {
        const auto open = engine->use();
        const auto batch = std::make_shared<Batch>(checked_batch(call[0], *open->graph.model));
        const auto step = static_cast<uint64_t>(to_integer(call[1], "step", 0, most_exact));
        const auto micro_batch = static_cast<uint64_t>(to_integer(call[2], "microBatch", 0, most_exact));
        return Task<Trainer::Step>::start(
            call.Env(), engine->lifetime,
            [=] {
                const std::lock_guard<std::mutex> lock(open->mutex);
                return trainer->accumulate(open->graph, *batch, step, micro_batch);
            },
            [](Napi::Env env, Trainer::Step& step) -> Napi::Value {
                Napi::Object result = Napi::Object::New(env);
                result.Set("lossSum", step.loss_sum);
                result.Set("count", static_cast<double>(step.count));
                result.Set("finite", step.finite);
                return result;
            });
    });
    add_async_method(object, "update", [trainer, engine](const Napi::CallbackInfo& call) {
        const auto open = engine->use();
        const Napi::Object options = to_object(call[0], "options");
        const auto rate = static_cast<float>(to_number(options.Get("learningRate"), "learningRate"));
        const double divisor = to_number(options.Get("divisor"), "divisor");
        return Task<double>::start(
            call.Env(), engine->lifetime,
            [=] {
                const std::lock_guard<std::mutex> lock(open->mutex);
                return trainer->update(open->graph, rate, divisor);
            },
            [](Napi::Env env, double& norm) -> Napi::Value {
                Napi::Object result = Napi::Object::New(env);
                result.Set("gradientNorm", norm);
                return result;
            });
    });
    // These read or write what a running accumulate writes, so they wait for it.
    auto locked = [engine](auto body) {
        return [engine, body](const Napi::CallbackInfo& call) -> Napi::Value {
            const auto open = engine->use();
            const std::lock_guard<std::mutex> lock(open->mutex);
            return body(call);
        };
    };
    add_method(object, "discard", locked([trainer](const Napi::CallbackInfo& call) -> Napi::Value {
        trainer->discard();
        return call.Env().Undefined();
    }));
    add_method(object, "gradients", locked([trainer](const Napi::CallbackInfo& call) -> Napi::Value {
        return from_factors(call.Env(), *trainer->lora, trainer->gradients().data());
    }));
    add_method(object, "state", locked([trainer](const Napi::CallbackInfo& call) -> Napi::Value { return from_state(call.Env(), trainer->optimizer.state()); }));
    add_method(object, "setState", locked([trainer](const Napi::CallbackInfo& call) -> Napi::Value {
        const auto bytes = to_bytes(call[0], "state");
        trainer->optimizer.restore(bytes.data(), bytes.size());
        return call.Env().Undefined();
    }));
    return object;
}

}  // namespace stillroom::addon
