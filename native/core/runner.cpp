// Packs a forest into llama.cpp's sequences so that shared tokens are decoded once; keeps its slots full when generating.
#include "core/runner.h"

#include <algorithm>
#include <cmath>

#include "core/adapter.h"
#include "core/failure.h"
#include "core/gguf_file.h"
#include "core/tokens.h"

namespace stillroom {

namespace {

constexpr int32_t most_sequences = 256;  // llama.cpp's LLAMA_MAX_SEQ
constexpr int32_t batch_tokens = 512;
constexpr int64_t logits_bytes = int64_t{64} << 20;  // of one decode
constexpr int64_t attention_bytes = int64_t{256} << 20;  // of the attention weights of one micro-batch

// The arrays of a llama_batch, filled token by token.
class Decode {
   public:
    explicit Decode(llama_context* context) : context(context) {}

    // Returns the token's index, under which its logits are found.
    int32_t add(int32_t token, int32_t position, const std::vector<int32_t>& sequences, bool wants_logits) {
        tokens.push_back(token);
        positions.push_back(position);
        owners.push_back(sequences);
        logits.push_back(wants_logits);
        outputs += wants_logits;
        return static_cast<int32_t>(tokens.size()) - 1;
    }
    int32_t size() const { return static_cast<int32_t>(tokens.size()); }
    int32_t wanted() const { return outputs; }

    void run() {
        std::vector<int32_t> counts;
        std::vector<int32_t*> pointers;
        for (auto& owner : owners) {
            counts.push_back(static_cast<int32_t>(owner.size()));
            pointers.push_back(owner.data());
        }
        const llama_batch batch{size(), tokens.data(), nullptr, positions.data(), counts.data(), pointers.data(), logits.data()};
        const int32_t result = llama_decode(context, batch);
        if (result != 0) {
            llama_memory_clear(llama_get_memory(context), true);
            throw Failure(Code::internal, "llama.cpp could not decode " + std::to_string(size()) + " tokens (" + std::to_string(result) + "): " + Quiet::error());
        }
    }
    const float* logits_of(int32_t index) const {
        const float* row = llama_get_logits_ith(context, index);
        if (!row) throw Failure(Code::internal, "llama.cpp gave no logits: " + Quiet::error());
        return row;
    }
    void clear() {
        tokens.clear();
        positions.clear();
        owners.clear();
        logits.clear();
        outputs = 0;
    }

   private:
    llama_context* context;
    std::vector<int32_t> tokens, positions;
    std::vector<std::vector<int32_t>> owners;
    std::vector<int8_t> logits;
    int32_t outputs = 0;
};

// log softmax(row)[token], row: (vocabulary).
double log_probability(const float* row, int32_t vocabulary, int32_t token) {
    const double most = *std::max_element(row, row + vocabulary);
    double sum = 0;
    for (int32_t i = 0; i < vocabulary; ++i) sum += std::exp(row[i] - most);
    return row[token] - most - std::log(sum);
}

// The paths of a forest, one for each segment without children, in depth-first order: the paths through segment s are
// first[s] up to and without last[s].
struct Paths {
    std::vector<int32_t> first, last, ends;  // (S), (S), (paths)

