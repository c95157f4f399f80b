// The inner loop of the second pass, for any number of knots and any kernel, chosen at run time.
//
// With F = ∂f/∂x·a + Σ ∂f/∂θ·β, where β is the direction of the coefficients θ, it gives F, g·∂F/∂x and the sums of g·∂F/∂θ.
// With B = cdf(u) - [x > knot], φ and φ' the density and its derivative by u, M the moment and w = 1/n, a kernel's part in f is
// made of w·excess, B and w·M, whose derivatives by u are w·B, φ and -w·u·φ. u moves by n·δ, where δ = η + u·w·ν, η = a - β of
// the knot, and ν is the relative change of n.
#pragma once

#include "many_knots.h"
#include "second.h"

namespace bevel::BEVEL_ISA {

// As Strip; all tensors lie alike. A null pointer: the same number everywhere, or not wanted.
template <class T> struct SecondStrip {
    const T *x, *g, *a;
    T *h, *dx;
    int64_t row;
    int rows, count, full, lanes;
    const T *coefficient, *turn;
    double* sum;
    T* partial;
};

template <class F> struct SecondForms : Forms<F> {
    typename F::V turn;  // the density's derivative by v
};

template <class F, template <class> class Kernel>
void second_forms_of(const Task& task, const Second& second, typename F::V u, typename F::V rest, SecondForms<F>& out) {
    const Kernel<F> kernel(u, rest, task);
    out.density = kernel.density();
    out.survival = kernel.survival();
    if (task.needs_moment) out.moment = kernel.moment();
    if (task.needs_excess) out.excess = kernel.excess();
    if (second.needs_slope) out.turn = kernel.density_slope();
}

template <class F>
[[gnu::noinline]] void second_forms(const Task& task, const Second& second, typename F::V u, typename F::V rest, SecondForms<F>& out) {
    const auto none = F::set(0);
    out.density = out.survival = out.excess = out.moment = out.turn = none;
    switch (task.kernel) {
        case BEVEL_GAUSSIAN: return second_forms_of<F, Gaussian>(task, second, u, rest, out);
        case BEVEL_LOGISTIC: return second_forms_of<F, Logistic>(task, second, u, rest, out);
        case BEVEL_LAPLACE: return second_forms_of<F, Laplace>(task, second, u, rest, out);
        case BEVEL_STUDENT: return second_forms_of<F, Student>(task, second, u, rest, out);
        case BEVEL_BOX: return second_forms_of<F, Box>(task, second, u, rest, out);
        case BEVEL_TRIANGLE: return second_forms_of<F, Triangle>(task, second, u, rest, out);
        case BEVEL_EPANECHNIKOV: return second_forms_of<F, Epanechnikov>(task, second, u, rest, out);
        case BEVEL_BIWEIGHT: return second_forms_of<F, Biweight>(task, second, u, rest, out);
        case BEVEL_TRIWEIGHT: return second_forms_of<F, Triweight>(task, second, u, rest, out);
        case BEVEL_COSINE: return second_forms_of<F, Cosine>(task, second, u, rest, out);
        case BEVEL_CAUCHY: return second_forms_of<F, Cauchy>(task, second, u, rest, out);
        case BEVEL_BUMP: return second_forms_of<F, Bump>(task, second, u, rest, out);
        case BEVEL_TABULATED: return second_forms_of<F, Tabulated>(task, second, u, rest, out);
        default: return;
    }
}

// What one knot's kernel adds to F and to ∂F/∂x, and to the derivatives of F by the knot's coefficients.
template <class F> struct SecondParts {
    typename F::V value, slope, by[PER_SECOND_KNOT];
};

// Where one knot is, how it moves, and what the kernel is there.
template <class F> struct SecondAt {
    using V = typename F::V;
    V x, d, u, a;        // 0 outside the zone
    V n, w, nu, w_nu;    // nu: the relative change of n
    V eta, delta;
    V below, phi, u_phi, u_turn;  // B, φ, u·φ, u·φ'
    V excess, moment, turn;       // turn: φ'
};

template <class F, class Read>
BEVEL_INLINE void second_jump(const Task& task, const Second& second, const SecondAt<F>& at, Read coefficient, Read direction, SecondParts<F>& out) {
    using V = typename F::V;
    const V j = coefficient(JUMP), beta = direction(TURN_JUMP), two = F::set(2);
    const V n_delta = at.n * at.delta, w_nu_m = at.w_nu * at.moment;
    V by_jump, slope, by_n;
    if (task.multiplies_cdf) {
        const V u2_phi = at.u * at.u_phi;
        by_jump = F::fma(at.eta, at.below, at.u_phi * at.delta);
        out.value = F::fma(beta, at.d * at.below, j * by_jump);
        slope = F::fma(beta, at.below + at.u_phi, j * (n_delta * F::fma(two, at.phi, at.u_turn)));
        by_n = F::fma(at.delta, F::fma(two, at.u_phi, at.u * at.u_turn), -(two * at.w_nu) * u2_phi);
        by_n = F::fma(beta * at.w, u2_phi, j * (second.log_n ? F::fma(at.w_nu, u2_phi, by_n) : by_n));
    } else {
        by_jump = F::fma(at.eta, at.below, -w_nu_m);
        out.value = F::fma(beta * at.w, at.excess, j * by_jump);
        slope = F::fma(beta, at.below, j * (n_delta * at.phi));
        by_n = F::fma(at.u_phi, at.delta, second.log_n ? w_nu_m : two * w_nu_m);
        by_n = F::fma(j, by_n, -(beta * at.w) * at.moment);
    }
    out.slope = slope;
    out.by[BY_KNOT] = -slope;
    out.by[BY_JUMP] = by_jump;
    out.by[BY_N] = by_n;
    out.by[BY_STEP] = out.by[BY_C0] = out.by[BY_C1] = F::set(0);
}

template <class F, class Read>
BEVEL_INLINE void second_step(const Second& second, const SecondAt<F>& at, Read coefficient, Read direction, SecondParts<F>& out) {
    using V = typename F::V;
    const V s = coefficient(STEP), beta = direction(TURN_STEP), n_delta = at.n * at.delta;
    const V by_step = at.phi * n_delta;
    const V slope = at.n * F::fma(beta, at.phi, s * F::fma(at.turn, n_delta, at.phi * at.nu));
    V by_n = n_delta * (at.u_turn + at.phi);
    if (!second.log_n) by_n = F::fnma(at.u_phi, at.nu, by_n);
    out.value = out.value + F::fma(beta, at.below, s * by_step);
    out.slope = out.slope + slope;
    out.by[BY_KNOT] = out.by[BY_KNOT] - slope;
    out.by[BY_STEP] = by_step;
    out.by[BY_N] = out.by[BY_N] + F::fma(beta, at.u_phi, s * by_n);
}

// (c0 + c1·x)·w·M
template <class F, class Read>
BEVEL_INLINE void second_moment(const Second& second, const SecondAt<F>& at, Read coefficient, Read direction, SecondParts<F>& out) {
    using V = typename F::V;
    const V c1 = coefficient(C1), weight = F::fma(c1, at.x, coefficient(C0)), beta1 = direction(TURN_C1);
    const V turn = F::fma(c1, at.a, F::fma(beta1, at.x, direction(TURN_C0)));  // how c0 + c1·x moves
    const V w_m = at.w * at.moment, spread = F::fma(at.u, at.u_phi, at.moment);
    const V moved = -F::fma(at.u_phi, at.delta, at.w_nu * at.moment);  // how w·M moves
    const V rounding = at.phi + at.u_turn;
    const V slope = -F::fma(turn, at.u_phi, weight * (at.n * at.delta * rounding));
    const V by_n = F::fnma(at.u * rounding, at.delta, (second.log_n ? at.w_nu : at.w_nu + at.w_nu) * spread);
    out.value = out.value + F::fma(turn, w_m, weight * moved);
    out.slope = out.slope + slope + F::fma(beta1, w_m, c1 * moved);
    out.by[BY_KNOT] = out.by[BY_KNOT] - slope;
    out.by[BY_C0] = moved;
    out.by[BY_C1] = F::fma(at.a, w_m, at.x * moved);
    out.by[BY_N] = out.by[BY_N] + F::fma(weight, by_n, -(turn * at.w) * spread);
}

template <class F, bool Across> void second_many(const Task& task, const Second& second, const SecondStrip<typename F::T>& strip) {
    using V = typename F::V;
    using T = typename F::T;
    const int sum_count = second_sums(task.knots);
    const V every_g = F::set(static_cast<T>(second.every_g)), every_a = F::set(static_cast<T>(second.every_a));
    for (int64_t place = 0; place < int64_t{strip.rows} * strip.count; ++place) {
        const int64_t r = place / strip.count, i = place % strip.count * F::W, offset = r * strip.row + i;
        const bool whole = place % strip.count < strip.full;
        const Reader<F, Across> coefficients = {strip.coefficient + (Across ? i : 0), task.pitch};
        const Reader<F, Across> turns = {strip.turn + (Across ? i : 0), task.pitch};
        const auto read = [&coefficients](int row) { return coefficients.one(row); };
        const auto load = [&](const T* p, V every) {
            return p == nullptr ? every : whole ? F::load(p + offset) : F::load_part(p + offset, strip.lanes);
        };
        const auto store = [&](T* p, V value) {
            if (p != nullptr) whole ? F::store(p + offset, value) : F::store_part(p + offset, value, strip.lanes);
        };
        auto* const partial = strip.partial + (Across ? i : 0);
        const auto add = [partial](int s, V a) { F::store(partial + s * COLUMNS, F::load(partial + s * COLUMNS) + a); };
        const V x = load(strip.x, every_a), a = load(strip.a, every_a);
        V g = load(strip.g, every_g);
        if (!whole && strip.g == nullptr) {  // what is not there must not be summed
            alignas(64) T lane[F::W];
            F::store(lane, g);
            g = F::load_part(lane, strip.lanes);
        }
        V slope = read(segment_row(0) + SLOPE), turn_slope = turns.one(turn_segment(0) + TURN_SLOPE);
        V level = turns.one(turn_segment(0) + TURN_LEVEL), level_rest = turns.one(turn_segment(0) + TURN_LEVEL_REST);
        V value = F::set(0), bend = F::set(0), g_here = g;
        for (int j = 0; j < task.knots; ++j) {
            const int segment = turn_segment(j + 1), k = knot_row(task.knots, j);
            const Knot<F> knot(task, read, k);
            const V d = knot.distance(x);
            const auto right = knot.right(x), zone = knot.zone(d);
            slope = F::select(right, read(segment_row(j + 1) + SLOPE), slope);
            turn_slope = F::select(right, turns.one(segment + TURN_SLOPE), turn_slope);
            level = F::select(right, turns.one(segment + TURN_LEVEL), level);
            level_rest = F::select(right, turns.one(segment + TURN_LEVEL_REST), level_rest);
            if (second.want_sums) {
                const V left_g = F::select(right, F::set(0), g_here);
                add(second_segment(j) + SECOND_G, left_g);
                add(second_segment(j) + SECOND_GA, left_g * a);
                g_here = F::keep(right, g);
            }
            if (!F::any(zone)) continue;
            SecondAt<F> at;
            V rest;
            knot.scale(x, d, zone, at.u, rest);
            SecondForms<F> f;
            second_forms<F>(task, second, at.u, rest, f);
            const auto turn_row = turn_knot(task.knots, j);
            at.x = F::keep(zone, x), at.d = F::keep(zone, d), at.a = a;
            at.n = read(N), at.w = turns.one(WIDTH), at.nu = turns.one(STRETCH), at.w_nu = turns.one(STRETCH_W);
            at.eta = a - turns.one(turn_row + TURN_KNOT);
            at.delta = F::fma(at.u, at.w_nu, at.eta);
            at.below = F::select(right, -f.survival, f.survival);
            at.phi = f.density, at.u_phi = at.u * f.density;
            at.turn = F::select(right, f.turn, -f.turn), at.u_turn = F::abs(at.u) * f.turn;
            at.excess = f.excess, at.moment = f.moment;
            const Reader<F, Across> moving = {turns.base + turn_row * task.pitch, task.pitch};
            const Reader<F, Across> standing = {coefficients.base + k * task.pitch, task.pitch};
            const auto one = [](const Reader<F, Across>& reader) { return [reader](int row) { return reader.one(row); }; };
            SecondParts<F> part;
            second_jump<F>(task, second, at, one(standing), one(moving), part);
            if (task.steps) second_step<F>(second, at, one(standing), one(moving), part);
            if (task.moments) second_moment<F>(second, at, one(standing), one(moving), part);
            value = value + F::keep(zone, part.value);
            bend = bend + F::keep(zone, part.slope);
            if (!second.want_sums) continue;
            const V gz = F::keep(zone, g);
            for (int s = 0; s < PER_SECOND_KNOT; ++s)
                if (second.by[s]) add(second_knot(task.knots, j) + s, gz * F::keep(zone, part.by[s]));
        }
        if (second.want_sums) {
            add(second_segment(task.knots) + SECOND_G, g_here);
            add(second_segment(task.knots) + SECOND_GA, g_here * a);
        }
        const auto nan = F::is_nan(x);
        if (second.h != nullptr) {
            const V finite = F::max(turns.one(TURN_LOW), F::min(turns.one(TURN_HIGH), x));
            const V line = F::fma(a, slope, F::fma(turn_slope, finite, level) + level_rest);
            store(strip.h, F::select(nan, x, line + value));
        }
        if (second.dx != nullptr) store(strip.dx, g * F::select(nan, x, turn_slope + bend));
    }
    for (int s = 0; second.want_sums && s < sum_count; ++s) {
        auto* const partial = strip.partial + s * COLUMNS;
        if (Across) add_columns<F>(strip.sum + s * task.sum_pitch, partial, strip.count * F::W);
        if (!Across) add_total<F>(strip.sum + s * task.sum_pitch, F::load(partial));
        if (!Across) F::store(partial, F::set(0));
    }
}

}  // namespace bevel::BEVEL_ISA
