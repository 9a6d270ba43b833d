// Attention over forests against a plain double-precision twin, and its gradient against finite differences of that twin; over many blocks and tiles,
// where differences would take minutes, against the twin's own gradient.
#include "core/attention.h"

#include <algorithm>

#include "core/failure.h"
#include "tests/check.h"
#include "tests/gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

struct Case {
    AttentionShape shape;
    std::vector<Segment> segments;
};

Batch batch_of(const std::vector<Segment>& segments) {
    Batch batch;
    batch.segments = segments;
    for (const Segment& segment : segments)
        for (int i = 0; i < segment.length; i++) batch.tokens.push_back(0);
    batch.check(1, 1 << 20);
    return batch;
}

// Whether token t sees token s: same segment and not later, or an ancestor's.
bool sees(const Batch& batch, int t, int s) {
    auto owner = [&](int token) {
        for (size_t i = 0; i < batch.segments.size(); i++)
            if (token < batch.segments[i].start + batch.segments[i].length) return static_cast<int>(i);
        return -1;
    };
    int segment = owner(t);
    const int other = owner(s);
    if (segment == other) return s <= t;
    while (segment >= 0 && segment != other) segment = batch.segments[segment].parent;
    return segment == other;
}

double loss(const Batch& batch, const AttentionShape& shape, const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v,
            const std::vector<float>& dout, std::vector<double>* out = nullptr) {
    const int total = static_cast<int>(batch.tokens.size()), width = static_cast<int>(shape.head_width);
    const int ldq = static_cast<int>(shape.heads) * width, ldk = static_cast<int>(shape.key_value_heads) * width;
    double sum = 0;
    for (int h = 0; h < shape.heads; h++) {
        const int g = h / static_cast<int>(shape.heads / shape.key_value_heads);
        for (int t = 0; t < total; t++) {
            std::vector<double> weight(total, 0.0);
            double norm = 0, high = -1e30;
            for (int pass = 0; pass < 2; pass++)
                for (int s = 0; s < total; s++) {
                    if (!sees(batch, t, s)) continue;
                    double score = 0;
                    for (int d = 0; d < width; d++) score += q[t * ldq + h * width + d] * k[s * ldk + g * width + d];
                    score /= std::sqrt(static_cast<double>(width));
                    if (pass == 0) high = std::max(high, score);
                    else norm += weight[s] = std::exp(score - high);
                }
            for (int d = 0; d < width; d++) {
                double value = 0;
                for (int s = 0; s < total; s++) value += weight[s] / norm * v[s * ldk + g * width + d];
                if (out) (*out)[t * ldq + h * width + d] = value;
                sum += dout[t * ldq + h * width + d] * value;
            }
        }
    }
    return sum;
}

struct Gradients {
    std::vector<double> q, k, v;
};

// The gradient of loss(), by its equations (docs/numerics.md).
Gradients twin_gradients(const Batch& batch, const AttentionShape& shape, const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                         const std::vector<float>& dout) {
    const int total = static_cast<int>(batch.tokens.size()), width = static_cast<int>(shape.head_width);
    const int ldq = static_cast<int>(shape.heads) * width, ldk = static_cast<int>(shape.key_value_heads) * width;
    const double root = std::sqrt(static_cast<double>(width));
    Gradients d{std::vector<double>(total * ldq), std::vector<double>(total * ldk), std::vector<double>(total * ldk)};
    for (int h = 0; h < shape.heads; h++) {
        const int g = h / static_cast<int>(shape.heads / shape.key_value_heads);
        for (int t = 0; t < total; t++) {
            std::vector<double> weight(total, 0.0), back(total, 0.0);
            double norm = 0, delta = 0;
            for (int s = 0; s < total; s++) {
                if (!sees(batch, t, s)) continue;
                double score = 0;
                for (int i = 0; i < width; i++) {
                    score += static_cast<double>(q[t * ldq + h * width + i]) * k[s * ldk + g * width + i];
                    back[s] += static_cast<double>(dout[t * ldq + h * width + i]) * v[s * ldk + g * width + i];
                }
                norm += weight[s] = std::exp(score / root);
            }
            for (int s = 0; s < total; s++) delta += (weight[s] /= norm) * back[s];
            for (int s = 0; s < total; s++) {
                if (weight[s] == 0) continue;
                const double slope = weight[s] * (back[s] - delta) / root;
                for (int i = 0; i < width; i++) {
                    d.q[t * ldq + h * width + i] += slope * k[s * ldk + g * width + i];
                    d.k[s * ldk + g * width + i] += slope * q[t * ldq + h * width + i];
                    d.v[s * ldk + g * width + i] += weight[s] * dout[t * ldq + h * width + i];
                }
            }
        }
    }
    return d;
}

