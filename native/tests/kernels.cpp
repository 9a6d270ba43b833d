// Every kernel variant against plain loops in double, forward and, where there is one, backward by finite differences.
#include "core/gemm/kernels.h"

#include <algorithm>

#include "tests/check.h"
#include "tests/gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

const std::vector<int> odd_sizes = {1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 19, 23, 31, 32, 33, 37, 48, 61, 64, 67, 101, 130};

// The slow twin of pack + multiply.
double product_error(const Kernels& kernels, int m, int n, int k, bool by_columns, bool accumulate) {
    const auto a = random_values(m * k, 1), b = random_values(n * k, 2);
    std::vector<float> c = random_values(m * n, 3), before = c;
    const int mr = kernels.tile_rows, nr = kernels.tile_columns;
    std::vector<float> packed((m + mr - 1) / mr * mr * k), panel(nr * k);
    if (by_columns) kernels.pack(m, k, a.data(), 1, m, 0.5f, packed.data());
    else kernels.pack(m, k, a.data(), k, 1, 0.5f, packed.data());
    for (int j = 0; j < n; j += nr) {
        kernels.pack_transposed(std::min(nr, n - j), k, b.data() + j * k, k, panel.data());
        kernels.multiply(m, std::min(nr, n - j), k, packed.data(), mr * k, panel.data(), nr, c.data() + j, n, accumulate);
    }
    double worst = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = accumulate ? before[i * n + j] : 0.0;
            for (int p = 0; p < k; p++) sum += 0.5 * (by_columns ? a[p * m + i] : a[i * k + p]) * static_cast<double>(b[j * k + p]);
            worst = std::max(worst, std::fabs(sum - c[i * n + j]));
        }
    return worst;
}

double norm_loss(const std::vector<double>& x, const std::vector<float>& w, const std::vector<float>& dy, double epsilon) {
    double square = 0, sum = 0;
    for (double v : x) square += v * v;
    const double inverse = 1 / std::sqrt(square / x.size() + epsilon);
    for (size_t i = 0; i < x.size(); i++) sum += dy[i] * x[i] * inverse * w[i];
    return sum;
}

}  // namespace

TEST(products_equal_plain_loops) {
    for (const Kernels* kernels : available_kernels())
        for (int m : {1, 2, 5, 6, 7, 11, 12, 13, 25, 40})
            for (int n : {1, 3, 8, 15, 16, 17, 32, 33, 70})
                for (int k : {1, 3, 4, 7, 64, 65})
                    for (int mode = 0; mode < 4; mode++) CHECK_NEAR(product_error(*kernels, m, n, k, mode & 1, mode & 2), 0, 1e-5);
}

TEST(exponential_is_exact_to_float) {
    for (const Kernels* kernels : available_kernels()) {
        std::vector<float> x;
        for (float v = -87; v < 1; v += 0.37f) x.push_back(v);
        x.push_back(-200);
        std::vector<float> y = x;
        const float sum = kernels->exp_shifted(static_cast<int64_t>(y.size()), y.data(), 1.0f);
        double expected = 0;
        for (size_t i = 0; i < x.size(); i++) {
            const double e = std::exp(static_cast<double>(x[i] - 1.0f));
            if (x[i] - 1 > -87) CHECK_NEAR(y[i] / e, 1, 3e-7);
            expected += y[i];
        }
        CHECK_EQUAL(y.back(), 0.0f);
        CHECK_NEAR(sum / expected, 1, 1e-6);
    }
}

TEST(rms_norm_and_its_gradient) {
    for (const Kernels* kernels : available_kernels())
        for (int n : odd_sizes) {
            const auto x = random_values(n, 4), w = random_values(n, 5), dy = random_values(n, 6);
            std::vector<float> y(n), dx(n, 0.0f);
            const float inverse = kernels->rms_norm(n, x.data(), w.data(), 1e-5f, y.data());
            double forward = 0;
            for (int i = 0; i < n; i++) forward += static_cast<double>(y[i]) * dy[i];
            CHECK_NEAR(forward, norm_loss({x.begin(), x.end()}, w, dy, 1e-5), 1e-5 * n);
            kernels->rms_norm_backward(n, x.data(), w.data(), inverse, dy.data(), dx.data());
            // One value: its norm is nearly constant, and the difference of nearly equal numbers is all there is.
            CHECK(gradient_error([&](const std::vector<double>& at) { return norm_loss(at, w, dy, 1e-5); }, x, dx) < (n == 1 ? 0.2 : 2e-5));
        }
}

