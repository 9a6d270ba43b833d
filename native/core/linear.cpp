// Splits a product over threads by panels of outputs (forward) or blocks of inputs (backward); each thread unpacks the weights it needs,
// a panel at a time, into a buffer that fits the L2 cache. Every result element is computed by one thread in a fixed order.
#include "core/linear.h"

#include <algorithm>

namespace stillroom {

namespace {
// A group of unpacked panels: chunk (depth) x group_columns floats, a quarter of a megabyte. chunk is a multiple of every block.
constexpr int64_t chunk = 512, group_columns = 128;
}  // namespace

Products::Products(const Kernels& kernels, Threads& threads) : kernels(kernels), threads(threads), scratch(threads.count()), panels(threads.count()) {}

void Products::pack(const float* x, int64_t rows, int64_t depth, int64_t ld, float scale, Packed& out) {
    const int64_t mr = kernels.tile_rows, blocks = (rows + mr - 1) / mr;
    out.rows = rows;
    out.depth = depth;
    out.block = mr * depth;
    float* to = out.buffer.reserve(blocks * out.block);
    threads.run(Kernel::pack, blocks, [&](int64_t begin, int64_t end, int) {
        if (begin < end) kernels.pack(std::min(rows, end * mr) - begin * mr, depth, x + begin * mr * ld, ld, 1, scale, to + begin * out.block);
    });
}

void Products::pack_transposed(const float* x, int64_t rows, int64_t depth, int64_t ld, float scale, Packed& out) {
    const int64_t mr = kernels.tile_rows, blocks = (depth + mr - 1) / mr;
    out.rows = depth;
    out.depth = rows;
    out.block = mr * rows;
    float* to = out.buffer.reserve(blocks * out.block);
    threads.run(Kernel::pack, blocks, [&](int64_t begin, int64_t end, int) {
        if (begin < end) kernels.pack(std::min(depth, end * mr) - begin * mr, rows, x + begin * mr, 1, ld, scale, to + begin * out.block);
    });
}

void Products::unpack(const Weight& weight, int64_t row, int64_t first, int64_t count, float* out) const {
    if (const auto routine = kernels.unpack(weight.type)) routine(weight.at(row, first), count, out);
    else weight.read(row, first, count, out);
}

// c (rows, columns) = or += a b for panels of b that lie `stride` floats apart: every block of rows meets all panels while it is in the
// L1 cache, and the panels stay in the L2 cache.
void Products::sweep(int64_t rows, int64_t columns, int64_t depth, const float* a, int64_t a_block, const float* panels, int64_t stride, float* c,
                     int64_t ldc, bool accumulate) const {
    const int64_t nr = kernels.tile_columns, mr = kernels.tile_rows;
    for (int64_t i = 0; i < rows; i += mr)
        for (int64_t j = 0; j < columns; j += nr)
            kernels.multiply(std::min(mr, rows - i), static_cast<int>(std::min(nr, columns - j)), depth, a + i / mr * a_block, a_block,
                             panels + j / nr * stride, nr, c + i * ldc + j, ldc, accumulate);
}

void Products::forward(const Packed& x, const Weight& weight, float* y, int64_t ldy, bool accumulate) {
    const int64_t nr = kernels.tile_columns, mr = kernels.tile_rows, count = (weight.out + nr - 1) / nr;
    const int64_t wide = std::max<int64_t>(1, group_columns / nr) * nr, depth = std::min(chunk, weight.in);
    threads.run(Kernel::linear, count, [&](int64_t begin, int64_t end, int thread) {
        float* rows = scratch[thread].reserve(nr * depth);
        float* group = panels[thread].reserve(wide * depth);
        for (int64_t first = begin * nr; first < std::min(end * nr, weight.out); first += wide) {
            const int64_t columns = std::min({wide, weight.out - first, end * nr - first});
            for (int64_t k = 0; k < weight.in; k += depth) {
                const int64_t taken = std::min(depth, weight.in - k);
                for (int64_t j = 0; j < columns; j += nr) {
                    const int panel = static_cast<int>(std::min(nr, columns - j));
                    for (int n = 0; n < panel; n++) unpack(weight, first + j + n, k, taken, rows + n * taken);
                    kernels.pack_transposed(panel, taken, rows, taken, group + j * depth);
                }
                sweep(x.rows, columns, taken, x.buffer.data() + k * mr, x.block, group, nr * depth, y + first, ldy, accumulate || k > 0);
            }
        }
    });
}

void Products::backward(const Packed& dy, const Weight& weight, float* dx, int64_t lddx, bool accumulate) {
    const int64_t nr = kernels.tile_columns, mr = kernels.tile_rows;
    const int64_t span = std::max<int64_t>(weight.block, 32), spans = (weight.in + span - 1) / span;
    // Threads share the columns; where those do not divide evenly, each span's rows are shared instead.
    const bool by_rows = spans % threads.count() != 0 && spans < 8 * threads.count();
    const int64_t row_blocks = (dy.rows + mr - 1) / mr, at_once = std::max<int64_t>(1, group_columns / span);
    auto work = [&](int64_t span_begin, int64_t span_end, int64_t block_begin, int64_t block_end, int thread) {
        if (block_begin >= block_end) return;
        const int64_t rows = std::min(dy.rows, block_end * mr) - block_begin * mr;
        const float* a = dy.buffer.data() + block_begin * dy.block;
        for (int64_t s = span_begin; s < span_end; s += at_once) {
            const int64_t first = s * span, columns = std::min(weight.in - first, std::min(at_once, span_end - s) * span);
            // Each panel of tile_columns lies contiguous (chunk, tile_columns): rows a power of two apart would share few cache sets.
            const int64_t wide = (columns + nr - 1) / nr * nr;
            float* row = scratch[thread].reserve(wide);
            float* group = panels[thread].reserve(chunk * wide);
            std::fill(row + columns, row + wide, 0.0f);
            for (int64_t n = 0; n < weight.out; n += chunk) {
                const int64_t depth = std::min(chunk, weight.out - n);
                for (int64_t j = 0; j < depth; j++) {
                    unpack(weight, n + j, first, columns, row);
                    for (int64_t c = 0; c < wide; c += nr) std::copy(row + c, row + c + nr, group + c * chunk + j * nr);
                }
                sweep(rows, columns, depth, a + n * mr, dy.block, group, nr * chunk, dx + block_begin * mr * lddx + first, lddx, accumulate || n > 0);
            }
        }
    };
    if (by_rows) threads.run(Kernel::linear, row_blocks, [&](int64_t begin, int64_t end, int thread) { work(0, spans, begin, end, thread); });
    else threads.run(Kernel::linear, spans, [&](int64_t begin, int64_t end, int thread) { work(begin, end, 0, row_blocks, thread); });
}

void Products::multiply(const Packed& a, const float* b, int64_t ldb, int64_t columns, float* c, int64_t ldc, bool accumulate) {
    const int64_t nr = kernels.tile_columns, count = (columns + nr - 1) / nr;
    threads.run(Kernel::low_rank, count, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t p = begin; p < end; p++) {
            const int64_t first = p * nr;
            const int wide = static_cast<int>(std::min(nr, columns - first));
            const float* panel = b + first;
            int64_t ld = ldb;
            if (wide < nr) {  // the last panel is copied, so that no vector reads beyond a row
                float* copy = panels[thread].reserve(nr * a.depth);
                for (int64_t p2 = 0; p2 < a.depth; p2++) {
                    std::copy(panel + p2 * ldb, panel + p2 * ldb + wide, copy + p2 * nr);
                    std::fill(copy + p2 * nr + wide, copy + (p2 + 1) * nr, 0.0f);
                }
                panel = copy;
                ld = nr;
            }
            kernels.multiply(a.rows, wide, a.depth, a.buffer.data(), a.block, panel, ld, c + first, ldc, accumulate);
        }
    });
}

void Products::multiply_transposed(const Packed& a, const float* b, int64_t columns, float* c, int64_t ldc, bool accumulate) {
    const int64_t nr = kernels.tile_columns, mr = kernels.tile_rows, blocks = (a.rows + mr - 1) / mr;
    // Few columns and many rows: every thread packs all panels and takes a share of the rows.
    threads.run(Kernel::low_rank, blocks, [&](int64_t begin, int64_t end, int thread) {
        if (begin >= end) return;
        float* panel = panels[thread].reserve(nr * a.depth);
        for (int64_t first = 0; first < columns; first += nr) {
            const int wide = static_cast<int>(std::min(nr, columns - first));
            kernels.pack_transposed(wide, a.depth, b + first * a.depth, a.depth, panel);
            kernels.multiply(std::min(a.rows, end * mr) - begin * mr, wide, a.depth, a.buffer.data() + begin * a.block, a.block, panel, nr,
                             c + begin * mr * ldc + first, ldc, accumulate);
        }
    });
}

}  // namespace stillroom
