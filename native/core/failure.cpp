// The words for the codes, shared with src/support/errors.ts.
#include "core/failure.h"

namespace stillroom {

const char* code_name(Code code) {
    switch (code) {
        case Code::usage: return "usage";
        case Code::input: return "input";
        case Code::missing: return "missing";
        case Code::io: return "io";
        case Code::cancelled: return "cancelled";
        case Code::internal: break;
    }
    return "internal";
}

}  // namespace stillroom
