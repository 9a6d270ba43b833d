// The loss of a student against what a teacher said (docs/numerics.md holds the equations), fused with the head.
#pragma once
#include "core/loss.h"

namespace stillroom {

struct Distillation {
    enum class Kind { forward_kl, reverse_kl, jsd } kind = Kind::forward_kl;
    double beta = 0.5;          // of jsd: the teacher's share of the mixture, above 0 and below 1
    double temperature = 1;     // of both sides; the teacher's entries were taken at it
    double label_weight = 0.5;  // of the labels' cross-entropy, from 0 to 1; the rest is the divergence's
    double hidden_weight = 0;   // of the distance of the hidden states (hidden), at least 0; added to the others
};

// Sum over queries of label_weight * -log p(token) + (1 - label_weight) * T^2 * divergence, with its gradient left in the graph as cross_entropy() does.
// Without the distance of the hidden states, which has no part in the head.
// Queries at one position have the same beginning, and so one teacher: the first one's is taken for all. Failure(usage) for a batch without a teacher.
double distillation(Graph& graph, const Batch& batch, const Distillation& options, float* gradients, LossScratch& scratch);

}  // namespace stillroom
