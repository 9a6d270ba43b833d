// A step holds one token of each answer under way, then prompts in the order of admission: whoever shares another's prompt stands
// behind it, so what it relies on is computed before or with it.
#include "core/decode/decoder.h"

#include <algorithm>

#include "core/failure.h"

namespace stillroom {

namespace {

// How much of a text stays as it is whatever follows: what is behind it may become a stop text, or is a part of a character.
size_t settled(const std::string& text, const std::vector<std::string>& stops) {
    size_t held = 0;
    for (const std::string& stop : stops)
        for (size_t n = std::min(stop.size() - 1, text.size()); n > held; n--)
            if (text.compare(text.size() - n, n, stop, 0, n) == 0) held = n;
    size_t end = text.size() - held;
    // UTF-8: a first byte says how many there are.
    for (size_t back = 1; back <= std::min<size_t>(3, end); back++) {
        const auto byte = static_cast<unsigned char>(text[end - back]);
        if ((byte & 0xC0) == 0x80) continue;
        const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
        if (length > back) end -= back;
        break;
    }
    return end;
}

}  // namespace

Decoder::Decoder(std::unique_ptr<Executor> given, std::shared_ptr<const Tokens> tokenizer, Threads& pool, const Kernels& chosen, const DecodeLimits& most)
    : executor(std::move(given)), tokens(std::move(tokenizer)), threads(pool), kernels(chosen), limits(most), scratch(pool.count()) {
    if (tokens->vocabulary() != executor->vocabulary())
        throw Failure(Code::usage, "the tokenizer has " + std::to_string(tokens->vocabulary()) + " tokens, the model " + std::to_string(executor->vocabulary()));
}

// The last token of an answer is never computed.
std::string Decoder::refuses(int64_t prompt_tokens, int64_t max_tokens) const { return executor->refuses(prompt_tokens + max_tokens - 1); }

int64_t Decoder::add(DecodeRequest request) {
    if (request.prompt.empty()) throw Failure(Code::usage, "expected at least one token for prompt, received none");
    for (const int32_t token : request.prompt)
        if (token < 0 || token >= executor->vocabulary())
            throw Failure(Code::usage, "expected tokens below " + std::to_string(executor->vocabulary()) + " for prompt, received " + std::to_string(token));
    if (request.max_tokens < 1) throw Failure(Code::usage, "expected at least 1 for maxTokens, received " + std::to_string(request.max_tokens));
    for (const std::string& stop : request.stops)
        if (stop.empty()) throw Failure(Code::usage, "expected a text for stop, received \"\"");
    if (const std::string reason = refuses(static_cast<int64_t>(request.prompt.size()), request.max_tokens); !reason.empty())
        throw Failure(Code::usage, "a prompt of " + std::to_string(request.prompt.size()) + " tokens with an answer of up to " +
                                       std::to_string(request.max_tokens) + " does not fit: " + reason);
    Sampler sampler(request.sampling, tokens->handle(), kernels);
    auto sequence = std::make_unique<Sequence>(Sequence{0, std::move(request), std::move(sampler), Clock::now(), {}, 0, false, {}, 0});
    sequence->tokens = sequence->request.prompt;
    const std::lock_guard<std::mutex> lock(mutex);
    sequence->id = sequence->result.id = next_id++;
    alive.insert(sequence->id);
    added.push_back(std::move(sequence));
    return next_id - 1;
}

bool Decoder::cancel(int64_t id) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!alive.count(id)) return false;
    cancelled.insert(id);
    return true;
}

// What was asked for since the last step.
void Decoder::receive() {
    const std::lock_guard<std::mutex> lock(mutex);
    for (auto& one : added) waiting.push_back(std::move(one));
    added.clear();
    for (auto& one : waiting) one->cancelled |= cancelled.count(one->id) > 0;
    for (auto& one : running) one->cancelled |= cancelled.count(one->id) > 0;
    cancelled.clear();
}

void Decoder::finish(Sequence& sequence, Ending ending, Step& step) {
    sequence.result.ending = ending;
    sequence.result.seconds = std::chrono::duration<double>(Clock::now() - sequence.added).count();
    step.finished.push_back(std::move(sequence.result));
    const std::lock_guard<std::mutex> lock(mutex);
    alive.erase(sequence.id);
}

// Lets go of those that were cancelled; a prompt that others rely on is computed first.
void Decoder::leave(Step& step) {
    auto drop = [&](auto& list, bool admitted) {
        auto kept = list.begin();
        for (auto& one : list) {
            if (!one->cancelled || (admitted && executor->relied_on(one->id))) {
                std::swap(*kept++, one);
                continue;
            }
            if (admitted) executor->release(one->id);
            finish(*one, Ending::cancelled, step);
        }
        list.erase(kept, list.end());
    };
    drop(waiting, false);
    drop(running, true);
}

