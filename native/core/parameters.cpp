// The choice of layers that adapters and whole weights have in common.
#include "core/parameters.h"

#include "core/failure.h"

namespace stillroom {

std::vector<bool> choose_layers(int64_t count, const std::vector<int64_t>& listed) {
    std::vector<bool> chosen(count, listed.empty());
    for (int64_t layer : listed) {
        if (layer < 0 || layer >= count)
            throw Failure(Code::usage, "expected numbers from 0 to " + std::to_string(count - 1) + " for layers, received " + std::to_string(layer));
        chosen[layer] = true;
    }
    return chosen;
}

}  // namespace stillroom