    explicit Paths(const Batch& batch) : first(batch.segments.size()), last(batch.segments.size()) {
        const auto count = static_cast<int32_t>(batch.segments.size());
        for (int32_t s = 0; s < count; ++s) {
            first[s] = static_cast<int32_t>(ends.size());
            const bool leaf = s + 1 == count || batch.segments[s + 1].parent != s;
            if (leaf) ends.push_back(s);
        }
        for (int32_t s = 0; s < count; ++s) last[s] = first[s] + 1;
        for (int32_t s = count - 1; s >= 0; --s) {
            const int32_t parent = batch.segments[s].parent;
            if (parent >= 0) last[parent] = std::max(last[parent], last[s]);
        }
    }
};

void check_adapter(const GgufFile& base, const Adapter& adapter, const std::string& path) {
    const auto refuse = [&](const std::string& message) { throw Failure(Code::input, path + ": " + message); };
    const std::string architecture = base.text("general.architecture").value_or("");
    if (adapter.architecture != architecture)
        refuse("the adapter is for architecture \"" + adapter.architecture + "\", the model is of \"" + architecture + "\"");
    const bool tied = !base.find("output.weight");
    for (const FactorPair& pair : factor_pairs(adapter.tensors)) {
        // llama.cpp has no own head then: it refuses a LoRA on it, and aborts on one that the shared tensor would hand to it.
        if (tied && (pair.weight == "output" || pair.weight == "token_embd"))
            refuse("llama.cpp cannot run a LoRA on " + pair.weight + " beside a model with tied embeddings; merge it into the model instead");
        const GgufTensor* weight = base.find(pair.weight + ".weight");
        if (!weight) refuse("the adapter has factors for " + pair.weight + ".weight, which the model has not");
        const bool embeddings = pair.weight == "token_embd";
        if (weight->shape[0] != (embeddings ? pair.b->rows : pair.a->columns) || weight->shape[1] != (embeddings ? pair.a->columns : pair.b->rows))
            refuse("the factors of " + pair.weight + " do not fit the model's weight of " + std::to_string(weight->shape[1]) + " x " + std::to_string(weight->shape[0]));
    }
}

}  // namespace

std::shared_ptr<Runner> Runner::open(const std::string& path, const RunnerOptions& options) {
    if (options.threads < 1 || options.threads > 1024) throw Failure(Code::usage, "expected 1 to 1024 for threads, received " + std::to_string(options.threads));
    if (options.context_tokens < 1 || options.context_tokens > (1 << 24))
        throw Failure(Code::usage, "expected 1 to 16777216 for contextTokens, received " + std::to_string(options.context_tokens));
    if (options.sequences < 1 || options.sequences > most_sequences)
        throw Failure(Code::usage, "expected 1 to 256 for sequences, received " + std::to_string(options.sequences));
    if (int64_t{options.context_tokens} * options.sequences > (int64_t{1} << 30))
        throw Failure(Code::usage, "expected at most 2^30 for contextTokens times sequences, received " + std::to_string(options.context_tokens) + " and " +
                                       std::to_string(options.sequences));
    const auto file = GgufFile::open(path);
    check_hyperparameters(*file);
    const std::string tokenizer = file->text("tokenizer.ggml.model").value_or("");
    if (tokenizer != "none" && tokenizer != "no_vocab") check_vocabulary(*file);
    if (!options.adapter.empty()) check_adapter(*file, read_adapter(*GgufFile::open(options.adapter)), options.adapter);
    std::shared_ptr<Runner> runner(new Runner(load_model(path, false), options));
    if (llama_model_has_encoder(runner->model.get()) || !llama_model_has_decoder(runner->model.get()))
        throw Failure(Code::input, path + ": expected a decoder-only model");
    if (!options.adapter.empty()) runner->load_adapter(options.adapter);
    return runner;
}

Runner::Runner(LlamaModel loaded, const RunnerOptions& options)
    : options(options), model(std::move(loaded)), vocab(llama_model_get_vocab(model.get())), vocabulary(llama_vocab_n_tokens(vocab)) {}

void Runner::load_adapter(const std::string& path) {
    const Quiet quiet;
    adapter = llama_adapter_lora_init(model.get(), path.c_str());
    if (!adapter) throw Failure(Code::input, path + ": llama.cpp cannot open the adapter: " + Quiet::error());
}

LlamaContext Runner::make_context(bool unified) const {
    llama_context_params parameters = llama_context_default_params();
    // llama.cpp makes a batch no longer than the cache before it is padded, and aborts when more tokens than that come at
    // once, or when it is shorter than the number of sequences. So it never is.
    parameters.n_ctx = static_cast<uint32_t>(std::max<int64_t>(int64_t{options.context_tokens} * options.sequences, batch_tokens));
    parameters.n_batch = batch_tokens;
    parameters.n_ubatch = batch_tokens;
    parameters.n_seq_max = static_cast<uint32_t>(unified ? most_sequences : options.sequences);
    parameters.kv_unified = unified;
    parameters.n_threads = options.threads;
    parameters.n_threads_batch = options.threads;
    parameters.no_perf = true;
    if (unified) {
        // Scores are a reference: no rounding in the cache, and no flash attention, which costs 1e-3 on the CPU.
        parameters.type_k = parameters.type_v = GGML_TYPE_F32;
        parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
        const int64_t row_bytes = int64_t{4} * parameters.n_ctx * std::max(1, llama_model_n_head(model.get()));
        parameters.n_ubatch = static_cast<uint32_t>(std::clamp<int64_t>(attention_bytes / row_bytes, 32, batch_tokens));
    }
    LlamaContext context(llama_init_from_model(model.get(), parameters));
    if (!context) throw Failure(Code::input, "llama.cpp cannot make a context of " + std::to_string(parameters.n_ctx) + " tokens: " + Quiet::error());
    float scale = 1;
    llama_adapter_lora* adapters[] = {adapter};
    if (adapter && llama_set_adapters_lora(context.get(), adapters, 1, &scale) != 0)
        throw Failure(Code::internal, "llama.cpp cannot apply the adapter: " + Quiet::error());
    return context;
}

std::vector<double> Runner::score(Batch batch) {
    batch.check(vocabulary, options.context_tokens);
    const std::lock_guard<std::mutex> lock(mutex);
    const Quiet quiet;
    if (!scoring) scoring = make_context(true);
    const Paths paths(batch);
    const auto path_count = static_cast<int32_t>(paths.ends.size());
    // A recurrent state cannot be shared by two continuations: one path at a time.
    const bool recurrent = llama_model_is_recurrent(model.get()) || llama_model_is_hybrid(model.get());
    const int32_t most_paths = recurrent ? 1 : most_sequences;
    const auto cells = static_cast<int64_t>(llama_n_ctx(scoring.get()));
    const auto most_outputs = static_cast<int32_t>(std::clamp<int64_t>(logits_bytes / 4 / vocabulary, 1, batch_tokens));

    std::vector<std::vector<int32_t>> queries(batch.tokens.size());  // by position
    for (size_t q = 0; q < batch.query_positions.size(); ++q) queries[batch.query_positions[q]].push_back(static_cast<int32_t>(q));
    std::vector<double> result(batch.query_positions.size(), NAN);
    std::vector<bool> answered(batch.segments.size());

    Decode decode(scoring.get());
    std::vector<std::pair<int32_t, int32_t>> wanted;  // index in decode, position in the batch
    const auto flush = [&] {
        if (decode.size() == 0) return;
        decode.run();
        for (const auto& [index, position] : wanted) {
            const float* row = decode.logits_of(index);
            for (const int32_t q : queries[position]) result[q] = log_probability(row, vocabulary, batch.query_tokens[q]);
        }
        decode.clear();
        wanted.clear();
    };

    // Groups of paths that fit the cache and llama.cpp's number of sequences.
    std::vector<bool> taken(batch.segments.size());
    for (int32_t begin = 0; begin < path_count;) {
        std::fill(taken.begin(), taken.end(), false);
        int64_t tokens = 0;
        int32_t end = begin;
        for (; end < path_count && end - begin < most_paths; ++end) {
            int64_t added = 0;
            for (int32_t s = paths.ends[end]; s >= 0 && !taken[s]; s = batch.segments[s].parent) added += batch.segments[s].length;
            if (end > begin && tokens + added > cells) break;
            for (int32_t s = paths.ends[end]; s >= 0 && !taken[s]; s = batch.segments[s].parent) taken[s] = true;
            tokens += added;
        }
        llama_memory_clear(llama_get_memory(scoring.get()), false);
        for (size_t s = 0; s < batch.segments.size(); ++s) {
            if (!taken[s]) continue;
            std::vector<int32_t> sequences;
            for (int32_t p = std::max(paths.first[s], begin); p < std::min(paths.last[s], end); ++p) sequences.push_back(p - begin);
            for (int32_t t = batch.segments[s].start; t < batch.segments[s].start + batch.segments[s].length; ++t) {
                const bool asked = !answered[s] && !queries[t].empty();
                if (decode.size() == batch_tokens || (asked && decode.wanted() == most_outputs)) flush();
                const int32_t index = decode.add(batch.tokens[t], batch.positions[t], sequences, asked);
                if (asked) wanted.emplace_back(index, t);
            }
            answered[s] = true;
        }
        flush();
        begin = end;
    }
    return result;
}

std::vector<Continuation> Runner::generate(const std::vector<std::vector<int32_t>>& prompts, int32_t max_tokens, const std::vector<std::string>& stops) {
    if (max_tokens < 1) throw Failure(Code::usage, "expected at least 1 for maxTokens, received " + std::to_string(max_tokens));
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE) throw Failure(Code::input, "the model has no tokenizer, so that nothing can be generated");
    for (size_t i = 0; i < prompts.size(); ++i) {
        const std::string name = "prompt " + std::to_string(i);
        if (prompts[i].empty()) throw Failure(Code::usage, "expected at least one token for " + name);
        if (static_cast<int64_t>(prompts[i].size()) > options.context_tokens)
            throw Failure(Code::usage, name + " has " + std::to_string(prompts[i].size()) + " tokens, more than contextTokens " + std::to_string(options.context_tokens));
        for (const int32_t token : prompts[i])
            if (token < 0 || token >= vocabulary) throw Failure(Code::usage, "expected tokens below " + std::to_string(vocabulary) + " for " + name + ", received " + std::to_string(token));
    }
    for (const std::string& stop : stops)
        if (stop.empty()) throw Failure(Code::usage, "expected a text for stop, received \"\"");

