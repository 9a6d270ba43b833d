// What a trainer trains: values in one flat array, seen from outside as named tensors in one order. Gradients and moments have the
// same layout. Knows nothing of how they enter the pass.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace stillroom {

class Lora;
class Threads;

struct NamedTensor {
    std::string name;         // "blk.0.attn_q.lora_a", "blk.0.attn_q.weight"
    int64_t rows, columns;    // A: (rank, in), B: (out, rank); a weight: (out, in); a norm or bias: (1, n)
    std::vector<float> data;  // row-major
};

// Takes a student's hidden states to its teacher's (hidden): the last tensor of what is trained, and part of no adapter and no model.
struct Projection {
    static constexpr const char* name = "projection.weight";
    int64_t outputs = 0, inputs = 0;  // (outputs, inputs) row-major: the teacher's width, the student's; no outputs: there is none
    int64_t offset = 0;               // in values
    int64_t size() const { return outputs * inputs; }
};

class Parameters {
   public:
    virtual ~Parameters() = default;
    std::vector<float> values;
    Projection projection;  // zeros at first
    // To be called when values have changed as a whole: for what is made of them.
    virtual void changed(Threads&) {}

    // The tensors without their data.
    virtual std::vector<NamedTensor> shapes() const = 0;
    // Elements [first, first + count) of a tensor, out of a flat array of this layout (values, gradients), and into values.
    virtual void read(const float* flat, size_t tensor, int64_t first, int64_t count, float* out) const = 0;
    virtual void write(size_t tensor, int64_t first, int64_t count, const float* from) = 0;
    // The lowest layer with any of them: nothing below it needs a gradient. -1 for the embeddings, the number of layers where all lie above.
    virtual int64_t lowest_layer() const = 0;
    // The low-rank path of a pass with them; nullptr where they are weights of the model itself.
    virtual const Lora* lora() const = 0;
};

// Which of `count` layers are meant: those listed, all for an empty list. Failure(usage) for a layer that there is not.
std::vector<bool> choose_layers(int64_t count, const std::vector<int64_t>& listed);

}  // namespace stillroom
