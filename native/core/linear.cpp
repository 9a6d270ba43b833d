// Splits a product over threads by panels of outputs (forward) or blocks of inputs (backward); each thread unpacks the weights it needs,
// a panel at a time, into a buffer that fits the L2 cache. Every result element is computed by one thread in a fixed order.
#include "core/linear.h"

#include <algorithm>

namespace stillroom {

namespace {
// A group of unpacked panels: chunk (depth) x group_columns floats, a quarter of a megabyte. chunk is a multiple of every block.
constexpr int64_t chunk = 512, group_columns = 128;
// Of what is left of the depth, how much is multiplied at once: a short rest would load and store every sum once more, so it goes with the last chunk.
int64_t chunk_of(int64_t left) { return left <= chunk + chunk / 4 ? left : chunk; }
// Values of each row that are unpacked before they are transposed, unless a block is longer: rows and panel stay in the L1 cache.
constexpr int64_t stretch = 64;
// Rows of a weight that are asked for before they are unpacked: memory answers in the time of a few.
constexpr int64_t rows_ahead = 8;
// Blocks of rows for which a weight's codes are turned into values anew.
constexpr int64_t few_blocks = 2;
// Outputs of a weight whose gradient is computed at once.
constexpr int64_t slab = 4096;

// How many values of the depth share a word, and how many words and groups a depth takes (of the right operand).
struct Narrow {
    int64_t values, words, groups;
    Narrow(Precision precision, int64_t group, int64_t depth)
        : values(precision == Precision::int8 ? 4 : 2),
          words((depth + values - 1) / values),
          groups(precision == Precision::int8 || precision == Precision::int16 ? (depth + group - 1) / group : 0) {}
    Narrow(const Packed& like, int64_t depth) : Narrow(like.precision, like.group, depth) {}
};
// A block of the left operand from that word (or that word of bytes) and that group on.
NarrowRows narrow_rows_of(const Packed& a, bool bytes, int64_t block, int64_t word, int64_t group) {
    const int64_t groups = block * a.group_block + group;
    const float* from = bytes ? a.bytes.data() + block * a.byte_block : a.words.data() + block * a.word_block;
    return {reinterpret_cast<const uint32_t*>(from) + word, a.scales.data() + groups, reinterpret_cast<const int32_t*>(a.sums.data()) + groups, a.group};
}
// Unpacks values of a weight that begin there, by that routine or, where there is none, by ggml's.
void unpack(void (*routine)(const uint8_t*, int64_t, float*), const Weight& weight, const uint8_t* from, int64_t count, float* out) {
    if (routine) routine(from, count, out);
    else weight.unpack(from, count, out);
}
uint32_t* words_of(Buffer& buffer, int64_t count) { return reinterpret_cast<uint32_t*>(buffer.reserve(count)); }
}  // namespace

Products::Products(const Kernels& kernels, Threads& threads) : kernels(kernels), threads(threads), scratch(threads.count()), panels(threads.count()),
      narrow_rows(threads.count()), narrow_panels(threads.count()), narrow_scales(threads.count()) {}

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

void Products::pack_operand(const float* x, int64_t rows, int64_t depth, int64_t ld, Precision precision, int64_t group, bool exact_too, Packed& out) {
    if (exact_too || precision == Precision::f32) pack(x, rows, depth, ld, 1.0f, out);
    out.rows = rows;
    out.depth = depth;
    out.precision = precision;
    out.group = group;
    if (precision == Precision::f32) return;
    const int64_t mr = kernels.tile_rows, blocks = (rows + mr - 1) / mr;
    const Narrow shape(out, depth);
    const int64_t row_size = shape.words * (precision == Precision::int8 ? kernels.left_words : 1);
    out.word_block = mr * row_size;
    out.group_block = mr * shape.groups;
    const bool twice = row_size != shape.words;
    out.byte_block = twice ? mr * shape.words : 0;
    float *words = out.words.reserve(blocks * out.word_block), *scales = out.scales.reserve(blocks * out.group_block);
    float *sums = out.sums.reserve(blocks * out.group_block), *bytes = out.bytes.reserve(blocks * out.byte_block);
    threads.run(Kernel::pack, blocks, [&](int64_t begin, int64_t end, int thread) {
        uint32_t* row_words = words_of(narrow_rows[thread], mr * (row_size + shape.words));
        uint32_t* row_bytes = row_words + mr * row_size;
        float* row_scales = narrow_scales[thread].reserve(2 * mr * shape.groups);
        float* row_sums = row_scales + mr * shape.groups;
        for (int64_t b = begin; b < end; b++) {
            const int64_t count = std::min(mr, rows - b * mr);
            for (int64_t r = 0; r < count; r++) {
                const float* row = x + (b * mr + r) * ld;
                if (precision == Precision::bf16) kernels.to_bf16(depth, row, row_words + r * row_size);
                else
                    kernels.to_integers(precision, depth, group, row, row_words + r * row_size, row_bytes + r * shape.words,
                                        row_scales + r * shape.groups, reinterpret_cast<int32_t*>(row_sums + r * shape.groups));
            }
            // Words and sums travel as floats: packing with factor 1 moves bits only.
            kernels.pack(count, row_size, reinterpret_cast<float*>(row_words), row_size, 1, 1.0f, words + b * out.word_block);
            if (twice) kernels.pack(count, shape.words, reinterpret_cast<float*>(row_bytes), shape.words, 1, 1.0f, bytes + b * out.byte_block);
            kernels.pack(count, shape.groups, row_scales, shape.groups, 1, 1.0f, scales + b * out.group_block);
            kernels.pack(count, shape.groups, row_sums, shape.groups, 1, 1.0f, sums + b * out.group_block);
        }
    });
}

// Rows [first, first + columns) of a weight, inputs [k, k + depth), as columns of a panel (depth, tile_columns).
void Products::panel_of_rows(const Weight& weight, int64_t first, int64_t columns, int64_t k, int64_t depth, float* panel, int thread) {
    if (weight.type == GGML_TYPE_F32) {
        kernels.pack_transposed(static_cast<int>(columns), depth, reinterpret_cast<const float*>(weight.at(first, k)), weight.in, panel);
        return;
    }
    const int64_t longest = std::max(stretch, weight.block);
    const auto routine = kernels.unpack(weight.type);
    float* rows = scratch[thread].reserve(kernels.tile_columns * longest);
    for (int64_t p = 0; p < depth; p += longest) {
        const int64_t count = std::min(longest, depth - p);
        const uint8_t* from = weight.at(first, k + p);
        for (int64_t n = 0; n < columns; n++, from += weight.row_bytes) unpack(routine, weight, from, count, rows + n * count);
        kernels.pack_transposed(static_cast<int>(columns), count, rows, count, panel + p * kernels.tile_columns);
    }
}

// One panel (depth, tile_columns) in the left operand's precision.
void Products::narrow(Precision precision, int64_t group, int64_t depth, const float* panel, uint32_t* words, float* scales) const {
    if (precision == Precision::bf16) kernels.columns_to_bf16(depth, panel, kernels.tile_columns, words);
    else kernels.columns_to_integers(precision, depth, group, panel, kernels.tile_columns, words, scales);
}

// How the file's own codes of a weight are read, where products of that precision can take them: then only the left operand is rounded, in f32
// none.
Codes Products::codes_of(const Weight& weight, Precision precision, int64_t group) const {
    const Codes codes = kernels.codes(weight.type);
    const bool taken = precision == Precision::f32 || (precision == Precision::int8 && group == code_group && codes.bits < 8);
    return taken ? codes : Codes{};
}

// One panel of codes (depth / 4, tile_columns), and their scales and offsets (groups, tile_columns). Words travel as floats.
void Products::panel_of_codes(const Codes& codes, const Weight& weight, int64_t first, int64_t columns, int64_t k, int64_t depth, uint32_t* words,
                              float* scales, float* offsets, int thread) {
    const int64_t groups = depth / codes.group, row = depth / 4;
    float* rows = scratch[thread].reserve(columns * (row + 2 * groups));
    float *row_scales = rows + columns * row, *row_offsets = row_scales + columns * groups;
    for (int64_t n = 0; n < columns; n++)
        codes.read(weight.at(first + n, k), depth, reinterpret_cast<uint8_t*>(rows + n * row), row_scales + n * groups, row_offsets + n * groups);
    kernels.pack_transposed(static_cast<int>(columns), row, rows, row, reinterpret_cast<float*>(words));
    kernels.pack_transposed(static_cast<int>(columns), groups, row_scales, groups, scales);
    kernels.pack_transposed(static_cast<int>(columns), groups, row_offsets, groups, offsets);
}

// Panels of rows [first, first + columns) of a weight, inputs [k, k + depth): the right operand of forward.
Products::Panels Products::right_rows(const Weight& weight, int64_t first, int64_t columns, int64_t k, int64_t depth, const Packed& like, int thread) {
    const int64_t nr = kernels.tile_columns, wide = (columns + nr - 1) / nr * nr;
    const Narrow shape(like, depth);
    const bool exact = like.precision == Precision::f32;
    uint32_t* words = exact ? nullptr : words_of(narrow_panels[thread], wide * shape.words);
    float* scales = exact ? nullptr : narrow_scales[thread].reserve(2 * wide * shape.groups);
    if (const Codes codes = codes_of(weight, like.precision, like.group); codes.bits && !exact) {
        float* offsets = scales + wide * shape.groups;
        for (int64_t j = 0; j < columns; j += nr)
            panel_of_codes(codes, weight, first + j, std::min(nr, columns - j), k, depth, words + j * shape.words, scales + j * shape.groups,
                           offsets + j * shape.groups, thread);
        return {nullptr, words, scales, 0, codes.bits, offsets};
    }
    const Prepared* kept = exact ? prepared_of(like, weight) : nullptr;
    if (kept && kept->bits == 0) return {kept->values_at(nr, weight.in, first / nr, k), nullptr, nullptr, nr * weight.in};
    float* values = panels[thread].reserve((exact ? wide : nr) * depth);
    for (int64_t j = 0; j < columns; j += nr) {
        float* panel = values + (exact ? j * depth : 0);
        if (kept) {
            const int64_t at = kept->group_at(nr, weight.in, (first + j) / nr, k);
            kernels.expand_codes(depth, static_cast<int>(kept->group), kept->words_at(nr, weight.in, (first + j) / nr, k), kept->scales.data() + at,
                                 kept->offsets.data() + at, panel);
            continue;
        }
        panel_of_rows(weight, first + j, std::min(nr, columns - j), k, depth, panel, thread);
        if (!exact) narrow(like.precision, like.group, depth, panel, words + j * shape.words, scales + j * shape.groups);
    }
    return {values, words, scales, nr * depth};
}

// Panels of columns [first, first + columns) of a weight, outputs [n, n + depth): the right operand of backward.
Products::Panels Products::right_columns(const Weight& weight, int64_t first, int64_t columns, int64_t n, int64_t depth, const Packed& like, int thread) {
    const int64_t nr = kernels.tile_columns, wide = (columns + nr - 1) / nr * nr;
    // Each panel of tile_columns lies contiguous (depth, tile_columns), and a row longer than that from the next: a power of two apart, rows
    // of one panel or of all would share few cache sets.
    const int64_t stride = (depth + 1) * nr;
    float* row = scratch[thread].reserve(wide);
    float* values = panels[thread].reserve(wide / nr * stride);
    std::fill(row + columns, row + wide, 0.0f);
    const int64_t bytes = columns / weight.block * static_cast<int64_t>(ggml_type_size(weight.type));
    const auto routine = kernels.unpack(weight.type);
    const uint8_t* piece = weight.at(n, first);
    for (int64_t j = 0; j < depth; j++, piece += weight.row_bytes) {
        // A short piece of each row: too far apart for the processor to guess the next.
        const uint8_t* ahead = piece + std::min(rows_ahead, weight.out - 1 - n - j) * weight.row_bytes;
        for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(ahead + b);
        const float* from = row;
        if (weight.type == GGML_TYPE_F32 && columns == wide) from = reinterpret_cast<const float*>(piece);
        else unpack(routine, weight, piece, columns, row);
        for (int64_t c = 0; c < wide; c += nr) std::copy(from + c, from + c + nr, values + c / nr * stride + j * nr);
    }
    if (like.precision == Precision::f32) return {values, nullptr, nullptr, stride};
    const Narrow shape(like, depth);
    uint32_t* words = words_of(narrow_panels[thread], wide * shape.words);
    float* scales = narrow_scales[thread].reserve(wide * shape.groups);
    for (int64_t c = 0; c < wide; c += nr)
        narrow(like.precision, like.group, depth, values + c / nr * stride, words + c * shape.words, scales + c * shape.groups);
    return {values, words, scales, stride};
}

// c = or += rows [block, block + rows / tile_rows) of a, depth [k, k + depth), times the panels.
void Products::sweep_weights(int64_t block, int64_t rows, int64_t columns, int64_t k, int64_t depth, const Packed& a, const Panels& group, float* c,
                             int64_t ldc, bool accumulate) const {
    const int64_t nr = kernels.tile_columns, mr = kernels.tile_rows;
    const Precision precision = a.precision;
    if (precision == Precision::f32) {
        sweep(rows, columns, depth, a.buffer.data() + block * a.block + k * mr, a.block, group.values, group.stride, c, ldc, accumulate);
        return;
    }
    const Narrow shape(a, depth), before(a, k);
    const bool bytes = group.bits && a.byte_block > 0;
    const int64_t word = before.words * (precision == Precision::int8 && !bytes ? kernels.left_words : 1);
    for (int64_t i = 0; i < rows; i += mr) {
        const NarrowRows left = narrow_rows_of(a, bytes, block + i / mr, word * mr, before.groups * mr);
        const int m = static_cast<int>(std::min(mr, rows - i));
        for (int64_t j = 0; j < columns; j += nr) {
            const int n = static_cast<int>(std::min(nr, columns - j));
            const uint32_t* words = group.words + j * shape.words;
            const int64_t at = j * shape.groups;
            if (group.bits) kernels.multiply_codes(group.bits, m, n, depth, left, words, group.scales + at, group.offsets + at, c + i * ldc + j, ldc, accumulate);
            else kernels.multiply_narrow(precision, m, n, depth, left, words, group.scales + at, c + i * ldc + j, ldc, accumulate);
        }
    }
}

int64_t Products::prepare(const Weight& weight, Precision precision) {
    const Codes codes = codes_of(weight, precision, forward_group);
    const bool exact = precision == Precision::f32, values = exact && weight.type == GGML_TYPE_F32;
    if (exact && !codes.bits && !values) return 0;
    const int64_t nr = kernels.tile_columns, count = (weight.out + nr - 1) / nr;
    Prepared& kept = prepared[weight.data];
    kept.precision = precision;
    if (values) {
        const int64_t size = nr * weight.in;  // of a panel
        float* all = kept.values.reserve(count * size);
        threads.run(Kernel::pack, count, [&](int64_t begin, int64_t end, int thread) {
            for (int64_t p = begin; p < end; p++)
                panel_of_rows(weight, p * nr, std::min(nr, weight.out - p * nr), 0, weight.in, all + p * size, thread);
        });
        return count * size * static_cast<int64_t>(sizeof(float));
    }
    kept.bits = codes.bits;
    kept.group = codes.bits ? codes.group : forward_group;
    const int64_t words = nr * ((weight.in + 3) / 4), groups = nr * ((weight.in + kept.group - 1) / kept.group);  // of a panel
    uint32_t* all_words = words_of(kept.words, count * words);
    float *all_scales = kept.scales.reserve(count * groups), *all_offsets = kept.offsets.reserve(codes.bits ? count * groups : 0);
    threads.run(Kernel::pack, count, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t p = begin; p < end; p++) {
            const int64_t columns = std::min(nr, weight.out - p * nr);
            uint32_t* to = all_words + p * words;
            float* scales = all_scales + p * groups;
            if (codes.bits) {
                panel_of_codes(codes, weight, p * nr, columns, 0, weight.in, to, scales, all_offsets + p * groups, thread);
                continue;
            }
            float* panel = panels[thread].reserve(nr * weight.in);
            panel_of_rows(weight, p * nr, columns, 0, weight.in, panel, thread);
            narrow(precision, forward_group, weight.in, panel, to, scales);
        }
    });
    return count * (words + groups * (codes.bits ? 2 : 1)) * static_cast<int64_t>(sizeof(float));
}

