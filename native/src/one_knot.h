// The inner loops for one knot, compiled once per kernel: everything a vector needs is in registers.
//
// Vectors are taken two by two, or four where that is simple. If no lane is near the knot, all there is to do is the line,
// which costs less than the memory it goes through; only otherwise do they go through the kernel.
#pragma once

#include "compact.h"
#include "strip.h"

namespace bevel::BEVEL_ISA {

template <class F> struct Sharp {  // no deviation: only the line
    using V = typename F::V;
    BEVEL_INLINE Sharp(V, V, const Task&) {}
    BEVEL_INLINE V density() const { return F::set(0); }
    BEVEL_INLINE V density_slope() const { return F::set(0); }
    BEVEL_INLINE V survival() const { return F::set(0); }
    BEVEL_INLINE V excess() const { return F::set(0); }
    BEVEL_INLINE V moment() const { return F::set(0); }
};

// The inner loops are compiled twice for the kernels most in use. Plain: a ramp at zero, perhaps with c0, between lines that
// are not flat; backward, dx and the four sums that its parameters need. Flags known beforehand leave registers free.
inline bool plain_forward(const Task& t) { return t.centred && !t.multiplies_cdf && !t.steps && !t.tilted && !t.flat; }
inline bool plain_backward(const Task& t) {
    return t.centred && !t.multiplies_cdf && !t.steps && !t.tilted && t.want_dx && t.want_sums && !t.want_all;
}

template <class P, bool Plain> struct Line {
    using V = typename P::V;
    V low, high, slope0, slope1, level0, level1, rest0, rest1;
    bool flat, centred;

    template <class Read>
    BEVEL_INLINE Line(const Task& task, Read read)
        : slope0(read(segment_row(0) + SLOPE)), slope1(read(segment_row(1) + SLOPE)),
          level0(read(segment_row(0) + LEVEL)), level1(read(segment_row(1) + LEVEL)),
          flat(!Plain && task.flat), centred(Plain || task.centred) {
        low = high = rest0 = rest1 = P::set(0);
        if (flat) low = read(LOW), high = read(HIGH);
        if (!centred) rest0 = read(segment_row(0) + LEVEL_REST), rest1 = read(segment_row(1) + LEVEL_REST);
    }
    BEVEL_INLINE V value(V x, typename P::M right) const {
        if (flat) x = P::max(low, P::min(high, x));  // 0·inf would be NaN; see prepare() in plan.cpp
        const V y = P::fma(P::select(right, slope1, slope0), x, P::select(right, level1, level0));
        return centred ? y : y + P::select(right, rest1, rest0);
    }
};

template <class P> BEVEL_INLINE bool any_near(const Knot<P>& knot, typename P::V x0, typename P::V x1) {
    return P::any(P::either(knot.near(knot.distance(x0)), knot.near(knot.distance(x1))));
}

constexpr int BLOCK = 8;  // rows across that go down a pair of columns together: coefficients and sums stay in registers

constexpr int K1 = knot_row(1, 0), S1 = knot_sum(1, 0);  // the rows and the sums of the one knot

template <class P, bool Plain> struct ForwardCoefficients {
    Line<P, Plain> line;
    Knot<P> knot;
    typename P::V lag, step, c0, c1;

    template <class Read>
    BEVEL_INLINE ForwardCoefficients(const Task& task, Read read)
        : line(task, read), knot(task, read, K1, Plain), lag(read(K1 + LAG)), step(read(K1 + STEP)), c0(read(K1 + C0_W)),
          c1(read(K1 + C1_W)) {}
};

// Survival: whether the deviation is made of survival (gates and steps) or of excess (ramps).
template <class F, template <class> class Kernel, bool Survival, bool Across, bool Plain = false>
void forward_one(const Task& task, const Strip<typename F::T> strip) {
    using P = Pair<F>;
    using V = typename P::V;
    using Coefficients = ForwardCoefficients<P, Plain>;
    constexpr bool smooth = !std::is_same_v<Kernel<F>, Sharp<F>>;
    const Reader<F, Across> start = {strip.coefficient, task.pitch};
    const Coefficients shared(task, [&](int row) __attribute__((always_inline)) { return start.two(row); });
    const bool steps = !Plain && task.steps, moments = task.moments, tilted = !Plain && task.tilted;
    const V none = F::set(0);

    const auto deviation = [&](const Coefficients& c, V x, V d) __attribute__((always_inline)) {
        const auto zone = c.knot.zone(d);
        V u, rest, weight = none, result;
        c.knot.scale(x, d, zone, u, rest);
        const Kernel<P> kernel(u, rest, task);
        if (moments) weight = tilted ? P::fma(c.c1, P::keep(zone, x), c.c0) : c.c0;
        if constexpr (Survival) {
            const V s = kernel.survival();
            result = c.lag * (P::abs(u) * s);
            if (steps) result = result + c.step * P::select(c.knot.right(x), -s, s);
            if (moments) result = P::fma(weight, kernel.moment(), result);
        } else {
            result = moments ? blend(kernel, c.lag, weight) : c.lag * kernel.excess();
        }
        return P::keep(zone, result);
    };

    for (int block = 0; block < strip.rows; block += BLOCK) {
        const int end = block + BLOCK < strip.rows ? block + BLOCK : strip.rows;
        for (int i = 0, four = 0; i < strip.count; i += 2) {
            const auto* from = strip.x + block * strip.x_row + i * F::W;
            auto* to = strip.out + block * strip.out_row + i * F::W;
            if (!Across && i >= four && i + 4 <= strip.full) {
                const V x0 = load<F>(from, WHOLE), x1 = load<F>(from + 2 * F::W, WHOLE);
                if (!smooth || !any_near(shared.knot, x0, x1)) {
                    store<F>(to, shared.line.value(x0, shared.knot.right(x0)), WHOLE);
                    store<F>(to + 2 * F::W, shared.line.value(x1, shared.knot.right(x1)), WHOLE);
                    i += 2;
                    continue;
                }
                four = i + 4;
            }
            const auto at = start.at(Across ? i * F::W : 0);
            const auto read = [&](int row) __attribute__((always_inline)) { return at.two(row); };
            const Coefficients c = Across ? Coefficients(task, read) : shared;
            const Two two = {strip.count - i, strip.full - i, strip.lanes};
            const auto one = [&] __attribute__((always_inline)) {
                const V x = load<F>(from, two), d = c.knot.distance(x);
                V y = c.line.value(x, c.knot.right(x));
                if constexpr (smooth)
                    if (P::any(c.knot.near(d))) y = y + deviation(c, x, d);
                store<F>(to, y, two);
            };
            one();
            for (int r = block + 1; Across && r < end; ++r) from += strip.x_row, to += strip.out_row, one();
        }
    }
}

// The sums of one knot; named one by one, because an array would be kept in memory. Most activations have no use for those
// in the second line, which belong to offset, knots, steps, c1 and n; where those are not summed, `rise` is `right`. Along, the two vectors of a pair go to one sum.
template <class F, bool Across> struct OneSums {
    using P = Pair<F>;
    using V = typename std::conditional_t<Across, P, F>::V;
    V left, rise, lag, moment;
    V g_left, g_right, right, step, x_moment, shift, u_shift;

    static BEVEL_INLINE V fold(typename P::V a, typename P::V b, V sum) {
        if constexpr (Across)
            return P::fma(a, b, sum);
        else
            return F::fma(a.b, b.b, F::fma(a.a, b.a, sum));
    }
    static BEVEL_INLINE V fold(typename P::V a, V sum) {
        if constexpr (Across)
            return sum + a;
        else
            return sum + (a.a + a.b);
    }
    BEVEL_INLINE void add_line(typename P::V g_, typename P::V x, typename P::V d, typename P::M is_right, bool all) {
        const typename P::V none = P::set(0);
        left = fold(g_, P::select(is_right, none, x), left);
        rise = fold(g_, P::keep(is_right, d), rise);
        if (!all) return;
        g_left = fold(P::select(is_right, none, g_), g_left);
        g_right = fold(P::keep(is_right, g_), g_right);
        right = fold(g_, P::keep(is_right, x), right);
    }
    // Calls use(sum, number of the sum) for those of the line and, or, those of the kernel.
    template <class Use> BEVEL_INLINE void each(bool line, bool kernel, bool all, Use use) {
        if (line) use(left, segment_sum(0) + GX), use(rise, segment_sum(1) + RISE);
        if (line && all) {
            use(g_left, segment_sum(0) + G), use(g_right, segment_sum(1) + G);
            use(right, segment_sum(1) + GX);
        }
        if (kernel) use(lag, S1 + SUM_LAG), use(moment, S1 + MOMENT);
        if (!kernel || !all) return;
        use(step, S1 + SUM_STEP), use(x_moment, S1 + X_MOMENT);
        use(shift, S1 + SHIFT), use(u_shift, S1 + U_SHIFT);
    }
};

template <class P, bool Plain> struct BackwardCoefficients {
    Knot<P> knot;
    typename P::V slope0, slope1, jump, step_n, c0, c1, c1_w;

    template <class Read>
    BEVEL_INLINE BackwardCoefficients(const Task& task, Read read)
        : knot(task, read, K1, Plain), slope0(read(segment_row(0) + SLOPE)), slope1(read(segment_row(1) + SLOPE)),
          jump(read(K1 + JUMP)), step_n(read(K1 + STEP_N)), c0(read(K1 + C0)), c1(read(K1 + C1)),
          c1_w(read(K1 + C1_W)) {}
};

template <class F, template <class> class Kernel, bool Across, bool Plain = false>
void backward_one(const Task& task, const Strip<typename F::T> strip) {
    using P = Pair<F>;
    using V = typename P::V;
    using Coefficients = BackwardCoefficients<P, Plain>;
    constexpr bool smooth = !std::is_same_v<Kernel<F>, Sharp<F>>;
    const Reader<F, Across> start = {strip.coefficient, task.pitch};
    const Coefficients shared(task, [&](int row) __attribute__((always_inline)) { return start.two(row); });
    const bool multiplies_cdf = !Plain && task.multiplies_cdf, tilted = !Plain && task.tilted, steps = !Plain && task.steps;
    const bool shifts = multiplies_cdf || steps || task.moments;
    const bool want_sums = Plain || task.want_sums, want_dx = Plain || task.want_dx, want_all = !Plain && task.want_all;
    auto* const partial = strip.partial;
    OneSums<F, Across> sum;
    sum.each(true, true, true, [](auto& s, int) __attribute__((always_inline)) { s = F::set(0); });
    bool touched = Across && smooth;  // whether there are sums of the kernel

    const auto deviation = [&](const Coefficients& c, V x, V g, V d) __attribute__((always_inline)) {
        const auto zone = c.knot.zone(d), right = c.knot.right(x);
        V u, rest;
        c.knot.scale(x, d, zone, u, rest);
        const Kernel<P> kernel(u, rest, task);
        const V s = kernel.survival(), below = P::select(right, -s, s), moment = kernel.moment();
        const V gz = P::keep(zone, g), xz = P::keep(zone, x);
        V result = c.jump * below;
        if (shifts) {
            V weight = tilted ? P::fma(c.c1, xz, c.c0) : c.c0;
            weight = multiplies_cdf ? c.jump - weight : -weight;
            const V turn = Plain ? u * weight : P::fma(u, weight, c.step_n), shift = kernel.density() * turn;
            result = result + (tilted ? P::fma(c.c1_w, moment, shift) : shift);
            if (want_all) {
                const V g_shift = gz * shift;
                sum.shift = sum.fold(g_shift, sum.shift);
                sum.u_shift = sum.fold(g_shift, u, sum.u_shift);
            }
        }
        if (want_sums) {
            sum.lag = sum.fold(gz, multiplies_cdf ? -(P::abs(u) * s) : excess_given(kernel, s), sum.lag);
            sum.moment = sum.fold(gz, moment, sum.moment);
            if (want_all) {
                sum.step = sum.fold(gz, below, sum.step);
                sum.x_moment = sum.fold(gz * xz, moment, sum.x_moment);
            }
        }
        return P::keep(zone, result);
    };

    for (int block = 0; block < strip.rows; block += BLOCK) {
        const int end = block + BLOCK < strip.rows ? block + BLOCK : strip.rows;
        for (int i = 0, four = 0; i < strip.count; i += 2) {
            const auto* from = strip.x + block * strip.x_row + i * F::W;
            const auto* from_g = strip.g + block * strip.g_row + i * F::W;
            auto* to = strip.out + block * strip.out_row + i * F::W;
            if (!Across && i >= four && i + 4 <= strip.full) {
                const V x0 = load<F>(from, WHOLE), x1 = load<F>(from + 2 * F::W, WHOLE);
                if (!any_near(shared.knot, x0, x1)) {
                    const V g0 = load<F>(from_g, WHOLE), g1 = load<F>(from_g + 2 * F::W, WHOLE);
                    const auto right0 = shared.knot.right(x0), right1 = shared.knot.right(x1);
                    if (want_sums) {
                        sum.add_line(g0, x0, shared.knot.distance(x0), right0, want_all);
                        sum.add_line(g1, x1, shared.knot.distance(x1), right1, want_all);
                    }
                    if (want_dx) {
                        store<F>(to, g0 * P::select(right0, shared.slope1, shared.slope0), WHOLE);
                        store<F>(to + 2 * F::W, g1 * P::select(right1, shared.slope1, shared.slope0), WHOLE);
                    }
                    i += 2;
                    continue;
                }
                four = i + 4;
            }
            const auto at = start.at(Across ? i * F::W : 0);
            const auto read = [&](int row) __attribute__((always_inline)) { return at.two(row); };
            const Coefficients c = Across ? Coefficients(task, read) : shared;
            const auto fetch = [&](auto& s, int n) __attribute__((always_inline)) {
                if constexpr (Across) s = load<F>(partial + n * COLUMNS + i * F::W, WHOLE);
            };
            const auto put = [&](auto& s, int n) __attribute__((always_inline)) {
                if constexpr (Across) store<F>(partial + n * COLUMNS + i * F::W, s, WHOLE);
            };
            const Two two = {strip.count - i, strip.full - i, strip.lanes};
            if (want_sums) sum.each(true, smooth, want_all, fetch);
            const auto one = [&] __attribute__((always_inline)) {
                const V x = load<F>(from, two), g = load<F>(from_g, two), d = c.knot.distance(x);
                const auto right = c.knot.right(x);
                V slope = P::select(right, c.slope1, c.slope0);
                if (want_sums) sum.add_line(g, x, d, right, want_all);
                if (P::any(c.knot.near(d))) {  // for the sharp kernel: NaN
                    if constexpr (smooth) touched = true, slope = slope + deviation(c, x, g, d);
                    slope = P::select(P::is_nan(x), x, slope);
                }
                if (want_dx) store<F>(to, g * slope, two);
            };
            one();
            for (int r = block + 1; Across && r < end; ++r)
                from += strip.x_row, from_g += strip.g_row, to += strip.out_row, one();
            if (want_sums) sum.each(true, smooth, want_all, put);
        }
    }
    if (!want_sums) return;
    sum.each(true, touched, want_all, [&](auto& s, int n) __attribute__((always_inline)) {
        if constexpr (Across)
            add_columns<F>(strip.sum + n * task.sum_pitch, partial + n * COLUMNS, strip.count * F::W);
        else
            add_total<F>(strip.sum + n * task.sum_pitch, s);
    });
}

}  // namespace bevel::BEVEL_ISA
