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
BEVEL_INLINE void second_forms_of(const Task& task, const Second& second, typename F::V u, typename F::V rest, SecondForms<F>& out) {
    const Kernel<F> kernel(u, rest, task);
    out.density = kernel.density();
    if (task.needs_survival) out.survival = kernel.survival();
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
        case BEVEL_GELU_TANH: return second_forms_of<F, GeluTanh>(task, second, u, rest, out);
        default: return;
    }
}

// What one knot's kernel adds to F and to ∂F/∂x, and to the derivatives of F by the knot's coefficients.
template <class F> struct SecondParts {
    typename F::V value, slope, by[PER_SECOND_KNOT];
};

// One knot's coefficients and how they move.
template <class F> struct SecondKnot {
    using V = typename F::V;
    Knot<F> knot;
    V jump, step, c0, c1, n, w, nu, w_nu;  // nu: the relative change of n
    V by_knot, by_jump, by_step, by_c0, by_c1;

    template <bool Across>
    BEVEL_INLINE SecondKnot(const Task& task, Reader<F, Across> at, Reader<F, Across> turn, int i)
        : knot(task, [&at](int row) __attribute__((always_inline)) { return at.one(row); }, knot_row(task.knots, i)) {
        const int k = knot_row(task.knots, i), t = turn_knot(task.knots, i);
        jump = at.one(k + JUMP), step = at.one(k + STEP), c0 = at.one(k + C0), c1 = at.one(k + C1), n = at.one(N);
        w = turn.one(WIDTH), nu = turn.one(STRETCH), w_nu = turn.one(STRETCH_W);
        by_knot = turn.one(t + TURN_KNOT), by_jump = turn.one(t + TURN_JUMP), by_step = turn.one(t + TURN_STEP);
        by_c0 = turn.one(t + TURN_C0), by_c1 = turn.one(t + TURN_C1);
    }
};

// Where x is by a knot, and what the kernel is there.
template <class F> struct SecondAt {
    using V = typename F::V;
    V x, d, u, a;  // x and d: 0 outside the zone
    V eta, delta;
    V below, phi, u_phi, u_turn;  // B, φ, u·φ, u·φ'
    V excess, moment, turn;       // turn: φ'
};

template <class F>
BEVEL_INLINE void second_jump(const Task& task, const Second& second, const SecondKnot<F>& k, const SecondAt<F>& at, SecondParts<F>& out) {
    using V = typename F::V;
    const V j = k.jump, beta = k.by_jump, two = F::set(2);
    const V n_delta = k.n * at.delta, w_nu_m = k.w_nu * at.moment;
    V by_jump, slope, by_n;
    if (task.multiplies_cdf) {
        const V u2_phi = at.u * at.u_phi;
        by_jump = F::fma(at.eta, at.below, at.u_phi * at.delta);
        out.value = F::fma(beta, at.d * at.below, j * by_jump);
        slope = F::fma(beta, at.below + at.u_phi, j * (n_delta * F::fma(two, at.phi, at.u_turn)));
        const V u2_turn = at.u * (at.u * at.u_turn);  // what n's own stretch leaves: 2u²φ would cancel, w times too large
        by_n = F::fma(at.eta, F::fma(two, at.u_phi, at.u * at.u_turn), k.w_nu * (second.log_n ? u2_turn + u2_phi : u2_turn));
        by_n = F::fma(beta * k.w, u2_phi, j * by_n);
    } else {
        by_jump = F::fma(at.eta, at.below, -w_nu_m);
        out.value = F::fma(beta * k.w, at.excess, j * by_jump);
        slope = F::fma(beta, at.below, j * (n_delta * at.phi));
        by_n = F::fma(at.u_phi, at.delta, second.log_n ? w_nu_m : two * w_nu_m);
        by_n = F::fma(j, by_n, -(beta * k.w) * at.moment);
    }
    out.slope = slope;
    out.by[BY_KNOT] = -slope;
    out.by[BY_JUMP] = by_jump;
    out.by[BY_N] = by_n;
    out.by[BY_STEP] = out.by[BY_C0] = out.by[BY_C1] = F::set(0);
}

