// From an engine's sums back to the gradients of the parameters.
#include <algorithm>

#include "plan.h"

namespace bevel {

void Call::gradients(const double* part, int parts, void* const* dparam) const {
    const int k = plan_.knots;
    const int64_t pitch = task_.sum_pitch, block = sum_count();
    const int64_t width = task_.across ? task_.channels : distinct_;
    double slots[3 + 5 * BEVEL_MAX_KNOTS];
    double shared[BEVEL_MAX_PARAMS] = {};
    const auto write = [&](int p, int64_t at, double value) {
        if (dparam[p] == nullptr) return;
        if (plan_.param_dtype[p] == BEVEL_F64)
            static_cast<double*>(dparam[p])[at] = value;
        else
            static_cast<float*>(dparam[p])[at] = static_cast<float>(value);
    };
    for (int64_t c = 0; elements_ != 0 && c < distinct_; ++c) {
        const auto sum = [&](int s) {
            double total = 0;
            for (int t = 0; t < parts; ++t)
                for (int64_t at = c; at < width; at += distinct_) total += part[t * block + s * pitch + at];
            return total;
        };
        const Channel ch = channel(c);
        slots[0] = sum(GX);
        slots[1] = sum(G);
        double dn = 0;
        for (int i = 0; i < k; ++i) {
            const int at = knot_sum(i), to = 2 + ch.order[i];
            const double right = sum(at + RIGHT) + sum(at + SUM_STEP), shift = sum(at + SHIFT);
            const double moment = sum(at + MOMENT), x_moment = sum(at + X_MOMENT);
            slots[to + KNOTS * k] = -ch.jump[i] * right - shift;
            // The engine measured from the knot as it is in working precision.
            const double off = task_.dtype == BEVEL_F64 ? 0 : ch.knot[i] - static_cast<double>(static_cast<float>(ch.knot[i]));
            slots[to + JUMPS * k] = sum(at + RELU) - off * sum(at + RIGHT) + ch.w * sum(at + SUM_LAG);
            slots[to + STEPS * k] = right;
            slots[to + CONSTANTS * k] = ch.w * moment;
            slots[to + TILTS * k] = ch.w * x_moment;
            const double ramp = plan_.gate ? 0 : ch.jump[i];
            dn -= ch.w * ch.w * ((ramp + ch.c0[i]) * moment + ch.c1[i] * x_moment - sum(at + U_SHIFT));
        }
        slots[n_slot(k)] = plan_.log_n ? ch.n * dn : dn;
        double own[BEVEL_MAX_PARAMS];
        std::fill_n(own, plan_.params, 0.0);
        for (int t = 0; t < plan_.terms; ++t) own[plan_.term[t].param] += plan_.term[t].factor * slots[plan_.term[t].slot];
        for (int p = 0; p < plan_.params; ++p) {
            shared[p] += own[p];
            if (plan_.param_length[p] != 1) write(p, c, own[p]);
        }
    }
    for (int p = 0; p < plan_.params; ++p) {
        if (plan_.param_length[p] == 1) write(p, 0, shared[p]);
        if (elements_ == 0 && plan_.param_length[p] != 1)
            for (int64_t c = 0; c < plan_.param_length[p]; ++c) write(p, c, 0);
    }
}

}  // namespace bevel
