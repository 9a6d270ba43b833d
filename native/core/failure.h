// The one exception of native/core. It knows nothing of JavaScript; the addon turns it into an Error with the same code.
#pragma once
#include <stdexcept>
#include <string>

namespace stillroom {

// The closed set of codes; src/support/errors.ts holds the same words and their exit codes.
enum class Code { usage, input, missing, internal, io, cancelled };

const char* code_name(Code code);

class Failure : public std::runtime_error {
   public:
    Failure(Code code, const std::string& message) : std::runtime_error(message), code(code) {}
    const Code code;
};

}  // namespace stillroom
