// The module: collects what the other files of this folder export (NativeAddon in src/support/native.ts).
#include "addon/addon.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
    stillroom::addon::init_files(env, exports);
    stillroom::addon::init_engine(env, exports);
    stillroom::addon::init_decode(env, exports);
    stillroom::addon::init_near(exports);
    return exports;
}

NODE_API_MODULE(stillroom, init)
