// NativeSensitivity: trials of single quantised matrices. Translates; decides nothing.
#include "core/sensitivity.h"

#include <mutex>

#include "addon/addon.h"
#include "addon/convert.h"
#include "addon/engine.h"

namespace stillroom::addon {

namespace {

struct Trials {
    Sensitivity sensitivity;
    std::mutex mutex{};  // held by whoever runs it
};

Napi::Array from_matrices(Napi::Env env, const std::vector<Sensitivity::Subject>& matrices) {
    const Napi::Array list = Napi::Array::New(env, matrices.size());
    for (size_t i = 0; i < matrices.size(); i++) {
        const Napi::Array types = Napi::Array::New(env, matrices[i].types.size());
        for (size_t t = 0; t < matrices[i].types.size(); t++) {
            Napi::Object type = Napi::Object::New(env);
            type.Set("type", matrices[i].types[t].name);
            type.Set("bytes", static_cast<double>(matrices[i].types[t].bytes));
            types.Set(static_cast<uint32_t>(t), type);
        }
        const Weight& weight = *matrices[i].views.front();
        Napi::Object matrix = Napi::Object::New(env);
        matrix.Set("name", matrices[i].name);
        matrix.Set("weights", static_cast<double>(weight.in * weight.out));
        matrix.Set("types", types);
        list.Set(static_cast<uint32_t>(i), matrix);
    }
    return list;
}

Napi::Value from_trials(Napi::Env env, std::shared_ptr<Trials> opened) {
    const auto trials = Handle<Trials>::make("the trials of single matrices", std::move(opened));
    Napi::Object object = Napi::Object::New(env);
    object.Set("matrices", from_matrices(env, trials->object->sensitivity.matrices()));
    object.Set("positions", static_cast<double>(trials->object->sensitivity.positions()));
    add_async_method(object, "measure", [trials](const Napi::CallbackInfo& info) {
        const auto open = trials->use();
        const auto& matrices = open->sensitivity.matrices();
        const auto matrix = static_cast<size_t>(to_integer(info[0], "matrix", 0, static_cast<int64_t>(matrices.size()) - 1));
        const auto type = static_cast<size_t>(to_integer(info[1], "type", 0, static_cast<int64_t>(matrices[matrix].types.size()) - 1));
        const bool run = to_boolean(info[2], "run");
        return Task<Sensitivity::Loss>::start(
            info.Env(), trials->lifetime,
            [=] {
                const std::lock_guard<std::mutex> lock(open->mutex);
                return open->sensitivity.measure(matrix, type, run);
            },
            [](Napi::Env env, Sensitivity::Loss& loss) -> Napi::Value {
                Napi::Object result = Napi::Object::New(env);
                result.Set("error", loss.error);
                result.Set("klSum", loss.kl);
                return result;
            });
    });
    add_close(object, trials);
    return object;
}

}  // namespace

Napi::Value open_sensitivity(const Napi::CallbackInfo& info, const std::shared_ptr<Handle<Engine>>& engine) {
    const auto batch = std::make_shared<Batch>(checked_batch(info[0], *engine->use()->graph.model));
    if (batch->query_positions.empty()) throw Failure(Code::usage, "expected a batch with queries for batch, received none");
    std::shared_ptr<Importance> importance;
    if (!info[1].IsNull()) importance = unwrap_importance(info[1], "importance");
    return run_graph<std::shared_ptr<Trials>>(
        info.Env(), engine,
        [batch, importance](Graph& graph) {
            return std::shared_ptr<Trials>(new Trials{{graph.model, graph.kernels, graph.threads.count(), *batch, importance.get()}});
        },
        from_trials);
}

}  // namespace stillroom::addon