    const std::lock_guard<std::mutex> lock(mutex);
    const Quiet quiet;
    if (!generating) generating = make_context(false);
    llama_memory_t memory = llama_get_memory(generating.get());
    llama_memory_clear(memory, false);

    struct Slot {
        int64_t prompt = -1;    // index; -1: free
        int32_t fed = 0;        // tokens in the cache
        int32_t next = -1;      // generated, to be fed; -1 while the prompt is fed
        int32_t logits_at = -1; // index in this decode
    };
    std::vector<Slot> slots(static_cast<size_t>(options.sequences));
    std::vector<Continuation> results(prompts.size());
    Decode decode(generating.get());
    size_t begun = 0;

    // Takes the most likely token; returns whether the continuation is complete.
    const auto advance = [&](Slot& slot) {
        Continuation& result = results[slot.prompt];
        const float* row = decode.logits_of(slot.logits_at);
        slot.next = static_cast<int32_t>(std::max_element(row, row + vocabulary) - row);
        if (llama_vocab_is_eog(vocab, slot.next)) {
            result.stopped = Stopped::end;
            return true;
        }
        const size_t before = result.text.size();
        result.tokens.push_back(slot.next);
        result.text += token_piece(vocab, slot.next, false);
        size_t cut = std::string::npos;
        for (const std::string& stop : stops) cut = std::min(cut, result.text.find(stop, before < stop.size() ? 0 : before - stop.size() + 1));
        if (cut != std::string::npos) {
            result.text.resize(cut);
            result.stopped = Stopped::stop;
            return true;
        }
        return static_cast<int32_t>(result.tokens.size()) == max_tokens || slot.fed == options.context_tokens;
    };