void Decoder::admit() {
    const int64_t most = std::min(limits.sequences, executor->most_sequences());
    while (!waiting.empty() && static_cast<int64_t>(running.size()) < most) {
        Sequence& next = *waiting.front();
        const int64_t shared = executor->admit(next.id, next.request.prompt, next.prompt_length() + next.request.max_tokens - 1);
        if (shared < 0) return;
        next.computed = next.result.shared_tokens = shared;
        running.push_back(std::move(waiting.front()));
        waiting.pop_front();
    }
}

// Takes the next token; whether the answer is complete (its ending is set then).
bool Decoder::sampled(Sequence& sequence, float* logits, Buffer& room) const {
    Decoded& result = sequence.result;
    const int32_t token = sequence.sampler.next(logits, executor->vocabulary(), sequence.tokens, result.tokens.size(), room);
    if (token < 0 || llama_vocab_is_eog(tokens->handle(), token)) {
        result.ending = token < 0 ? Ending::grammar : Ending::end;
        return true;
    }
    const size_t before = result.text.size();
    if (result.tokens.empty()) result.first_seconds = std::chrono::duration<double>(Clock::now() - sequence.added).count();
    result.tokens.push_back(token);
    sequence.tokens.push_back(token);
    if (sequence.request.sampling.log_probabilities >= 0) result.probabilities.push_back(sequence.sampler.probabilities());
    result.text += token_piece(tokens->handle(), token, false);
    size_t cut = std::string::npos;
    for (const std::string& stop : sequence.request.stops) cut = std::min(cut, result.text.find(stop, before < stop.size() ? 0 : before - stop.size() + 1));
    if (cut != std::string::npos) {
        result.text.resize(cut);
        result.ending = Ending::stop;
        return true;
    }
    result.ending = Ending::length;
    return static_cast<int32_t>(result.tokens.size()) == sequence.request.max_tokens;
}

void Decoder::tell(Sequence& sequence, Step& step) {
    if (!sequence.request.pieces) return;
    const size_t end = settled(sequence.result.text, sequence.request.stops);
    if (end <= sequence.told) return;
    step.pieces.push_back({sequence.id, sequence.result.text.substr(sequence.told, end - sequence.told)});
    sequence.told = end;
}

Decoder::Step Decoder::step() {
    if (broken) throw Failure(Code::usage, "the decoder failed in an earlier step; open another");
    broken = true;  // until this step is done
    const Profile::Scope scope(threads.profile, Part::forward);
    Step done;
    receive();
    leave(done);
    admit();

    std::vector<ExecutorToken> step;
    std::vector<Sequence*> asked;  // of the wanted tokens
    for (auto& one : running)
        if (!one->prefilling()) {
            step.push_back({one->id, one->tokens.back(), static_cast<int32_t>(one->computed++), true});
            asked.push_back(one.get());
        }
    for (auto& one : running)
        for (; one->prefilling() && done.prompt_tokens < limits.step_tokens; done.prompt_tokens++) {
            const int64_t at = one->computed++;
            step.push_back({one->id, one->tokens[at], static_cast<int32_t>(at), !one->prefilling()});
            if (!one->prefilling()) asked.push_back(one.get());
        }
    if (!step.empty()) {
        float* logits = executor->run(step);
        const int64_t vocabulary = executor->vocabulary();
        std::vector<char> complete(asked.size());
        threads.run(Kernel::sampling, static_cast<int64_t>(asked.size()), [&](int64_t begin, int64_t end, int thread) {
            for (int64_t i = begin; i < end; i++) complete[i] = sampled(*asked[i], logits + i * vocabulary, scratch[thread]);
        });
        done.answer_tokens = static_cast<int64_t>(asked.size());
        for (size_t i = 0; i < asked.size(); i++) {
            if (!complete[i]) {
                tell(*asked[i], done);
                continue;
            }
            executor->release(asked[i]->id);
            finish(*asked[i], asked[i]->cancelled ? Ending::cancelled : asked[i]->result.ending, done);
            asked[i]->id = -1;
        }
        running.erase(std::remove_if(running.begin(), running.end(), [](auto& one) { return one->id < 0; }), running.end());
    }
    done.waiting = static_cast<int64_t>(waiting.size());
    done.running = static_cast<int64_t>(running.size());
    broken = false;
    return done;
}

}  // namespace stillroom
