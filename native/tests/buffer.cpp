// What buffers that grow leave behind: nothing. A run's micro-batches have many sizes, and each longest one so far grows every buffer,
// on whichever of Node's workers it runs.
#include "core/buffer.h"

#include <condition_variable>
#include <cstring>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/check.h"

using namespace stillroom;
using namespace stillroom::testing;

namespace {

// Bytes of the process in memory; 0 where the system does not tell it in this way.
int64_t resident() {
    std::ifstream file("/proc/self/statm");
    int64_t pages = 0, here = 0;
    file >> pages >> here;
    return here * 4096;
}

}  // namespace

TEST(buffers_that_grew_take_what_they_hold) {
    // As a model keeps them: some of each width a layer, a row of each a token.
    const std::vector<int64_t> widths = {576, 576, 192, 192, 576, 576, 1536, 1536}, sizes = {288, 326, 374};
    std::vector<Buffer> buffers(20 * widths.size());
    const int64_t before = resident();
    int64_t held = 0;
    auto grow = [&](int64_t tokens) {
        held = 0;
        for (size_t i = 0; i < buffers.size(); i++) {
            const int64_t floats = tokens * widths[i % widths.size()];
            std::memset(buffers[i].reserve(floats), 1, floats * sizeof(float));
            held += floats * static_cast<int64_t>(sizeof(float));
        }
    };
    // Threads that live together have an allocator's heap each: what one freed is no use to the next.
    std::mutex mutex;
    std::condition_variable changed;
    size_t turn = 0;
    std::vector<std::thread> workers;
    for (size_t mine = 0; mine < sizes.size(); mine++)
        workers.emplace_back([&, mine] {
            std::unique_lock<std::mutex> lock(mutex);
            changed.wait(lock, [&] { return turn == mine; });
            grow(sizes[mine]);
            turn++;
            changed.notify_all();
            changed.wait(lock, [&] { return turn == sizes.size(); });
        });
    for (std::thread& worker : workers) worker.join();
#if defined(__SANITIZE_ADDRESS__)
    return;  // which keeps what was freed
#endif
    if (before > 0) CHECK(resident() - before < held * 11 / 10);
}
