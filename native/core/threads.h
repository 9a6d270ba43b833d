// A pool of worker threads with static partition of work: item i always runs on the same thread, so results do not depend on timing.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "core/profile.h"

namespace stillroom {

class Threads {
   public:
    explicit Threads(int count);
    ~Threads();  // joins the workers
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    int count() const;
    // Calls work(begin, end, thread) on every thread with its contiguous share of [0, items); returns when all are done.
    // An exception of one share is thrown again here. Not to be called from within work.
    void run(int64_t items, const std::function<void(int64_t begin, int64_t end, int thread)>& work) { run(Kernel::other, items, work); }
    // The same, its time counted as that kernel's.
    void run(Kernel kernel, int64_t items, const std::function<void(int64_t begin, int64_t end, int thread)>& work);

    Profile profile;  // of the thread that calls run

   private:
    struct Pool;
    std::unique_ptr<Pool> pool;
};

// Physical cores of this machine, at least 1.
int physical_cores();

}  // namespace stillroom
