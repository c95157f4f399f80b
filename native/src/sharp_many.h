// The inner loops of unsmoothed functions of several knots: lines, and nothing beside them.
#pragma once

#include "runs.h"

namespace bevel::BEVEL_ISA {

// P is F, or a Pair of F whose two vectors have the same coefficients.
template <class P, class R> BEVEL_INLINE typename P::V sharp_value(const Task& task, const R& read, typename P::V x) {
    using V = typename P::V;
    V slope = read.one(segment_row(0) + SLOPE), level = read.one(segment_row(0) + LEVEL), rest = read.one(segment_row(0) + LEVEL_REST);
    for (int j = 0; j < task.knots; ++j) {
        const int segment = segment_row(j + 1);
        const auto right = P::greater(x, V(read.one(knot_row(task.knots, j) + KNOT)));
        slope = P::select(right, V(read.one(segment + SLOPE)), slope);
        level = P::select(right, V(read.one(segment + LEVEL)), level);
        rest = P::select(right, V(read.one(segment + LEVEL_REST)), rest);
    }
    if (task.flat) x = P::max(V(read.one(LOW)), P::min(V(read.one(HIGH)), x));  // 0·inf would be NaN
    return P::fma(slope, x, level) + rest;
}

template <class P, class R> BEVEL_INLINE typename P::V sharp_slope(const Task& task, const R& read, typename P::V x) {
    using V = typename P::V;
    V slope = read.one(segment_row(0) + SLOPE);
    for (int j = 0; j < task.knots; ++j) {
        const auto right = P::greater(x, V(read.one(knot_row(task.knots, j) + KNOT)));
        slope = P::select(right, V(read.one(segment_row(j + 1) + SLOPE)), slope);
    }
    return P::select(P::is_nan(x), x, slope);
}

template <class F, bool Across> void forward_sharp(const Task& task, const Strip<typename F::T> strip) {
    each_run<F, Across>(task, strip, [&](const Run<F, Across>& run) {
        each_vector(run, [&](auto p, auto x, auto) __attribute__((always_inline)) { return sharp_value<decltype(p)>(task, run.read, x); });
    });
}

template <class F, bool Across> void backward_sharp(const Task& task, const Strip<typename F::T> strip) {
    using V = typename F::V;
    each_run<F, Across>(task, strip, [&](const Run<F, Across>& run) {
        const auto parts = [](V g, V x, V d) __attribute__((always_inline)) { return Three<F>{g, g * x, g * d}; };
        const auto add = [&](int j, const Three<F>& sum) {
            run.add(task, segment_sum(j) + G, sum.a), run.add(task, segment_sum(j) + GX, sum.b);
            if (j > 0) run.add(task, segment_sum(j) + RISE, sum.c);
        };
        if (task.want_sums) sum_segments(task, run, false, parts, add);  // first: dx may take the place of g or x
        if (!task.want_dx) return;
        each_vector(run, [&](auto p, auto x, auto of) __attribute__((always_inline)) {
            return of([&run](int v) { return run.g(v); }) * sharp_slope<decltype(p)>(task, run.read, x);
        });
    });
}

}  // namespace bevel::BEVEL_ISA
