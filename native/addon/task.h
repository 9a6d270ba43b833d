// The one shape of async work: arguments copied in on the JavaScript thread, execute off it, result out on it. Also the one
// place where a Failure becomes a JavaScript Error with its code. Knows nothing of what is executed.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/failure.h"

namespace stillroom::addon {

inline Napi::Error make_error(Napi::Env env, Code code, const std::string& message) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", Napi::String::New(env, code_name(code)));
    return error;
}

// What a body threw, in our terms.
struct Caught {
    Code code;
    std::string message;
};

// Runs body; nullopt when it returned. JavaScript's own exceptions pass through.
template <typename Body>
std::optional<Caught> caught(Body&& body) {
    try {
        body();
        return std::nullopt;
    } catch (const Napi::Error&) {
        throw;
    } catch (const Failure& failure) {
        return Caught{failure.code, failure.what()};
    } catch (const std::bad_alloc&) {
        return Caught{Code::internal, "out of memory"};
    } catch (const std::exception& error) {
        return Caught{Code::internal, error.what()};
    }
}

// Lets calls on a native object in until it is closed; close() waits for those that run, then releases it off the
// JavaScript thread. Owned by the object's methods; used on the JavaScript thread only.
class Lifetime : public std::enable_shared_from_this<Lifetime> {
   public:
    // what: "the tokenizer". release: drops the native object; runs once, at close.
    Lifetime(std::string what, std::function<void()> release) : what(std::move(what)), release(std::move(release)) {}

    void check() const {
        if (state != State::open) throw Failure(Code::usage, what + " is closed");
    }
    void enter() {
        check();
        ++busy;
    }
    void leave(Napi::Env env) {
        if (--busy == 0 && state == State::closing) start_release(env);
    }
    Napi::Value close(Napi::Env env) {
        Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
        if (state == State::closed) {
            deferred.Resolve(env.Undefined());
            return deferred.Promise();
        }
        closers.push_back(deferred);
        if (state == State::open) {
            state = State::closing;
            if (busy == 0) start_release(env);
        }
        return deferred.Promise();
    }

   private:
    enum class State { open, closing, releasing, closed };
    void start_release(Napi::Env env);

    const std::string what;
    std::function<void()> release;
    State state = State::open;
    int busy = 0;
    std::vector<Napi::Promise::Deferred> closers;
};

// Result of an execute that only does something.
struct Nothing {};
inline Napi::Value undefined(Napi::Env env, Nothing&) { return env.Undefined(); }

template <typename Result>
class Task : public Napi::AsyncWorker {
   public:
    using Run = std::function<Result()>;
    using Finish = std::function<Napi::Value(Napi::Env, Result&)>;

    // lifetime may be null; also: that of a second object the work needs. Both are left however it ends. execute must hold what it needs alive by itself.
    static Napi::Value start(Napi::Env env, std::shared_ptr<Lifetime> lifetime, Run execute, Finish finish, std::shared_ptr<Lifetime> also = nullptr) {
        if (also) also->check();
        if (lifetime) lifetime->enter();
        if (also) also->enter();
        auto* task = new Task(env, std::move(lifetime), std::move(execute), std::move(finish));
        task->also = std::move(also);
        const Napi::Value promise = task->deferred.Promise();
        task->Queue();
        return promise;
    }

   private:
    Task(Napi::Env env, std::shared_ptr<Lifetime> lifetime, Run execute, Finish finish)
        : Napi::AsyncWorker(env, "stillroom"),
          lifetime(std::move(lifetime)),
          execute(std::move(execute)),
          finish(std::move(finish)),
          deferred(Napi::Promise::Deferred::New(env)) {}

    void Execute() override {
        failure = caught([&] { result.emplace(execute()); });
        execute = nullptr;  // what it held is dropped before the promise settles
    }
    void OnOK() override {
        const Napi::Env env = Env();
        Napi::Value value;
        if (!failure) failure = caught([&] { value = finish(env, *result); });
        if (lifetime) lifetime->leave(env);
        if (also) also->leave(env);
        if (failure) {
            deferred.Reject(make_error(env, failure->code, failure->message).Value());
        } else {
            deferred.Resolve(value);
        }
    }

    std::shared_ptr<Lifetime> lifetime, also;
    Run execute;
    Finish finish;
    Napi::Promise::Deferred deferred;
    std::optional<Result> result;
    std::optional<Caught> failure;
};

inline void Lifetime::start_release(Napi::Env env) {
    state = State::releasing;
    const auto self = shared_from_this();
    Task<Nothing>::start(
        env, nullptr,
        [self] {
            self->release();
            return Nothing{};
        },
        [self](Napi::Env env, Nothing&) {
            self->state = State::closed;
            for (const auto& closer : self->closers) closer.Resolve(env.Undefined());
            self->closers.clear();
            return env.Undefined();
        });
}

// Adds a method whose failures are thrown.
template <typename Body>
void add_method(Napi::Object target, const char* name, Body body) {
    target.Set(name, Napi::Function::New(
                         target.Env(),
                         [body](const Napi::CallbackInfo& info) {
                             Napi::Value value;
                             const auto failure = caught([&] { value = body(info); });
                             if (failure) throw make_error(info.Env(), failure->code, failure->message);
                             return value;
                         },
                         name));
}

// Adds a method that returns a promise; a failure of its arguments rejects it.
template <typename Body>
void add_async_method(Napi::Object target, const char* name, Body body) {
    target.Set(name, Napi::Function::New(
                         target.Env(),
                         [body](const Napi::CallbackInfo& info) {
                             Napi::Value value;
                             const auto failure = caught([&] { value = body(info); });
                             if (!failure) return value;
                             const auto deferred = Napi::Promise::Deferred::New(info.Env());
                             deferred.Reject(make_error(info.Env(), failure->code, failure->message).Value());
                             return static_cast<Napi::Value>(deferred.Promise());
                         },
                         name));
}

}  // namespace stillroom::addon
