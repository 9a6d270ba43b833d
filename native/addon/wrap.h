// Native objects inside JavaScript objects, told apart by a type tag, so that no other object is taken for one.
#pragma once
#include <napi.h>

#include <memory>
#include <string>
#include <utility>

#include "addon/convert.h"

namespace stillroom::addon {

template <typename T>
void wrap(Napi::Object object, std::shared_ptr<T> native, const napi_type_tag& tag) {
    auto* owner = new std::shared_ptr<T>(std::move(native));
    const auto free = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<T>*>(data); };
    if (napi_wrap(object.Env(), object, owner, free, nullptr, nullptr) != napi_ok) {
        delete owner;
        throw Failure(Code::internal, "a native object could not be wrapped");
    }
    object.TypeTag(&tag);
}

// what: "a model (openModel)". Failure(usage) for any other value.
template <typename T>
std::shared_ptr<T> unwrap(const Napi::Value& value, const napi_type_tag& tag, const std::string& what, const std::string& name) {
    void* data = nullptr;
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&tag) || napi_unwrap(value.Env(), value, &data) != napi_ok)
        throw unexpected(what, name, value);
    return *static_cast<std::shared_ptr<T>*>(data);
}

}  // namespace stillroom::addon
