// Owns the worker threads. Workers spin for a few microseconds between pieces of work, then sleep.
#include "core/threads.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace stillroom {

struct Threads::Pool {
    int count = 1;
    std::vector<std::thread> workers;
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<uint64_t> round{0};
    std::atomic<int> running{0};
    std::atomic<bool> stop{false};
    int64_t items = 0;
    const Work* work = nullptr;
    std::vector<std::exception_ptr> errors;

    void share(int thread) {
        try {
            (*work)(items * thread / count, items * (thread + 1) / count, thread);
        } catch (...) {
            errors[thread] = std::current_exception();
        }
    }

    void loop(int thread) {
        uint64_t seen = 0;
        for (;;) {
            for (int spin = 0; spin < 2000 && round.load(std::memory_order_acquire) == seen && !stop.load(std::memory_order_relaxed); spin++) {
#if defined(__x86_64__)
                __builtin_ia32_pause();
#endif
            }
            if (round.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [&] { return stop.load() || round.load() != seen; });
            }
            if (stop.load()) return;
            seen = round.load(std::memory_order_acquire);
            share(thread);
            running.fetch_sub(1, std::memory_order_release);
        }
    }
};

Threads::Threads(int count) : pool(new Pool) {
    pool->count = count < 1 ? 1 : count;
    pool->errors.resize(pool->count);
    for (int i = 1; i < pool->count; i++) pool->workers.emplace_back([this, i] { pool->loop(i); });
}

Threads::~Threads() {
    {
        std::lock_guard<std::mutex> lock(pool->mutex);
        pool->stop = true;
    }
    pool->wake.notify_all();
    for (std::thread& worker : pool->workers) worker.join();
}

int Threads::count() const { return pool->count; }

void Threads::run(Kernel kernel, int64_t items, const Work& work) {
    if (items <= 0) return;
    const auto start = Profile::Clock::now();
    pool->items = items;
    pool->work = &work;
    if (pool->count > 1) {
        pool->running.store(pool->count - 1, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(pool->mutex);
            pool->round.fetch_add(1, std::memory_order_release);
        }
        pool->wake.notify_all();
    }
    pool->share(0);
    for (int spin = 0; pool->running.load(std::memory_order_acquire) > 0; spin++) {
        if (spin > 2000) std::this_thread::yield();
#if defined(__x86_64__)
        else __builtin_ia32_pause();
#endif
    }
    profile.add(kernel, Profile::Clock::now() - start);
    for (std::exception_ptr& error : pool->errors) {
        if (!error) continue;
        std::exception_ptr first = error;
        for (std::exception_ptr& other : pool->errors) other = nullptr;
        std::rethrow_exception(first);
    }
}

int physical_cores() {
    std::set<std::string> cores;
    for (int cpu = 0; cpu < 4096; cpu++) {
        const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
        std::ifstream package(folder + "physical_package_id"), core(folder + "core_id");
        std::string p, c;
        if (!(package >> p) || !(core >> c)) break;
        cores.insert(p + ":" + c);
    }
    const int logical = static_cast<int>(std::thread::hardware_concurrency());
    const int found = cores.empty() ? logical : static_cast<int>(cores.size());
    return found < 1 ? 1 : found;
}

}  // namespace stillroom
