// Products with packed operands: the frozen linear layer (any weight type, unpacked while packing) forward and backward, and plain f32 products.
// Knows no layer and no adapter. Letters: T rows of activations, K inputs, N outputs.
#pragma once
#include <initializer_list>
#include <map>

#include "core/buffer.h"
#include "core/gemm/kernels.h"
#include "core/model.h"
#include "core/threads.h"

namespace stillroom {

// Rows of activations in the kernels' block layout: (ceil(T / tile_rows), K, tile_rows). May be reused for several products.
struct Packed {
    Buffer buffer;
    int64_t rows = 0, depth = 0, block = 0;  // block: floats between two blocks of rows
    Precision precision = Precision::f32;  // of products with frozen weights
    int64_t group = 0;                     // of integers: depth of a group
    // The same rows narrow, unless that is f32: words (blocks, depth / values a word, tile_rows), scales and sums (blocks, groups, tile_rows);
    // of int8 where a word holds less than four, bytes (blocks, depth / 4, tile_rows) as well.
    Buffer words, bytes, scales, sums;
    int64_t word_block = 0, byte_block = 0, group_block = 0;
};

// left (T, R) times right (R, columns), added to a product's result while that is in the cache: an adapter's last factor.
struct Addend {
    const Packed* left = nullptr;
    const float* right = nullptr;
};

class Products {
   public:
    Products(const Kernels& kernels, Threads& threads);

    const Kernels& kernels;
    Threads& threads;

    // The left operand of forward or backward, x (T, K) with row stride ld, narrow where precision asks for it: the product rounds the
    // weights alike, but for those that are codes. exact_too: in f32 as well, for products with an adapter.
    void pack_operand(const float* x, int64_t rows, int64_t depth, int64_t ld, Precision precision, int64_t group, bool exact_too, Packed& out);
    // x (T, K) with row stride ld.
    void pack(const float* x, int64_t rows, int64_t depth, int64_t ld, float scale, Packed& out);
    // x^T: out packs the (K, T) transpose of x (T, K), for gradients of weights.
    void pack_transposed(const float* x, int64_t rows, int64_t depth, int64_t ld, float scale, Packed& out);

    // Keeps a weight as the panels that forward multiplies operands of that precision with, int8 or f32: for products of few rows, which would
    // spend their time unpacking. f32: as codes, or as values where the weight is f32, and of other types nothing. The weight must outlive
    // them and stand still. Returns the bytes they take.
    int64_t prepare(const Weight& weight, Precision precision);

    // y (T, N) = or += x W^T for one or several weights: where all are prepared, in one parallel section.
    struct Output {
        const Weight& weight;
        float* y;
        Addend added = {};
    };
    void forward(const Packed& x, std::initializer_list<Output> outputs, bool accumulate);
    // dx (T, K) = or += dy W; dy may hold a slice of the outputs, from that one on.
    void backward(const Packed& dy, const Weight& weight, float* dx, int64_t lddx, bool accumulate, int64_t from = 0, Addend added = {});
    // c (M, N) = or += a b, with b (K, N) row-major and row stride ldb.
    void multiply(const Packed& a, const float* b, int64_t ldb, int64_t columns, float* c, int64_t ldc, bool accumulate);
    // c (M, N) = or += a b^T, with b (N, K) row-major.
    void multiply_transposed(const Packed& a, const float* b, int64_t columns, float* c, int64_t ldc, bool accumulate);

    // c (N, K) += dy^T x of dy (T, N) and x (T, K): the gradient of a weight.
    void add_outer(const float* dy, int64_t rows, int64_t outputs, const float* x, int64_t inputs, float* c);

   private:
    // A group of panels of the right operand, in the left one's precision.
    struct Panels {
        const float* values;    // (panels, depth, tile_columns) f32, where the precision is that
        const uint32_t* words;  // (panels, depth / values a word, tile_columns)
        const float* scales;    // (panels, groups, tile_columns)
        int64_t stride;         // floats between two panels of values
        int bits = 0;           // of codes: words hold them, four each
        const float* offsets = nullptr;  // of codes, like scales
    };
    Codes codes_of(const Weight& weight, Precision precision, int64_t group) const;
    void panel_of_codes(const Codes& codes, const Weight& weight, int64_t first, int64_t columns, int64_t k, int64_t depth, uint32_t* words, float* scales,
                        float* offsets, int thread);
    void panel_of_rows(const Weight& weight, int64_t first, int64_t columns, int64_t k, int64_t depth, float* panel, int thread);
    void narrow(Precision precision, int64_t group, int64_t depth, const float* panel, uint32_t* words, float* scales) const;
    Panels right_rows(const Weight& weight, int64_t first, int64_t columns, int64_t k, int64_t depth, const Packed& like, int thread);
    Panels right_columns(const Weight& weight, int64_t first, int64_t columns, int64_t n, int64_t depth, const Packed& like, int thread);
    void sweep_weights(int64_t block, int64_t rows, int64_t columns, int64_t k, int64_t depth, const Packed& a, const Panels& panels, float* c, int64_t ldc,
                       bool accumulate) const;
    void sweep(int64_t rows, int64_t columns, int64_t depth, const float* a, int64_t a_block, const float* panels, int64_t stride, float* c, int64_t ldc,
               bool accumulate) const;
    void multiply_columns(const Packed& a, int64_t block, int64_t rows, const float* b, int64_t ldb, int64_t columns, float* c, int64_t ldc, bool accumulate,
                          int thread);
    struct Prepared {
        Buffer values;                  // (panels, K, tile_columns) in f32, or
        Buffer words, scales, offsets;  // (panels, K / 4, tile_columns), twice (panels, groups, tile_columns)
        Precision precision;
        int bits = 0;  // of codes
        int64_t group = 0;
        // Of that panel, from depth k on.
        const float* values_at(int64_t columns, int64_t depth, int64_t panel, int64_t k) const {
            return values.data() + columns * (panel * depth + k);
        }
        const uint32_t* words_at(int64_t columns, int64_t depth, int64_t panel, int64_t k) const {
            return reinterpret_cast<const uint32_t*>(words.data()) + columns * (panel * ((depth + 3) / 4) + k / 4);
        }
        int64_t group_at(int64_t columns, int64_t depth, int64_t panel, int64_t k) const {
            return columns * (panel * ((depth + group - 1) / group) + k / group);
        }
    };
    const Prepared* prepared_of(const Packed& x, const Weight& weight) const;
    void panel_forward(const Packed& x, const Output& output, const Prepared& kept, int64_t panel, bool accumulate) const;
    void unpacked_forward(const Packed& x, const Output& output, bool accumulate);
    std::map<const uint8_t*, Prepared> prepared;  // by the weight's data
    Packed turned;                // a slab of dy^T in add_outer
    std::vector<Buffer> scratch;  // per thread: unpacked rows
    std::vector<Buffer> panels;   // per thread: packed panels
    std::vector<Buffer> narrow_rows, narrow_panels, narrow_scales;  // per thread
};

}  // namespace stillroom
