// A head of a task's own: outputs z = W h + b on the state h behind the final norm, in place of the vocabulary's logits, and their losses.
// Its weights stand behind the adapter's in one flat array (lora). Letters: Q queries, K outputs, C width.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace stillroom {

class Graph;
class Lora;
struct Batch;

enum class HeadLoss { softmax, sigmoid, squared, huber, pinball };
HeadLoss head_loss_of(const std::string& name);  // Failure(usage) for another name
const char* name_of(HeadLoss loss);

struct HeadOptions {
    int64_t outputs = 0;  // K; 0: there is no head
    HeadLoss loss = HeadLoss::softmax;
    // softmax: (K) weight of each class, or empty for 1. sigmoid: (K) weight of each label where it is right, or empty for 1. pinball: (K) the quantiles'
    // levels. huber: (1) from where on errors count linearly.
    std::vector<float> parameters;
    void check() const;  // Failure(usage)
};

// (Q, K) after graph.forward() with this adapter.
std::vector<float> head_outputs(Graph& graph, const Batch& batch, const Lora& lora);

// Sum over queries of the loss against batch.targets, after graph.forward(). With gradients (flat, as lora's values), those of W and b are added there and
// that of the states is left in the graph (graph.backward() is not called); nothing is when the sum is not finite. Failure(usage) for targets that do not fit.
double head_loss(Graph& graph, const Batch& batch, const Lora& lora, float* gradients);

}  // namespace stillroom
