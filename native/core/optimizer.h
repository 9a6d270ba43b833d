// AdamW with decoupled weight decay over one flat array of weights; knows no schedule and no model.
#pragma once
#include <cstdint>
#include <vector>

#include "core/gemm/kernels.h"
#include "core/moments.h"
#include "core/threads.h"

namespace stillroom {

struct OptimizerOptions {
    float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weight_decay = 0, clip_norm = 1;  // clip_norm 0: no clipping
    bool eight_bit = false;  // moments
};

class Optimizer {
   public:
    Optimizer(const OptimizerOptions& options, int64_t size);

    // weights -= AdamW step for gradients / divisor, clipped to the global norm; returns that norm before clipping.
    // Failure(input), with nothing changed, when the norm is not finite.
    double update(float* weights, const float* gradients, double divisor, float rate, const Kernels& kernels, Threads& threads);

    // Step count and both moments as bytes, for a checkpoint: where they lie, in order.
    std::vector<Moments::Piece> state();

   private:
    const OptimizerOptions options;
    const int64_t size;
    int64_t steps = 0;
    Moments moments;
    std::vector<double> squares;  // (blocks) of the gradients
};

}  // namespace stillroom
