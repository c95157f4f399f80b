// Runs of vectors with coefficients in common, for the loops of unsmoothed functions: along, a strip; across, a column of it.
// Backward goes through a run once for each segment, whose sums stay in registers; the run itself stays in the L1 cache.
#pragma once

#include "strip.h"

namespace bevel::BEVEL_ISA {

template <class F, bool Across> struct Run {
    using V = typename F::V;
    using T = typename F::T;
    const Strip<T>& strip;
    int64_t first;
    int count, full;  // vectors, and how many of them have all lanes
    Reader<F, Across> read;

    Run(const Task& task, const Strip<T>& strip_, int column)
        : strip(strip_), first(int64_t{column} * F::W), count(Across ? strip.rows : strip.count),
          full(!Across ? strip.full : column < strip.full ? count : 0), read{strip.coefficient + (Across ? first : 0), task.pitch} {}

    BEVEL_INLINE int64_t at(int v, int64_t row) const { return Across ? first + v * row : int64_t{v} * F::W; }
    BEVEL_INLINE V load(const T* p, int v, int64_t row) const {
        p += at(v, row);
        return v < full ? F::load(p) : F::load_part(p, strip.lanes);
    }
    BEVEL_INLINE V x(int v) const { return load(strip.x, v, strip.x_row); }
    BEVEL_INLINE V g(int v) const { return load(strip.g, v, strip.g_row); }
    BEVEL_INLINE void put(int v, V result) const {
        T* const to = strip.out + at(v, strip.out_row);
        v < full ? F::store(to, result) : F::store_part(to, result, strip.lanes);
    }
    BEVEL_INLINE void add(const Task& task, int s, V sum) const {
        double* const to = strip.sum + s * task.sum_pitch;
        if constexpr (Across) F::accumulate(to + first, sum);
        else add_total<F>(to, sum);
    }
};

template <class F, bool Across, class Use> void each_run(const Task& task, const Strip<typename F::T>& strip, Use use) {
    for (int column = 0; column < (Across ? strip.count : 1); ++column) use(Run<F, Across>(task, strip, column));
}

// Puts make(P(), x, of) in the place of each vector, where P is a Pair of F for two vectors at once, or F for the last, and
// of(f) has f of either vector's number.
template <class F, bool Across, class Make> BEVEL_INLINE void each_vector(const Run<F, Across>& run, Make make) {
    using Two = typename Pair<F>::V;
    const auto x = [&run](int v) { return run.x(v); };
    int v = 0;
    for (; v + 2 <= run.count; v += 2) {
        const auto of = [v](auto f) { return Two(f(v), f(v + 1)); };
        const Two y = make(Pair<F>(), of(x), of);
        run.put(v, y.a), run.put(v + 1, y.b);
    }
    if (v < run.count) run.put(v, make(F(), x(v), [v](auto f) { return f(v); }));
}

template <class F> struct Three {
    typename F::V a, b, c;
};

// The sums over each segment of what parts(g, x, x - knot - rest) returns, with the knot on the segment's left and 0 left of
// all; add(segment, sums).
template <class F, bool Across, class Parts, class Add>
BEVEL_INLINE void sum_segments(const Task& task, const Run<F, Across>& run, bool with_rest, Parts parts, Add add) {
    using V = typename F::V;
    const V none = F::set(0);
    for (int j = 0; j <= task.knots; ++j) {
        const int left = knot_row(task.knots, j - 1), right = knot_row(task.knots, j);
        const V knot = j > 0 ? run.read.one(left + KNOT) : none, rest = j > 0 && with_rest ? run.read.one(left + KNOT_REST) : none;
        const V next = j < task.knots ? run.read.one(right + KNOT) : none;
        Three<F> sum = {none, none, none};
        for (int v = 0; v < run.count; ++v) {
            const V x = run.x(v), g = run.g(v);
            Three<F> part = parts(g, x, (x - knot) - rest);
            const auto inside = F::greater(x, knot), beyond = F::greater(x, next);
            if (j > 0) part = {F::keep(inside, part.a), F::keep(inside, part.b), F::keep(inside, part.c)};
            if (j < task.knots) part = {F::select(beyond, none, part.a), F::select(beyond, none, part.b), F::select(beyond, none, part.c)};
            sum = {sum.a + part.a, sum.b + part.b, sum.c + part.c};
        }
        add(j, sum);
    }
}

}  // namespace bevel::BEVEL_ISA
