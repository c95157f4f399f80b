// The quadratics of functions with bends, and the inner loops of those that are not smoothed.
#pragma once

#include "bends.h"
#include "runs.h"

namespace bevel::BEVEL_ISA {

// factor·d, and 0 where the factor is 0: at ±inf what does not grow has its level.
template <class P> BEVEL_INLINE typename P::V times(typename P::V factor, typename P::V d) {
    return P::keep(P::greater(P::abs(factor), P::set(0)), factor * d);
}

// The quadratic of the segment that x lies in. P is F, or a Pair of F whose two vectors have the same coefficients.
template <class P> struct Parabola {
    using V = typename P::V;
    V half, slope, level, rest, anchor, anchor_rest;

    template <class Read>
    BEVEL_INLINE Parabola(const Task& task, Read read, int j)
        : half(read(bent_segment_row(task.knots, j) + HALF_BEND)), slope(read(segment_row(j) + SLOPE)),
          level(read(segment_row(j) + LEVEL)), rest(read(segment_row(j) + LEVEL_REST)),
          anchor(read(bent_segment_row(task.knots, j) + ANCHOR)), anchor_rest(read(bent_segment_row(task.knots, j) + ANCHOR_REST)) {}
    BEVEL_INLINE void select(typename P::M right, const Parabola& next) {
        half = P::select(right, next.half, half), slope = P::select(right, next.slope, slope);
        level = P::select(right, next.level, level), rest = P::select(right, next.rest, rest);
        anchor = P::select(right, next.anchor, anchor), anchor_rest = P::select(right, next.anchor_rest, anchor_rest);
    }
    BEVEL_INLINE V distance(V x) const { return (x - anchor) - anchor_rest; }
    BEVEL_INLINE V value(V d) const { return (times<P>(times<P>(half, d) + slope, d) + level) + rest; }
    BEVEL_INLINE V derivative(V d) const { return times<P>(half + half, d) + slope; }
};

template <class P, class R> BEVEL_INLINE Parabola<P> parabola_at(const Task& task, const R& reader, typename P::V x) {
    const auto read = [&reader](int row) __attribute__((always_inline)) { return reader.one(row); };
    Parabola<P> f(task, read, 0);
    for (int j = 0; j < task.knots; ++j)
        f.select(P::greater(x, typename P::V(read(knot_row(task.knots, j) + KNOT))), Parabola<P>(task, read, j + 1));
    return f;
}

template <class F, bool Across> void forward_sharp_bent(const Task& task, const Strip<typename F::T> strip) {
    each_run<F, Across>(task, strip, [&](const Run<F, Across>& run) {
        each_vector(run, [&](auto p, auto x, auto) __attribute__((always_inline)) {
            using P = decltype(p);
            const Parabola<P> f = parabola_at<P>(task, run.read, x);
            return P::select(P::is_nan(x), x, f.value(f.distance(x)));
        });
    });
}

template <class F, bool Across> void backward_sharp_bent(const Task& task, const Strip<typename F::T> strip) {
    using V = typename F::V;
    each_run<F, Across>(task, strip, [&](const Run<F, Across>& run) {
        const auto parts = [half = F::set(typename F::T(0.5))](V g, V, V d) __attribute__((always_inline)) {
            const V rise = g * d;
            return Three<F>{g, rise, half * rise * d};
        };
        const auto add = [&](int j, const Three<F>& sum) {
            run.add(task, segment_sum(j) + G, sum.a), run.add(task, segment_sum(j) + RISE, sum.b);
            run.add(task, half_square_sum(task.knots, j), sum.c);
        };
        if (task.want_sums) sum_segments(task, run, true, parts, add);  // first: dx may take the place of g or x
        if (!task.want_dx) return;
        each_vector(run, [&](auto p, auto x, auto of) __attribute__((always_inline)) {
            using P = decltype(p);
            const Parabola<P> f = parabola_at<P>(task, run.read, x);
            return of([&run](int v) { return run.g(v); }) * P::select(P::is_nan(x), x, f.derivative(f.distance(x)));
        });
    });
}

}  // namespace bevel::BEVEL_ISA