const Products::Prepared* Products::prepared_of(const Packed& x, const Weight& weight) const {
    const auto found = prepared.find(weight.data);
    if (found == prepared.end() || found->second.precision != x.precision) return nullptr;
    return x.precision == Precision::f32 || x.group == forward_group ? &found->second : nullptr;
}

// A panel meets all rows while it is in the cache: with few rows the weights are what has to be read.
void Products::panel_forward(const Packed& x, const Output& output, const Prepared& kept, int64_t panel, bool accumulate) const {
    const int64_t inputs = output.weight.in, outputs = output.weight.out, nr = kernels.tile_columns, first = panel * nr;
    const int64_t columns = std::min(nr, outputs - first);
    if (x.precision == Precision::f32) {
        for (int64_t k = 0, depth; k < inputs; k += depth) {  // sums begin anew where they do with unpacked weights
            depth = chunk_of(inputs - k);
            if (kept.bits == 0) {
                sweep(x.rows, columns, depth, x.buffer.data() + k * kernels.tile_rows, x.block, kept.values_at(nr, inputs, panel, k), 0, output.y + first,
                      outputs, accumulate || k > 0);
                continue;
            }
            const int64_t at = kept.group_at(nr, inputs, panel, k);
            kernels.multiply_exact_codes(x.rows, static_cast<int>(columns), depth, static_cast<int>(kept.group),
                                         x.buffer.data() + k * kernels.tile_rows, x.block, kept.words_at(nr, inputs, panel, k), kept.scales.data() + at,
                                         kept.offsets.data() + at, output.y + first, outputs, accumulate || k > 0);
        }
        return;
    }
    const int64_t at = kept.group_at(nr, inputs, panel, 0);
    const Panels one{nullptr, kept.words_at(nr, inputs, panel, 0), kept.scales.data() + at, 0, kept.bits, kept.bits ? kept.offsets.data() + at : nullptr};
    sweep_weights(0, x.rows, columns, 0, inputs, x, one, output.y + first, outputs, accumulate);
}

