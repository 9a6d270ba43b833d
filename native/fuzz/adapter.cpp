// libFuzzer target of the LoRA reader: any bytes give an adapter or a Failure.
#include "core/adapter.h"

#include "core/failure.h"

using namespace stillroom;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        read_adapter(*GgufFile::parse("fuzz", data, size));
    } catch (const Failure&) {
    }
    return 0;
}
