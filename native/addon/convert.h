// JavaScript values to native ones and back, types checked, data copied. One sentence for a wrong one:
// expected WHAT for NAME, received VALUE. Knows no meaning beyond types and ranges.
#pragma once
#include <napi.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/batch.h"
#include "core/failure.h"
#include "core/lora.h"

namespace stillroom::addon {

inline std::string describe_value(const Napi::Value& value) {
    if (value.IsUndefined()) return "undefined";
    if (value.IsNull()) return "null";
    if (value.IsString()) {
        const std::string text = value.As<Napi::String>().Utf8Value();
        return "\"" + (text.size() > 80 ? text.substr(0, 80) + "…" : text) + "\"";
    }
    if (value.IsNumber() || value.IsBoolean()) return value.ToString().Utf8Value();
    if (value.IsBigInt()) return "a bigint";
    if (value.IsFunction()) return "a function";
    if (value.IsArray()) return "an array of " + std::to_string(value.As<Napi::Array>().Length());
    if (value.IsTypedArray()) return "another typed array of " + std::to_string(value.As<Napi::TypedArray>().ElementLength());
    return "an object";
}

inline Failure unexpected(const std::string& what, const std::string& name, const Napi::Value& value) {
    return Failure(Code::usage, "expected " + what + " for " + name + ", received " + describe_value(value));
}

inline std::string to_text(const Napi::Value& value, const std::string& name) {
    if (!value.IsString()) throw unexpected("a string", name, value);
    return value.As<Napi::String>().Utf8Value();
}
// A file name: not empty and without NUL, at which the system would cut it.
inline std::string to_path(const Napi::Value& value, const std::string& name) {
    const std::string path = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
    if (path.empty() || path.find('\0') != path.npos) throw unexpected("a path", name, value);
    return path;
}
inline std::optional<std::string> to_text_or_null(const Napi::Value& value, const std::string& name) {
    if (value.IsNull() || value.IsUndefined()) return std::nullopt;
    return to_text(value, name);
}
inline double to_number(const Napi::Value& value, const std::string& name) {
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
    if (!std::isfinite(number)) throw unexpected("a finite number", name, value);
    return number;
}
inline int64_t to_integer(const Napi::Value& value, const std::string& name, int64_t least, int64_t most) {
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
    if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most)) || std::floor(number) != number)
        throw unexpected("a whole number from " + std::to_string(least) + " to " + std::to_string(most), name, value);
    return static_cast<int64_t>(number);
}
inline bool to_boolean(const Napi::Value& value, const std::string& name) {
    if (!value.IsBoolean()) throw unexpected("true or false", name, value);
    return value.As<Napi::Boolean>().Value();
}
inline Napi::Object to_object(const Napi::Value& value, const std::string& name) {
    if (!value.IsObject() || value.IsArray() || value.IsTypedArray() || value.IsFunction()) throw unexpected("an object", name, value);
    return value.As<Napi::Object>();
}
inline Napi::Array to_array(const Napi::Value& value, const std::string& name) {
    if (!value.IsArray()) throw unexpected("an array", name, value);
    return value.As<Napi::Array>();
}

// A typed array of exactly this element type, as it lies in JavaScript's memory.
template <typename T>
Napi::TypedArrayOf<T> in_place(const Napi::Value& value, const std::string& name, napi_typedarray_type type, const char* what) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) throw unexpected(what, name, value);
    return value.As<Napi::TypedArrayOf<T>>();
}
// A copy of one.
template <typename T>
std::vector<T> to_typed(const Napi::Value& value, const std::string& name, napi_typedarray_type type, const char* what) {
    const auto array = in_place<T>(value, name, type, what);
    std::vector<T> result(array.ElementLength());
    if (!result.empty()) std::memcpy(result.data(), array.Data(), result.size() * sizeof(T));
    return result;
}
inline std::vector<int32_t> to_int32s(const Napi::Value& value, const std::string& name) {
    return to_typed<int32_t>(value, name, napi_int32_array, "an Int32Array");
}
inline std::vector<float> to_floats(const Napi::Value& value, const std::string& name) {
    return to_typed<float>(value, name, napi_float32_array, "a Float32Array");
}
inline std::vector<uint8_t> to_bytes(const Napi::Value& value, const std::string& name) {
    return to_typed<uint8_t>(value, name, napi_uint8_array, "a Uint8Array");
}

