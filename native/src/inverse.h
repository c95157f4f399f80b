// From y back to x, for a function of one knot at 0 whose slope keeps its sign everywhere; invertible.cpp says which those
// are. curve.h has the units, and where the steps start.
//
// Beyond the kernel's reach the function is its line, and x a quotient. Within it one evaluation of the Gaussian does, and its
// series, where the slopes are as 1 to 0.01 or nearer; other kernels take Halley's steps, two in most vectors.
#pragma once

#include "curve.h"

namespace bevel::BEVEL_ISA {

// The kernel's forms at u: of one kernel, in line, or of any, by a call.
struct FormsOfGaussian {
    template <class F> static BEVEL_INLINE Forms<Pair<F>> at(const Task&, typename Pair<F>::V u) {
        const GaussianBulk<Quick<Pair<F>>> kernel(u, Coefficients<float>::gauss_mills);
        return {kernel.density(), kernel.survival(), kernel.excess(), kernel.moment()};
    }
};
struct FormsOfAny {
    template <class F> static BEVEL_INLINE Forms<Pair<F>> at(const Task& task, typename Pair<F>::V u) {
        Forms<F> a, b;
        forms<F>(task, u.a, F::set(0), a);
        forms<F>(task, u.b, F::set(0), b);
        return {{a.density, b.density}, {a.survival, b.survival}, {a.excess, b.excess}, {a.moment, b.moment}};
    }
};

// A step from u towards where F is v: it is taken from u, and what may still be left of it afterwards is given back, if that is
// too much.
template <class FormsOf> struct Halley {
    template <class F>
    static BEVEL_INLINE typename Pair<F>::M step(const Task& task, const Curve<Pair<F>>& curve, typename Pair<F>::V v,
                                                 typename Pair<F>::M zone, typename Pair<F>::V& u) {
        using P = Pair<F>;
        using V = typename P::V;
        using T = typename F::T;
        constexpr bool single = sizeof(T) == 4;
        // A step's error is the cube of the one before, but at an edge of a compact kernel's density the square.
        const V enough = P::set(task.kernel < BEVEL_BOX ? (single ? T(0x1p-9) : T(0x1p-19)) : (single ? T(0x1p-16) : T(0x1p-30)));
        V off, slope, curvature;
        curve.at(task, FormsOf::template at<F>(task, u), u, v, off, slope, curvature);
        const V half = P::set(T(0.5)), square = slope * slope;
        const V least = P::max(P::fnma(half * off, curvature, square), half * square);
        const V step = P::keep(zone, off * slope * quick_reciprocal<P>(least));
        u = u - step;
        return P::greater(P::abs(step), enough * P::max(P::set(1), P::abs(u)));
    }
};

// The Gaussian's higher derivatives are its density times polynomials: with d = (F - v)/F', the step s is where
// s - F''/(2F')·s² + F'''/(6F')·s³ - F''''/(24F')·s⁴ is d, by one of Newton's steps from Halley's.
struct Series {
    template <class F>
    static BEVEL_INLINE typename Pair<F>::M step(const Task& task, const Curve<Pair<F>>& curve, typename Pair<F>::V v,
                                                 typename Pair<F>::M zone, typename Pair<F>::V& u) {
        using P = Pair<F>;
        using V = typename P::V;
        using T = typename F::T;
        const GaussianBulk<Quick<P>> kernel(u, Coefficients<float>::gauss_mills);
        const V density = kernel.density(), s = kernel.survival(), one = P::set(1), square = u * u;
        const auto is_right = P::greater(u, P::set(0));
        const V side = P::select(is_right, curve.right, curve.left);
        V off = P::fma(curve.jump, kernel.excess(), P::fma(side, u, -v));
        V slope = P::fma(curve.jump, P::select(is_right, -s, s), side);
        V second = curve.jump, third = -second, fourth = (square - one) * second;  // each times the density, the third times u
        if (task.moments) {
            off = P::fma(curve.c0, density, off);
            slope = P::fnma(curve.c0 * u, density, slope);
            const V tail = P::fma(curve.c0, square, -curve.c0);
            second = second + tail, third = P::fma(P::set(2), curve.c0, -second);
            fourth = P::fma(square - one, second, P::fnma(P::set(4) * curve.c0, square, curve.c0 + curve.c0));
        }
        const V r = quick_reciprocal<P>(slope), d = off * r, h = density * r * P::set(T(0.5));
        const V a2 = h * second, a3 = h * u * third * P::set(T(1.0 / 3)), a4 = h * fourth * P::set(T(1.0 / 12));
        const V first = d * P::rough_reciprocal(P::max(P::fnma(a2, d, one), P::set(T(0.5))));
        const V turn = first * P::fnma(P::set(3) * a3, first, a2 + a2);  // 1 less the series' derivative
        const V rest = P::fma(first * first, P::fma(first, P::fnma(a4, first, a3), -a2), first - d);
        const V refined = P::fnma(rest, P::rough_reciprocal(one - turn), first);
        const V step = P::keep(zone, P::select(P::greater(P::set(T(0.5)), P::abs(turn)), refined, first));
        u = u - step;
        const V size = P::abs(step), ratio = P::max(P::max(P::abs(a2), one) * size, P::set(T(0x1p-6)));  // no power is subnormal
        const V cube = ratio * ratio * ratio;
        return P::greater(cube * cube * size, P::set(T(0x1p-23)));
    }
};

template <class P> struct InverseCoefficients {
    using V = typename P::V;
    Curve<P> curve;
    V by, n, w, above, below, reach_above, reach_below, middle, edge, arc[2][PER_ARC];

    template <class Read>
    BEVEL_INLINE InverseCoefficients(Read read) : n(read(N)) {
        const auto get = [&](int row) __attribute__((always_inline)) { return read(rows(1) + row); };
        curve = {get(LEFT), get(RIGHT), get(JUMP_BY), get(C0_BY), get(C1_BY)};
        by = get(BY), w = get(W), above = get(ABOVE), below = get(BELOW);
        reach_above = get(REACH_ABOVE), reach_below = get(REACH_BELOW), middle = get(MIDDLE), edge = get(EDGE);
        for (int side = 0; side < 2; ++side)
            for (int row = 0; row < PER_ARC; ++row) arc[side][row] = get(ARCS + side * PER_ARC + row);
    }

    BEVEL_INLINE V line(V y) const { return y * P::select(P::greater(y, P::set(0)), above, below); }
    BEVEL_INLINE typename P::M zone(V y) const {
        return P::greater(P::select(P::greater(y, P::set(0)), reach_above, reach_below), P::abs(y));
    }
    // Further out than the arcs go the line serves.
    BEVEL_INLINE V start(V v, V line_u) const {
        const V d = v - middle, one = P::set(1);
        const auto right = P::greater(d, P::set(0));
        const auto row = [&](int r) __attribute__((always_inline)) { return P::select(right, arc[1][r], arc[0][r]); };
        const V root = P::rough_root(P::max(P::fma(P::fma(row(D2), d, row(D1)), d, one), P::set(typename P::T(1e-30))));
        const V u = d * P::fma(row(A2), d, row(A1)) * P::rough_reciprocal(P::fma(row(B), d, one) + root);
        return P::select(P::greater(row(SPAN), P::abs(d)), P::max(P::min(u, edge), -edge), line_u);
    }
};

template <class F, class Step, bool Across> void inverse(const Task& task, const Strip<typename F::T> strip) {
    using P = Pair<F>;
    using V = typename P::V;
    constexpr int most = 16;  // steps; a function that needs as many would be none that invertible.cpp lets through
    const Reader<F, Across> start = {strip.coefficient, task.pitch};
    const InverseCoefficients<P> shared([&](int row) __attribute__((always_inline)) { return start.two(row); });
    for (int block = 0; block < strip.rows; block += BLOCK) {
        const int end = block + BLOCK < strip.rows ? block + BLOCK : strip.rows;
        for (int i = 0; i < strip.count; i += 2) {
            const auto* from = strip.x + block * strip.x_row + i * F::W;
            auto* to = strip.out + block * strip.out_row + i * F::W;
            const auto at = start.at(Across ? i * F::W : 0);
            const auto read = [&](int row) __attribute__((always_inline)) { return at.two(row); };
            const InverseCoefficients<P> c = Across ? InverseCoefficients<P>(read) : shared;
            const Two two = {strip.count - i, strip.full - i, strip.lanes};
            const auto one = [&] __attribute__((always_inline)) {
                const V y = load<F>(from, two);
                const auto zone = c.zone(y);
                V x = c.line(y);
                if (P::any(zone)) {
                    const V v = (y * c.by) * c.n;
                    V u = P::keep(zone, c.start(v, x * c.n));
                    for (int k = 0; k < most && P::any(Step::template step<F>(task, c.curve, v, zone, u)); ++k) {}
                    x = P::select(zone, u * c.w, x);
                }
                store<F>(to, x, two);
            };
            one();
            for (int r = block + 1; Across && r < end; ++r) from += strip.x_row, to += strip.out_row, one();
        }
    }
}

}  // namespace bevel::BEVEL_ISA
