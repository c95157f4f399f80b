// The inner loop of the second pass for one knot, compiled once per kernel: coefficients stay at hand, the kernel is inlined.
#pragma once

#include "bent.h"

namespace bevel::BEVEL_ISA {

template <class F, bool Across> struct SecondOne {
    using V = typename F::V;
    SecondKnot<F> knot;
    SecondSegment<F> left, right;
    V low, high;

    BEVEL_INLINE SecondOne(const Task& task, Reader<F, Across> read, Reader<F, Across> turns)
        : knot(task, read, turns, 0), left(read, turns, 0), right(read, turns, 1), low(turns.one(TURN_LOW)), high(turns.one(TURN_HIGH)) {}
};

template <class F, template <class> class Kernel, bool Across>
void second_one(const Task& task, const Second& second, const SecondStrip<typename F::T>& strip) {
    using V = typename F::V;
    using T = typename F::T;
    constexpr bool smooth = !std::is_same_v<Kernel<F>, Sharp<F>>;
    const V every_g = F::set(static_cast<T>(second.every_g)), every_a = F::set(static_cast<T>(second.every_a)), none = F::set(0);
    const Reader<F, Across> read = {strip.coefficient, task.pitch}, turns = {strip.turn, task.pitch};
    const SecondOne<F, Across> shared(task, read, turns);
    const bool want_sums = second.want_sums, want_h = second.h != nullptr, want_dx = second.dx != nullptr;
    for (int r = 0; r < strip.rows; ++r) {
        for (int c = 0; c < strip.count; ++c) {
            const int64_t i = int64_t{c} * F::W;
            const SecondVector<F> vector = {r * strip.row + i, c < strip.full ? 0 : strip.lanes};
            const SecondOne<F, Across> at = Across ? SecondOne<F, Across>(task, read.at(i), turns.at(i)) : shared;
            auto* const partial = strip.partial + (Across ? i : 0);
            const auto add = [partial](int s, V a) { F::store(partial + s * COLUMNS, F::load(partial + s * COLUMNS) + a); };
            const V x = vector.load(strip.x, every_a), a = vector.load(strip.a, every_a), g = vector.load_g(strip.g, every_g);
            const V d = at.knot.knot.distance(x);
            const auto right = at.knot.knot.right(x), zone = at.knot.knot.zone(d);
            SecondSegment<F> line = at.left;
            line.select(right, at.right);
            if (want_sums) {
                const V left_g = F::select(right, none, g), right_g = F::keep(right, g);
                add(second_segment(0) + SECOND_G, left_g), add(second_segment(0) + SECOND_GA, left_g * a);
                add(second_segment(1) + SECOND_G, right_g), add(second_segment(1) + SECOND_GA, right_g * a);
            }
            V value = none, bend = line.turn;
            if (smooth && F::any(zone)) {
                SecondParts<F> part;
                const auto forms = [&](V u, V rest, SecondForms<F>& f) __attribute__((always_inline)) {
                    f.density = f.survival = f.excess = f.moment = f.turn = none;
                    second_forms_of<F, Kernel>(task, second, u, rest, f);
                };
                second_deviation<F>(task, second, at.knot, x, a, d, right, zone, forms, part);
                value = F::keep(zone, part.value);
                bend = bend + F::keep(zone, part.slope);
                const V gz = F::keep(zone, g);
                for (int s = 0; want_sums && s < PER_SECOND_KNOT; ++s)
                    if (second.by[s]) add(second_knot(1, 0) + s, gz * F::keep(zone, part.by[s]));
            }
            const auto nan = F::is_nan(x);
            if (want_h) {
                const V finite = F::max(at.low, F::min(at.high, x));
                const V straight = F::fma(a, line.slope, F::fma(line.turn, finite, line.level) + line.rest);
                vector.store(strip.h, F::select(nan, x, straight + value));
            }
            if (want_dx) vector.store(strip.dx, g * F::select(nan, x, bend));
        }
    }
    put_sums<F, Across>(task, second, strip);
}

// One knot has a loop of its own in single precision, as in engine.cpp.
template <bool Across> SecondLoop<float> choose_second(const Task& task, float) {
    switch (task.knots == 1 ? task.kernel : -1) {
        case BEVEL_SHARP: return second_one<F32, Sharp, Across>;
        case BEVEL_GAUSSIAN: return second_one<F32, Gaussian, Across>;
        case BEVEL_LOGISTIC: return second_one<F32, Logistic, Across>;
        case BEVEL_LAPLACE: return second_one<F32, Laplace, Across>;
        case BEVEL_STUDENT: return second_one<F32, Student, Across>;
        case BEVEL_BOX: return second_one<F32, Box, Across>;
        case BEVEL_TRIANGLE: return second_one<F32, Triangle, Across>;
        case BEVEL_EPANECHNIKOV: return second_one<F32, Epanechnikov, Across>;
        case BEVEL_BIWEIGHT: return second_one<F32, Biweight, Across>;
        case BEVEL_TRIWEIGHT: return second_one<F32, Triweight, Across>;
        case BEVEL_COSINE: return second_one<F32, Cosine, Across>;
        case BEVEL_BUMP: return second_one<F32, Bump, Across>;
        case BEVEL_GELU_TANH: return second_one<F32, GeluTanh, Across>;
        default: return second_many<F32, Across>;
    }
}
template <bool Across> SecondLoop<double> choose_second(const Task&, double) { return second_many<F64, Across>; }

}  // namespace bevel::BEVEL_ISA
