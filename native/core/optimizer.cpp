// AdamW (Loshchilov & Hutter 2019, algorithm 2), with torch.nn.utils.clip_grad_norm_'s clipping.
#include "core/optimizer.h"

#include <cmath>

#include "core/failure.h"

namespace stillroom {

namespace {
// Weights of a block, of fixed size, so that the norm does not depend on the number of threads.
constexpr int64_t block = 1 << 16, piece = 1 << 10;
}  // namespace

Optimizer::Optimizer(const OptimizerOptions& options, int64_t size) : options(options), size(size), moments(size, options.eight_bit) {
    auto check = [](bool good, const char* what, const char* name, float value) {
        if (!good) throw Failure(Code::usage, std::string("expected ") + what + " for " + name + ", received " + std::to_string(value));
    };
    check(options.beta1 >= 0 && options.beta1 < 1, "a number in [0, 1)", "beta1", options.beta1);
    check(options.beta2 >= 0 && options.beta2 < 1, "a number in [0, 1)", "beta2", options.beta2);
    check(options.epsilon > 0 && std::isfinite(options.epsilon), "a positive number", "epsilon", options.epsilon);
    check(options.weight_decay >= 0 && std::isfinite(options.weight_decay), "a number of at least 0", "weightDecay", options.weight_decay);
    check(options.clip_norm >= 0 && std::isfinite(options.clip_norm), "a number of at least 0", "clipNorm", options.clip_norm);
}

double Optimizer::update(float* weights, const float* gradients, double divisor, float rate, const Kernels& kernels, Threads& threads) {
    if (!(divisor > 0)) throw Failure(Code::usage, "expected a positive number for divisor, received " + std::to_string(divisor));
    const int64_t blocks = (size + block - 1) / block;
    squares.resize(blocks);
    threads.run(Kernel::optimizer, blocks, [&](int64_t begin, int64_t end, int) {
        for (int64_t b = begin; b < end; b++) {
            double sum = 0;  // of pieces that f32 sums well
            for (int64_t i = b * block, end = std::min(size, i + block); i < end; i += piece)
                sum += kernels.dot(std::min(piece, end - i), gradients + i, gradients + i);
            squares[b] = sum;
        }
    });
    double total = 0;
    for (double square : squares) total += square;
    const double norm = std::sqrt(total) / divisor;
    if (!std::isfinite(norm)) throw Failure(Code::input, "the gradients' norm is not finite; the weights were not changed");
    double factor = 1.0 / divisor;
    if (options.clip_norm > 0 && norm > options.clip_norm) factor *= options.clip_norm / (norm + 1e-6);
    steps++;
    const float correction1 = static_cast<float>(1.0 - std::pow(static_cast<double>(options.beta1), static_cast<double>(steps)));
    const float correction2 = static_cast<float>(1.0 - std::pow(static_cast<double>(options.beta2), static_cast<double>(steps)));
    threads.run(Kernel::optimizer, blocks, [&](int64_t begin, int64_t end, int) {
        if (begin >= end) return;
        moments.update(begin * block, std::min(size, end * block), steps, [&](int64_t from, int64_t count, float* m, float* v) {
            kernels.adamw(count, weights + from, gradients + from, m, v, static_cast<float>(factor), rate, options.beta1, options.beta2, options.epsilon,
                          options.weight_decay, correction1, correction2);
        });
    });
    return norm;
}

std::vector<Moments::Piece> Optimizer::state() {
    std::vector<Moments::Piece> pieces = moments.pieces();
    pieces.insert(pieces.begin(), {reinterpret_cast<uint8_t*>(&steps), sizeof steps});
    return pieces;
}

}  // namespace stillroom