const std::vector<Case> cases = {
    {{1, 1, 4}, {{0, 1, -1}}},
    {{1, 1, 2}, {{0, 7, -1}}},
    {{2, 1, 4}, {{0, 5, -1}, {5, 3, -1}}},
    {{2, 2, 6}, {{0, 3, -1}, {3, 2, 0}, {5, 4, 0}}},
    {{4, 2, 8}, {{0, 4, -1}, {4, 1, 0}, {5, 2, 1}, {7, 3, 1}, {10, 2, 0}, {12, 3, -1}}},
    {{3, 1, 10}, {{0, 2, -1}, {2, 9, 0}, {11, 1, 0}, {12, 1, 0}, {13, 1, 0}}},
    {{6, 3, 5}, {{0, 6, -1}, {6, 6, -1}}},
    {{2, 1, 16}, {{0, 13, -1}, {13, 1, 0}}},
    {{1, 1, 17}, {{0, 11, -1}}},
    {{5, 5, 3}, {{0, 1, -1}, {1, 1, 0}, {2, 1, 1}, {3, 1, 2}, {4, 1, 3}}},
    {{1, 1, 1}, {{0, 2, -1}}},
    {{2, 2, 1}, {{0, 14, -1}}},
    {{3, 3, 2}, {{0, 4, -1}, {4, 7, 0}}},
    {{7, 1, 2}, {{0, 5, -1}, {5, 1, 0}, {6, 5, 0}}},
    {{1, 1, 33}, {{0, 3, -1}, {3, 2, 0}}},
    {{2, 1, 9}, {{0, 1, -1}, {1, 12, 0}, {13, 1, 1}}},
    {{4, 4, 7}, {{0, 2, -1}, {2, 3, -1}, {5, 4, 1}}},
    {{2, 2, 12}, {{0, 7, -1}, {7, 6, 0}}},
    {{3, 1, 5}, {{0, 1, -1}, {1, 1, -1}, {2, 1, -1}, {3, 9, 2}}},
    {{6, 2, 3}, {{0, 12, -1}, {12, 2, 0}}},
};

}  // namespace

