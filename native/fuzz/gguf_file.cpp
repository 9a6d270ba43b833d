// libFuzzer target of the GGUF reader: any bytes give a file or a Failure, and every accessor of an accepted file is safe.
#include "core/gguf_file.h"

#include "core/failure.h"

using namespace stillroom;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        const auto file = GgufFile::parse("fuzz", data, size);
        for (const char* key : {"general.architecture", "general.alignment", "tokenizer.ggml.tokens", "a", "k"}) {
            const auto attempt = [&](auto read) {
                try {
                    read();
                } catch (const Failure&) {
                }
            };
            attempt([&] { file->integer(key); });
            attempt([&] { file->number(key); });
            attempt([&] { file->boolean(key); });
            attempt([&] { file->text(key); });
            attempt([&] { file->integers(key); });
            attempt([&] { file->texts(key); });
        }
        // The first and the last byte of each tensor lie within the input.
        unsigned sum = 0;
        for (const GgufTensor& tensor : file->tensors()) sum += tensor.data[0] + tensor.data[tensor.bytes - 1];
        static volatile unsigned sink;
        sink = sum;
    } catch (const Failure&) {
    }
    return 0;
}
