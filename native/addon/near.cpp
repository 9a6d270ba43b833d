// The addon's part that scans for near vectors. Translates; decides nothing.
#include <memory>

#include "addon/addon.h"
#include "addon/convert.h"
#include "addon/task.h"
#include "core/near.h"

namespace stillroom::addon {

namespace {

int64_t count_vectors(size_t numbers, int64_t width, const std::string& name) {
    const auto count = static_cast<int64_t>(numbers) / width;
    if (static_cast<int64_t>(numbers) % width != 0 || count > INT32_MAX)
        throw Failure(Code::usage, "expected vectors of " + std::to_string(width) + " numbers for " + name + ", received " + std::to_string(numbers) + " numbers");
    return count;
}

Napi::Value near_rows(const Napi::CallbackInfo& info) {
    const int64_t width = to_integer(info[0], "width", 1, 1 << 24);
    const auto array = in_place<float>(info[1], "table", napi_float32_array, "a Float32Array");
    const Vectors table{array.Data(), count_vectors(array.ElementLength(), width, "table")};
    const auto asked = std::make_shared<std::vector<float>>(to_floats(info[2], "asked"));
    const int64_t asking = count_vectors(asked->size(), width, "asked");
    const double least = to_number(info[3], "least");
    const Kernels& kernels = choose_kernels(to_text_or_null(info[4], "variant").value_or(""));
    // Read where it lies, and let go of on the JavaScript thread, as finish is.
    const auto held = std::make_shared<Napi::Reference<Napi::Float32Array>>(Napi::Persistent(array));
    return Task<std::vector<int32_t>>::start(
        info.Env(), nullptr, [&kernels, width, table, asked, asking, least] { return stillroom::near_rows(kernels, width, table, {asked->data(), asking}, least); },
        [held](Napi::Env env, std::vector<int32_t>& pairs) { return from_int32s(env, pairs); });
}

}  // namespace

void init_near(Napi::Object exports) { add_async_method(exports, "nearRows", near_rows); }

}  // namespace stillroom::addon