    while (true) {
        decode.clear();
        for (Slot& slot : slots)
            if (slot.prompt < 0 && begun < prompts.size()) slot = {static_cast<int64_t>(begun++), 0, -1, -1};
        // One token of each running continuation, then as much of the new prompts as fits.
        for (size_t s = 0; s < slots.size(); ++s) {
            Slot& slot = slots[s];
            slot.logits_at = -1;
            if (slot.prompt >= 0 && slot.next >= 0) slot.logits_at = decode.add(slot.next, slot.fed++, {static_cast<int32_t>(s)}, true);
        }
        for (size_t s = 0; s < slots.size(); ++s) {
            Slot& slot = slots[s];
            if (slot.prompt < 0 || slot.next >= 0) continue;
            const auto& prompt = prompts[slot.prompt];
            while (slot.fed < static_cast<int32_t>(prompt.size()) && decode.size() < batch_tokens) {
                const bool is_last = slot.fed + 1 == static_cast<int32_t>(prompt.size());
                const int32_t index = decode.add(prompt[slot.fed], slot.fed, {static_cast<int32_t>(s)}, is_last);
                if (is_last) slot.logits_at = index;
                ++slot.fed;
            }
        }
        if (decode.size() == 0) break;
        decode.run();
        for (size_t s = 0; s < slots.size(); ++s) {
            if (slots[s].logits_at < 0 || !advance(slots[s])) continue;
            llama_memory_seq_rm(memory, static_cast<int32_t>(s), -1, -1);
            slots[s].prompt = -1;
        }
    }
    return results;
}

}  // namespace stillroom
