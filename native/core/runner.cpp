// Packs a forest into llama.cpp's sequences so that shared tokens are decoded once.
#include "core/runner.h"

#include <algorithm>
#include <cmath>

#include "core/failure.h"
#include "core/gemm/kernels.h"

namespace stillroom {

namespace {

constexpr int32_t batch_tokens = 512;
constexpr int32_t embedding_tokens = 128;  // llama.cpp computes the logits of these as well
constexpr int64_t logits_bytes = int64_t{64} << 20;  // of one decode

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

}  // namespace

std::shared_ptr<Runner> Runner::open(const std::string& path, const RunnerOptions& options) {
    if (options.threads < 1 || options.threads > 1024) throw Failure(Code::usage, "expected 1 to 1024 for threads, received " + std::to_string(options.threads));
    if (options.context_tokens < 1 || options.context_tokens > (1 << 24))
        throw Failure(Code::usage, "expected 1 to 16777216 for contextTokens, received " + std::to_string(options.context_tokens));
    if (options.sequences < 1 || options.sequences > most_llama_sequences)
        throw Failure(Code::usage, "expected 1 to 256 for sequences, received " + std::to_string(options.sequences));
    if (int64_t{options.context_tokens} * options.sequences > (int64_t{1} << 30))
        throw Failure(Code::usage, "expected at most 2^30 for contextTokens times sequences, received " + std::to_string(options.context_tokens) + " and " +
                                       std::to_string(options.sequences));
    return std::shared_ptr<Runner>(new Runner(LlamaFile::open(path, options.adapter, 0), options));
}

Runner::Runner(LlamaFile opened, const RunnerOptions& options)
    : options(options), file(std::move(opened)), vocabulary(llama_vocab_n_tokens(llama_model_get_vocab(file.model.get()))) {}

LlamaContext Runner::make_context(int64_t tokens, int32_t most, int32_t sequences, bool embeddings) const {
    llama_context_params parameters = llama_context_default_params();
    // llama.cpp makes a batch no longer than the cache before it is padded, and aborts when more tokens than that come at
    // once, or when it is shorter than the number of sequences. So it never is.
    parameters.n_ctx = static_cast<uint32_t>(std::max<int64_t>(tokens, most));
    parameters.n_batch = static_cast<uint32_t>(most);
    parameters.n_seq_max = static_cast<uint32_t>(sequences);
    parameters.embeddings = embeddings;
    parameters.pooling_type = LLAMA_POOLING_TYPE_NONE;
    parameters.kv_unified = true;  // one cache, whose tokens several sequences share
    parameters.n_threads = options.threads;
    parameters.n_threads_batch = options.threads;
    parameters.no_perf = true;
    file.make_exact(parameters);
    return file.context(parameters);
}

std::vector<float> Runner::embed(Batch batch, Pooling pooling) {
    batch.check(vocabulary, options.context_tokens);
    if (!file.causal) throw Failure(Code::input, "the model's tokens see those behind them (attention.causal is false): expected a decoder for embeddings");
    const std::lock_guard<std::mutex> lock(mutex);
    if (!embedding) embedding = make_context(options.context_tokens, embedding_tokens, 1, true);
    const int64_t width = llama_model_n_embd(file.model.get());
    Pool pool(pooling, width);
    std::vector<float> result(batch.query_positions.size() * width);
    LlamaBatch decode(embedding.get());
    for (size_t q = 0; q < batch.query_positions.size(); ++q) {
        llama_memory_clear(llama_get_memory(embedding.get()), false);
        const std::vector<int32_t> row = path_of(batch, batch.query_positions[q]);
        for (size_t t = 0; t < row.size(); ++t) {
            decode.add(batch.tokens[row[t]], static_cast<int32_t>(t), {0}, true);
            if (decode.size() < embedding_tokens && t + 1 < row.size()) continue;
            decode.run();
            for (int32_t i = 0; i < decode.size(); ++i) pool.add(decode.state_of(i));
            decode.clear();
        }
        pool.take(result.data() + q * width);
    }
    return result;
}

std::vector<double> Runner::score(Batch batch) {
    batch.check(vocabulary, options.context_tokens);
    const std::lock_guard<std::mutex> lock(mutex);
    std::vector<double> result(batch.query_positions.size(), NAN);
    each_query(batch, false, [&](const float* row, const float*, int32_t q) { result[q] = log_probability(row, vocabulary, batch.query_tokens[q]); });
    return result;
}

Taught Runner::teach(Batch batch, const Teaching& teaching) {
    batch.check(vocabulary, options.context_tokens);
    const std::lock_guard<std::mutex> lock(mutex);
    TopEntries packer(choose_kernels(""), vocabulary, teaching);
    const std::vector<float> by_token = draws(batch);
    const int64_t top_k = teaching.top_k, width = llama_model_n_embd(file.model.get());
    const size_t queries = batch.query_positions.size();
    Taught result;
    result.top_k = top_k;
    result.tail = teaching.tail;
    result.entries.resize(queries * top_k);
    result.tails.resize(queries);
    std::vector<float> states(teaching.hidden ? queries * width : 0);  // the queries come in no order
    each_query(batch, teaching.hidden, [&](const float* row, const float* state, int32_t q) {
        packer.take(row, by_token[batch.query_positions[q]], result.entries.data() + q * top_k, result.tails.data() + q);
        if (state) std::copy_n(state, width, states.data() + q * width);
    });
    for (size_t q = 0; teaching.hidden && q < queries; q++) add_state(result, states.data() + q * width, width);
    return result;
}

void Runner::each_query(const Batch& batch, bool states, const std::function<void(const float*, const float*, int32_t)>& visit) {
    LlamaContext& context = states ? stating : scoring;
    if (!context) context = make_context(int64_t{options.context_tokens} * options.sequences, batch_tokens, most_llama_sequences, states);
    const Paths paths(batch);
    const auto path_count = static_cast<int32_t>(paths.ends.size());
    // A recurrent state cannot be shared by two continuations: one path at a time.
    const bool recurrent = llama_model_is_recurrent(file.model.get()) || llama_model_is_hybrid(file.model.get());
    const int32_t most_paths = recurrent ? 1 : most_llama_sequences;
    const auto cells = static_cast<int64_t>(llama_n_ctx(context.get()));
    const auto most_outputs = static_cast<int32_t>(std::clamp<int64_t>(logits_bytes / 4 / vocabulary, 1, batch_tokens));
    const int32_t most_tokens = states ? most_outputs : batch_tokens;  // each of which is an output then

    std::vector<std::vector<int32_t>> queries(batch.tokens.size());  // by position
    for (size_t q = 0; q < batch.query_positions.size(); ++q) queries[batch.query_positions[q]].push_back(static_cast<int32_t>(q));
    std::vector<bool> answered(batch.segments.size());

    LlamaBatch decode(context.get());
    std::vector<std::pair<int32_t, int32_t>> wanted;  // index in decode, position in the batch
    const auto flush = [&] {
        if (decode.size() == 0) return;
        decode.run();
        for (const auto& [index, position] : wanted) {
            const float *row = decode.logits_of(index), *state = states ? decode.state_of(index) : nullptr;
            for (const int32_t q : queries[position]) visit(row, state, q);
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
        llama_memory_clear(llama_get_memory(context.get()), false);
        for (size_t s = 0; s < batch.segments.size(); ++s) {
            if (!taken[s]) continue;
            std::vector<int32_t> sequences;
            for (int32_t p = std::max(paths.first[s], begin); p < std::min(paths.last[s], end); ++p) sequences.push_back(p - begin);
            for (int32_t t = batch.segments[s].start; t < batch.segments[s].start + batch.segments[s].length; ++t) {
                const bool asked = !answered[s] && !queries[t].empty();
                if (decode.size() == most_tokens || (asked && decode.wanted() == most_outputs)) flush();
                const int32_t index = decode.add(batch.tokens[t], batch.positions[t], sequences, asked || states);
                if (asked) wanted.emplace_back(index, t);
            }
            answered[s] = true;
        }
        flush();
        begin = end;
    }
}

}  // namespace stillroom
