// NativeImportance: an importance matrix as a JavaScript object.
#include "addon/addon.h"
#include "addon/wrap.h"

namespace stillroom::addon {

namespace {

constexpr napi_type_tag tag = {0x7374696c6c726f6f, 0x6d2d696d706f7274};

}  // namespace

Napi::Object wrap_importance(Napi::Env env, std::shared_ptr<Importance> importance) {
    Napi::Object object = Napi::Object::New(env);
    object.DefineProperty(Napi::PropertyDescriptor::Accessor(
        env, object, "tokens", [importance](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(importance->tokens)); },
        napi_enumerable));
    wrap(object, std::move(importance), tag);
    return object;
}

std::shared_ptr<Importance> unwrap_importance(const Napi::Value& value, const std::string& name) {
    return unwrap<Importance>(value, tag, "an importance matrix (createImportance)", name);
}

}  // namespace stillroom::addon
