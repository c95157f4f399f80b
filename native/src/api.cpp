// The C interface: picks the instruction set and shares work out to threads.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "engine.h"
#include "pages.h"
#include "plan.h"
#include "threads.h"

namespace bevel {

#if defined(BEVEL_HAS_AVX512)
namespace avx512 { extern const Engine engine; }
#endif
#if defined(BEVEL_HAS_AVX2)
namespace avx2 { extern const Engine engine; }
#endif
#if defined(BEVEL_HAS_SSE2)
namespace sse2 { extern const Engine engine; }
#endif
#if defined(BEVEL_HAS_NEON)
namespace neon { extern const Engine engine; }
#endif

namespace {

// The engines that this processor runs, the best first; the last one runs on every processor of its kind.
std::vector<const Engine*> runnable() {
    std::vector<const Engine*> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    [[maybe_unused]] const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                                     __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
    [[maybe_unused]] const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                                     __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#endif
#if defined(BEVEL_HAS_AVX512)
    if (v4) found.push_back(&avx512::engine);
#endif
#if defined(BEVEL_HAS_AVX2)
    if (v3) found.push_back(&avx2::engine);
#endif
#if defined(BEVEL_HAS_SSE2)
    found.push_back(&sse2::engine);
#endif
#if defined(BEVEL_HAS_NEON)
    found.push_back(&neon::engine);
#endif
    return found;
}

// The one that BEVEL_ISA names if it runs here, else the best.
const Engine& choose() {
    const char* const wish = std::getenv("BEVEL_ISA");
    const auto found = runnable();
    for (const Engine* engine : found) {
        if (wish != nullptr && std::strcmp(wish, engine->name) == 0) return *engine;
    }
    return *found.front();
}

}  // namespace

const Engine& engine() {
    static const Engine& chosen = choose();
    return chosen;
}

// Fewer elements than this are not worth waking a thread for: some 4 µs of work.
static constexpr int64_t GRAIN = 16384;

int parts_for(int64_t elements, int threads) {
    const int64_t useful = elements / GRAIN;
    return useful < 1 || threads < 1 ? 1 : useful < threads ? static_cast<int>(useful) : threads;
}

namespace {

struct Job {
    const Call& call;
    int64_t tiles;
    int parts;
    double* sums;  // null: forward
};

void work(void* data, int part) {
    const Job& job = *static_cast<const Job*>(data);
    const int64_t begin = job.tiles * part / job.parts, end = job.tiles * (part + 1) / job.parts;
    const Task &task = job.call.task(), &rest = job.call.rest();
    double* const sums = job.sums == nullptr ? nullptr : job.sums + part * job.call.sum_count();
    const bool last = part == job.parts - 1 && rest.outer != 0;
    engine().run(task, begin, end, sums);
    if (last) engine().run(rest, 0, engine().tiles(rest), sums);
}

}  // namespace

void run(const Call& call, int parts, double* sums) {
    Job job{call, engine().tiles(call.task()), parts, sums};
    parallel(parts, work, &job);
}

namespace {

// y = f(x) or, from the output, x of y.
int pass(const bevel_plan& plan, const bevel_layout& layout, int32_t threads, const void* const* param, const void* x, void* y,
         bool from_output) try {
    if (const int code = check(plan, layout)) return code;
    Call call(plan, layout, param, false, false, false, from_output);
    if (call.elements() == 0) return BEVEL_OK;
    if (y != x) advise(y, call.bytes());
    call.bind(x, y, nullptr, nullptr);
    run(call, parts_for(call.elements(), threads), nullptr);
    return BEVEL_OK;
} catch (const std::bad_alloc&) {
    return BEVEL_NO_MEMORY;
}

// The gradients from x or, from the output, from y.
int pass_back(const bevel_plan& plan, const bevel_layout& layout, int32_t threads, const void* const* param, const void* x,
              const void* g, void* dx, void* const* dparam, bool from_output) try {
    if (const int code = check(plan, layout)) return code;
    bool want_sums = false;
    for (int p = 0; dparam != nullptr && p < plan.params; ++p) want_sums = want_sums || dparam[p] != nullptr;
    if (dx == nullptr && !want_sums) return BEVEL_OK;
    Call call(plan, layout, param, true, dx != nullptr, want_sums, from_output);
    const int parts = parts_for(call.elements(), threads);
    std::unique_ptr<double[]> sums;
    if (want_sums) sums.reset(new double[static_cast<size_t>(call.sum_count() * parts)]());
    if (call.elements() != 0) {
        if (dx != nullptr && dx != g && dx != x) advise(dx, call.bytes());
        call.bind(x, nullptr, g, dx);
        run(call, parts, sums.get());
    }
    if (want_sums) call.gradients(sums.get(), parts, dparam);
    return BEVEL_OK;
} catch (const std::bad_alloc&) {
    return BEVEL_NO_MEMORY;
}

}  // namespace
}  // namespace bevel

using namespace bevel;

int32_t bevel_abi(void) { return BEVEL_ABI; }
const char* bevel_isa(void) { return engine().name; }
const char* bevel_openmp(void) { return runtime_name(); }

const char* bevel_message(int code) {
    switch (code) {
        case BEVEL_OK: return "ok";
        case BEVEL_BAD_ABI: return "the plan was made for another version of the library";
        case BEVEL_BAD_PLAN: return "a count, slot, parameter, dtype or table of the plan is out of range";
        case BEVEL_BAD_LAYOUT: return "a size or dtype is out of range, or a parameter has not one value per channel";
        case BEVEL_BAD_KERNEL: return "unknown kernel, or cauchy with a change of slope";
        case BEVEL_NO_MEMORY: return "out of memory";
        default: return "unknown code";
    }
}

int bevel_forward(const bevel_plan* plan, const bevel_layout* layout, int32_t threads, const void* const* param,
                  const void* x, void* y) {
    return pass(*plan, *layout, threads, param, x, y, false);
}

int bevel_backward(const bevel_plan* plan, const bevel_layout* layout, int32_t threads, const void* const* param,
                   const void* x, const void* g, void* dx, void* const* dparam) {
    return pass_back(*plan, *layout, threads, param, x, g, dx, dparam, false);
}

int32_t bevel_output_tells(const bevel_plan* plan, const bevel_layout* layout, const void* const* param) try {
    return check(*plan, *layout) == BEVEL_OK && output_tells(*plan, *layout, param);
} catch (const std::bad_alloc&) {
    return 0;
}

int bevel_inverse(const bevel_plan* plan, const bevel_layout* layout, int32_t threads, const void* const* param,
                  const void* y, void* x) {
    return pass(*plan, *layout, threads, param, y, x, true);
}

int bevel_backward_from_output(const bevel_plan* plan, const bevel_layout* layout, int32_t threads,
                               const void* const* param, const void* y, const void* g, void* dx, void* const* dparam) {
    return pass_back(*plan, *layout, threads, param, y, g, dx, dparam, true);
}
