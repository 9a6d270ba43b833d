// A training step that was done before allocates nothing: every operator new of the process is counted. The buffers of floats
// (core/buffer.h) only ever grow, so what counts for them is that a second step of the same sizes finds them large enough.
#include <atomic>
#include <cstdlib>
#include <new>

#include "core/train.h"
#include "core/weights.h"
#include "tests/check.h"
#include "tests/decoder_gradient.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

void* operator new(size_t size) {
    allocations++;
    if (void* memory = std::malloc(size ? size : 1)) return memory;
    throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
    allocations++;
    return std::malloc(size ? size : 1);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

using namespace stillroom;
using namespace stillroom::testing;

namespace {

int64_t allocations_of_a_step(Graph& graph, Trainer& trainer, const Batch& batch) {
    const int64_t before = allocations;
    for (uint64_t micro_batch = 0; micro_batch < 2; micro_batch++) trainer.accumulate(graph, batch, 1, micro_batch);
    trainer.update(graph, 1e-3f, 10);
    return allocations - before;
}

}  // namespace

TEST(a_step_that_was_done_before_allocates_nothing) {
    for (const Shape& shape : shapes)
        for (const bool recompute : {false, true}) {
            const Toy toy(shape);
            const Batch batch = forest(shape.vocabulary);
            Graph graph(toy.model, choose_kernels(""), 2);
            Trainer adapter(lora_of(toy.model, shape.targets, 0.1f), {}, recompute, 5);
            CHECK(allocations_of_a_step(graph, adapter, batch) > 0);
            CHECK_EQUAL(allocations_of_a_step(graph, adapter, batch), 0);

            for (const Tail tail : {Tail::bucket, Tail::sample}) {
                Batch taught = batch;
                graph.forward(batch, nullptr, Graph::Keep::nothing);
                taught.taught = teach(graph, batch, {3, 2, tail, true});
                const auto kind = tail == Tail::bucket ? Distillation::Kind::jsd : Distillation::Kind::forward_kl;
                Trainer student(lora_of(toy.model, shape.targets, 0.1f, shape.width), {}, recompute, 5, 0, Distillation{kind, 0.5, 2, 0.5, 0.1});
                CHECK(allocations_of_a_step(graph, student, taught) > 0);
                CHECK_EQUAL(allocations_of_a_step(graph, student, taught), 0);
            }

            Graph whole(toy.model, choose_kernels(""), 2);
            const auto weights = std::make_shared<Weights>(toy.model, WeightsOptions{{"q", "k", "v", "o", "gate", "up", "down", "norms", "head"}, {}}, whole.threads);
            whole.train(weights);
            Trainer full(weights, {}, recompute, 5);
            CHECK(allocations_of_a_step(whole, full, batch) > 0);
            CHECK_EQUAL(allocations_of_a_step(whole, full, batch), 0);
        }
}
