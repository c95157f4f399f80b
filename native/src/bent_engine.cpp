// The loops of functions with bends, for any number of knots and any kernel that has a second tail integral. Compiled once per
// instruction set, as engine.cpp is.
#include "bent.h"
#include "parabola.h"

namespace bevel::BEVEL_ISA {
namespace {

template <class F> struct BentForms : SecondForms<F> {
    typename F::V second;
};

template <class F, template <class> class Kernel>
void bent_forms_of(const Task& task, bool slope, typename F::V u, typename F::V rest, BentForms<F>& out) {
    const Kernel<F> kernel(u, rest, task);
    if (task.needs_survival) out.survival = kernel.survival();
    if (task.needs_excess) out.excess = kernel.excess();
    if (task.needs_moment) out.moment = kernel.moment();
    if (task.needs_density) out.density = kernel.density();
    if (task.needs_second) out.second = kernel.second();
    if (slope) out.turn = kernel.density_slope();
}

template <class F>
[[gnu::noinline]] void bent_forms(const Task& task, bool slope, typename F::V u, typename F::V rest, BentForms<F>& out) {
    out.density = out.survival = out.excess = out.moment = out.turn = out.second = F::set(0);
    switch (task.kernel) {
        case BEVEL_GAUSSIAN: return bent_forms_of<F, Gaussian>(task, slope, u, rest, out);
        case BEVEL_LOGISTIC: return bent_forms_of<F, Logistic>(task, slope, u, rest, out);
        case BEVEL_LAPLACE: return bent_forms_of<F, Laplace>(task, slope, u, rest, out);
        case BEVEL_BOX: return bent_forms_of<F, Box>(task, slope, u, rest, out);
        case BEVEL_TRIANGLE: return bent_forms_of<F, Triangle>(task, slope, u, rest, out);
        case BEVEL_EPANECHNIKOV: return bent_forms_of<F, Epanechnikov>(task, slope, u, rest, out);
        case BEVEL_BIWEIGHT: return bent_forms_of<F, Biweight>(task, slope, u, rest, out);
        case BEVEL_TRIWEIGHT: return bent_forms_of<F, Triweight>(task, slope, u, rest, out);
        case BEVEL_COSINE: return bent_forms_of<F, Cosine>(task, slope, u, rest, out);
        case BEVEL_BUMP: return bent_forms_of<F, Bump>(task, slope, u, rest, out);
        case BEVEL_TABULATED: return bent_forms_of<F, Tabulated>(task, slope, u, rest, out);
        case BEVEL_GELU_TANH: return bent_forms_of<F, GeluTanh>(task, slope, u, rest, out);
        default: return;
    }
}

template <class F, bool Across> void forward_bent(const Task& task, const Strip<typename F::T> strip) {
    using V = typename F::V;
    for (int64_t at = 0; at < int64_t{strip.rows} * strip.count; ++at) {
        const int64_t r = at / strip.count, i = at % strip.count * F::W;
        const bool whole = at % strip.count < strip.full;
        const Reader<F, Across> reader = {strip.coefficient + (Across ? i : 0), task.pitch};
        const auto read = [&reader](int row) { return reader.one(row); };
        const auto* const from = strip.x + r * strip.x_row + i;
        const V x = whole ? F::load(from) : F::load_part(from, strip.lanes);
        Parabola<F> f(task, read, 0);
        V deviation = F::set(0);
        for (int j = 0; j < task.knots; ++j) {
            const int k = knot_row(task.knots, j);
            const Knot<F> knot(task, read, k);
            const V d = knot.distance(x);
            const auto right = knot.right(x), zone = knot.zone(d);
            f.select(right, Parabola<F>(task, read, j + 1));
            if (!F::any(zone)) continue;
            V u, rest;
            knot.scale(x, d, zone, u, rest);
            BentForms<F> forms;
            bent_forms<F>(task, false, u, rest, forms);
            V part = read(k + LAG) * (task.multiplies_cdf ? F::abs(u) * forms.survival : forms.excess);
            part = F::fma(read(k + STEP), F::select(right, -forms.survival, forms.survival), part);
            part = F::fma(read(bent_knot_row(task.knots, j) + BEND_W2), F::select(right, -forms.second, forms.second), part);
            const V weight = F::fma(read(k + C1_W), F::keep(zone, x), read(k + C0_W));
            deviation = deviation + F::keep(zone, F::fma(weight, forms.moment, part));
        }
        const V y = F::select(F::is_nan(x), x, f.value(f.distance(x)) + deviation);
        auto* const to = strip.out + r * strip.out_row + i;
        whole ? F::store(to, y) : F::store_part(to, y, strip.lanes);
    }
}

template <class F, bool Across> void backward_bent(const Task& task, const Strip<typename F::T> strip) {
    using V = typename F::V;
    const int sum_count = bent_sums(task.knots);
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
        Parabola<F> f(task, read, 0);
        V deviation = F::set(0), g_here = g, d_here = x;  // zero in lanes that are further left than the segment
        const auto add_segment = [&](int j, V g_in, V d_in) {
            add(segment_sum(j) + G, g_in);
            const V rise = g_in * d_in;
            add(segment_sum(j) + RISE, rise);
            add(half_square_sum(task.knots, j), F::set(typename F::T(0.5)) * rise * d_in);
        };
        for (int j = 0; j < task.knots; ++j) {
            const int k = knot_row(task.knots, j), s = knot_sum(task.knots, j), b = bent_knot_row(task.knots, j);
            const Knot<F> knot(task, read, k);
            const V d = knot.distance(x);
            const auto right = knot.right(x), zone = knot.zone(d);
            f.select(right, Parabola<F>(task, read, j + 1));
            if (task.want_sums) {
                add_segment(j, drop(right, g_here), drop(right, d_here));
                g_here = F::keep(right, g), d_here = F::keep(right, d - knot.knot_rest);
            }
            if (!F::any(zone)) continue;
            V u, rest;
            knot.scale(x, d, zone, u, rest);
            BentForms<F> forms;
            bent_forms<F>(task, false, u, rest, forms);
            const V jump = read(k + JUMP), xz = F::keep(zone, x), gz = F::keep(zone, g);
            const V below = F::select(right, -forms.survival, forms.survival);
            const V weight = F::fma(read(k + C1), xz, read(k + C0));
            const V turn = task.multiplies_cdf ? jump - weight : -weight;
            const V shift = forms.density * F::fma(u, turn, read(k + STEP_N)), g_shift = gz * shift;
            V part = F::fma(jump, below, F::fma(read(k + C1_W), forms.moment, shift));
            part = F::fma(read(b + BEND_W), forms.excess, part);
            deviation = deviation + F::keep(zone, part);
            if (!task.want_sums) continue;
            const int t = bent_knot_sum(task.knots, j);
            const V g_excess = gz * forms.excess;
            add(s + SUM_LAG, task.multiplies_cdf ? gz * -(F::abs(u) * forms.survival) : g_excess);
            add(s + SUM_STEP, gz * below);
            add(s + MOMENT, gz * forms.moment);
            add(s + X_MOMENT, gz * xz * forms.moment);
            add(s + SHIFT, g_shift);
            add(s + U_SHIFT, g_shift * u);
            add(t + SUM_SECOND, gz * F::select(right, -forms.second, forms.second));
            add(t + SUM_EXCESS, g_excess);
            add(t + SUM_U_EXCESS, -(g_excess * u));
        }
        if (task.want_sums) add_segment(task.knots, g_here, d_here);
        if (!task.want_dx) continue;
        const V dx = g * F::select(F::is_nan(x), x, f.derivative(f.distance(x)) + deviation);
        auto* const to = strip.out + r * strip.out_row + i;
        whole ? F::store(to, dx) : F::store_part(to, dx, strip.lanes);
    }
    for (int s = 0; task.want_sums && s < sum_count; ++s) {
        auto* const partial = strip.partial + s * COLUMNS;
        if (Across) add_columns<F>(strip.sum + s * task.sum_pitch, partial, strip.count * F::W);
        if (!Across) add_total<F>(strip.sum + s * task.sum_pitch, F::load(partial));
        if (!Across) F::store(partial, F::set(0));
    }
}

// What a bend adds, beside what second_many.h has: with ρ = ±second(|u|), below ρ, ρ' = excess and ρ'' = B, its part in f is
// bend·w²·ρ.
template <class F>
BEVEL_INLINE typename F::V second_bend(const Second& second, const SecondKnot<F>& k, const SecondAt<F>& at, typename F::V rho,
                                       typename F::V bend, typename F::V beta, SecondParts<F>& out) {
    using V = typename F::V;
    const V w_e = k.w * at.excess, w2 = k.w * k.w, twice = F::set(2) * rho;
    const V by = F::fma(w_e, at.delta, -(k.w_nu * k.w) * twice);
    const V spread = F::fnma(at.u, at.excess, twice);
    const V slope = F::fma(bend, at.below * at.delta, F::fnma(bend, k.nu, beta) * w_e);
    V by_n = (second.log_n ? F::set(2) : F::set(3)) * (k.w * k.w_nu) * spread;  // u·B - excess is -moment
    by_n = F::fma(bend, F::fnma(k.w * at.delta, at.moment, by_n), -(beta * w2) * spread);
    out.value = out.value + F::fma(beta, w2 * rho, bend * by);
    out.slope = out.slope + slope;
    out.by[BY_KNOT] = out.by[BY_KNOT] - slope;
    out.by[BY_N] = out.by[BY_N] + by_n;
    return by;
}

// As Parabola: the function, and how it moves.
template <class F> struct SecondParabola {
    using V = typename F::V;
    Parabola<F> still;
    V half, slope, level, rest;

    template <bool Across>
    BEVEL_INLINE SecondParabola(const Task& task, Reader<F, Across> at, Reader<F, Across> turns, int j)
        : still(task, [&at](int row) { return at.one(row); }, j), half(turns.one(turn_half_bend(task.knots, j))),
          slope(turns.one(turn_segment(j) + TURN_SLOPE)), level(turns.one(turn_segment(j) + TURN_LEVEL)),
          rest(turns.one(turn_segment(j) + TURN_LEVEL_REST)) {}
    BEVEL_INLINE void select(typename F::M right, const SecondParabola& next) {
        still.select(right, next.still);
        half = F::select(right, next.half, half), slope = F::select(right, next.slope, slope);
        level = F::select(right, next.level, level), rest = F::select(right, next.rest, rest);
    }
    BEVEL_INLINE V value(V d) const { return (times<F>(times<F>(half, d) + slope, d) + level) + rest; }
    BEVEL_INLINE V derivative(V d) const { return times<F>(half + half, d) + slope; }
};

template <class F, bool Across> void second_bent(const Task& task, const Second& second, const SecondStrip<typename F::T>& strip) {
    using V = typename F::V;
    using T = typename F::T;
    const V every_g = F::set(static_cast<T>(second.every_g)), every_a = F::set(static_cast<T>(second.every_a)), none = F::set(0);
    for (int64_t place = 0; place < int64_t{strip.rows} * strip.count; ++place) {
        const int64_t r = place / strip.count, i = place % strip.count * F::W;
        const SecondVector<F> vector = {r * strip.row + i, place % strip.count < strip.full ? 0 : strip.lanes};
        const Reader<F, Across> read = {strip.coefficient + (Across ? i : 0), task.pitch};
        const Reader<F, Across> turns = {strip.turn + (Across ? i : 0), task.pitch};
        auto* const partial = strip.partial + (Across ? i : 0);
        const auto add = [partial](int s, V a) { F::store(partial + s * COLUMNS, F::load(partial + s * COLUMNS) + a); };
        const V x = vector.load(strip.x, every_a), a = vector.load(strip.a, every_a), g = vector.load_g(strip.g, every_g);
        SecondParabola<F> f(task, read, turns, 0);
        V value = none, bend = none, g_here = g, d_here = x;
        const auto add_segment = [&](int j, V g_in, V d_in) {
            const V ga = g_in * a;
            add(second_segment(j) + SECOND_G, g_in), add(second_segment(j) + SECOND_GA, ga);
            add(bent_second_segment(task.knots, j) + SECOND_GD, g_in * d_in);
            add(bent_second_segment(task.knots, j) + SECOND_GAD, ga * d_in);
        };
        for (int j = 0; j < task.knots; ++j) {
            const SecondKnot<F> k(task, read, turns, j);
            const V d = k.knot.distance(x);
            const auto right = k.knot.right(x), zone = k.knot.zone(d);
            f.select(right, SecondParabola<F>(task, read, turns, j + 1));
            if (second.want_sums) {
                add_segment(j, F::select(right, none, g_here), F::select(right, none, d_here));
                g_here = F::keep(right, g), d_here = F::keep(right, d - k.knot.knot_rest);
            }
            if (!F::any(zone)) continue;
            V u, rest;
            k.knot.scale(x, d, zone, u, rest);
            BentForms<F> forms;
            bent_forms<F>(task, second.needs_slope, u, rest, forms);
            const SecondAt<F> at = second_at<F>(k, x, a, d, right, zone, u, forms);
            SecondParts<F> part;
            second_parts<F>(task, second, k, at, part);
            const V by = second_bend<F>(second, k, at, F::select(right, -forms.second, forms.second),
                                        read.one(bent_knot_row(task.knots, j) + BEND), turns.one(turn_bend(task.knots, j)), part);
            value = value + F::keep(zone, part.value);
            bend = bend + F::keep(zone, part.slope);
            if (!second.want_sums) continue;
            const V gz = F::keep(zone, g);
            for (int s = 0; s < PER_SECOND_KNOT; ++s) add(second_knot(task.knots, j) + s, gz * F::keep(zone, part.by[s]));
            add(by_bend(task.knots, j), gz * F::keep(zone, by));
        }
        if (second.want_sums) add_segment(task.knots, g_here, d_here);
        const auto nan = F::is_nan(x);
        const V d = f.still.distance(x);
        if (second.h != nullptr)
            vector.store(strip.h, F::select(nan, x, F::fma(a, f.still.derivative(d), f.value(d)) + value));
        if (second.dx != nullptr)
            vector.store(strip.dx, g * F::select(nan, x, F::fma(a, f.still.half + f.still.half, f.derivative(d)) + bend));
    }
    for (int s = 0; second.want_sums && s < bent_second_sums(task.knots); ++s) {
        auto* const partial = strip.partial + s * COLUMNS;
        if (Across) add_columns<F>(strip.sum + s * task.sum_pitch, partial, strip.count * F::W);
        if (!Across) add_total<F>(strip.sum + s * task.sum_pitch, F::load(partial));
        if (!Across) F::store(partial, F::set(0));
    }
}

template <class F, bool Across> Loop<typename F::T> loop_of(const Task& task, bool back) {
    if (task.kernel == BEVEL_SHARP) return back ? backward_sharp_bent<F, Across> : forward_sharp_bent<F, Across>;
    return back ? backward_bent<F, Across> : forward_bent<F, Across>;
}

}  // namespace

Loop<float> bent_loop(const Task& task, bool back, float) {
    return task.across ? loop_of<F32, true>(task, back) : loop_of<F32, false>(task, back);
}
Loop<double> bent_loop(const Task& task, bool back, double) {
    return task.across ? loop_of<F64, true>(task, back) : loop_of<F64, false>(task, back);
}
SecondLoop<float> bent_second_loop(bool across, float) { return across ? second_bent<F32, true> : second_bent<F32, false>; }
SecondLoop<double> bent_second_loop(bool across, double) { return across ? second_bent<F64, true> : second_bent<F64, false>; }

}  // namespace bevel::BEVEL_ISA
