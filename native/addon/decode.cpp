// NativeDecoder: continuous batching on our engine or in a context of llama.cpp. Translates; decides nothing.
#include <vector>

#include "addon/addon.h"
#include "addon/convert.h"
#include "addon/engine.h"
#include "core/decode/decoder.h"
#include "core/decode/llama_executor.h"
#include "core/decode/paged_executor.h"

namespace stillroom::addon {

namespace {

constexpr int64_t most_int32 = INT32_MAX, most_integer = int64_t{1} << 53;

// A decoder and what it stands on: a model's engine, or threads of its own beside llama.cpp's.
struct Decoding {
    std::shared_ptr<Handle<Engine>> handle;  // null with llama.cpp
    std::shared_ptr<Engine> engine;
    std::unique_ptr<Threads> threads;
    std::unique_ptr<Decoder> decoder;
    std::mutex mutex;  // one step at a time
};

DecodeRequest to_request(const Napi::Value& value) {
    const Napi::Object from = to_object(value, "request");
    auto number = [&](const char* name) { return static_cast<float>(to_number(from.Get(name), name)); };
    auto integer = [&](const char* name, int64_t least, int64_t most) { return to_integer(from.Get(name), name, least, most); };
    DecodeRequest request;
    request.prompt = to_int32s(from.Get("prompt"), "prompt");
    request.max_tokens = static_cast<int32_t>(integer("maxTokens", 1, most_int32));
    request.stops = to_texts(from.Get("stop"), "stop");
    SamplerOptions& sampling = request.sampling;
    sampling.temperature = number("temperature");
    sampling.top_k = static_cast<int32_t>(integer("topK", 0, most_int32));
    sampling.top_p = number("topP");
    sampling.min_p = number("minP");
    sampling.repetition_penalty = number("repetitionPenalty");
    sampling.repetition_window = static_cast<int32_t>(integer("repetitionWindow", 0, most_int32));
    sampling.seed = static_cast<uint64_t>(integer("seed", 0, most_integer));
    sampling.grammar = to_text_or_null(from.Get("grammar"), "grammar").value_or("");
    if (from.Has("pieces")) request.pieces = to_boolean(from.Get("pieces"), "pieces");
    if (!from.Get("logProbabilities").IsNull()) sampling.log_probabilities = static_cast<int32_t>(integer("logProbabilities", 0, 1000));
    return request;
}

const char* word_of(Ending ending) {
    switch (ending) {
        case Ending::end: return "end";
        case Ending::stop: return "stop";
        case Ending::length: return "length";
        case Ending::grammar: return "grammar";
        case Ending::cancelled: break;
    }
    return "cancelled";
}

// (tokens, 1 + most likely) flattened.
Napi::Value from_probabilities(Napi::Env env, const std::vector<std::vector<TokenProbability>>& rows) {
    std::vector<int32_t> tokens;
    std::vector<float> values;
    for (const auto& row : rows)
        for (const TokenProbability& one : row) {
            tokens.push_back(one.token);
            values.push_back(one.log_probability);
        }
    Napi::Object object = Napi::Object::New(env);
    object.Set("tokens", from_int32s(env, tokens));
    object.Set("values", from_floats(env, values));
    return object;
}

Napi::Value from_step(Napi::Env env, Decoder::Step& step) {
    const Napi::Array finished = Napi::Array::New(env, step.finished.size());
    for (size_t i = 0; i < step.finished.size(); ++i) {
        const Decoded& one = step.finished[i];
        Napi::Object object = Napi::Object::New(env);
        object.Set("id", static_cast<double>(one.id));
        object.Set("tokens", from_int32s(env, one.tokens));
        object.Set("text", one.text);
        object.Set("ended", word_of(one.ending));
        object.Set("logProbabilities", from_probabilities(env, one.probabilities));
        object.Set("sharedTokens", static_cast<double>(one.shared_tokens));
        object.Set("firstTokenSeconds", one.first_seconds);
        object.Set("seconds", one.seconds);
        finished.Set(static_cast<uint32_t>(i), object);
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("finished", finished);
    const Napi::Array pieces = Napi::Array::New(env, step.pieces.size());
    for (size_t i = 0; i < step.pieces.size(); ++i) {
        Napi::Object piece = Napi::Object::New(env);
        piece.Set("id", static_cast<double>(step.pieces[i].id));
        piece.Set("text", step.pieces[i].text);
        pieces.Set(static_cast<uint32_t>(i), piece);
    }
    object.Set("pieces", pieces);
    object.Set("waiting", static_cast<double>(step.waiting));
    object.Set("running", static_cast<double>(step.running));
    object.Set("promptTokens", static_cast<double>(step.prompt_tokens));
    object.Set("answerTokens", static_cast<double>(step.answer_tokens));
    return object;
}

Napi::Value take_step(const Napi::CallbackInfo& info, const Handle<Decoding>& handle) {
    const auto open = handle.use();
    return Task<Decoder::Step>::start(
        info.Env(), handle.lifetime,
        [open] {
            const std::lock_guard<std::mutex> one(open->mutex);
            std::unique_lock<std::mutex> graph;
            if (open->engine) graph = std::unique_lock<std::mutex>(open->engine->mutex);
            return open->decoder->step();
        },
        from_step, open->handle ? open->handle->lifetime : nullptr);
}

Napi::Value from_decoding(Napi::Env env, std::shared_ptr<Decoding> decoding) {
    const auto handle = Handle<Decoding>::make("the decoder", std::move(decoding));
    Napi::Object object = Napi::Object::New(env);
    add_method(object, "refuses", [handle](const Napi::CallbackInfo& info) -> Napi::Value {
        const std::string reason = handle->use()->decoder->refuses(to_integer(info[0], "promptTokens", 0, most_int32), to_integer(info[1], "maxTokens", 1, most_int32));
        if (reason.empty()) return info.Env().Null();
        return Napi::String::New(info.Env(), reason);
    });
    add_method(object, "add", [handle](const Napi::CallbackInfo& info) -> Napi::Value {
        return Napi::Number::New(info.Env(), static_cast<double>(handle->use()->decoder->add(to_request(info[0]))));
    });
    add_method(object, "cancel", [handle](const Napi::CallbackInfo& info) -> Napi::Value {
        return Napi::Boolean::New(info.Env(), handle->use()->decoder->cancel(to_integer(info[0], "id", 0, most_integer)));
    });
    add_async_method(object, "step", [handle](const Napi::CallbackInfo& info) { return take_step(info, *handle); });
    add_close(object, handle);
    return object;
}

DecodeLimits to_limits(const Napi::Object& from) {
    DecodeLimits limits;
    limits.sequences = to_integer(from.Get("sequences"), "sequences", 1, 4096);
    limits.step_tokens = to_integer(from.Get("stepTokens"), "stepTokens", 1, 1 << 16);
    return limits;
}

Napi::Value open_decoder(const Napi::CallbackInfo& info) {
    const std::string path = to_path(info[0], "path");
    const auto tokens = unwrap_tokens(info[1], "tokenizer");
    const Napi::Object from = to_object(info[2], "options");
    const DecodeLimits limits = to_limits(from);
    LlamaExecutorOptions options;
    options.threads = static_cast<int>(to_integer(from.Get("threads"), "threads", 1, 1024));
    options.bytes = to_integer(from.Get("memory"), "memory", 1, most_integer);
    options.sequences = limits.sequences;
    options.step_tokens = limits.step_tokens;
    options.gpu_layers = static_cast<int32_t>(to_integer(from.Get("gpuLayers"), "gpuLayers", 0, most_int32));
    options.exact = to_boolean(from.Get("exact"), "exact");
    if (to_text_or_null(from.Get("adapter"), "adapter")) options.adapter = to_path(from.Get("adapter"), "adapter");
    const std::vector<std::string> backends = to_texts(from.Get("backends"), "backends");
    return Task<std::shared_ptr<Decoding>>::start(
        info.Env(), nullptr,
        [=] {
            if (options.gpu_layers > 0) start_gpu(backends);
            auto decoding = std::make_shared<Decoding>();
            decoding->threads = std::make_unique<Threads>(options.threads);
            decoding->decoder = std::make_unique<Decoder>(std::make_unique<LlamaExecutor>(path, options), tokens, *decoding->threads, choose_kernels(""), limits);
            return decoding;
        },
        from_decoding);
}

}  // namespace

Napi::Value create_decoder(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto open = engine->use();
    const auto lora = unwrap_lora(info[0], "lora", *open);
    const auto tokens = unwrap_tokens(info[1], "tokenizer");
    const Napi::Object from = to_object(info[2], "options");
    const DecodeLimits limits = to_limits(from);
    const int64_t bytes = to_integer(from.Get("memory"), "memory", 1, most_integer);
    const auto precision = to_text_or_null(from.Get("precision"), "precision");
    const Precisions precisions = precision ? choose_precisions(open->graph.kernels, *precision) : open->graph.precisions;
    return Task<std::shared_ptr<Decoding>>::start(
        info.Env(), engine->lifetime,
        [=] {
            const std::lock_guard<std::mutex> lock(open->mutex);
            auto decoding = std::make_shared<Decoding>();
            decoding->handle = engine;
            decoding->engine = open;
            Graph& graph = open->graph;
            decoding->decoder = std::make_unique<Decoder>(std::make_unique<PagedExecutor>(graph, lora, precisions.forward, bytes), tokens, graph.threads, graph.kernels, limits);
            return decoding;
        },
        from_decoding);
}

void init_decode(Napi::Env, Napi::Object exports) { add_async_method(exports, "openDecoder", open_decoder); }

}  // namespace stillroom::addon
