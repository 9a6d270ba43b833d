// Weights kept as panels for f32 products, of codes or of f32 values: the unpacked values, and so the same products, bit for bit, however many rows meet them.
#include <cstring>

#include "core/linear.h"
#include "tests/check.h"
#include "tests/gradient.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

struct Kept {
    std::vector<uint8_t> bytes;
    Weight weight;
    Kept(ggml_type type, int64_t in, int64_t out) : bytes(ggml_row_size(type, in) * out) {
        const auto values = random_values(in * out, 1);
        ggml_quantize_chunk(type, values.data(), bytes.data(), 0, out, in, nullptr);
        weight.name = "weight";
        weight.type = type;
        weight.in = in;
        weight.out = out;
        weight.data = bytes.data();
        weight.row_bytes = static_cast<int64_t>(ggml_row_size(type, in));
        weight.block = ggml_blck_size(type);
    }
};

std::vector<float> product(const Kernels& kernels, const Weight& weight, const std::vector<float>& x, int64_t rows, bool prepared, bool accumulate) {
    Threads threads(2);
    Products products(kernels, threads);
    if (prepared) CHECK(products.prepare(weight, Precision::f32) > 0);
    std::vector<float> y = random_values(rows * weight.out, 3);
    Packed packed;
    products.pack(x.data(), rows, weight.in, weight.in, 1.0f, packed);
    products.forward(packed, {{weight, y.data()}}, accumulate);
    return y;
}

bool same(const std::vector<float>& a, const std::vector<float>& b, size_t count) { return std::memcmp(a.data(), b.data(), count * sizeof(float)) == 0; }

}  // namespace

TEST(products_of_kept_weights_are_those_of_unpacked_weights_bit_for_bit) {
    for (const Kernels* kernels : available_kernels()) {
        int types = 0;
        for (int type = 0; type < GGML_TYPE_COUNT; type++) {
            if (!kernels->codes(type).bits && type != GGML_TYPE_F32) continue;
            types++;
            // Within a chunk of the depth, with a rest beside it, and over three.
            for (const int64_t in : {256, ggml_blck_size(static_cast<ggml_type>(type)) < 256 ? 576 : 768, 1280})
                for (const int64_t out : {1, 45, 160}) {
                    const Kept layer(static_cast<ggml_type>(type), in, out);
                    const auto x = random_values(29 * in, 2);
                    for (const bool accumulate : {false, true}) {
                        const auto all = product(*kernels, layer.weight, x, 29, false, accumulate);
                        for (const int64_t rows : {1, 2, 5, 7, 12, 13, 24, 29})
                            CHECK(same(product(*kernels, layer.weight, x, rows, true, accumulate), all, rows * out));
                    }
                }
        }
        CHECK(types >= 8);
    }
}
