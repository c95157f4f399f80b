// A function of one knot at 0 whose slope keeps its sign, in the units in which inverse.h inverts it: u = n·x and v = n·y, both
// slopes divided by the larger one, which also takes away their sign.
//
// Halley's steps start from two arcs of conics, which have v and slope of the function at u = 0 and far out on either side,
// and v in one point between: within 0.1 of u where the slopes are as 1 to 0.01, within 0.02 where they are as 1 to 0.15.
// All that depends on the channel alone is made once in a call, a vector of channels at a time.
#pragma once

#include "many_knots.h"

namespace bevel::BEVEL_ISA {

// Rows that `put_curves` fills in, one number a channel each. ABOVE and BELOW: for y > 0 and the others; the quotient by the
// slope there, and how far the kernel reaches. An arc is u = w·(A1 + A2·w)/(1 + B·w + √(1 + D1·w + D2·w²)), where w = v - F(0).
enum CurveRow : int {
    BY = 0, W, LEFT, RIGHT, JUMP_BY, C0_BY, C1_BY, ABOVE, BELOW, REACH_ABOVE, REACH_BELOW, MIDDLE, EDGE, ARCS
};
enum ArcRow : int { A1 = 0, A2, B, D1, D2, SPAN, PER_ARC };
static_assert(ARCS + 2 * PER_ARC == CURVE_ROWS);

// One division by a quicker estimate and Newton's step, to the last digit or two.
template <class F> BEVEL_INLINE typename F::V quick_reciprocal(typename F::V a) {
    if constexpr (sizeof(typename F::T) == 8) {
        return F::reciprocal(a);
    } else {
        const auto r = F::rough_reciprocal(a);
        return F::fma(r, F::fnma(a, r, F::set(1)), r);
    }
}
template <class F> struct Quick : F {
    static BEVEL_INLINE typename F::V reciprocal(typename F::V a) { return quick_reciprocal<F>(a); }
};

// The function in those units. P is F or a Pair of F.
template <class P> struct Curve {
    using V = typename P::V;
    V left, right, jump, c0, c1;

    // What F(u) - v, F'(u) and F''(u) are.
    BEVEL_INLINE void at(const Task& task, const Forms<P>& f, V u, V v, V& off, V& slope, V& curvature) const {
        const auto is_right = P::greater(u, P::set(0));
        const V side = P::select(is_right, right, left), below = P::select(is_right, -f.survival, f.survival);
        V turn = f.density;
        off = P::fma(side, u, -v), slope = P::fma(jump, below, side);
        if (task.multiplies_cdf) {
            off = P::fnma(jump * P::abs(u), f.survival, off);
            slope = P::fma(jump * u, f.density, slope);
            turn = P::fnma(u * u, turn, turn + turn);
        } else {
            off = P::fma(jump, f.excess, off);
        }
        curvature = jump * turn;
        if (!task.moments) return;
        const V weight = P::fma(c1, u, c0), bend = u * f.density;
        off = P::fma(weight, f.moment, off);
        slope = P::fnma(weight, bend, P::fma(c1, f.moment, slope));
        curvature = curvature - P::fma(weight, P::fnma(u, bend, f.density), (c1 + c1) * bend);
    }
};

// A point of the curve, v measured from F(0).
template <class F> struct CurvePoint {
    typename F::V u, v, slope;

    BEVEL_INLINE CurvePoint(const Task& task, const Curve<F>& curve, typename F::V u_, typename F::V middle) : u(u_) {
        Forms<F> f;
        forms<F>(task, u, F::set(0), f);
        typename F::V curvature;
        curve.at(task, f, u, middle, v, slope, curvature);
    }
};

// The conic (a - u)·(b - u) = k·(c - u)², where a and b are the tangents at both ends and c is the chord, as functions of w;
// k is such that it goes through the point between.
template <class F, class Put>
BEVEL_INLINE void put_arc(const CurvePoint<F>& from, const CurvePoint<F>& between, const CurvePoint<F>& to, Put put) {
    using V = typename F::V;
    const V one = F::set(1), two = F::set(2), a = one / from.slope, b = one / to.slope, c = to.u / to.v;
    const V start = F::fnma(to.v, b, to.u), r = one / start, w = between.v, u = between.u, off = F::fma(c, w, -u);
    const V k = F::fma(a, w, -u) * (F::fma(b, w, start) - u) / (off * off), rest = F::set(4) * (one - k);
    const V turn = F::fnma(k * c, c, a * b) * r, bend = F::fnma(two * k, c, a + b) * r;
    const V d1 = F::fnma(rest * a, r, two * bend), d2 = F::fnma(rest * r, turn, bend * bend);
    // A line, or nearly one, has no such conic: there its tangent serves.
    const V size = F::max(F::max(F::abs(turn), F::abs(bend)), F::max(F::abs(d1), F::abs(d2)));
    const auto usable = F::greater(F::set(1e6), size);
    put(A1, two * a), put(A2, F::keep(usable, two * turn)), put(B, F::keep(usable, bend));
    put(D1, F::keep(usable, d1)), put(D2, F::keep(usable, d2)), put(SPAN, F::abs(to.v));
}

template <class F, class Read, class Put> BEVEL_INLINE void put_curve(const Task& task, Read read, Put put) {
    using V = typename F::V;
    using T = typename F::T;
    const bool single = sizeof(T) == 4;
    const V one = F::set(1), zero = F::set(0), n = read(N), s0 = read(segment_row(0) + SLOPE), s1 = read(segment_row(1) + SLOPE);
    const V by = F::flip(F::reciprocal(F::max(F::abs(s0), F::abs(s1))), s0);
    const Curve<F> curve = {s0 * by, s1 * by, read(K1 + JUMP) * by, read(K1 + C0) * by, read(K1 + C1_W) * by};
    put(BY, by), put(W, one / n);
    put(LEFT, curve.left), put(RIGHT, curve.right), put(JUMP_BY, curve.jump), put(C0_BY, curve.c0), put(C1_BY, curve.c1);

    const auto falls = F::greater(zero, by);
    const V above = F::select(falls, s0, s1), below = F::select(falls, s1, s0);
    V reach = F::set(single ? T(0x1p24) : T(0x1p53));  // from here on all is line for a kernel without reach, too
    if (task.kernel == BEVEL_GAUSSIAN && single) reach = F::set(T(BULK_REACH));
    reach = F::min(read(RADIUS), reach / n);
    put(ABOVE, one / above), put(BELOW, one / below);
    put(REACH_ABOVE, F::abs(above) * reach), put(REACH_BELOW, F::abs(below) * reach);

    Forms<F> at_zero;
    forms<F>(task, zero, zero, at_zero);
    const V edge = F::min(F::set(8) * at_zero.excess, F::set(static_cast<T>(reach_of(task.kernel, single)))), half = F::set(T(0.47)) * edge;
    const CurvePoint<F> origin(task, curve, zero, zero);
    const auto point = [&](V u) __attribute__((always_inline)) { return CurvePoint<F>(task, curve, u, origin.v); };
    put(MIDDLE, origin.v), put(EDGE, edge);
    put_arc<F>(origin, point(-half), point(-edge), [&](int row, V value) __attribute__((always_inline)) { put(ARCS + row, value); });
    put_arc<F>(origin, point(half), point(edge), [&](int row, V value) __attribute__((always_inline)) { put(ARCS + PER_ARC + row, value); });
}

// All channels' curves, from the rows of coefficients that precede them; Call::fill then repeats both.
template <class F> void put_curves(const Task& task) {
    using T = typename F::T;
    T* const base = const_cast<T*>(static_cast<const T*>(task.coefficients));
    const int64_t channels = task.channel_period != 0 ? task.channel_period : 1;
    for (int64_t c = 0; c < channels; c += F::W) {
        const int lanes = static_cast<int>(channels - c < F::W ? channels - c : F::W);
        const auto read = [&](int row) __attribute__((always_inline)) {
            const T* const from = base + row * task.pitch + c;
            return lanes == F::W ? F::load(from) : F::load_part(from, lanes);
        };
        const auto put = [&](int row, typename F::V value) __attribute__((always_inline)) {
            T* const to = base + (rows(1) + row) * task.pitch + c;
            lanes == F::W ? F::store(to, value) : F::store_part(to, value, lanes);
        };
        put_curve<F>(task, read, put);
    }
}

}  // namespace bevel::BEVEL_ISA