void Products::forward(const Packed& x, std::initializer_list<Output> outputs, bool accumulate) {
    const auto panels_of = [&](const Output& output) { return (output.weight.out + kernels.tile_columns - 1) / kernels.tile_columns; };
    int64_t count = 0;
    // Many rows in f32 meet values: those are made of the codes once.
    bool all = x.precision != Precision::f32 || x.rows <= few_blocks * kernels.tile_rows;
    for (const Output& output : outputs) {
        count += panels_of(output);
        all = all && prepared_of(x, output.weight);
    }
    if (!all) {
        for (const Output& output : outputs) unpacked_forward(x, output, accumulate);
        return;
    }
    threads.run(Kernel::linear, count, [&](int64_t begin, int64_t end, int thread) {
        int64_t first = 0;  // panel of the output
        for (const Output& output : outputs) {
            const int64_t next = first + panels_of(output);
            const Prepared& kept = *prepared_of(x, output.weight);
            for (int64_t p = std::max(begin, first); p < std::min(end, next); p++) {
                panel_forward(x, output, kept, p - first, accumulate);
                const int64_t column = (p - first) * kernels.tile_columns, outputs = output.weight.out;
                if (const Addend& added = output.added; added.left)
                    multiply_columns(*added.left, 0, x.rows, added.right + column, outputs, std::min<int64_t>(kernels.tile_columns, outputs - column),
                                     output.y + column, outputs, true, thread);
            }
            first = next;
        }
    });
}