TEST(attention_equals_its_plain_twin_and_finite_differences) {
    for (const Kernels* kernels : available_kernels())
        for (int count : {1, 3})
            for (const Case& one : cases) {
                Threads threads(count);
                Attention attention(*kernels, threads);
                const Batch batch = batch_of(one.segments);
                const int64_t total = static_cast<int64_t>(batch.tokens.size()), nq = total * one.shape.heads * one.shape.head_width,
                              nk = total * one.shape.key_value_heads * one.shape.head_width;
                // Vectors may read one vector beyond the end.
                auto roomy = [](std::vector<float> values) { values.reserve(values.size() + 64); return values; };
                const auto q = roomy(random_values(nq, 1, 2)), k = roomy(random_values(nk, 2, 2)), v = roomy(random_values(nk, 3)), dout = roomy(random_values(nq, 4));
                std::vector<float> out = roomy(std::vector<float>(nq)), lse(total * one.shape.heads), dq(nq), dk(nk), dv(nk);
                attention.forward(batch, {total}, one.shape, q.data(), k.data(), v.data(), out.data(), lse.data());
                const std::vector<double> qd(q.begin(), q.end()), kd(k.begin(), k.end()), vd(v.begin(), v.end());
                std::vector<double> expected(nq);
                loss(batch, one.shape, qd, kd, vd, dout, &expected);
                for (int64_t i = 0; i < nq; i++) CHECK_NEAR(out[i], expected[i], 2e-6);
                attention.backward(batch, {total}, one.shape, q.data(), k.data(), v.data(), out.data(), lse.data(), dout.data(), dq.data(), dk.data(), dv.data());
                CHECK(gradient_error([&](const std::vector<double>& at) { return loss(batch, one.shape, at, kd, vd, dout); }, q, dq) < 2e-5);
                CHECK(gradient_error([&](const std::vector<double>& at) { return loss(batch, one.shape, qd, at, vd, dout); }, k, dk) < 2e-5);
                CHECK(gradient_error([&](const std::vector<double>& at) { return loss(batch, one.shape, qd, kd, at, dout); }, v, dv) < 2e-5);
                // The test can fail: one gradient off by a hundredth of the norm is seen.
                double norm = 0;
                for (float d : dv) norm += static_cast<double>(d) * d;
                dv[nk / 2] += static_cast<float>(0.01 * std::sqrt(norm));
                CHECK(gradient_error([&](const std::vector<double>& at) { return loss(batch, one.shape, qd, kd, at, dout); }, v, dv) > 1e-3);
            }
}

TEST(attention_in_blocks_equals_its_plain_twin) {
    // Longer than a block of queries and of keys, with a shared prefix of several blocks; tiles of rows and keys that end within a block.
    const AttentionShape shape{2, 1, 12};
    for (const std::vector<Segment>& segments : std::vector<std::vector<Segment>>{{{0, 300, -1}, {300, 130, 0}, {430, 270, 0}}, {{0, 97, -1}, {97, 1, 0}, {98, 37, -1}}}) {
        const Batch batch = batch_of(segments);
        const int64_t total = static_cast<int64_t>(batch.tokens.size()), nq = total * 24, nk = total * 12;
        auto q = random_values(nq, 1, 2), k = random_values(nk, 2, 2), v = random_values(nk, 3), dout = random_values(nq, 4);
        for (auto* values : {&q, &k, &v, &dout}) values->reserve(values->size() + 64);
        std::vector<double> expected(nq);
        loss(batch, shape, {q.begin(), q.end()}, {k.begin(), k.end()}, {v.begin(), v.end()}, dout, &expected);
        const Gradients wanted = twin_gradients(batch, shape, q, k, v, dout);
        for (const Kernels* kernels : available_kernels()) {
            Threads threads(2);
            Attention attention(*kernels, threads);
            std::vector<float> out(nq + 64), lse(2 * total), dq(nq), dk(nk), dv(nk);
            attention.forward(batch, {total}, shape, q.data(), k.data(), v.data(), out.data(), lse.data());
            for (int64_t i = 0; i < nq; i++) CHECK_NEAR(out[i], expected[i], 5e-6);
            attention.backward(batch, {total}, shape, q.data(), k.data(), v.data(), out.data(), lse.data(), dout.data(), dq.data(), dk.data(), dv.data());
            for (int64_t i = 0; i < nq; i++) CHECK_NEAR(dq[i], wanted.q[i], 1e-5);
            for (int64_t i = 0; i < nk; i++) {
                CHECK_NEAR(dk[i], wanted.k[i], 1e-5);
                CHECK_NEAR(dv[i], wanted.v[i], 1e-5);
            }
        }
    }
}

