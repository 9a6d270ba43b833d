// The table of vector kernels that one instruction set provides. kernels.cpp is compiled once per variant; dispatch.cpp chooses.
// Letters: M rows of the result, N columns, K depth. A is packed in blocks of tile_rows: (M / tile_rows, K, tile_rows).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace stillroom {

// What the frozen products multiply: f32 exactly, or operands rounded to bf16, or to int8 or int16 with a scale for each group of the depth.
enum class Precision { f32, bf16, int8, int16 };
struct Precisions {
    Precision forward = Precision::f32, backward = Precision::f32;
};
// Groups of integers: short in the forward pass, where rounding moves the logits; long in the backward pass, where it averages out.
constexpr int64_t forward_group = 32, backward_group = 128;

// Weights as bytes of what their file holds: value = scale * code + offset, one scale and offset for each group of values. Computed so, it is the
// unpacked value bit for bit.
constexpr int64_t code_group = 32;
struct Codes {
    int bits = 0;  // of a code: 4 or 5, which products of integers take as they are, or 8; 0 for all other types
    int group = code_group;
    // count values, whole blocks, of a row.
    void (*read)(const uint8_t* from, int64_t count, uint8_t* codes, float* scales, float* offsets) = nullptr;
};

// A block of at most tile_rows rows of a narrow left operand, interleaved by rows: words (depth / values a word, tile_rows), of int8
// (depth / 4, left_words, tile_rows); integers only: scales and sums (groups, tile_rows).
struct NarrowRows {
    const uint32_t* words;
    const float* scales;
    const int32_t* sums;
    int64_t group;  // depth of a group, a multiple of 4
};

struct Kernels {
    const char* name;
    int tile_rows;
    int tile_columns;
    int left_words;  // words that four neighbours of an int8 left operand take; of the right one, one

    // C (m, n) = or += A B. a: packed blocks, a_block floats apart, rows beyond m are never stored. n <= tile_columns.
    // b: row p at b + p * ldb; every row is readable up to the next multiple of the vector width.
    void (*multiply)(int64_t m, int n, int64_t k, const float* a, int64_t a_block, const float* b, int64_t ldb, float* c, int64_t ldc,
                     bool accumulate);
    // Packs source(i, p) = source[i * row_stride + p * column_stride] * scale into blocks of tile_rows; missing rows become 0.
    void (*pack)(int64_t m, int64_t k, const float* source, int64_t row_stride, int64_t column_stride, float scale, float* out);
    // out (k, tile_columns) = transpose of source (n, k) with row stride ld; columns beyond n become 0.
    void (*pack_transposed)(int n, int64_t k, const float* source, int64_t ld, float* out);

    // y (c) = x / rms(x) * w; returns 1 / rms.
    float (*rms_norm)(int64_t c, const float* x, const float* w, float epsilon, float* y);
    // dx (c) += gradient of rms_norm given dy and the 1 / rms that the forward pass returned.
    void (*rms_norm_backward)(int64_t c, const float* x, const float* w, float inverse_rms, const float* dy, float* dx);
    // out = silu(gate) * up.
    void (*swiglu)(int64_t n, const float* gate, const float* up, float* out);
    // dgate and dup from dout; either may alias its input.
    void (*swiglu_backward)(int64_t n, const float* gate, const float* up, const float* dout, float* dgate, float* dup);
    // x[i] = exp(x[i] - shift); returns the sum.
    float (*exp_shifted)(int64_t n, float* x, float shift);
    // p[i] = exp(p[i] - shift), d[i] = p[i] (d[i] - delta) factor: scores to probabilities, and their gradients to those of the scores.
    void (*softmax_backward)(int64_t n, float shift, float delta, float factor, float* p, float* d);
    float (*maximum)(int64_t n, const float* x);
    float (*dot)(int64_t n, const float* x, const float* y);
    void (*scale)(int64_t n, float factor, float* x);
    void (*add)(int64_t n, const float* x, float* y);  // y += x
    // One AdamW step (Loshchilov & Hutter 2019): correction1 = 1 - beta1^t, correction2 = 1 - beta2^t.
    void (*adamw)(int64_t n, float* w, const float* g, float* m, float* v, float gradient_scale, float rate, float beta1, float beta2,
                  float epsilon, float decay, float correction1, float correction2);
    // GFLOP/s of independent fused multiply-adds on one core, the best of `seconds` of the thread's CPU time.
    double (*fma_peak)(double seconds);
    double (*thread_seconds)();  // CPU time of the calling thread
    // Narrow operands (gemm/narrow.h): a row of the left operand to words, and panels of tile_columns columns of the right one.
    // bytes: the same integers as bytes, four a word, where words hold int16; not written where left_words is 1, nor for int16.
    void (*to_integers)(Precision precision, int64_t k, int64_t group, const float* x, uint32_t* words, uint32_t* bytes, float* scales, int32_t* sums);
    void (*columns_to_integers)(Precision precision, int64_t k, int64_t group, const float* source, int64_t ld, uint32_t* words, float* scales);
    void (*to_bf16)(int64_t k, const float* x, uint32_t* words);
    void (*columns_to_bf16)(int64_t k, const float* source, int64_t ld, uint32_t* words);
    void (*multiply_narrow)(Precision precision, int m, int n, int64_t k, const NarrowRows& a, const uint32_t* b, const float* b_scales, float* c,
                            int64_t ldc, bool accumulate);
    // The same for a panel of codes (k / 4, tile_columns) with scales and offsets (k / code_group, tile_columns), and a left operand of bytes
    // in groups of code_group.
    void (*multiply_codes)(int bits, int m, int n, int64_t k, const NarrowRows& a, const uint32_t* codes, const float* scales, const float* offsets,
                           float* c, int64_t ldc, bool accumulate);
    // C (m, n) = or += A B in f32, a as of multiply, for a panel of codes with scales and offsets (k / group, tile_columns): the same bits as with
    // the panel of values (k, tile_columns) that expand_codes makes of it. Worth it for few rows.
    void (*multiply_exact_codes)(int64_t m, int n, int64_t k, int group, const float* a, int64_t a_block, const uint32_t* codes, const float* scales,
                                 const float* offsets, float* c, int64_t ldc, bool accumulate);
    void (*expand_codes)(int64_t k, int group, const uint32_t* codes, const float* scales, const float* offsets, float* panel);
    bool (*narrow_is_fast)(Precision precision);
    // Unpacks whole blocks of a weight type (ggml_type) to f32; nullptr for types that ggml unpacks as fast.
    void (*(*unpack)(int type))(const uint8_t* from, int64_t count, float* out);
    Codes (*codes)(int type);
};

// Variants that this machine can run, best first.
const std::vector<const Kernels*>& available_kernels();
// The named variant, or the best for an empty name; Failure(usage) names the ones there are.
const Kernels& choose_kernels(const std::string& name);
// "f32", "bf16", "int16", "int8", or "mixed" (int16 forward, int8 backward); Failure(usage) for another name, or where the variant or this processor lacks the instructions.
Precisions choose_precisions(const Kernels& kernels, const std::string& name);

}  // namespace stillroom