TEST(swiglu_and_its_gradient) {
    for (const Kernels* kernels : available_kernels())
        for (int n : odd_sizes) {
            const auto gate = random_values(n, 7, 6), up = random_values(n, 8), dout = random_values(n, 9);
            std::vector<float> out(n), dgate(n), dup(n);
            auto loss = [&](const std::vector<double>& g, const std::vector<double>& u) {
                double sum = 0;
                for (int i = 0; i < n; i++) sum += dout[i] * g[i] / (1 + std::exp(-g[i])) * u[i];
                return sum;
            };
            const std::vector<double> g(gate.begin(), gate.end()), u(up.begin(), up.end());
            kernels->swiglu(n, gate.data(), up.data(), out.data());
            double forward = 0;
            for (int i = 0; i < n; i++) forward += static_cast<double>(out[i]) * dout[i];
            CHECK_NEAR(forward, loss(g, u), 1e-5 * n);
            kernels->swiglu_backward(n, gate.data(), up.data(), dout.data(), dgate.data(), dup.data());
            CHECK(gradient_error([&](const std::vector<double>& at) { return loss(at, u); }, gate, dgate) < 2e-5);
            CHECK(gradient_error([&](const std::vector<double>& at) { return loss(g, at); }, up, dup) < 2e-5);
            // The test can fail: one gradient off by a hundredth of the norm is seen.
            double norm = 0;
            for (float d : dgate) norm += static_cast<double>(d) * d;
            dgate[n / 2] += static_cast<float>(0.01 * std::sqrt(norm) + 1e-3);
            CHECK(gradient_error([&](const std::vector<double>& at) { return loss(at, u); }, gate, dgate) > 1e-3);
        }
}

TEST(softmax_backward_equals_plain_loops) {
    for (const Kernels* kernels : available_kernels())
        for (int n : odd_sizes) {
            const auto scores = random_values(n, 12, 5), dp = random_values(n, 13);
            std::vector<float> p = scores, ds = dp;
            kernels->softmax_backward(n, 2.5f, 0.3f, 0.25f, p.data(), ds.data());
            for (int i = 0; i < n; i++) {
                const double probability = std::exp(static_cast<double>(scores[i]) - 2.5);
                CHECK_NEAR(p[i] / probability, 1, 5e-7);
                CHECK_NEAR(ds[i], probability * (static_cast<double>(dp[i]) - 0.3f) * 0.25, 1e-6 * probability);
            }
        }
}

TEST(reductions_equal_plain_loops) {
    for (const Kernels* kernels : available_kernels())
        for (int n : odd_sizes) {
            const auto x = random_values(n, 10), y = random_values(n, 11);
            double dot = 0;
            for (int i = 0; i < n; i++) dot += static_cast<double>(x[i]) * y[i];
            CHECK_NEAR(kernels->dot(n, x.data(), y.data()), dot, 1e-5);
            CHECK_EQUAL(kernels->maximum(n, x.data()), *std::max_element(x.begin(), x.end()));
        }
}

TEST(adamw_step_by_hand) {
    for (const Kernels* kernels : available_kernels()) {
        // First step: the corrected moments are g and g², so the step is rate · sign(g) (epsilon aside), after decay.
        std::vector<float> w = {1, -2, 3}, g = {4, -4, 0}, m(3), v(3);
        kernels->adamw(3, w.data(), g.data(), m.data(), v.data(), 0.5f, 0.1f, 0.9f, 0.999f, 1e-8f, 0.01f, 0.1f, 0.001f);
        CHECK_NEAR(w[0], 1 * (1 - 0.001) - 0.1, 1e-5);
        CHECK_NEAR(w[1], -2 * (1 - 0.001) + 0.1, 1e-5);
        CHECK_NEAR(w[2], 3 * (1 - 0.001), 1e-6);
        CHECK_NEAR(m[0], 0.2, 1e-6);
        CHECK_NEAR(v[0], 0.004, 1e-7);
    }
}
