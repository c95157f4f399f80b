// From y back to x, for a function of one knot at 0 whose slope keeps its sign everywhere; invertible.cpp says which those
// are. In units of the width, u = n·x and v = n·y, both slopes divided by the larger one, which also takes away their sign.
//
// Beyond the kernel's reach the function is its line, and x a quotient. Within it Halley's steps start from the inverse of the
// kinked line or, where that is further left, of the Squareplus-like curve that has the same value at 0; but not from further
// left than the bend goes, where that curve lies too high. The function being convex, the root lies left of the first. Three
// or four steps do where the slopes are as 1 to 0.01, two in most vectors.
#pragma once

#include "many_knots.h"

namespace bevel::BEVEL_ISA {

// The kernel's forms at u: of one kernel, in line, or of any, by a call.
template <template <class> class Kernel> struct FormsOf {
    template <class F> static BEVEL_INLINE Forms<F> at(const Task& task, typename F::V u) {
        const Kernel<F> kernel(u, F::set(0), task);
        const auto s = kernel.survival();
        return {kernel.density(), s, kernel.excess(), kernel.moment()};
    }
};
struct FormsOfAny {
    template <class F> static BEVEL_INLINE Forms<F> at(const Task& task, typename F::V u) {
        Forms<F> f;
        forms<F>(task, u, F::set(0), f);
        return f;
    }
};

// The function in those units; `by` is one over the larger slope.
template <class F> struct Curve {
    using V = typename F::V;
    V by, left, right, jump, c0, c1;
    bool multiplies_cdf, moments;

    template <class Read>
    BEVEL_INLINE Curve(const Task& task, Read read) : multiplies_cdf(task.multiplies_cdf), moments(task.moments) {
        const V s0 = read(segment_row(0) + SLOPE), s1 = read(segment_row(1) + SLOPE);
        by = F::flip(F::reciprocal(F::max(F::abs(s0), F::abs(s1))), s0);
        left = s0 * by, right = s1 * by, jump = read(K1 + JUMP) * by;
        c0 = read(K1 + C0) * by, c1 = read(K1 + C1_W) * by;
    }

    // What F(u) - v, F'(u) and F''(u) are.
    BEVEL_INLINE void at(const Forms<F>& f, V u, V v, V& off, V& slope, V& curvature) const {
        const auto is_right = F::greater(u, F::set(0));
        const V side = F::select(is_right, right, left), below = F::select(is_right, -f.survival, f.survival);
        V turn = f.density;
        off = F::fma(side, u, -v), slope = F::fma(jump, below, side);
        if (multiplies_cdf) {
            off = F::fnma(jump * F::abs(u), f.survival, off);
            slope = F::fma(jump * u, f.density, slope);
            turn = F::fnma(u * u, turn, turn + turn);
        } else {
            off = F::fma(jump, f.excess, off);
        }
        curvature = jump * turn;
        if (!moments) return;
        const V weight = F::fma(c1, u, c0), bend = u * f.density;
        off = F::fma(weight, f.moment, off);
        slope = F::fnma(weight, bend, F::fma(c1, f.moment, slope));
        curvature = curvature - F::fma(weight, F::fnma(u, bend, f.density), (c1 + c1) * bend);
    }

    BEVEL_INLINE V start(const Forms<F>& zero, V v) const {
        const V half = F::set(typename F::T(0.5)), p = (left + right) * half, q = jump * half, product = left * right, line = p * v;
        const V bump = F::fma(c0, zero.moment, multiplies_cdf ? F::set(0) : jump * zero.excess);  // F(0)
        const V root = F::flip(F::sqrt(F::fma(product * bump, bump, q * v * (q * v))), jump);
        const V near = F::fnma(bump, bump, v * v) / (line + root), far = (line - root) / product;  // neither cancels
        const V curved = F::select(F::greater(v * root, F::set(0)), near, far);
        const V kinked = v / F::select(F::greater(v, F::set(0)), right, left);
        const V least = F::set(typename F::T(2.5)) * zero.excess;
        const V convex = F::min(kinked, F::max(curved, -least)), concave = F::max(kinked, F::min(curved, least));
        return F::select(F::greater(F::set(0), jump), concave, convex);
    }
};

template <class F, class Kernel, bool Across> void inverse(const Task& task, const Strip<typename F::T> strip) {
    using V = typename F::V;
    using T = typename F::T;
    constexpr bool single = sizeof(T) == 4;
    constexpr int most = 16;  // steps; a function that needs as many would be none that invertible.cpp lets through
    // A step's error is the cube of the one before, but at an edge of a compact kernel's density the square.
    const V enough = F::set(task.kernel < BEVEL_BOX ? (single ? T(0x1p-9) : T(0x1p-19)) : (single ? T(0x1p-16) : T(0x1p-30)));
    const V far = F::set(single ? T(0x1p24) : T(0x1p53));  // from here on all is line for a kernel without reach, too
    const V one = F::set(1), half = F::set(T(0.5));
    const Forms<F> zero = Kernel::template at<F>(task, F::set(0));
    const Reader<F, Across> start = {strip.coefficient, task.pitch};
    const Curve<F> shared(task, [&](int row) __attribute__((always_inline)) { return start.one(row); });
    for (int64_t at = 0; at < int64_t{strip.rows} * strip.count; ++at) {
        const int64_t r = at / strip.count, i = at % strip.count * F::W;
        const Reader<F, Across> reader = start.at(Across ? i : 0);
        const auto read = [&](int row) __attribute__((always_inline)) { return reader.one(row); };
        const Curve<F> c = Across ? Curve<F>(task, read) : shared;
        const auto* const from = strip.x + r * strip.x_row + i;
        const bool whole = at % strip.count < strip.full;
        const V y = whole ? F::load(from) : F::load_part(from, strip.lanes);
        const V t = y * c.by, n = read(N), v = t * n, side = F::select(F::greater(v, F::set(0)), c.right, c.left);
        const auto zone = F::greater(side * F::min(read(RADIUS) * n, far), F::abs(v));
        V x = t / side;
        if (F::any(zone)) {
            V u = F::keep(zone, c.start(zero, v));
            for (int k = 0; k < most; ++k) {
                V off, slope, curvature;
                c.at(Kernel::template at<F>(task, u), u, v, off, slope, curvature);
                const V square = slope * slope;
                const V step = F::keep(zone, off * slope / F::max(F::fnma(half * off, curvature, square), half * square));
                u = u - step;
                if (!F::any(F::greater(F::abs(step), enough * F::max(one, F::abs(u))))) break;
            }
            x = F::select(zone, u / n, x);
        }
        auto* const to = strip.out + r * strip.out_row + i;
        whole ? F::store(to, x) : F::store_part(to, x, strip.lanes);
    }
}

}  // namespace bevel::BEVEL_ISA
