// Continuous batching: requests wait until their memory is free, join the running ones in the middle of their work, and leave when they
// are done. One step is one bounded piece of work. Knows no model: an executor computes.
#pragma once
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/decode/executor.h"
#include "core/decode/sampler.h"
#include "core/threads.h"
#include "core/tokens.h"

namespace stillroom {

struct DecodeRequest {
    std::vector<int32_t> prompt;
    int32_t max_tokens = 256;
    std::vector<std::string> stops;
    SamplerOptions sampling;
    bool pieces = false;  // whether steps tell the text as it grows
};

// Text of an answer under way that nothing which follows can take back: whole characters, and no beginning of a stop text.
struct Piece {
    int64_t id = 0;
    std::string text;
};

// grammar: it allows no further token, not even an end token of this vocabulary.
enum class Ending { end, stop, length, grammar, cancelled };

struct Decoded {
    int64_t id = 0;
    std::vector<int32_t> tokens;  // without the end token; with those that spell a stop text
    std::string text;             // without the stop text; UTF-8, possibly cut within a character
    Ending ending = Ending::cancelled;
    std::vector<std::vector<TokenProbability>> probabilities;  // for each token, when asked for
    int64_t shared_tokens = 0;                                 // of the prompt, not computed for this request
    double first_seconds = 0, seconds = 0;                     // from add to the first token (0 without one), and to the end
};

struct DecodeLimits {
    int64_t step_tokens = 512;  // of prompts that a step computes, beside one token of each running answer
    int64_t sequences = 64;     // most that run side by side
};

class Decoder {
   public:
    Decoder(std::unique_ptr<Executor> executor, std::shared_ptr<const Tokens> tokens, Threads& threads, const Kernels& kernels, const DecodeLimits& limits);

    // These three may be called while a step runs; they never wait for it.
    // Why a prompt with an answer of so many tokens can never run; empty when it can.
    std::string refuses(int64_t prompt_tokens, int64_t max_tokens) const;
    // Failure(usage) for what is refused, a prompt that is empty or has a token outside the vocabulary, or a bad option.
    int64_t add(DecodeRequest request);
    // Whether the request was still waiting or running; the next step returns what it has.
    bool cancel(int64_t id);

    struct Step {
        std::vector<Decoded> finished;
        std::vector<Piece> pieces;  // of requests that asked for them; what stands behind the last one comes with the finished answer
        int64_t waiting = 0, running = 0;
        int64_t prompt_tokens = 0, answer_tokens = 0;  // computed, sampled
    };
    // Lets requests in, computes one step and samples. After a Failure every further one fails.
    Step step();

   private:
    using Clock = std::chrono::steady_clock;
    struct Sequence {
        int64_t id;
        DecodeRequest request;
        Sampler sampler;
        Clock::time_point added;
        std::vector<int32_t> tokens;  // prompt and answer
        int64_t computed = 0;         // of them, in the cache
        bool cancelled = false;
        Decoded result;
        size_t told = 0;  // of the text, in pieces
        int64_t prompt_length() const { return static_cast<int64_t>(request.prompt.size()); }
        bool prefilling() const { return computed < prompt_length(); }
    };
    void receive();
    void leave(Step& step);
    void admit();
    bool sampled(Sequence& sequence, float* logits, Buffer& scratch) const;
    static void tell(Sequence& sequence, Step& step);
    void finish(Sequence& sequence, Ending ending, Step& step);

    const std::unique_ptr<Executor> executor;
    const std::shared_ptr<const Tokens> tokens;
    Threads& threads;
    const Kernels& kernels;
    const DecodeLimits limits;
    std::deque<std::unique_ptr<Sequence>> waiting;
    std::vector<std::unique_ptr<Sequence>> running;  // in the order of admission
    std::vector<Buffer> scratch;                     // per thread
    bool broken = false;

    std::mutex mutex;  // of what follows
    std::vector<std::unique_ptr<Sequence>> added;
    std::set<int64_t> alive, cancelled;
    int64_t next_id = 0;
};

}  // namespace stillroom
