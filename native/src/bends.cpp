// Functions with bends, segment by segment: their coefficients, and from sums by segment to gradients of parameters.
#include <cmath>
#include <limits>

#include "plan.h"

namespace bevel {

namespace {

double times(double weight, double other) { return weight == 0 || other == 0 ? 0 : weight * other; }

double variance(const bevel_plan& plan) {
    switch (plan.kernel) {
        case BEVEL_GAUSSIAN: return 1;
        case BEVEL_LOGISTIC: return 3.28986813369645287295;
        case BEVEL_LAPLACE: return 2;
        case BEVEL_BOX: return 1. / 3;
        case BEVEL_TRIANGLE: return 1. / 6;
        case BEVEL_EPANECHNIKOV: return 0.2;
        case BEVEL_BIWEIGHT: return 1. / 7;
        case BEVEL_TRIWEIGHT: return 1. / 9;
        case BEVEL_COSINE: return 0.13069096604865777;
        case BEVEL_BUMP: return 0.15811363626379823;
        case BEVEL_GELU_TANH: return 0.9983430710737068019924;
        case BEVEL_TABULATED: {  // four times the second tail integral at 0, where t = -1
            const double* const c = plan.table + 33 * static_cast<int64_t>(plan.panels);
            double total = 0;
            for (int k = 11; k >= 0; --k) total = c[k] - total;
            return 4 * total;
        }
        default: return 0;
    }
}

// Each about its anchor; bends are summed before anything multiplies them.
void sum_up(int knots, const double* knot, const Weights& f, Quadratic* out) {
    for (int j = 0; j <= knots; ++j) {
        const double anchor = j == 0 ? 0 : knot[j - 1];
        double bend = f.left_bend, flat = f.left, slope = times(f.left_bend, anchor);
        double level = f.offset + times(f.left + times(0.5 * f.left_bend, anchor), anchor);
        for (int i = 0; i < j; ++i) {
            const double away = anchor - knot[i];
            bend += f.bend[i];
            flat += f.jump[i];
            slope += times(f.bend[i], away);
            level += f.step[i] + times(f.jump[i] + times(0.5 * f.bend[i], away), away);
        }
        out[j] = {level, flat + slope, bend};
    }
}

}  // namespace

double lift(const bevel_plan& plan, const Channel& ch) { return 0.5 * variance(plan) * ch.w * ch.w; }

Weights sorted(const bevel_plan& plan, const Channel& ch, const double* slot) {
    const int k = plan.knots;
    Weights out{};
    out.left = slot[0], out.offset = slot[1], out.n = slot[n_slot(k)];
    double* const groups[] = {out.knot, out.jump, out.step, out.c0, out.c1};
    for (int group = 0; group < 5; ++group)
        for (int i = 0; i < k; ++i) groups[group][i] = slot[2 + group * k + ch.order[i]];
    if (plan.bends == 0) return out;
    out.left_bend = slot[left_bend_slot(k)];
    for (int i = 0; i < k; ++i) out.bend[i] = slot[bend_slot(k) + ch.order[i]];
    return out;
}

void quadratics(const bevel_plan& plan, const Channel& ch, Quadratic* out) {
    Weights f{};
    f.left = ch.left, f.offset = ch.offset, f.left_bend = ch.left_bend;
    for (int i = 0; i < plan.knots; ++i) f.jump[i] = ch.jump[i], f.step[i] = ch.step[i], f.bend[i] = ch.bend[i];
    sum_up(plan.knots, ch.knot, f, out);
}

// A knot that moves by β takes β·bend from the slope right of it, and β·jump from the value.
void quadratics_along(const bevel_plan& plan, const Channel& ch, const Weights& by, Quadratic* out) {
    Weights f = by;
    for (int i = 0; i < plan.knots; ++i) {
        f.jump[i] -= times(by.knot[i], ch.bend[i]);
        f.step[i] -= times(by.knot[i], ch.jump[i]);
    }
    sum_up(plan.knots, ch.knot, f, out);
}

// The mixed second derivative along two directions: every term has a knot in it.
void quadratics_along_both(const bevel_plan& plan, const Channel& ch, const Weights& by, const Weights& other, Quadratic* out) {
    Weights f{};
    for (int i = 0; i < plan.knots; ++i) {
        f.jump[i] = -(times(by.knot[i], other.bend[i]) + times(other.knot[i], by.bend[i]));
        f.step[i] = times(by.knot[i] * other.knot[i], ch.bend[i]) - times(by.knot[i], other.jump[i]) - times(other.knot[i], by.jump[i]);
    }
    sum_up(plan.knots, ch.knot, f, out);
}

template <class T> void Call::put_bends(const Channel& ch, T* base, int64_t pitch, int64_t c) {
    const int k = plan_.knots;
    const double above = lift(plan_, ch);
    Quadratic f[BEVEL_MAX_KNOTS + 1];
    quadratics(plan_, ch, f);
    const auto put = [&](int row, double value) { return base[row * pitch + c] = static_cast<T>(value); };
    const auto put_two = [&](int row, double value) {
        const double rest = value - static_cast<double>(put(row, value));
        put(row + 1, std::isfinite(rest) ? rest : 0);
    };
    for (int j = 0; j <= k; ++j) {
        put(segment_row(j) + SLOPE, f[j].slope);
        put_two(segment_row(j) + LEVEL, f[j].level + times(above, f[j].bend));
        put(bent_segment_row(k, j) + HALF_BEND, 0.5 * f[j].bend);
        put_two(bent_segment_row(k, j) + ANCHOR, j == 0 ? 0 : ch.knot[j - 1]);
    }
    for (int i = 0; i < k; ++i) {
        const int at = bent_knot_row(k, i);
        put(at + BEND, ch.bend[i]);
        put(at + BEND_W, ch.bend[i] * ch.w);
        put(at + BEND_W2, ch.bend[i] * ch.w * ch.w);
    }
}
template void Call::put_bends(const Channel&, float*, int64_t, int64_t);
template void Call::put_bends(const Channel&, double*, int64_t, int64_t);

}  // namespace bevel
