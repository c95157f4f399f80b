// The inner loops for any number of knots and any kernel, chosen at run time. They also serve float64.
#pragma once

#include "one_knot.h"

namespace bevel::BEVEL_ISA {

template <class F> struct Forms {
    typename F::V density, survival, excess, moment;
};

template <class F, template <class> class Kernel>
void forms_of(const Task& task, typename F::V u, typename F::V rest, Forms<F>& out) {
    const Kernel<F> kernel(u, rest, task);
    if (task.needs_survival) out.survival = kernel.survival();
    if (task.needs_excess) out.excess = kernel.excess();
    if (task.needs_moment) out.moment = kernel.moment();
    if (task.needs_density) out.density = kernel.density();
}

// The forms the task needs, zero where it needs none.
template <class F> [[gnu::noinline]] void forms(const Task& task, typename F::V u, typename F::V rest, Forms<F>& out) {
    out = {F::set(0), F::set(0), F::set(0), F::set(0)};
    switch (task.kernel) {
        case BEVEL_GAUSSIAN: return forms_of<F, Gaussian>(task, u, rest, out);
        case BEVEL_LOGISTIC: return forms_of<F, Logistic>(task, u, rest, out);
        case BEVEL_LAPLACE: return forms_of<F, Laplace>(task, u, rest, out);
        case BEVEL_STUDENT: return forms_of<F, Student>(task, u, rest, out);
        case BEVEL_BOX: return forms_of<F, Box>(task, u, rest, out);
        case BEVEL_TRIANGLE: return forms_of<F, Triangle>(task, u, rest, out);
        case BEVEL_EPANECHNIKOV: return forms_of<F, Epanechnikov>(task, u, rest, out);
        case BEVEL_BIWEIGHT: return forms_of<F, Biweight>(task, u, rest, out);
        case BEVEL_TRIWEIGHT: return forms_of<F, Triweight>(task, u, rest, out);
        case BEVEL_COSINE: return forms_of<F, Cosine>(task, u, rest, out);
        case BEVEL_CAUCHY: return forms_of<F, Cauchy>(task, u, rest, out);
        case BEVEL_BUMP: return forms_of<F, Bump>(task, u, rest, out);
        case BEVEL_TABULATED: return forms_of<F, Tabulated>(task, u, rest, out);
        case BEVEL_GELU_TANH: return forms_of<F, GeluTanh>(task, u, rest, out);
        default: return;
    }
}

template <class F, bool Across> void forward_many(const Task& task, const Strip<typename F::T> strip) {
    using V = typename F::V;
    for (int64_t at = 0; at < int64_t{strip.rows} * strip.count; ++at) {
        const int64_t r = at / strip.count, i = at % strip.count * F::W;
        const bool whole = at % strip.count < strip.full;
        const Reader<F, Across> reader = {strip.coefficient + (Across ? i : 0), task.pitch};
        const auto read = [&reader](int row) { return reader.one(row); };
        const auto* const from = strip.x + r * strip.x_row + i;
        const V x = whole ? F::load(from) : F::load_part(from, strip.lanes);
        V slope = read(segment_row(0) + SLOPE), level = read(segment_row(0) + LEVEL);
        V level_rest = read(segment_row(0) + LEVEL_REST), deviation = F::set(0);
        for (int j = 0; j < task.knots; ++j) {
            const int k = knot_row(task.knots, j), segment = segment_row(j + 1);
            const Knot<F> knot(task, read, k);
            const V d = knot.distance(x);
            const auto right = knot.right(x), zone = knot.zone(d);
            slope = F::select(right, read(segment + SLOPE), slope);
            level = F::select(right, read(segment + LEVEL), level);
            level_rest = F::select(right, read(segment + LEVEL_REST), level_rest);
            if (!F::any(zone)) continue;
            V u, rest;
            knot.scale(x, d, zone, u, rest);
            Forms<F> f;
            forms<F>(task, u, rest, f);
            V part = read(k + LAG) * (task.multiplies_cdf ? F::abs(u) * f.survival : f.excess);
            part = F::fma(read(k + STEP), F::select(right, -f.survival, f.survival), part);
            const V weight = F::fma(read(k + C1_W), F::keep(zone, x), read(k + C0_W));
            deviation = deviation + F::keep(zone, F::fma(weight, f.moment, part));
        }
        const V finite = F::max(read(LOW), F::min(read(HIGH), x));
        const V y = (F::fma(slope, finite, level) + level_rest) + deviation;
        auto* const to = strip.out + r * strip.out_row + i;
        whole ? F::store(to, y) : F::store_part(to, y, strip.lanes);
    }
}

template <class F, bool Across> void backward_many(const Task& task, const Strip<typename F::T> strip) {
    using V = typename F::V;
    const int sum_count = sums(task.knots);
    const auto drop = [](typename F::M mask, V a) { return F::select(mask, F::set(0), a); };
    for (int64_t at = 0; at < int64_t{strip.rows} * strip.count; ++at) {
        const int64_t r = at / strip.count, i = at % strip.count * F::W;
        const bool whole = at % strip.count < strip.full;
        const Reader<F, Across> reader = {strip.coefficient + (Across ? i : 0), task.pitch};
        const auto read = [&reader](int row) { return reader.one(row); };
        auto* const partial = strip.partial + (Across ? i : 0);
        const auto add = [partial](int s, V a) { F::store(partial + s * COLUMNS, F::load(partial + s * COLUMNS) + a); };
        const auto* const from_x = strip.x + r * strip.x_row + i;
        const auto* const from_g = strip.g + r * strip.g_row + i;
        const V x = whole ? F::load(from_x) : F::load_part(from_x, strip.lanes);
        const V g = whole ? F::load(from_g) : F::load_part(from_g, strip.lanes);
        V slope = read(segment_row(0) + SLOPE), deviation = F::set(0);
        V g_here = g, x_here = x, d_here = F::set(0);  // zero in lanes that are further left than the segment
        const auto add_segment = [&](int j, V g_in, V x_in, V d_in) {
            add(segment_sum(j) + G, g_in);
            add(segment_sum(j) + GX, g * x_in);
            add(segment_sum(j) + RISE, g * d_in);
        };
        for (int j = 0; j < task.knots; ++j) {
            const int k = knot_row(task.knots, j), s = knot_sum(task.knots, j);
            const Knot<F> knot(task, read, k);
            const V d = knot.distance(x);
            const auto right = knot.right(x), zone = knot.zone(d);
            slope = F::select(right, read(segment_row(j + 1) + SLOPE), slope);
            add_segment(j, drop(right, g_here), drop(right, x_here), drop(right, d_here));
            g_here = F::keep(right, g), x_here = F::keep(right, x), d_here = F::keep(right, d);
            if (!F::any(zone)) continue;
            V u, rest;
            knot.scale(x, d, zone, u, rest);
            Forms<F> f;
            forms<F>(task, u, rest, f);
            const V jump = read(k + JUMP), xz = F::keep(zone, x), gz = F::keep(zone, g);
            const V below = F::select(right, -f.survival, f.survival);
            const V weight = F::fma(read(k + C1), xz, read(k + C0));
            const V turn = task.multiplies_cdf ? jump - weight : -weight;
            const V shift = f.density * F::fma(u, turn, read(k + STEP_N)), g_shift = gz * shift;
            const V part = F::fma(jump, below, F::fma(read(k + C1_W), f.moment, shift));
            deviation = deviation + F::keep(zone, part);
            if (!task.want_sums) continue;
            add(s + SUM_LAG, gz * (task.multiplies_cdf ? -(F::abs(u) * f.survival) : f.excess));
            add(s + SUM_STEP, gz * below);
            add(s + MOMENT, gz * f.moment);
            add(s + X_MOMENT, gz * xz * f.moment);
            add(s + SHIFT, g_shift);
            add(s + U_SHIFT, g_shift * u);
        }
        add_segment(task.knots, g_here, x_here, d_here);
        if (!task.want_dx) continue;
        const V dx = g * F::select(F::is_nan(x), x, slope + deviation);
        auto* const to = strip.out + r * strip.out_row + i;
        whole ? F::store(to, dx) : F::store_part(to, dx, strip.lanes);
    }
    for (int s = 0; s < sum_count; ++s) {
        auto* const partial = strip.partial + s * COLUMNS;
        if (Across && task.want_sums) add_columns<F>(strip.sum + s * task.sum_pitch, partial, strip.count * F::W);
        if (!Across && task.want_sums) add_total<F>(strip.sum + s * task.sum_pitch, F::load(partial));
        if (!Across) F::store(partial, F::set(0));
    }
}

}  // namespace bevel::BEVEL_ISA
