// What computes the steps of a decoder: our own engine on pages, or a context of llama.cpp. Knows tokens and memory; no sampling.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace stillroom {

struct ExecutorToken {
    int64_t sequence;
    int32_t token, position;
    bool wanted;  // its logits are asked for
};

class Executor {
   public:
    virtual ~Executor() = default;
    virtual int32_t vocabulary() const = 0;
    virtual int64_t most_sequences() const = 0;  // that it can hold side by side
    // Why a sequence of so many tokens can never run; empty when it can. Safe beside the other calls.
    virtual std::string refuses(int64_t tokens) const = 0;
    // Takes a sequence in when memory for `tokens` of it is free, and says how many of the prompt's first need not be computed; else -1.
    virtual int64_t admit(int64_t sequence, const std::vector<int32_t>& prompt, int64_t tokens) = 0;
    // Whether others rely on what this sequence has still to compute: it may not be released then.
    virtual bool relied_on(int64_t sequence) const = 0;
    virtual void release(int64_t sequence) = 0;
    // Logits (R, V) of the wanted tokens, in their order; may be changed; valid until the next run. A sequence's tokens come in their
    // order, those of an earlier sequence before those that share its prompt.
    virtual float* run(const std::vector<ExecutorToken>& step) = 0;
};

}  // namespace stillroom
