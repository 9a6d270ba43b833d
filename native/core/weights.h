// Weights of a decoder under training: the chosen tensors as f32 in one flat array, and the model whose views point into it.
// Knows which tensors there are and how the file of the trained model is written; not how gradients come about (graph).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/model.h"
#include "core/parameters.h"
#include "core/threads.h"

namespace stillroom {

struct WeightsOptions {
    std::vector<std::string> targets;  // "q", "k", "v", "o", "gate", "up", "down", "norms", "biases", "head", "final_norm", "embeddings"
    std::vector<int64_t> layers;       // of all but the last three; empty: all
    int64_t hidden_width = 0;          // of a teacher whose states are to be matched: the outputs of a projection; 0: none
};

class Weights : public Parameters {
   public:
    // Unpacks the chosen tensors. Failure(usage) for an unknown target or layer, and where the model has nothing of what is chosen.
    // Embeddings that the head shares stay shared when both are chosen, and part when one of them is.
    Weights(std::shared_ptr<const Model> base, const WeightsOptions& options, Threads& threads);

    const std::shared_ptr<const Model> base;
    // The base with the chosen tensors in values, or with all matrices rounded from there.
    std::shared_ptr<const Model> model() const { return view; }
    // From now on passes run on the model's matrices, trained or not, as the quantiser would round them without an importance matrix, at every moment;
    // gradients of those go to the values (straight-through, docs/numerics.md). Failure(usage) where a matrix is not among the types, or cannot have its own.
    void quantize(const std::vector<TensorType>& types, Threads& threads);
    void changed(Threads& threads) override;
    bool trains(const void* weights) const;
    // Where the gradient of these weights lies in a flat array; nullptr for weights that are not trained.
    float* gradient(const void* weights, float* gradients) const;

    std::vector<NamedTensor> shapes() const override;
    void read(const float* flat, size_t tensor, int64_t first, int64_t count, float* out) const override;
    void write(size_t tensor, int64_t first, int64_t count, const float* from) override;
    int64_t lowest_layer() const override { return lowest; }
    const Lora* lora() const override { return nullptr; }

    // The whole model as a GGUF: trained tensors in f32, all others and the metadata byte for byte; atomically, streamed.
    void save(const std::string& path) const;

   private:
    struct Tensor {
        std::string name;
        int64_t rows, columns, offset;
    };
    // A matrix that passes see rounded.
    struct Rounded {
        Weight exact;                // in values, or the base's
        std::vector<Weight*> views;  // two where the embeddings are the head
        std::vector<uint8_t> codes;
        void round(int64_t first, int64_t last);  // these rows
    };
    const Tensor* find(const std::string& name) const;
    int64_t offset_of(const void* weights) const;  // in values; -1: not trained
    std::vector<Rounded> rounded;
    std::shared_ptr<Model> view;
    std::vector<Tensor> tensors;
    int64_t lowest;
};

}  // namespace stillroom
