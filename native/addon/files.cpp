// The addon's part that works on files and through llama.cpp: inspect, tokenizer, runner, adapters, merge, quantise.
// Translates; decides nothing.
#include <vector>

#include "addon/addon.h"
#include "addon/convert.h"
#include "addon/handle.h"
#include "addon/task.h"
#include "addon/wrap.h"
#include "core/adapter.h"
#include "core/gguf_file.h"
#include "core/merge.h"
#include "core/quantize.h"
#include "core/runner.h"
#include "core/student.h"
#include "core/vocabulary.h"

namespace stillroom::addon {

namespace {

constexpr napi_type_tag tokens_tag = {0x7374696c6c726f6f, 0x6d2d746f6b656e73};

Napi::Value inspect(const Napi::CallbackInfo& info) {
    const std::string path = to_path(info[0], "path");
    return Task<ModelInfo>::start(
        info.Env(), nullptr, [path] { return describe(*GgufFile::open(path)); }, [](Napi::Env env, ModelInfo& facts) { return from_info(env, facts); });
}

Napi::Value from_tokens(Napi::Env env, std::shared_ptr<const Tokens> tokens) {
    const auto handle = Handle<const Tokens>::make("the tokenizer", tokens);
    Napi::Object object = Napi::Object::New(env);
    object.Set("vocabulary", tokens->vocabulary());
    object.Set("bos", tokens->bos());
    object.Set("eos", tokens->eos());
    object.Set("endTokens", from_int32s(env, tokens->end_tokens()));
    object.Set("addsBos", tokens->adds_bos());
    add_method(object, "tokenize", [handle](const Napi::CallbackInfo& info) {
        const auto& tokens = handle->use();
        return from_int32s(info.Env(), tokens->tokenize(to_text(info[0], "text"), to_boolean(info[1], "addSpecial"), to_boolean(info[2], "parseSpecial")));
    });
    add_method(object, "detokenize", [handle](const Napi::CallbackInfo& info) {
        const auto& tokens = handle->use();
        return Napi::String::New(info.Env(), tokens->detokenize(to_int32s(info[0], "tokens"), to_boolean(info[1], "special")));
    });
    add_close(object, handle);
    wrap(object, handle, tokens_tag);
    return object;
}

Napi::Value open_tokenizer(const Napi::CallbackInfo& info) {
    const std::string path = to_path(info[0], "path");
    return Task<std::shared_ptr<const Tokens>>::start(info.Env(), nullptr, [path] { return Tokens::open(path); }, from_tokens);
}

Napi::Value from_runner(Napi::Env env, std::shared_ptr<Runner> runner) {
    const auto handle = Handle<Runner>::make("the runner", std::move(runner));
    Napi::Object object = Napi::Object::New(env);
    add_async_method(object, "score", [handle](const Napi::CallbackInfo& info) {
        const auto runner = handle->use();
        const auto batch = std::make_shared<Batch>(to_batch(info[0], "batch"));
        return Task<std::vector<double>>::start(
            info.Env(), handle->lifetime, [runner, batch] { return runner->score(std::move(*batch)); },
            [](Napi::Env env, std::vector<double>& scores) { return from_doubles(env, scores); });
    });
    add_async_method(object, "teach", [handle](const Napi::CallbackInfo& info) {
        const auto runner = handle->use();
        const auto batch = std::make_shared<Batch>(to_batch(info[0], "batch"));
        const Teaching teaching = to_teaching(info[1]);
        return Task<Taught>::start(
            info.Env(), handle->lifetime, [runner, batch, teaching] { return runner->teach(std::move(*batch), teaching); }, from_taught);
    });
    add_async_method(object, "embed", [handle](const Napi::CallbackInfo& info) {
        const auto runner = handle->use();
        const auto batch = std::make_shared<Batch>(to_batch(info[0], "batch"));
        const Pooling pooling = pooling_of(to_text(info[1], "pooling"));
        return Task<std::vector<float>>::start(
            info.Env(), handle->lifetime, [runner, batch, pooling] { return runner->embed(std::move(*batch), pooling); },
            [](Napi::Env env, std::vector<float>& result) { return from_floats(env, result); });
    });
    add_close(object, handle);
    return object;
}

Napi::Value open_runner(const Napi::CallbackInfo& info) {
    const std::string path = to_path(info[0], "path");
    const Napi::Object from = to_object(info[1], "options");
    RunnerOptions options;
    options.threads = static_cast<int>(to_integer(from.Get("threads"), "threads", 1, 1024));
    options.context_tokens = static_cast<int32_t>(to_integer(from.Get("contextTokens"), "contextTokens", 1, 1 << 24));
    options.sequences = static_cast<int32_t>(to_integer(from.Get("sequences"), "sequences", 1, 256));
    if (to_text_or_null(from.Get("adapter"), "adapter")) options.adapter = to_path(from.Get("adapter"), "adapter");
    return Task<std::shared_ptr<Runner>>::start(info.Env(), nullptr, [path, options] { return Runner::open(path, options); }, from_runner);
}

Napi::Value write_adapter_file(const Napi::CallbackInfo& info) {
    const std::string path = to_path(info[0], "path");
    const auto adapter = std::make_shared<Adapter>();
    adapter->tensors = to_tensors(info[1], "tensors");
    const Napi::Object metadata = to_object(info[2], "metadata");
    adapter->architecture = to_text(metadata.Get("architecture"), "architecture");
    adapter->alpha = static_cast<float>(to_number(metadata.Get("alpha"), "alpha"));
    const std::string name = to_text(metadata.Get("name"), "name");
    return Task<Nothing>::start(
        info.Env(), nullptr,
        [path, adapter, name] {
            write_adapter(path, *adapter, name);
            return Nothing{};
        },
        undefined);
}

Napi::Value read_adapter_file(const Napi::CallbackInfo& info) {
    const std::string path = to_path(info[0], "path");
    return Task<Adapter>::start(
        info.Env(), nullptr, [path] { return read_adapter(*GgufFile::open(path)); },
        [](Napi::Env env, Adapter& adapter) {
            Napi::Object object = Napi::Object::New(env);
            object.Set("architecture", adapter.architecture);
            object.Set("alpha", adapter.alpha);
            object.Set("tensors", from_tensors(env, adapter.tensors));
            return object;
        });
}

Napi::Value merge_files(const Napi::CallbackInfo& info) {
    const std::string base = to_path(info[0], "base");
    const auto tensors = std::make_shared<std::vector<NamedTensor>>(to_tensors(info[1], "tensors"));
    const auto scale = static_cast<float>(to_number(info[2], "scale"));
    const std::string out = to_path(info[3], "out");
    return Task<Nothing>::start(
        info.Env(), nullptr,
        [base, tensors, scale, out] {
            merge(base, *tensors, scale, out);
            return Nothing{};
        },
        undefined);
}

Napi::Value quantize_file(const Napi::CallbackInfo& info) {
    const std::string input = to_path(info[0], "input");
    const std::string out = to_path(info[1], "out");
    const Napi::Object options = to_object(info[2], "options");
    const std::string type = to_text(options.Get("type"), "type");
    const auto threads = static_cast<int>(to_integer(options.Get("threads"), "threads", 1, 1024));
    std::vector<TensorType> chosen;
    if (!options.Get("tensors").IsUndefined()) chosen = to_tensor_types(options.Get("tensors"), "tensors");
    std::shared_ptr<Importance> importance;
    if (!options.Get("importance").IsNull()) importance = unwrap_importance(options.Get("importance"), "importance");
    return Task<Nothing>::start(
        info.Env(), nullptr,
        [input, out, type, chosen, threads, importance] {
            quantize(input, out, type, chosen, importance.get(), threads);
            return Nothing{};
        },
        undefined);
}

Napi::Value tensor_types(const Napi::CallbackInfo& info) {
    const std::string path = to_path(info[0], "path");
    return Task<std::vector<TensorType>>::start(
        info.Env(), nullptr,
        [path] { return stillroom::tensor_types(*GgufFile::open(path)); },
        [](Napi::Env env, std::vector<TensorType>& types) -> Napi::Value {
            const Napi::Array list = Napi::Array::New(env, types.size());
            for (size_t i = 0; i < types.size(); i++) {
                Napi::Object one = Napi::Object::New(env);
                one.Set("name", types[i].first);
                one.Set("type", types[i].second);
                list.Set(static_cast<uint32_t>(i), one);
            }
            return list;
        });
}

std::vector<std::vector<int32_t>> to_lists(const Napi::Value& value, const std::string& name) {
    return to_list<std::vector<int32_t>>(value, name, to_int32s);
}

int64_t to_most(const Napi::Value& tokens) { return to_integer(tokens, "most", 1, int64_t{1} << 30); }

Napi::Value write_student_file(const Napi::CallbackInfo& info) {
    const std::string teacher = to_path(info[0], "teacher");
    const Napi::Object from = to_object(info[1], "parts");
    StudentParts parts;
    parts.layers = to_int32s(from.Get("layers"), "layers");
    parts.width = to_int32s(from.Get("width"), "width");
    parts.feed_forward = to_lists(from.Get("feedForward"), "feedForward");
    parts.heads = to_lists(from.Get("heads"), "heads");
    parts.key_value = to_lists(from.Get("keyValueHeads"), "keyValueHeads");
    parts.seed = static_cast<uint64_t>(to_integer(from.Get("seed"), "seed", 0, (int64_t{1} << 53) - 1));
    if (!from.Get("tokens").IsNull()) {
        const Napi::Object tokens = to_object(from.Get("tokens"), "tokens");
        parts.tokens = {to_int32s(tokens.Get("wanted"), "wanted"), to_most(tokens.Get("most"))};
    }
    const bool halves = to_boolean(info[2], "halves");
    const std::string out = to_path(info[3], "out");
    return Task<Nothing>::start(
        info.Env(), nullptr,
        [teacher, parts, halves, out] {
            write_student(teacher, parts, halves, out);
            return Nothing{};
        },
        undefined);
}

Napi::Value require_vocabulary(const Napi::CallbackInfo& info) {
    const std::string teacher = to_path(info[0], "teacher");
    const int64_t most = to_most(info[1]);
    return Task<Nothing>::start(
        info.Env(), nullptr,
        [teacher, most] {
            trim_vocabulary(*GgufFile::open(teacher), {}, most);
            return Nothing{};
        },
        undefined);
}

Napi::Value trimmed_tokens(const Napi::CallbackInfo& info) {
    using Ids = std::optional<std::vector<int32_t>>;
    const std::string part = to_path(info[0], "part"), whole = to_path(info[1], "whole");
    return Task<Ids>::start(
        info.Env(), nullptr, [part, whole] { return trimmed_from(*GgufFile::open(part), *GgufFile::open(whole)); },
        [](Napi::Env env, Ids& ids) -> Napi::Value { return ids ? from_int32s(env, *ids) : env.Null(); });
}

Napi::Value difference_of_tokenizers(const Napi::CallbackInfo& info) {
    using Told = std::optional<std::string>;
    const std::string one = to_path(info[0], "one"), other = to_path(info[1], "other");
    return Task<Told>::start(
        info.Env(), nullptr, [one, other] { return tokenizer_difference(*GgufFile::open(one), *GgufFile::open(other)); },
        [](Napi::Env env, Told& told) -> Napi::Value { return told ? Napi::String::New(env, *told) : env.Null(); });
}

}  // namespace

std::shared_ptr<const Tokens> unwrap_tokens(const Napi::Value& value, const std::string& name) {
    return unwrap<Handle<const Tokens>>(value, tokens_tag, "a tokenizer (openTokenizer)", name)->use();
}

Napi::Object from_info(Napi::Env env, const ModelInfo& info) {
    Napi::Object object = Napi::Object::New(env);
    const auto number = [&](const char* name, int64_t value) { object.Set(name, static_cast<double>(value)); };
    object.Set("path", info.path);
    number("fileBytes", static_cast<int64_t>(info.file_bytes));
    object.Set("architecture", info.architecture);
    object.Set("name", from_text_or_null(env, info.name));
    number("parameters", info.parameters);
    number("layers", info.layers);
    number("width", info.width);
    number("feedForward", info.feed_forward);
    number("heads", info.heads);
    number("keyValueHeads", info.key_value_heads);
    number("headWidth", info.head_width);
    number("contextLength", info.context_length);
    number("vocabulary", info.vocabulary);
    object.Set("tiedEmbeddings", info.tied_embeddings);
    Napi::Object types = Napi::Object::New(env);
    for (const auto& [name, count] : info.types) types.Set(name, static_cast<double>(count));
    object.Set("types", types);
    object.Set("chatTemplate", from_text_or_null(env, info.chat_template));
    object.Set("tunable", info.tunable());
    object.Set("reason", from_text_or_null(env, info.reason));
    return object;
}

void init_files(Napi::Env env, Napi::Object exports) {
    add_async_method(exports, "inspect", inspect);
    add_async_method(exports, "openTokenizer", open_tokenizer);
    add_async_method(exports, "openRunner", open_runner);
    add_method(exports, "createImportance", [](const Napi::CallbackInfo& info) { return wrap_importance(info.Env(), std::make_shared<Importance>()); });
    add_async_method(exports, "writeAdapter", write_adapter_file);
    add_async_method(exports, "readAdapter", read_adapter_file);
    add_async_method(exports, "merge", merge_files);
    add_async_method(exports, "quantize", quantize_file);
    add_async_method(exports, "tensorTypes", tensor_types);
    add_async_method(exports, "writeStudent", write_student_file);
    add_async_method(exports, "requireVocabulary", require_vocabulary);
    add_async_method(exports, "trimmedTokens", trimmed_tokens);
    add_async_method(exports, "tokenizerDifference", difference_of_tokenizers);
    const auto& types = quantization_types();
    const Napi::Array names = Napi::Array::New(env, types.size());
    for (size_t i = 0; i < types.size(); ++i) names.Set(static_cast<uint32_t>(i), types[i]);
    exports.Set("quantizationTypes", names);
}

}  // namespace stillroom::addon
