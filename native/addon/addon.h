// What the files of the addon share: their entry points, and the objects that more than one of them touches.
#pragma once
#include <napi.h>

#include <memory>
#include <string>

#include "core/importance.h"
#include "core/model_info.h"
#include "core/tokens.h"

namespace stillroom::addon {

void init_files(Napi::Env env, Napi::Object exports);   // files.cpp: what works on files, and llama.cpp
void init_engine(Napi::Env env, Napi::Object exports);  // engine.cpp: what works on our own engine
void init_decode(Napi::Env env, Napi::Object exports);  // decode.cpp: decoders that llama.cpp runs
void init_near(Napi::Object exports);                   // near.cpp: the scan for near vectors

// NativeModelInfo.
Napi::Object from_info(Napi::Env env, const ModelInfo& info);

// Of a NativeTokenizer that is open; Failure(usage) for any other value.
std::shared_ptr<const Tokens> unwrap_tokens(const Napi::Value& value, const std::string& name);

// NativeImportance, and back; Failure(usage) for any other value.
Napi::Object wrap_importance(Napi::Env env, std::shared_ptr<Importance> importance);
std::shared_ptr<Importance> unwrap_importance(const Napi::Value& value, const std::string& name);

}  // namespace stillroom::addon
