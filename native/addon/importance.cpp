// NativeImportance: an importance matrix as a tagged JavaScript object, so that no other object is taken for one.
#include "addon/addon.h"
#include "addon/convert.h"

namespace stillroom::addon {

namespace {

constexpr napi_type_tag tag = {0x7374696c6c726f6f, 0x6d2d696d706f7274};

}  // namespace

Napi::Object wrap_importance(Napi::Env env, std::shared_ptr<Importance> importance) {
    Napi::Object object = Napi::Object::New(env);
    object.DefineProperty(Napi::PropertyDescriptor::Accessor(
        env, object, "tokens", [importance](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(importance->tokens)); },
        napi_enumerable));
    auto* owner = new std::shared_ptr<Importance>(std::move(importance));
    const auto free = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<Importance>*>(data); };
    if (napi_wrap(env, object, owner, free, nullptr, nullptr) != napi_ok) {
        delete owner;
        throw Failure(Code::internal, "the importance matrix could not be wrapped");
    }
    object.TypeTag(&tag);
    return object;
}

std::shared_ptr<Importance> unwrap_importance(const Napi::Value& value, const std::string& name) {
    void* data = nullptr;
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&tag) || napi_unwrap(value.Env(), value, &data) != napi_ok)
        throw unexpected("an importance matrix (createImportance)", name, value);
    return *static_cast<std::shared_ptr<Importance>*>(data);
}

}  // namespace stillroom::addon
