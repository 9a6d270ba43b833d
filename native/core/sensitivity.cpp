// Quantises a matrix, runs the layers from it on, and compares the distributions behind them with those of the model as it is.
#include "core/sensitivity.h"

#include <numeric>

#include "core/loss.h"
#include "core/quantize.h"

namespace stillroom {

namespace {

// Those whose codes our integer products take as they are, and what is smaller. Rows that are no whole blocks of 256 take llama.cpp's older types.
constexpr ggml_type of_256[] = {GGML_TYPE_Q2_K, GGML_TYPE_Q3_K, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_Q8_0};
constexpr ggml_type of_32[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1, GGML_TYPE_Q8_0};

std::vector<ggml_type> types_for(int64_t columns) {
    if (columns % 256 == 0) return {std::begin(of_256), std::end(of_256)};
    if (columns % 32 == 0) return {std::begin(of_32), std::end(of_32)};
    return {GGML_TYPE_F16};
}

}  // namespace

Sensitivity::Sensitivity(const std::shared_ptr<const Model>& model, const Kernels& kernels, int threads, Batch given, const Importance* importance)
    : batch(std::move(given)), trial(std::make_shared<Model>(*model)), before(model, kernels, threads), after(trial, kernels, threads) {
    if (importance) means = channel_means(*importance);
    before.forward(batch, nullptr, Graph::Keep::nothing);
    after.traced = &entered;
    after.forward(batch, nullptr, Graph::Keep::nothing);
    after.traced = nullptr;

    for (Matrix& matrix : trial->matrices()) {
        const Weight& weight = *matrix.views.front();
        std::vector<Type> types;
        for (const ggml_type type : types_for(weight.in)) types.push_back({type, ggml_type_name(type), static_cast<int64_t>(ggml_row_size(type, weight.in)) * weight.out});
        all.push_back({std::move(matrix), std::move(types)});
    }
}

const std::vector<float>* Sensitivity::means_of(const std::string& name) const {
    const auto found = means.find(name);
    return found == means.end() ? nullptr : &found->second;
}

Sensitivity::Loss Sensitivity::measure(size_t index, size_t choice, bool run) {
    const Subject& matrix = all[index];
    const ggml_type type = matrix.types[choice].type;
    const Weight original = *matrix.views.front();
    const int64_t columns = original.in, row_bytes = static_cast<int64_t>(ggml_row_size(type, columns));
    std::vector<uint8_t> quantized(matrix.types[choice].bytes);
    std::vector<double> errors(original.out);
    // The quantiser has no importance of embeddings that are the head; as inputs of the head there is one.
    const std::vector<float>* seen = means_of(matrix.name);
    const std::vector<float>* heeded = seen || matrix.views.size() == 1 ? seen : means_of("output.weight");
    after.threads.run(original.out, [&](int64_t begin, int64_t end, int) {
        std::vector<float> exact(columns), rounded(columns);
        for (int64_t row = begin; row < end; row++) {
            original.read(row, 0, columns, exact.data());
            uint8_t* to = quantized.data() + row * row_bytes;
            ggml_quantize_chunk(type, exact.data(), to, 0, 1, columns, seen ? seen->data() : nullptr);
            ggml_get_type_traits(type)->to_float(to, rounded.data(), columns);
            for (int64_t i = 0; i < columns; i++) {
                const double difference = static_cast<double>(rounded[i]) - exact[i];
                errors[row] += difference * difference * (heeded ? (*heeded)[i] : 1.0);
            }
        }
    });
    Loss loss{std::accumulate(errors.begin(), errors.end(), 0.0), 0};
    if (!run) return loss;
    std::vector<Weight> originals;
    for (Weight* view : matrix.views) {
        originals.push_back(*view);
        view->point_to(type, quantized.data());
    }
    if (matrix.layer < 0) after.forward(batch, nullptr, Graph::Keep::nothing);
    else after.forward_from(matrix.layer, entered[matrix.layer].data());
    loss.kl = compare(before, after).kl_sum;
    for (size_t i = 0; i < originals.size(); i++) *matrix.views[i] = originals[i];
    return loss;
}

}  // namespace stillroom
