// Gradients against finite differences in double precision: the slow twins are written for double, the kernels for float.
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/random.h"

namespace stillroom::testing {

inline std::vector<float> random_values(int64_t n, uint64_t seed, float amplitude = 1.0f) {
    std::vector<float> values(n);
    for (int64_t i = 0; i < n; i++) values[i] = (2 * uniform(seed, 0, i) - 1) * amplitude;
    return values;
}

// Largest |analytic - central difference| over the norm of the differences, for a scalar function of x in double.
inline double gradient_error(const std::function<double(const std::vector<double>&)>& function, const std::vector<float>& at,
                             const std::vector<float>& analytic, double step = 1e-5) {
    std::vector<double> x(at.begin(), at.end());
    double worst = 0, norm = 0;
    for (size_t i = 0; i < x.size(); i++) {
        const double kept = x[i];
        x[i] = kept + step;
        const double high = function(x);
        x[i] = kept - step;
        const double low = function(x);
        x[i] = kept;
        const double difference = (high - low) / (2 * step);
        worst = std::max(worst, std::fabs(difference - analytic[i]));
        norm += difference * difference;
    }
    const double error = worst / (std::sqrt(norm) + 1e-12);
    return std::isfinite(error) ? error : INFINITY;
}

}  // namespace stillroom::testing
