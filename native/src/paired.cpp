// Passes of two inputs: f(min(gate, limit))·(clamp(up, -limit, limit) + offset), and its gradients.
#include "paired.h"

#include <memory>
#include <new>

#include "engine.h"
#include "pages.h"
#include "plan.h"
#include "threads.h"

namespace bevel {
namespace {

struct PairJob {
    const Call& call;
    Paired pair, rest;
    int64_t tiles;
    int parts;
    double* sums;
};

void work(void* data, int part) {
    const PairJob& job = *static_cast<const PairJob*>(data);
    const int64_t begin = job.tiles * part / job.parts, end = job.tiles * (part + 1) / job.parts;
    double* const sums = job.sums == nullptr ? nullptr : job.sums + part * job.call.sum_count();
    const Task& rest = job.call.rest();
    engine().run_pair(job.call.task(), job.pair, begin, end, sums);
    if (part == job.parts - 1 && rest.outer != 0) engine().run_pair(rest, job.rest, 0, engine().pair_tiles(rest), sums);
}

int run(Call& call, double limit, double offset, const void* gate, const void* up, const void* g, void* out,
        void* dup, double* sums, int parts) {
    call.bind(gate, const_cast<void*>(up), g, out);
    Paired pair{call.task().dx, limit, offset}, rest{call.rest().dx, limit, offset};
    pair.dup.data = rest.dup.data = dup;
    if (dup != nullptr && call.rest().outer != 0)  // as far on as gate is
        rest.dup.data = static_cast<char*>(dup) + (static_cast<const char*>(call.rest().x.data) - static_cast<const char*>(gate));
    PairJob job{call, pair, rest, engine().pair_tiles(call.task()), parts, sums};
    parallel(parts, work, &job);
    return BEVEL_OK;
}

}  // namespace
}  // namespace bevel

using namespace bevel;

int bevel_pair_forward(const bevel_plan* plan, const bevel_layout* layout, int32_t threads, const void* const* param, double limit,
                       double up_offset, const void* gate, const void* up, void* y) try {
    if (const int code = check(*plan, *layout)) return code;
    Call call(*plan, *layout, param, false, false, false);
    if (call.elements() == 0) return BEVEL_OK;
    return run(call, limit, up_offset, gate, up, nullptr, y, nullptr, nullptr, parts_for(call.elements(), threads));
} catch (const std::bad_alloc&) {
    return BEVEL_NO_MEMORY;
}

int bevel_pair_backward(const bevel_plan* plan, const bevel_layout* layout, int32_t threads, const void* const* param, double limit,
                        double up_offset, const void* gate, const void* up, const void* g, void* dgate, void* dup,
                        void* const* dparam) try {
    if (const int code = check(*plan, *layout)) return code;
    bool want_sums = false;
    for (int p = 0; dparam != nullptr && p < plan->params; ++p) want_sums = want_sums || dparam[p] != nullptr;
    Call call(*plan, *layout, param, true, dgate != nullptr, want_sums);
    const int parts = parts_for(call.elements(), threads);
    std::unique_ptr<double[]> sums;
    if (want_sums) sums.reset(new double[static_cast<size_t>(call.sum_count() * parts)]());
    if (call.elements() != 0) {
        run(call, limit, up_offset, gate, up, g, dgate, dup, sums.get(), parts);
    }
    if (want_sums) call.gradients(sums.get(), parts, dparam);
    return BEVEL_OK;
} catch (const std::bad_alloc&) {
    return BEVEL_NO_MEMORY;
}