template <class F>
BEVEL_INLINE void second_step(const Second& second, const SecondKnot<F>& k, const SecondAt<F>& at, SecondParts<F>& out) {
    using V = typename F::V;
    const V s = k.step, beta = k.by_step, n_delta = k.n * at.delta;
    const V by_step = at.phi * n_delta;
    const V slope = k.n * F::fma(beta, at.phi, s * F::fma(at.turn, n_delta, at.phi * k.nu));
    V by_n = n_delta * (at.u_turn + at.phi);
    if (!second.log_n) by_n = F::fnma(at.u_phi, k.nu, by_n);
    out.value = out.value + F::fma(beta, at.below, s * by_step);
    out.slope = out.slope + slope;
    out.by[BY_KNOT] = out.by[BY_KNOT] - slope;
    out.by[BY_STEP] = by_step;
    out.by[BY_N] = out.by[BY_N] + F::fma(beta, at.u_phi, s * by_n);
}

// (c0 + c1·x)·w·M
template <class F>
BEVEL_INLINE void second_moment(const Second& second, const SecondKnot<F>& k, const SecondAt<F>& at, SecondParts<F>& out) {
    using V = typename F::V;
    const V c1 = k.c1, weight = F::fma(c1, at.x, k.c0), beta1 = k.by_c1;
    const V turn = F::fma(c1, at.a, F::fma(beta1, at.x, k.by_c0));  // how c0 + c1·x moves
    const V w_m = k.w * at.moment, spread = F::fma(at.u, at.u_phi, at.moment);
    const V moved = -F::fma(at.u_phi, at.delta, k.w_nu * at.moment);  // how w·M moves
    const V rounding = at.phi + at.u_turn;
    const V slope = -F::fma(turn, at.u_phi, weight * (k.n * at.delta * rounding));
    const V by_n = F::fnma(at.u * rounding, at.delta, (second.log_n ? k.w_nu : k.w_nu + k.w_nu) * spread);
    out.value = out.value + F::fma(turn, w_m, weight * moved);
    out.slope = out.slope + slope + F::fma(beta1, w_m, c1 * moved);
    out.by[BY_KNOT] = out.by[BY_KNOT] - slope;
    out.by[BY_C0] = moved;
    out.by[BY_C1] = F::fma(at.a, w_m, at.x * moved);
    out.by[BY_N] = out.by[BY_N] + F::fma(weight, by_n, -(turn * k.w) * spread);
}

template <class F>
BEVEL_INLINE SecondAt<F> second_at(const SecondKnot<F>& k, typename F::V x, typename F::V a, typename F::V d, typename F::M right,
                                   typename F::M zone, typename F::V u, const SecondForms<F>& f) {
    SecondAt<F> at;
    at.u = u;
    at.x = F::keep(zone, x), at.d = F::keep(zone, d), at.a = a;
    at.eta = a - k.by_knot;
    at.delta = F::fma(at.u, k.w_nu, at.eta);
    at.below = F::select(right, -f.survival, f.survival);
    at.phi = f.density, at.u_phi = at.u * f.density;
    at.turn = F::select(right, f.turn, -f.turn), at.u_turn = F::abs(at.u) * f.turn;
    at.excess = f.excess, at.moment = f.moment;
    return at;
}

template <class F>
BEVEL_INLINE void second_parts(const Task& task, const Second& second, const SecondKnot<F>& k, const SecondAt<F>& at, SecondParts<F>& part) {
    second_jump<F>(task, second, k, at, part);
    if (task.steps) second_step<F>(second, k, at, part);
    if (task.moments) second_moment<F>(second, k, at, part);
}

// What one knot's kernel adds where the zone is; `forms` fills in the kernel's.
template <class F, class FormsOf>
BEVEL_INLINE void second_deviation(const Task& task, const Second& second, const SecondKnot<F>& k, typename F::V x, typename F::V a,
                                   typename F::V d, typename F::M right, typename F::M zone, FormsOf forms, SecondParts<F>& part) {
    typename F::V u, rest;
    k.knot.scale(x, d, zone, u, rest);
    SecondForms<F> f;
    forms(u, rest, f);
    second_parts<F>(task, second, k, second_at<F>(k, x, a, d, right, zone, u, f), part);
}

