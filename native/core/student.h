// A student's file: what stays of a teacher's tensors, dequantised, under the metadata of the new sizes. Knows the names and shapes of
// tensors; not why something stays.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/importance.h"
#include "core/model.h"

namespace stillroom {

// What stays, by its number in the teacher, or -1 for what is new; layers, width and feed_forward rising but for the new. Of a layer as much as of every other.
struct StudentParts {
    std::vector<int32_t> layers;
    std::vector<int32_t> width;                      // channels of the residual stream
    std::vector<std::vector<int32_t>> feed_forward;  // of each layer: channels
    std::vector<std::vector<int32_t>> heads;         // of each layer: query heads
    std::vector<std::vector<int32_t>> key_value;     // of each layer: key-value heads, each read by as many of these query heads, in their order
    uint64_t seed = 0;                               // of new values
    struct Tokens {
        std::vector<int32_t> wanted;
        int64_t most;
    };
    std::optional<Tokens> tokens;  // as of trim_vocabulary; absent: all
};

// Matrices in f16 (halves) or f32; vectors in f32. Atomic, streamed: memory is a row. Failure(usage) for parts that the teacher has not, Failure(input)
// for a teacher that the engine cannot open, or a weight that f16 cannot hold.
void write_student(const std::string& teacher, const StudentParts& parts, bool halves, const std::string& out);

// What each channel of the feed-forward parts, and each query head, adds to the residual stream, and what a layer reads from each channel of that: the mean
// over tokens of its squared input to a matrix, times the squared norm of the column that it is multiplied with (summed over a head's channels, and over the
// matrices that read the same).
struct Energies {
    std::vector<double> feed_forward;  // (layers, feed-forward width)
    std::vector<double> heads;         // (layers, query heads)
    std::vector<double> width;         // (layers, width)
};
// Failure(usage) for an importance matrix that has seen no tokens of this model.
Energies energies(const Model& model, const Importance& importance);

}  // namespace stillroom
