// One piece of work is a head (forward) or a key-value head with its group of query heads (backward) in one tree of the forest.
// Within a tree, a segment's keys meet the queries of its whole subtree, which lie next to each other in depth-first order.
#include "core/attention.h"

#include <algorithm>
#include <cmath>

namespace stillroom {

namespace {

constexpr int64_t query_block = 96, key_block = 256;

struct Range {
    int64_t begin, end;
    int64_t size() const { return end - begin; }
};

// Calls body(keys, asking, causal) for every block of keys (tokens) and of rows that see them; causal: both in one segment.
template <typename Body, typename Enter>
void blocks_of(const Batch& batch, const Rows& rows, int32_t root, Enter enter, Body body) {
    const int32_t end = batch.subtree_ends[root];
    for (size_t s = root; s < batch.segments.size() && batch.segments[s].start < end; s++) {
        const int64_t first = batch.segments[s].start, last = first + batch.segments[s].length;
        const int64_t own = rows.from(last), below = rows.from(batch.subtree_ends[s]);
        for (int64_t k0 = first; k0 < last; k0 += key_block) {
            const Range keys{k0, std::min(last, k0 + key_block)};
            const int64_t asking = rows.from(k0);
            if (asking == below) break;
            enter(keys);
            for (int64_t q0 = asking; q0 < own; q0 += query_block) body(keys, Range{q0, std::min(own, q0 + query_block)}, true);
            for (int64_t q0 = own; q0 < below; q0 += query_block) body(keys, Range{q0, std::min(below, q0 + query_block)}, false);
        }
    }
}

// How many of the keys a row sees, from the first.
int64_t seen_by(const Rows& rows, int64_t row, const Range& keys, bool causal) {
    return causal ? std::min(keys.end, rows.token(row) + 1) - keys.begin : keys.size();
}

struct Panels {
    int64_t mr, nr;
    int64_t rounded(int64_t n) const { return (n + nr - 1) / nr * nr; }
    int64_t blocked(int64_t m) const { return (m + mr - 1) / mr * mr; }
};

// Packs the transpose of rows (n, depth) into panels of tile_columns.
void pack_panels(const Kernels& kernels, int64_t n, int64_t depth, const float* rows, int64_t ld, float* out) {
    const int64_t nr = kernels.tile_columns;
    for (int64_t j = 0; j < n; j += nr, out += nr * depth)
        kernels.pack_transposed(static_cast<int>(std::min(nr, n - j)), depth, rows + j * ld, ld, out);
}

// c (m, n) = a b from packed a (m, depth) and panels of b.
void multiply_panels(const Kernels& kernels, int64_t m, int64_t n, int64_t depth, const float* a, const float* panels, float* c, int64_t ldc) {
    const int64_t nr = kernels.tile_columns;
    for (int64_t j = 0; j < n; j += nr)
        kernels.multiply(m, static_cast<int>(std::min(nr, n - j)), depth, a, kernels.tile_rows * depth, panels + j * depth, nr, c + j, ldc, false);
}

// c (m, n) += a b with b (depth, n) in place. The last columns of b's last row are followed by readable memory (Buffer's slack).
void multiply_rows(const Kernels& kernels, int64_t m, int64_t n, int64_t depth, const float* a, const float* b, int64_t ldb, float* c, int64_t ldc,
                   bool accumulate) {
    const int64_t nr = kernels.tile_columns;
    for (int64_t j = 0; j < n; j += nr)
        kernels.multiply(m, static_cast<int>(std::min(nr, n - j)), depth, a, kernels.tile_rows * depth, b + j, ldb, c + j, ldc, accumulate);
}

}  // namespace

void Attention::forward(const Batch& batch, Rows rows, const AttentionShape& shape, const float* q, const float* k, const float* v, float* out, float* lse) {
    const int64_t count = rows.count, width = shape.head_width;
    const int64_t ldq = shape.heads * width, ldk = shape.key_value_heads * width, group = shape.heads / shape.key_value_heads;
    const float factor = 1.0f / std::sqrt(static_cast<float>(width));
    const Panels tiles{kernels.tile_rows, kernels.tile_columns};
    const int64_t ld = tiles.rounded(key_block), trees = static_cast<int64_t>(batch.roots.size());
    threads.run(Kernel::attention, shape.heads * trees, [&](int64_t begin, int64_t end, int thread) {
        Scratch& s = scratch[thread];
        float* keys_t = s.keys.reserve(ld * width);
        float* queries = s.queries.reserve(tiles.blocked(query_block) * width);
        float* scores = s.scores.reserve(query_block * ld);
        float* packed = s.packed.reserve(tiles.blocked(query_block) * ld);
        float* high = s.row_max.reserve(count);
        float* sum = s.row_sum.reserve(count);
        for (int64_t item = begin; item < end; item++) {
            const int64_t h = item % shape.heads, g = h / group;
            const int32_t root = batch.roots[item / shape.heads];
            const float *qh = q + h * width, *kh = k + g * width, *vh = v + g * width;
            float* oh = out + h * width;
            const Range tree{rows.from(batch.segments[root].start), rows.from(batch.subtree_ends[root])};
            for (int64_t r = tree.begin; r < tree.end; r++) {
                high[r] = -INFINITY;
                sum[r] = 0;
                std::fill(oh + r * ldq, oh + r * ldq + width, 0.0f);
            }
            blocks_of(
                batch, rows, root, [&](Range keys) { pack_panels(kernels, keys.size(), width, kh + keys.begin * ldk, ldk, keys_t); },
                [&](Range keys, Range asking, bool causal) {
                    const int64_t n = seen_by(rows, asking.end - 1, keys, causal), m = asking.size();
                    kernels.pack(m, width, qh + asking.begin * ldq, ldq, 1, factor, queries);
                    multiply_panels(kernels, m, n, width, queries, keys_t, scores, ld);
                    for (int64_t i = 0; i < m; i++) {
                        const int64_t r = asking.begin + i, visible = seen_by(rows, r, keys, causal);
                        float* row = scores + i * ld;
                        const float top = std::max(high[r], kernels.maximum(visible, row));
                        const float shrink = std::exp(high[r] - top);
                        sum[r] = sum[r] * shrink + kernels.exp_shifted(visible, row, top);
                        std::fill(row + visible, row + n, 0.0f);
                        if (shrink != 1.0f) kernels.scale(width, shrink, oh + r * ldq);
                        high[r] = top;
                    }
                    kernels.pack(m, n, scores, ld, 1, 1.0f, packed);
                    multiply_rows(kernels, m, width, n, packed, vh + keys.begin * ldk, ldk, oh + asking.begin * ldq, ldq, true);
                });
            for (int64_t r = tree.begin; r < tree.end; r++) {
                kernels.scale(width, 1.0f / sum[r], oh + r * ldq);
                lse[h * count + r] = high[r] + std::log(sum[r]);
            }
        }
    });
}

void Attention::backward(const Batch& batch, Rows rows, const AttentionShape& shape, const float* q, const float* k, const float* v, const float* out,
                         const float* lse, const float* dout, float* dq, float* dk, float* dv) {
    const int64_t count = rows.count, width = shape.head_width;
    const int64_t ldq = shape.heads * width, ldk = shape.key_value_heads * width, group = shape.heads / shape.key_value_heads;
    const float factor = 1.0f / std::sqrt(static_cast<float>(width));
    const Panels tiles{kernels.tile_rows, kernels.tile_columns};
    const int64_t ld = tiles.rounded(key_block), trees = static_cast<int64_t>(batch.roots.size());
    threads.run(Kernel::attention, shape.key_value_heads * trees, [&](int64_t begin, int64_t end, int thread) {
        Scratch& s = scratch[thread];
        float* keys_t = s.keys.reserve(ld * width);
        float* values_t = s.values.reserve(ld * width);
        float* queries = s.queries.reserve(tiles.blocked(query_block) * width);
        float* scores = s.scores.reserve(query_block * ld);
        float* gradients = s.gradients.reserve(query_block * ld);
        float* packed = s.packed.reserve(std::max(tiles.blocked(query_block) * ld, tiles.blocked(key_block) * query_block));
        float* delta = s.delta.reserve(count);
        for (int64_t item = begin; item < end; item++) {
            const int64_t g = item % shape.key_value_heads;
            const int32_t root = batch.roots[item / shape.key_value_heads];
            const int64_t first = batch.segments[root].start, last = batch.subtree_ends[root];
            const Range tree{rows.from(first), rows.from(last)};
            const float *kh = k + g * width, *vh = v + g * width;
            float *dkh = dk + g * width, *dvh = dv + g * width;
            for (int64_t t = first; t < last; t++) {
                std::fill(dkh + t * ldk, dkh + t * ldk + width, 0.0f);
                std::fill(dvh + t * ldk, dvh + t * ldk + width, 0.0f);
            }
            for (int64_t h = g * group; h < (g + 1) * group; h++) {
                const float *qh = q + h * width, *doh = dout + h * width;
                float* dqh = dq + h * width;
                for (int64_t r = tree.begin; r < tree.end; r++) {
                    delta[r] = kernels.dot(width, doh + r * ldq, out + h * width + r * ldq);
                    std::fill(dqh + r * ldq, dqh + r * ldq + width, 0.0f);
                }
                blocks_of(
                    batch, rows, root,
                    [&](Range keys) {
                        pack_panels(kernels, keys.size(), width, kh + keys.begin * ldk, ldk, keys_t);
                        pack_panels(kernels, keys.size(), width, vh + keys.begin * ldk, ldk, values_t);
                    },
                    [&](Range keys, Range asking, bool causal) {
                        const int64_t n = seen_by(rows, asking.end - 1, keys, causal), m = asking.size();
                        kernels.pack(m, width, qh + asking.begin * ldq, ldq, 1, factor, queries);
                        multiply_panels(kernels, m, n, width, queries, keys_t, scores, ld);
                        kernels.pack(m, width, doh + asking.begin * ldq, ldq, 1, 1.0f, queries);
                        multiply_panels(kernels, m, n, width, queries, values_t, gradients, ld);
                        // P = exp(S - lse); dS = P (dP - delta) / sqrt(D), in place.
                        for (int64_t i = 0; i < m; i++) {
                            const int64_t r = asking.begin + i, visible = seen_by(rows, r, keys, causal);
                            float *p = scores + i * ld, *d = gradients + i * ld;
                            kernels.exp_shifted(visible, p, lse[h * count + r]);
                            const float shift = delta[r];
                            for (int64_t j = 0; j < visible; j++) d[j] = p[j] * (d[j] - shift) * factor;
                            std::fill(p + visible, p + n, 0.0f);
                            std::fill(d + visible, d + n, 0.0f);
                        }
                        kernels.pack(n, m, scores, 1, ld, 1.0f, packed);
                        multiply_rows(kernels, n, width, m, packed, doh + asking.begin * ldq, ldq, dvh + keys.begin * ldk, ldk, true);
                        kernels.pack(n, m, gradients, 1, ld, 1.0f, packed);
                        multiply_rows(kernels, n, width, m, packed, qh + asking.begin * ldq, ldq, dkh + keys.begin * ldk, ldk, true);
                        kernels.pack(m, n, gradients, ld, 1, 1.0f, packed);
                        multiply_rows(kernels, m, width, n, packed, kh + keys.begin * ldk, ldk, dqh + asking.begin * ldq, ldq, true);
                    });
            }
        }
    });
}

}  // namespace stillroom