TEST(attention_at_some_rows_equals_attention_at_all) {
    // Blocks of queries without and with rows that ask, a tree without any, a prefix that asks nothing.
    const std::vector<std::vector<int32_t>> asked = {{5}, {0, 1, 2, 299, 300, 429, 699}, {310, 311, 690, 703}, {299}, {699, 700, 701, 702, 703}};
    const AttentionShape shape{4, 2, 12};
    const int64_t total = 704, ldq = 48, ldk = 24;
    const Batch batch = batch_of({{0, 300, -1}, {300, 130, 0}, {430, 270, 0}, {700, 4, -1}});
    for (const Kernels* kernels : available_kernels())
        for (const auto& tokens : asked) {
            Threads threads(2);
            Attention attention(*kernels, threads);
            auto q = random_values(total * ldq, 1, 2), k = random_values(total * ldk, 2, 2), v = random_values(total * ldk, 3), dout = random_values(total * ldq, 4);
            for (auto* values : {&q, &k, &v, &dout}) values->reserve(values->size() + 64);
            const Rows rows{static_cast<int64_t>(tokens.size()), tokens.data()};
            // The rows that do not ask send no gradient back.
            std::vector<float> some_q, some_dout;
            for (int64_t t = 0, r = 0; t < total; t++) {
                const bool asks = r < rows.count && tokens[r] == t;
                if (asks) {
                    some_q.insert(some_q.end(), &q[t * ldq], &q[t * ldq] + ldq);
                    some_dout.insert(some_dout.end(), &dout[t * ldq], &dout[t * ldq] + ldq);
                    r++;
                } else {
                    std::fill(&dout[t * ldq], &dout[t * ldq] + ldq, 0.0f);
                }
            }
            struct Result {
                std::vector<float> out, lse, dq, dk, dv;
                explicit Result(int64_t count) : out(count * ldq + 64), lse(count * 4), dq(count * ldq), dk(total * ldk), dv(total * ldk) {}
            } all(total), some(rows.count);
            some_q.reserve(some_q.size() + 64);
            some_dout.reserve(some_dout.size() + 64);
            attention.forward(batch, {total}, shape, q.data(), k.data(), v.data(), all.out.data(), all.lse.data());
            attention.backward(batch, {total}, shape, q.data(), k.data(), v.data(), all.out.data(), all.lse.data(), dout.data(), all.dq.data(), all.dk.data(), all.dv.data());
            attention.forward(batch, rows, shape, some_q.data(), k.data(), v.data(), some.out.data(), some.lse.data());
            attention.backward(batch, rows, shape, some_q.data(), k.data(), v.data(), some.out.data(), some.lse.data(), some_dout.data(), some.dq.data(),
                               some.dk.data(), some.dv.data());
            for (int64_t r = 0; r < rows.count; r++)
                for (int64_t i = 0; i < ldq; i++) {
                    CHECK_EQUAL(some.out[r * ldq + i], all.out[tokens[r] * ldq + i]);
                    CHECK_EQUAL(some.dq[r * ldq + i], all.dq[tokens[r] * ldq + i]);
                }
            // Sums over rows: in blocks of other rows.
            for (int64_t i = 0; i < total * ldk; i++) {
                CHECK_NEAR(some.dk[i], all.dk[i], 2e-6);
                CHECK_NEAR(some.dv[i], all.dv[i], 2e-6);
            }
        }
}

TEST(batches_out_of_order_are_refused) {
    auto refused = [](const std::vector<Segment>& segments, int tokens) {
        Batch batch;
        batch.segments = segments;
        batch.tokens.assign(tokens, 0);
        CHECK_THROWS(batch.check(1, 100), Failure);
    };
    refused({}, 0);
    refused({{0, 2, -1}}, 3);                        // a token belongs to no segment
    refused({{0, 0, -1}, {0, 3, -1}}, 3);            // an empty segment
    refused({{0, 1, 0}}, 1);                         // its own parent
    refused({{0, 1, -1}, {1, 1, -1}, {2, 1, 0}}, 3); // the parent's subtree has ended
    refused({{0, 2, -1}, {1, 2, -1}}, 3);            // overlap
    refused({{0, 101, -1}}, 101);                    // longer than the context
}
