// A pool of worker threads with static partition of work: item i always runs on the same thread, so results do not depend on timing.
#pragma once
#include <cstdint>
#include <memory>

#include "core/profile.h"

namespace stillroom {

class Threads {
   public:
    // A reference to what the caller wrote in place, alive as long as the call: nothing is copied or allocated.
    class Work {
       public:
        template <typename Body>
        Work(const Body& body)
            : body(&body), call([](const void* of, int64_t begin, int64_t end, int thread) { (*static_cast<const Body*>(of))(begin, end, thread); }) {}
        void operator()(int64_t begin, int64_t end, int thread) const { call(body, begin, end, thread); }

       private:
        const void* body;
        void (*call)(const void*, int64_t, int64_t, int);
    };

    explicit Threads(int count);
    ~Threads();  // joins the workers
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    int count() const;
    // Calls work(begin, end, thread) on every thread with its contiguous share of [0, items); returns when all are done.
    // An exception of one share is thrown again here. Not to be called from within work.
    void run(int64_t items, const Work& work) { run(Kernel::other, items, work); }
    // The same, its time counted as that kernel's.
    void run(Kernel kernel, int64_t items, const Work& work);

    Profile profile;  // of the thread that calls run

   private:
    struct Pool;
    std::unique_ptr<Pool> pool;
};

// Physical cores of this machine, at least 1.
int physical_cores();

}  // namespace stillroom
