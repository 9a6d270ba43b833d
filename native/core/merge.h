// Adds a LoRA to a model file: base + scale * B A, streamed tensor by tensor into a new GGUF. Knows files; not training.
#pragma once
#include <string>
#include <vector>

#include "core/lora.h"

namespace stillroom {

// Tensors with a LoRA are written in f32, all others byte for byte, the metadata byte for byte. Where input embeddings and
// head share one tensor and only one of them has a LoRA, an own output.weight is written, so that the other stays as it was.
// Memory: the adapter and one row. Failure(input) when the adapter does not fit the base.
void merge(const std::string& base, const std::vector<NamedTensor>& tensors, float scale, const std::string& out);

}  // namespace stillroom
