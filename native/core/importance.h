// An importance matrix: per weight, the sum over tokens of the squared input of each channel. Filled by graph, read by quantize.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stillroom {

struct Importance {
    std::map<std::string, std::vector<double>> sums;  // GGUF weight name, e.g. "blk.0.attn_q.weight" → (in)
    int64_t tokens = 0;
};

}  // namespace stillroom