inline Tail to_tail(const Napi::Value& value, const std::string& name) {
    const std::string tail = to_text(value, name);
    if (tail == "bucket") return Tail::bucket;
    if (tail == "sample") return Tail::sample;
    throw unexpected("bucket or sample", name, value);
}

// Shapes only; the meaning is checked by Batch::check.
inline Batch to_batch(const Napi::Value& value, const std::string& name) {
    const Napi::Object object = to_object(value, name);
    Batch batch;
    batch.tokens = to_int32s(object.Get("tokens"), name + ".tokens");
    const std::vector<int32_t> segments = to_int32s(object.Get("segments"), name + ".segments");
    if (segments.size() % 3 != 0) throw Failure(Code::usage, "expected triples for " + name + ".segments, received " + std::to_string(segments.size()) + " numbers");
    for (size_t i = 0; i < segments.size(); i += 3) batch.segments.push_back({segments[i], segments[i + 1], segments[i + 2]});
    batch.query_positions = to_int32s(object.Get("queryPositions"), name + ".queryPositions");
    batch.query_tokens = to_int32s(object.Get("queryTokens"), name + ".queryTokens");
    const Napi::Value taught = object.Get("taught");
    if (!taught.IsUndefined()) {
        const Napi::Object from = to_object(taught, name + ".taught");
        batch.taught.top_k = to_integer(from.Get("topK"), name + ".taught.topK", 1, 1 << 20);
        batch.taught.tail = to_tail(from.Get("tail"), name + ".taught.tail");
        batch.taught.entries = to_typed<uint32_t>(from.Get("entries"), name + ".taught.entries", napi_uint32_array, "a Uint32Array");
        batch.taught.tails = to_floats(from.Get("tails"), name + ".taught.tails");
        if (!from.Get("hidden").IsUndefined()) {
            const Napi::Object hidden = to_object(from.Get("hidden"), name + ".taught.hidden");
            batch.taught.hidden_width = to_integer(hidden.Get("width"), name + ".taught.hidden.width", 1, 1 << 20);
            batch.taught.hidden = to_typed<uint16_t>(hidden.Get("states"), name + ".taught.hidden.states", napi_uint16_array, "a Uint16Array");
        }
    }
    if (!object.Get("targets").IsUndefined()) batch.targets = to_floats(object.Get("targets"), name + ".targets");
    return batch;
}

// { topK, temperature, tail, hidden? }
inline Teaching to_teaching(const Napi::Value& value) {
    const Napi::Object object = to_object(value, "options");
    return {to_integer(object.Get("topK"), "topK", 1, 1 << 20), static_cast<float>(to_number(object.Get("temperature"), "temperature")),
            to_tail(object.Get("tail"), "tail"), !object.Get("hidden").IsUndefined() && to_boolean(object.Get("hidden"), "hidden")};
}

// What `read` makes of each value of an array; it is told the value's name for messages.
template <typename T, typename Read>
std::vector<T> to_list(const Napi::Value& value, const std::string& name, Read read) {
    const Napi::Array array = to_array(value, name);
    std::vector<T> list;
    for (uint32_t i = 0; i < array.Length(); ++i) list.push_back(read(array.Get(i), name + "[" + std::to_string(i) + "]"));
    return list;
}

inline std::vector<std::string> to_texts(const Napi::Value& value, const std::string& name) { return to_list<std::string>(value, name, to_text); }