void Products::unpacked_forward(const Packed& x, const Output& output, bool accumulate) {
    const Weight& weight = output.weight;
    const int64_t nr = kernels.tile_columns, count = (weight.out + nr - 1) / nr;
    const int64_t wide = std::max<int64_t>(1, group_columns / nr) * nr;
    threads.run(Kernel::linear, count, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t first = begin * nr; first < std::min(end * nr, weight.out); first += wide) {
            const int64_t columns = std::min({wide, weight.out - first, end * nr - first});
            for (int64_t k = 0, depth; k < weight.in; k += depth) {
                depth = chunk_of(weight.in - k);
                const Panels group = right_rows(weight, first, columns, k, depth, x, thread);
                sweep_weights(0, x.rows, columns, k, depth, x, group, output.y + first, weight.out, accumulate || k > 0);
            }
            if (const Addend& added = output.added; added.left)
                multiply_columns(*added.left, 0, x.rows, added.right + first, weight.out, columns, output.y + first, weight.out, true, thread);
        }
    });
}

void Products::backward(const Packed& dy, const Weight& weight, float* dx, int64_t lddx, bool accumulate, int64_t from, Addend added) {
    const int64_t mr = kernels.tile_rows, span = std::max<int64_t>(weight.block, 32), spans = (weight.in + span - 1) / span;
    // Threads share the columns; where those do not divide evenly, each span's rows are shared instead.
    const bool by_rows = spans % threads.count() != 0 && spans < 8 * threads.count();
    const int64_t row_blocks = (dy.rows + mr - 1) / mr, at_once = std::max<int64_t>(1, group_columns / span);
    auto work = [&](int64_t span_begin, int64_t span_end, int64_t block_begin, int64_t block_end, int thread) {
        if (block_begin >= block_end) return;
        const int64_t rows = std::min(dy.rows, block_end * mr) - block_begin * mr;
        for (int64_t s = span_begin; s < span_end; s += at_once) {
            const int64_t first = s * span, columns = std::min(weight.in - first, std::min(at_once, span_end - s) * span);
            for (int64_t n = 0, depth; n < dy.depth; n += depth) {
                depth = chunk_of(dy.depth - n);
                const Panels group = right_columns(weight, first, columns, from + n, depth, dy, thread);
                sweep_weights(block_begin, rows, columns, n, depth, dy, group, dx + block_begin * mr * lddx + first, lddx, accumulate || n > 0);
            }
            if (added.left)
                multiply_columns(*added.left, block_begin, rows, added.right + first, weight.in, columns, dx + block_begin * mr * lddx + first, lddx, true,
                                 thread);
        }
    };
    if (by_rows) threads.run(Kernel::linear, row_blocks, [&](int64_t begin, int64_t end, int thread) { work(0, spans, begin, end, thread); });
    else threads.run(Kernel::linear, spans, [&](int64_t begin, int64_t end, int thread) { work(begin, end, 0, row_blocks, thread); });
}

