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

// What stays, by its number in the teacher, rising; of a layer as many channels and groups as of every other.
struct StudentParts {
    std::vector<int32_t> layers;
    std::vector<std::vector<int32_t>> feed_forward;  // of each layer that stays: channels
    std::vector<std::vector<int32_t>> groups;        // of each layer that stays: key-value heads, each with the query heads that read it
    struct Tokens {
        std::vector<int32_t> wanted;
        int64_t most;
    };
    std::optional<Tokens> tokens;  // as of trim_vocabulary; absent: all
};

// Matrices in f16 (halves) or f32; vectors in f32. Atomic, streamed: memory is a row. Failure(usage) for parts that the teacher has not, Failure(input)
// for a teacher that the engine cannot open, or a weight that f16 cannot hold.
void write_student(const std::string& teacher, const StudentParts& parts, bool halves, const std::string& out);

// What each channel of the feed-forward parts, and each group of heads, adds to the residual stream: the mean over tokens of its squared
// input to the layer's last matrix, times the squared norm of the column that it is multiplied with (summed over the group's channels).
struct Energies {
    std::vector<double> feed_forward;  // (layers, feed-forward width)
    std::vector<double> groups;        // (layers, key-value heads)
};
// Failure(usage) for an importance matrix that has seen no tokens of this model.
Energies energies(const Model& model, const Importance& importance);

}  // namespace stillroom
