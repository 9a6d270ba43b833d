// A native object behind JavaScript methods, closed once; what tokenizer, runner and model share.
#pragma once
#include <memory>
#include <utility>

#include "addon/task.h"

namespace stillroom::addon {

// A native object behind JavaScript methods: dropped at close, else when the methods are collected.
template <typename T>
struct Handle {
    std::shared_ptr<T> object;
    std::shared_ptr<Lifetime> lifetime;

    static std::shared_ptr<Handle> make(const char* what, std::shared_ptr<T> object) {
        auto handle = std::make_shared<Handle>();
        handle->object = std::move(object);
        // weak: the lifetime is owned by the handle.
        handle->lifetime = std::make_shared<Lifetime>(what, [weak = std::weak_ptr<Handle>(handle)] {
            if (const auto owner = weak.lock()) owner->object.reset();
        });
        return handle;
    }
    const std::shared_ptr<T>& use() const {
        lifetime->check();
        return object;
    }
};

template <typename T>
void add_close(Napi::Object target, std::shared_ptr<Handle<T>> handle) {
    add_async_method(target, "close", [handle](const Napi::CallbackInfo& info) { return handle->lifetime->close(info.Env()); });
}

}  // namespace stillroom::addon
