// Questions about names and keys that more than one reader asks.
#pragma once

#include <string_view>

namespace stillroom {

inline bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace stillroom
