// The table of types, and the hand-over to llama_model_quantize.
#include "core/quantize.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

#include "core/backend.h"
#include "core/failure.h"
#include "core/files.h"

namespace stillroom {

namespace {

const std::vector<std::pair<std::string, llama_ftype>>& table() {
    static const std::vector<std::pair<std::string, llama_ftype>> types = {
        {"F32", LLAMA_FTYPE_ALL_F32},
        {"F16", LLAMA_FTYPE_MOSTLY_F16},
        {"BF16", LLAMA_FTYPE_MOSTLY_BF16},
        {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
        {"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K},
        {"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M},
        {"Q5_K_S", LLAMA_FTYPE_MOSTLY_Q5_K_S},
        {"Q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},
        {"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
        {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M},
        {"Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S},
        {"IQ4_NL", LLAMA_FTYPE_MOSTLY_IQ4_NL},
        {"IQ4_XS", LLAMA_FTYPE_MOSTLY_IQ4_XS},
        {"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
        {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
        {"Q3_K_L", LLAMA_FTYPE_MOSTLY_Q3_K_L},
        {"Q3_K_M", LLAMA_FTYPE_MOSTLY_Q3_K_M},
        {"Q3_K_S", LLAMA_FTYPE_MOSTLY_Q3_K_S},
        {"IQ3_M", LLAMA_FTYPE_MOSTLY_IQ3_M},
        {"IQ3_S", LLAMA_FTYPE_MOSTLY_IQ3_S},
        {"IQ3_XS", LLAMA_FTYPE_MOSTLY_IQ3_XS},
        {"IQ3_XXS", LLAMA_FTYPE_MOSTLY_IQ3_XXS},
        {"Q2_K", LLAMA_FTYPE_MOSTLY_Q2_K},
        {"Q2_K_S", LLAMA_FTYPE_MOSTLY_Q2_K_S},
        {"IQ2_M", LLAMA_FTYPE_MOSTLY_IQ2_M},
        {"IQ2_S", LLAMA_FTYPE_MOSTLY_IQ2_S},
        {"IQ2_XS", LLAMA_FTYPE_MOSTLY_IQ2_XS},
        {"IQ2_XXS", LLAMA_FTYPE_MOSTLY_IQ2_XXS},
        {"TQ2_0", LLAMA_FTYPE_MOSTLY_TQ2_0},
        {"Q2_0", LLAMA_FTYPE_MOSTLY_Q2_0},
        {"TQ1_0", LLAMA_FTYPE_MOSTLY_TQ1_0},
        {"IQ1_M", LLAMA_FTYPE_MOSTLY_IQ1_M},
        {"IQ1_S", LLAMA_FTYPE_MOSTLY_IQ1_S},
        {"Q1_0", LLAMA_FTYPE_MOSTLY_Q1_0},
    };
    return types;
}

// llama.cpp takes regular expressions: the one that matches a name and nothing else.
std::string pattern_of(const std::string& name) {
    std::string pattern = "^";
    for (const char c : name) {
        if (!std::isalnum(static_cast<unsigned char>(c))) pattern += '\\';
        pattern += c;
    }
    return pattern + "$";
}

}  // namespace

std::map<std::string, std::vector<float>> channel_means(const Importance& importance) {
    std::map<std::string, std::vector<float>> result;
    for (const auto& [name, sums] : importance.sums) {
        std::vector<float> values;
        for (const double sum : sums) values.push_back(static_cast<float>(sum / static_cast<double>(importance.tokens)));
        const bool finite = std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
        if (!finite) throw Failure(Code::usage, "the importance matrix of " + name + " holds a value that is not finite");
        // Nothing was seen: quantise as without a matrix, not with weights of 0.
        const bool seen = std::any_of(values.begin(), values.end(), [](float value) { return value > 0; });
        if (seen) result.emplace(name, std::move(values));
    }
    return result;
}

const std::vector<std::string>& quantization_types() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> list;
        for (const auto& entry : table()) list.push_back(entry.first);
        return list;
    }();
    return names;
}

void quantize(const std::string& input, const std::string& out, const std::string& type, const std::vector<TensorType>& chosen, const Importance* importance,
              int threads) {
    const auto found = std::find_if(table().begin(), table().end(), [&](const auto& entry) { return entry.first == type; });
    if (found == table().end()) throw Failure(Code::usage, "expected one of the quantisation types for type, received \"" + type + "\"");
    if (importance && importance->tokens <= 0) throw Failure(Code::usage, "expected an importance matrix that has seen tokens for importance, received an empty one");
    if (same_file(input, out)) throw Failure(Code::usage, out + ": the quantised model must not replace its input");
    const auto file = GgufFile::open(input);
    check_hyperparameters(*file);
    if (file->integer("split.count").value_or(1) > 1)
        throw Failure(Code::input, input + ": the model is split over several files; join them first (llama-gguf-split --merge)");

    std::map<std::string, std::vector<float>> values;
    std::vector<llama_model_imatrix_data> matrix;
    if (importance) {
        values = channel_means(*importance);
        for (const auto& [name, data] : values) {
            const GgufTensor* tensor = file->find(name);
            if (tensor && tensor->shape[0] * tensor->shape[2] != static_cast<int64_t>(data.size()))
                throw Failure(Code::usage, "the importance matrix of " + name + " has " + std::to_string(data.size()) + " channels, the weight " +
                                               std::to_string(tensor->shape[0]));
            matrix.push_back({name.c_str(), data.data(), data.size()});
        }
        matrix.push_back({nullptr, nullptr, 0});
    }

    std::vector<std::string> patterns;
    std::vector<llama_model_tensor_override> overrides;
    for (const auto& [name, given] : chosen) patterns.push_back(pattern_of(name));
    for (size_t i = 0; i < chosen.size(); i++) {
        const auto named = type_named(chosen[i].second);
        const GgufTensor* tensor = file->find(chosen[i].first);
        if (!tensor || !named || tensor->shape[0] % ggml_blck_size(*named))
            throw Failure(Code::usage, input + ": " + chosen[i].first + " cannot have the type \"" + chosen[i].second + "\"");
        overrides.push_back({patterns[i].c_str(), *named});
    }
    overrides.push_back({nullptr, GGML_TYPE_COUNT});

    start_backend();
    const Quiet quiet;
    TemporaryFile temporary(out);
    llama_model_quantize_params parameters = llama_model_quantize_default_params();
    parameters.ftype = found->second;
    parameters.nthread = threads;
    parameters.allow_requantize = true;
    parameters.imatrix = importance ? matrix.data() : nullptr;
    parameters.tt_overrides = overrides.data();
    parameters.max_buf_size = size_t{256} << 20;
    if (llama_model_quantize(input.c_str(), temporary.name().c_str(), &parameters) != 0) {
        const std::string reason = Quiet::error();
        if (reason.find("imatrix") != std::string::npos || reason.find("importance matrix") != std::string::npos)
            throw Failure(Code::usage, input + ": cannot be quantised to " + type + " without an importance matrix of its weights");
        // All that a C++ stream says of a write that failed.
        if (reason.find("iostream") != std::string::npos) throw Failure(Code::io, out + ": cannot be written; is the disk full, or the folder missing?");
        throw Failure(Code::input, input + ": cannot be quantised to " + type + ": " + reason);
    }
    temporary.commit();
}

}  // namespace stillroom