// c (rows, columns) = or += a b for `rows` rows of a from that block on.
void Products::multiply_columns(const Packed& a, int64_t block, int64_t rows, const float* b, int64_t ldb, int64_t columns, float* c, int64_t ldc,
                                bool accumulate, int thread) {
    const int64_t nr = kernels.tile_columns;
    for (int64_t first = 0; first < columns; first += nr) {
        const int wide = static_cast<int>(std::min(nr, columns - first));
        const float* panel = b + first;
        int64_t ld = ldb;
        if (wide < nr) {  // the last panel is copied, so that no vector reads beyond a row
            float* copy = panels[thread].reserve(nr * a.depth);
            for (int64_t p = 0; p < a.depth; p++) {
                std::copy(panel + p * ldb, panel + p * ldb + wide, copy + p * nr);
                std::fill(copy + p * nr + wide, copy + (p + 1) * nr, 0.0f);
            }
            panel = copy;
            ld = nr;
        }
        kernels.multiply(rows, wide, a.depth, a.buffer.data() + block * a.block, a.block, panel, ld, c + first, ldc, accumulate);
    }
}

void Products::multiply(const Packed& a, const float* b, int64_t ldb, int64_t columns, float* c, int64_t ldc, bool accumulate) {
    const int64_t nr = kernels.tile_columns, count = (columns + nr - 1) / nr;
    threads.run(Kernel::low_rank, count, [&](int64_t begin, int64_t end, int thread) {
        const int64_t first = begin * nr, last = std::min(end * nr, columns);
        if (first < last) multiply_columns(a, 0, a.rows, b + first, ldb, last - first, c + first, ldc, accumulate, thread);
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

void Products::add_outer(const float* dy, int64_t rows, int64_t outputs, const float* x, int64_t inputs, float* c) {
    const int64_t nr = kernels.tile_columns, count = (inputs + nr - 1) / nr, wide = std::max<int64_t>(1, group_columns / nr) * nr;
    // A slab of outputs at a time: the head has a vocabulary of them.
    for (int64_t n = 0; n < outputs; n += slab) {
        const int64_t height = std::min(slab, outputs - n);
        pack_transposed(dy + n, rows, height, outputs, 1.0f, turned);
        threads.run(Kernel::weight_gradient, count, [&](int64_t begin, int64_t end, int thread) {
            for (int64_t first = begin * nr; first < std::min(end * nr, inputs); first += wide) {
                const int64_t columns = std::min({wide, inputs - first, end * nr - first});
                for (int64_t k = 0, depth; k < rows; k += depth) {
                    depth = chunk_of(rows - k);
                    // Panels of x (panels, depth, tile_columns), as of right_columns.
                    float* group = panels[thread].reserve(depth * wide);
                    for (int64_t j = 0; j < columns; j += nr) {
                        const int64_t panel = std::min(nr, columns - j);
                        for (int64_t p = 0; p < depth; p++) {
                            const float* row = x + (k + p) * inputs + first + j;
                            float* to = group + j * depth + p * nr;
                            std::copy(row, row + panel, to);
                            std::fill(to + panel, to + nr, 0.0f);
                        }
                    }
                    sweep(height, columns, depth, turned.buffer.data() + k * kernels.tile_rows, turned.block, group, nr * depth, c + n * inputs + first, inputs,
                          true);
                }
            }
        });
    }
}

}  // namespace stillroom
