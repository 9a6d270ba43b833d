// Chooses the kernels at run time by what the processor can do.
#include <map>

#include "core/failure.h"
#include "core/gemm/kernels.h"

namespace stillroom {

namespace portable { extern const Kernels kernels; }
#if defined(__x86_64__)
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
#endif

const std::vector<const Kernels*>& available_kernels() {
    static const std::vector<const Kernels*> found = [] {
        std::vector<const Kernels*> list;
#if defined(__x86_64__)
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512dq"))
            list.push_back(&avx512::kernels);
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.push_back(&avx2::kernels);
#endif
        list.push_back(&portable::kernels);
        return list;
    }();
    return found;
}

const Kernels& choose_kernels(const std::string& name) {
    std::string names;
    for (const Kernels* kernels : available_kernels()) {
        if (name.empty() || name == kernels->name) return *kernels;
        names += names.empty() ? kernels->name : std::string(", ") + kernels->name;
    }
    throw Failure(Code::usage, "expected one of " + names + " for variant, received \"" + name + "\"");
}

Precisions choose_precisions(const Kernels& kernels, const std::string& name) {
    static const std::map<std::string, Precisions> known = {{"f32", {}},
                                                            {"bf16", {Precision::bf16, Precision::bf16}},
                                                            {"mixed", {Precision::int16, Precision::int8}},
                                                            {"int16", {Precision::int16, Precision::int16}},
                                                            {"int8", {Precision::int8, Precision::int8}}};
    const auto found = known.find(name);
    if (found == known.end()) throw Failure(Code::usage, "expected one of f32, bf16, mixed, int16, int8 for precision, received \"" + name + "\"");
    auto runs = [&](Precision precision) { return precision == Precision::f32 || kernels.narrow_is_fast(precision); };
    for (const Precision precision : {found->second.forward, found->second.backward}) {
        if (runs(precision)) continue;
        std::string names;
        for (const auto& [other, both] : known)
            if (runs(both.forward) && runs(both.backward)) names += (names.empty() ? "" : ", ") + other;
        throw Failure(Code::usage, "expected one of " + names + " for precision, received \"" + name + "\", whose products need " +
                                       (precision == Precision::bf16 ? "AVX512_BF16" : "AVX2 or AVX512_VNNI") +
                                       ", which this processor or the variant " + kernels.name + " lacks");
    }
    return found->second;
}

}  // namespace stillroom