// A segment's line and how it moves.
template <class F> struct SecondSegment {
    using V = typename F::V;
    V slope, turn, level, rest;

    template <bool Across> BEVEL_INLINE SecondSegment(Reader<F, Across> at, Reader<F, Across> turns, int j)
        : slope(at.one(segment_row(j) + SLOPE)), turn(turns.one(turn_segment(j) + TURN_SLOPE)),
          level(turns.one(turn_segment(j) + TURN_LEVEL)), rest(turns.one(turn_segment(j) + TURN_LEVEL_REST)) {}
    BEVEL_INLINE void select(typename F::M right, const SecondSegment& next) {
        slope = F::select(right, next.slope, slope), turn = F::select(right, next.turn, turn);
        level = F::select(right, next.level, level), rest = F::select(right, next.rest, rest);
    }
};

// One vector of each tensor, from and to memory.
template <class F> struct SecondVector {
    using T = typename F::T;
    using V = typename F::V;
    int64_t offset;
    int lanes;  // 0: all

    BEVEL_INLINE V load(const T* p, V every) const {
        return p == nullptr ? every : lanes == 0 ? F::load(p + offset) : F::load_part(p + offset, lanes);
    }
    BEVEL_INLINE V load_g(const T* p, V every) const {
        if (p != nullptr || lanes == 0) return load(p, every);
        alignas(64) T lane[F::W];  // what is not there must not be summed
        F::store(lane, every);
        return F::load_part(lane, lanes);
    }
    BEVEL_INLINE void store(T* p, V value) const {
        if (p != nullptr) lanes == 0 ? F::store(p + offset, value) : F::store_part(p + offset, value, lanes);
    }
};

template <class F, bool Across> void put_sums(const Task& task, const Second& second, const SecondStrip<typename F::T>& strip) {
    for (int s = 0; second.want_sums && s < second_sums(task.knots); ++s) {
        auto* const partial = strip.partial + s * COLUMNS;
        if (Across) add_columns<F>(strip.sum + s * task.sum_pitch, partial, strip.count * F::W);
        if (!Across) add_total<F>(strip.sum + s * task.sum_pitch, F::load(partial));
        if (!Across) F::store(partial, F::set(0));
    }
}

template <class F, bool Across> void second_many(const Task& task, const Second& second, const SecondStrip<typename F::T>& strip) {
    using V = typename F::V;
    using T = typename F::T;
    const V every_g = F::set(static_cast<T>(second.every_g)), every_a = F::set(static_cast<T>(second.every_a));
    for (int64_t place = 0; place < int64_t{strip.rows} * strip.count; ++place) {
        const int64_t r = place / strip.count, i = place % strip.count * F::W;
        const SecondVector<F> vector = {r * strip.row + i, place % strip.count < strip.full ? 0 : strip.lanes};
        const Reader<F, Across> read = {strip.coefficient + (Across ? i : 0), task.pitch};
        const Reader<F, Across> turns = {strip.turn + (Across ? i : 0), task.pitch};
        auto* const partial = strip.partial + (Across ? i : 0);
        const auto add = [partial](int s, V a) { F::store(partial + s * COLUMNS, F::load(partial + s * COLUMNS) + a); };
        const V x = vector.load(strip.x, every_a), a = vector.load(strip.a, every_a), g = vector.load_g(strip.g, every_g);
        SecondSegment<F> line(read, turns, 0);
        V value = F::set(0), bend = F::set(0), g_here = g;
        for (int j = 0; j < task.knots; ++j) {
            const SecondKnot<F> k(task, read, turns, j);
            const V d = k.knot.distance(x);
            const auto right = k.knot.right(x), zone = k.knot.zone(d);
            line.select(right, SecondSegment<F>(read, turns, j + 1));
            if (second.want_sums) {
                const V left_g = F::select(right, F::set(0), g_here);
                add(second_segment(j) + SECOND_G, left_g);
                add(second_segment(j) + SECOND_GA, left_g * a);
                g_here = F::keep(right, g);
            }
            if (!F::any(zone)) continue;
            SecondParts<F> part;
            const auto forms = [&](V u, V rest, SecondForms<F>& f) { second_forms<F>(task, second, u, rest, f); };
            second_deviation<F>(task, second, k, x, a, d, right, zone, forms, part);
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
            const V straight = F::fma(a, line.slope, F::fma(line.turn, finite, line.level) + line.rest);
            vector.store(strip.h, F::select(nan, x, straight + value));
        }
        if (second.dx != nullptr) vector.store(strip.dx, g * F::select(nan, x, line.turn + bend));
    }
    put_sums<F, Across>(task, second, strip);
}

}  // namespace bevel::BEVEL_ISA
