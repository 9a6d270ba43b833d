// What quantising one matrix of a model does to its answers to a batch, all else left as it is. Knows which types a matrix may have; not which it gets.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/graph.h"

namespace stillroom {

class Sensitivity {
   public:
    struct Type {
        ggml_type type;
        std::string name;  // ggml's
        int64_t bytes;     // of the whole matrix
    };
    struct Subject : Matrix {  // of the model under trial
        std::vector<Type> types;  // rising by size
    };
    struct Loss {
        double error;  // sum over the weights of (quantised - weight)^2, times the mean squared input of their channel where that is known
        double kl;     // sum over the batch's query positions of KL(model || trial), nats
    };

    // importance may be null. Two passes over the batch; keeps what enters every layer: layers x tokens x width floats.
    Sensitivity(const std::shared_ptr<const Model>& model, const Kernels& kernels, int threads, Batch batch, const Importance* importance);

    const std::vector<Subject>& matrices() const { return all; }
    int64_t positions() const { return before.head_rows(); }
    // Quantises one matrix as the quantiser does. Without `run` the model is not asked, and kl is 0.
    Loss measure(size_t matrix, size_t type, bool run);

   private:
    const std::vector<float>* means_of(const std::string& name) const;
    const Batch batch;
    std::shared_ptr<Model> trial;  // its weights change
    Graph before, after;
    std::vector<std::vector<float>> entered;  // (layers) of (T, C)
    std::map<std::string, std::vector<float>> means;
    std::vector<Subject> all;
};

}  // namespace stillroom
