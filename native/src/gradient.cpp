// From an engine's sums back to the gradients of the parameters.
#include "plan.h"

namespace bevel {

namespace {

double times(double weight, double sum) { return weight == 0 ? 0 : weight * sum; }  // sum may be inf

}  // namespace

template <class Sum> Call::Line Call::line_sums(const Channel& ch, Sum sum) const {
    Line line;  // as many segments as there are; to clear the rest would take a tenth of a pass of few elements
    for (int j = 0; j <= plan_.knots; ++j) {
        line.g[j] = sum(segment_sum(j) + G);
        line.rise[j] = sum(segment_sum(j) + RISE);
        line.x[j] = j == 0 || task_.want_all ? sum(segment_sum(j) + GX) : line.rise[j];  // not summed where knots are 0
        if (j == 0 || task_.dtype == BEVEL_F64) continue;
        const double knot = ch.knot[j - 1];  // the engine measured from it as it is in working precision
        line.rise[j] -= times(rounded_away<float>(knot), line.g[j]);
    }
    return line;
}

// The weights of a parameter in slope and level are formed before a sum comes in: inf - inf would be NaN, and far out x - x hides
// what decays. A parameter that moves the left end is measured from 0; one that does not, from the knots, where it is small.
double Call::line_gradient(const double* weight, const Channel& ch, const Line& line) const {
    const int k = plan_.knots;
    const double left = weight[0];
    double slope = left, level = weight[1], before = 0, total = times(left, line.x[0]) + times(level, line.g[0]);
    for (int j = 1; j <= k; ++j) {
        const double* const at = weight + 2 + ch.order[j - 1];
        const double knot = ch.knot[j - 1], jump = at[JUMPS * k], origin = left != 0 ? 0 : knot;
        level += slope * (origin - before) + jump * (origin - knot) + at[STEPS * k] - times(at[KNOTS * k], ch.jump[j - 1]);
        slope += jump;
        before = origin;
        total += times(slope, left != 0 ? line.x[j] : line.rise[j]) + times(level, line.g[j]);
    }
    return total;
}

// The parameters' gradients: that of the line, and by slot that of what smoothing adds.
template <class Sum> void Call::straight_gradients(const Channel& ch, const Linear& linear, Sum sum, double* own) const {
    const int k = plan_.knots;
    double slots[3 + 5 * BEVEL_MAX_KNOTS], weight[3 + 5 * BEVEL_MAX_KNOTS], dn = 0;
    const Line line = line_sums(ch, sum);
    slots[0] = slots[1] = 0;
    for (int i = 0; i < k; ++i) {
        const int at = knot_sum(k, i), to = 2 + ch.order[i];
        const double moment = sum(at + MOMENT), x_moment = sum(at + X_MOMENT);
        slots[to + KNOTS * k] = -ch.jump[i] * sum(at + SUM_STEP) - sum(at + SHIFT);
        slots[to + JUMPS * k] = ch.w * sum(at + SUM_LAG);
        slots[to + STEPS * k] = sum(at + SUM_STEP);
        slots[to + CONSTANTS * k] = ch.w * moment;
        slots[to + TILTS * k] = ch.w * x_moment;
        const double ramp = plan_.multiplies_cdf ? 0 : ch.jump[i];
        dn -= ch.w * ch.w * ((ramp + ch.c0[i]) * moment + ch.c1[i] * x_moment - sum(at + U_SHIFT));
    }
    slots[n_slot(k)] = plan_.log_n ? ch.n * dn : dn;
    for (int p = 0; p < plan_.params; ++p) {
        own[p] = linear.weights(p, slots, slot_count(plan_), weight);
        own[p] += line_gradient(weight, ch, line);
    }
}

// The same with bends: a parameter's quadratic on each segment, and by slot the derivative of what smoothing adds.
template <class Sum> void Call::bent_gradients(const Channel& ch, const Linear& linear, Sum sum, double* own) const {
    const int k = plan_.knots;
    const double above = lift(plan_, ch), w2 = ch.w * ch.w;
    double slots[MAX_SLOTS] = {}, dn = 0, beyond = 0;
    Quadratic f[BEVEL_MAX_KNOTS + 1];
    quadratics(plan_, ch, f);
    for (int i = k - 1; i >= 0; --i) {
        const int at = knot_sum(k, i), bent = bent_knot_sum(k, i), to = 2 + ch.order[i];
        const double g = sum(segment_sum(i + 1) + G), moment = sum(at + MOMENT), x_moment = sum(at + X_MOMENT);
        beyond += g;
        slots[to + KNOTS * k] = -ch.jump[i] * sum(at + SUM_STEP) - sum(at + SHIFT) - ch.bend[i] * ch.w * sum(bent + SUM_EXCESS);
        slots[to + JUMPS * k] = ch.w * sum(at + SUM_LAG);
        slots[to + STEPS * k] = sum(at + SUM_STEP);
        slots[to + CONSTANTS * k] = ch.w * moment;
        slots[to + TILTS * k] = ch.w * x_moment;
        slots[bend_slot(k) + ch.order[i]] = above * beyond + w2 * sum(bent + SUM_SECOND);
        const double ramp = plan_.multiplies_cdf ? 0 : ch.jump[i];
        dn -= w2 * ((ramp + ch.c0[i]) * moment + ch.c1[i] * x_moment - sum(at + U_SHIFT));
        dn -= w2 * ch.w * ch.bend[i] * (2 * sum(bent + SUM_SECOND) + sum(bent + SUM_U_EXCESS));
        dn -= 2 * above * ch.w * f[i + 1].bend * g;
    }
    const double first = sum(segment_sum(0) + G);
    slots[left_bend_slot(k)] = above * (first + beyond);
    dn -= 2 * above * ch.w * f[0].bend * first;
    slots[n_slot(k)] = plan_.log_n ? ch.n * dn : dn;
    for (int p = 0; p < plan_.params; ++p) {
        double weight[MAX_SLOTS];
        own[p] = linear.weights(p, slots, slot_count(plan_), weight);
        Quadratic by[BEVEL_MAX_KNOTS + 1];
        quadratics_along(plan_, ch, sorted(plan_, ch, weight), by);
        for (int j = 0; j <= k; ++j)
            own[p] += times(by[j].level, sum(segment_sum(j) + G)) + times(by[j].slope, sum(segment_sum(j) + RISE)) +
                      times(by[j].bend, sum(half_square_sum(k, j)));
    }
}

void Call::channel_gradients(int64_t c, const Linear& linear, const double* folded, double* own) const {
    const auto sum = [&](int s) { return folded[s * task_.sum_pitch + c]; };
    if (task_.bent) bent_gradients(channel(c), linear, sum, own);
    else straight_gradients(channel(c), linear, sum, own);
}

void Call::gradients(double* part, int parts, void* const* dparam) const {
    double shared[BEVEL_MAX_PARAMS] = {};
    const auto write = [&](int p, int64_t at, double value) {
        if (dparam[p] == nullptr) return;
        if (plan_.param_dtype[p] == BEVEL_F64)
            static_cast<double*>(dparam[p])[at] = value;
        else
            static_cast<float*>(dparam[p])[at] = static_cast<float>(value);
    };
    Linear linear(plan_);
    if (elements_ != 0) fold(part, parts, sum_rows());
    for (int64_t c = 0; elements_ != 0 && c < distinct_; ++c) {
        double own[BEVEL_MAX_PARAMS];
        linear.move_to(param_, c);
        channel_gradients(c, linear, part, own);
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
