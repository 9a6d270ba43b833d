// llama.cpp's quantiser over a file. Knows its names of types and its importance matrix; not where that comes from.
#pragma once
#include <string>
#include <vector>

#include "core/importance.h"

namespace stillroom {

// Names that quantize takes, e.g. "Q4_K_M".
const std::vector<std::string>& quantization_types();

// importance may be null; some types below 3 bits need it. Quantised tensors of the input are quantised again. Atomic.
void quantize(const std::string& input, const std::string& out, const std::string& type, const Importance* importance, int threads);

}  // namespace stillroom
