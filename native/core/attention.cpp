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
    // Floats between two rows of scores: a block of keys, and a cache line more. A power of two apart, rows would share few cache sets.
    static constexpr int64_t scores = key_block + 16;
    // Keys that the rows of a tile look at, the last of which sees so many: whole tiles of keys, which are rows where dk and dv are computed.
    int64_t wide(int64_t seen, const Range& keys) const { return std::min(keys.size(), blocked(seen)); }
    // The scores of so many keys, and what fills the last vector of any variant: those that a row does not see are minus infinity, and their exponentials 0.
    static int64_t whole(int64_t n) { return (n + 15) / 16 * 16; }
};

// Packs the transpose of rows (n, depth) into panels of tile_columns.
void pack_panels(const Kernels& kernels, int64_t n, int64_t depth, const float* rows, int64_t ld, float* out) {
    const int64_t nr = kernels.tile_columns;
    for (int64_t j = 0; j < n; j += nr, out += nr * depth)
        kernels.pack_transposed(static_cast<int>(std::min(nr, n - j)), depth, rows + j * ld, ld, out);
}

// c (m, n) = a b from packed a (m, depth) and panels of b; n whole vectors.
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
    const int64_t mr = tiles.mr, ld = Panels::scores, trees = static_cast<int64_t>(batch.roots.size());
    threads.run(Kernel::attention, shape.heads * trees, [&](int64_t begin, int64_t end, int thread) {
        Scratch& s = scratch[thread];
        float* keys_t = s.keys.reserve(tiles.rounded(key_block) * width);
        float* queries = s.queries.reserve(mr * width);
        float* scores = s.scores.reserve(mr * ld);
        float* packed = s.packed.reserve(mr * ld);
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
                    // A tile of rows at a time: its scores and probabilities stay in the L1 cache, and what none of its rows sees is not computed.
                    for (int64_t tile = asking.begin; tile < asking.end; tile += mr) {
                        const int64_t m = std::min(mr, asking.end - tile), n = tiles.wide(seen_by(rows, tile + m - 1, keys, causal), keys);
                        kernels.pack(m, width, qh + tile * ldq, ldq, 1, factor, queries);
                        const int64_t all = Panels::whole(n);
                        multiply_panels(kernels, m, all, width, queries, keys_t, scores, ld);
                        for (int64_t i = 0; i < m; i++) {
                            const int64_t r = tile + i;
                            float* row = scores + i * ld;
                            std::fill(row + seen_by(rows, r, keys, causal), row + all, -INFINITY);
                            const float top = std::max(high[r], kernels.maximum(all, row));
                            const float shrink = std::exp(high[r] - top);
                            sum[r] = sum[r] * shrink + kernels.exp_shifted(all, row, top);
                            if (shrink != 1.0f) kernels.scale(width, shrink, oh + r * ldq);
                            high[r] = top;
                        }
                        kernels.pack(m, n, scores, ld, 1, 1.0f, packed);
                        multiply_rows(kernels, m, width, n, packed, vh + keys.begin * ldk, ldk, oh + tile * ldq, ldq, true);
                    }
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
    const int64_t mr = tiles.mr, ld = Panels::scores, trees = static_cast<int64_t>(batch.roots.size());
    threads.run(Kernel::attention, shape.key_value_heads * trees, [&](int64_t begin, int64_t end, int thread) {
        Scratch& s = scratch[thread];
        float* keys_t = s.keys.reserve(tiles.rounded(key_block) * width);
        float* values_t = s.values.reserve(tiles.rounded(key_block) * width);
        float* queries = s.queries.reserve(mr * width);
        float* scores = s.scores.reserve(query_block * ld);
        float* gradients = s.gradients.reserve(query_block * ld);
        float* packed = s.packed.reserve(mr * std::max(ld, query_block));
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
                        for (int64_t tile = asking.begin; tile < asking.end; tile += mr) {
                            const int64_t m = std::min(mr, asking.end - tile), n = tiles.wide(seen_by(rows, tile + m - 1, keys, causal), keys);
                            float *p = scores + (tile - asking.begin) * ld, *d = gradients + (tile - asking.begin) * ld;
                            kernels.pack(m, width, qh + tile * ldq, ldq, 1, factor, queries);
                            const int64_t all = Panels::whole(n);
                            multiply_panels(kernels, m, all, width, queries, keys_t, p, ld);
                            kernels.pack(m, width, doh + tile * ldq, ldq, 1, 1.0f, queries);
                            multiply_panels(kernels, m, all, width, queries, values_t, d, ld);
                            for (int64_t i = 0; i < m; i++) {
                                const int64_t r = tile + i;
                                std::fill(p + i * ld + seen_by(rows, r, keys, causal), p + i * ld + all, -INFINITY);
                                kernels.softmax_backward(all, lse[h * count + r], delta[r], factor, p + i * ld, d + i * ld);
                            }
                            kernels.pack(m, n, d, ld, 1, 1.0f, packed);
                            multiply_rows(kernels, m, width, n, packed, kh + keys.begin * ldk, ldk, dqh + tile * ldq, ldq, true);
                        }
                        // A tile of keys at a time, by the rows that see its first one: what they do not see of it is zero.
                        for (int64_t tile = keys.begin; tile < keys.end; tile += mr) {
                            const int64_t from = causal ? std::max(asking.begin, rows.from(tile)) : asking.begin;
                            if (from >= asking.end) break;
                            const int64_t n = std::min(mr, keys.end - tile), m = asking.end - from, at = (from - asking.begin) * ld + tile - keys.begin;
                            kernels.pack(n, m, scores + at, 1, ld, 1.0f, packed);
                            multiply_rows(kernels, n, width, m, packed, doh + from * ldq, ldq, dvh + tile * ldk, ldk, true);
                            kernels.pack(n, m, gradients + at, 1, ld, 1.0f, packed);
                            multiply_rows(kernels, n, width, m, packed, qh + from * ldq, ldq, dkh + tile * ldk, ldk, true);
                        }
                    });
            }
        }
    });
}

}  // namespace stillroom
