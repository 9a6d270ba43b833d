// The module: collects what the other files of this folder export (NativeAddon in src/support/native.ts), and what is of the whole process.
#include "addon/addon.h"
#ifdef __GLIBC__
#include <malloc.h>
#endif

static Napi::Value trim_memory(const Napi::CallbackInfo& info) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    return info.Env().Undefined();
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
    exports.Set("trimMemory", Napi::Function::New(env, trim_memory, "trimMemory"));
    stillroom::addon::init_files(env, exports);
    stillroom::addon::init_engine(env, exports);
    stillroom::addon::init_decode(env, exports);
    stillroom::addon::init_near(exports);
    return exports;
}

NODE_API_MODULE(stillroom, init)
