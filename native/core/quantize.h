// llama.cpp's quantiser over a file. Knows its names of types and its importance matrix; not where that comes from.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/gguf_file.h"
#include "core/importance.h"

namespace stillroom {

// Names that quantize takes, e.g. "Q4_K_M".
const std::vector<std::string>& quantization_types();

// What the quantiser is given of an importance matrix: the mean squared input of each channel, of the weights that have seen anything.
std::map<std::string, std::vector<float>> channel_means(const Importance& importance);

// importance may be null; some types below 3 bits need it. Quantised tensors of the input are quantised again. chosen: of matrices that are not to have
// the type's own choice, where their rows are whole blocks. Atomic.
void quantize(const std::string& input, const std::string& out, const std::string& type, const std::vector<TensorType>& chosen, const Importance* importance,
              int threads);

}  // namespace stillroom