// Names of matrices, each with ggml's name of a type.
inline std::vector<TensorType> to_tensor_types(const Napi::Value& value, const std::string& name) {
    return to_list<TensorType>(value, name, [](const Napi::Value& one, const std::string& at) {
        const Napi::Object object = to_object(one, at);
        return TensorType{to_text(object.Get("name"), at + ".name"), to_text(object.Get("type"), at + ".type")};
    });
}
inline std::vector<NamedTensor> to_tensors(const Napi::Value& value, const std::string& name) {
    return to_list<NamedTensor>(value, name, [](const Napi::Value& one, const std::string& at) {
        const Napi::Object object = to_object(one, at);
        const Napi::Array shape = to_array(object.Get("shape"), at + ".shape");
        if (shape.Length() != 2) throw unexpected("two numbers", at + ".shape", shape);
        constexpr int64_t most = int64_t{1} << 40;
        NamedTensor tensor{to_text(object.Get("name"), at + ".name"), to_integer(shape.Get(0u), at + ".shape[0]", 1, most),
                           to_integer(shape.Get(1u), at + ".shape[1]", 1, most), to_floats(object.Get("data"), at + ".data")};
        if (tensor.rows != static_cast<int64_t>(tensor.data.size()) / tensor.columns ||
            tensor.rows * tensor.columns != static_cast<int64_t>(tensor.data.size()))
            throw Failure(Code::usage, "expected " + std::to_string(tensor.rows) + " x " + std::to_string(tensor.columns) + " values for " + at + ".data, received " +
                                           std::to_string(tensor.data.size()));
        return tensor;
    });
}

template <typename Array, typename T>
Napi::Value from_vector(Napi::Env env, const std::vector<T>& values) {
    Array array = Array::New(env, values.size());
    if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(T));
    return array;
}
inline Napi::Value from_int32s(Napi::Env env, const std::vector<int32_t>& values) { return from_vector<Napi::Int32Array>(env, values); }
inline Napi::Value from_floats(Napi::Env env, const std::vector<float>& values) { return from_vector<Napi::Float32Array>(env, values); }
inline Napi::Value from_taught(Napi::Env env, const Taught& taught) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("topK", static_cast<double>(taught.top_k));
    object.Set("tail", taught.tail == Tail::sample ? "sample" : "bucket");
    object.Set("entries", from_vector<Napi::Uint32Array>(env, taught.entries));
    object.Set("tails", from_floats(env, taught.tails));
    if (taught.hidden_width > 0) {
        Napi::Object hidden = Napi::Object::New(env);
        hidden.Set("width", static_cast<double>(taught.hidden_width));
        hidden.Set("states", from_vector<Napi::Uint16Array>(env, taught.hidden));
        object.Set("hidden", hidden);
    }
    return object;
}
inline Napi::Value from_doubles(Napi::Env env, const std::vector<double>& values) { return from_vector<Napi::Float64Array>(env, values); }
inline Napi::Value from_bytes(Napi::Env env, const std::vector<uint8_t>& values) { return from_vector<Napi::Uint8Array>(env, values); }

inline Napi::Value from_text_or_null(Napi::Env env, const std::optional<std::string>& text) {
    return text ? static_cast<Napi::Value>(Napi::String::New(env, *text)) : env.Null();
}

inline Napi::Object from_shape(Napi::Env env, const NamedTensor& tensor) {
    Napi::Object object = Napi::Object::New(env);
    Napi::Array shape = Napi::Array::New(env, 2);
    shape.Set(0u, Napi::Number::New(env, static_cast<double>(tensor.rows)));
    shape.Set(1u, Napi::Number::New(env, static_cast<double>(tensor.columns)));
    object.Set("name", tensor.name);
    object.Set("shape", shape);
    return object;
}

inline Napi::Value from_tensors(Napi::Env env, const std::vector<NamedTensor>& tensors) {
    const Napi::Array array = Napi::Array::New(env, tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
        Napi::Object object = from_shape(env, tensors[i]);
        object.Set("data", from_floats(env, tensors[i].data));
        array.Set(static_cast<uint32_t>(i), object);
    }
    return array;
}

}  // namespace stillroom::addon
