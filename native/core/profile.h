// Where the time of a step went: wall time by part of the step and by kernel, as seen by the thread that drives the others.
// Two readings of the clock a parallel section; always on.
#pragma once
#include <array>
#include <chrono>
#include <cstdint>

namespace stillroom {

enum class Part { forward, head, backward, update, count };
enum class Kernel { linear, weight_gradient, pack, low_rank, attention, norm, rope, swiglu, loss, dropout, embed, optimizer, sampling, other, count };

constexpr std::array<const char*, static_cast<size_t>(Part::count)> part_names = {"forward", "head", "backward", "update"};
constexpr std::array<const char*, static_cast<size_t>(Kernel::count)> kernel_names = {
    "linear", "weight_gradient", "pack", "low_rank", "attention", "norm", "rope", "swiglu", "loss", "dropout", "embed", "optimizer", "sampling", "other"};

class Profile {
   public:
    using Clock = std::chrono::steady_clock;
    struct Row {
        double seconds = 0;
        int64_t calls = 0;
    };
    // (parts): all the time spent in a part, what runs on one thread only included.
    std::array<double, static_cast<size_t>(Part::count)> totals{};
    // (parts, kernels): the parallel sections.
    std::array<std::array<Row, static_cast<size_t>(Kernel::count)>, static_cast<size_t>(Part::count)> rows{};

    void add(Kernel kernel, Clock::duration time) {
        Row& row = rows[static_cast<size_t>(part)][static_cast<size_t>(kernel)];
        row.seconds += std::chrono::duration<double>(time).count();
        row.calls++;
    }

    // Names the part under way as long as it lives.
    class Scope {
       public:
        Scope(Profile& profile, Part part) : profile(profile), before(profile.part), start(Clock::now()) {
            profile.part = part;
            profile.depth++;
        }
        ~Scope() {
            const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
            profile.totals[static_cast<size_t>(profile.part)] += seconds;
            profile.part = before;
            if (--profile.depth > 0) profile.totals[static_cast<size_t>(before)] -= seconds;  // it belongs to the inner part
        }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

       private:
        Profile& profile;
        const Part before;
        const Clock::time_point start;
    };

   private:
    Part part = Part::forward;
    int depth = 0;
};

}  // namespace stillroom
