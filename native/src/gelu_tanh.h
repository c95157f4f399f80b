// The density that GELU's approximation by tanh comes from; see kernels.h.
#pragma once

#include "kernels.h"

namespace bevel::BEVEL_ISA {

// Excess (0) or the second tail integral (1) over survival, in double.
template <class T> [[gnu::noinline]] T tanh_ratio(const Task& task, int form, T v) {
    const double at = TANH_PANELS * (static_cast<double>(v) / (v + 3));
    const int panel = at < TANH_PANELS - 1 ? static_cast<int>(at) : TANH_PANELS - 1;
    const double t = 2 * (at - panel) - 1;
    const double* const c = task.table + TANH_TERMS * (static_cast<int64_t>(form) * TANH_PANELS + panel);
    double total = c[TANH_TERMS - 1];
    for (int k = TANH_TERMS - 2; k >= 0; --k) total = total * t + c[k];
    return static_cast<T>(total);
}

// survival = σ(-h) with h = v·(C + D·v²), formed to twice the working precision: exp(-h) shows every rounding h-fold.
template <class F> struct GeluTanh : HalfLine<F> {
    using typename HalfLine<F>::T;
    using typename HalfLine<F>::V;
    static constexpr long double C = 1.59576912160573071175978423973752747L, D = 0.071354816272600248776338752279863541L;
    const Task& task;
    V square, e, upper;

    BEVEL_INLINE GeluTanh(V u, V rest_, const Task& task_) : HalfLine<F>(u, rest_), task(task_), square(u * u) {
        const V c = F::set(T(C)), d = F::set(T(D)), v = this->v;
        V lost = F::product_error(u, u, square);
        if (!task.simple) lost = F::fma(v + v, this->rest, lost);
        const V cubic = d * square;
        V cubic_lost = F::product_error(d, square, cubic);
        cubic_lost = cubic_lost + F::fma(F::set(T(D - T(D))), square, d * lost);
        const V rate = c + cubic, back = rate - c;
        V rate_lost = (c - (rate - back)) + (cubic - back);
        rate_lost = rate_lost + (cubic_lost + F::set(T(C - T(C))));
        const V h = rate * v;
        const V h_lost = F::fma(rate_lost, v, F::fma(rate, this->rest, F::product_error(rate, v, h)));
        e = exp_minus<F, 1>(h, h_lost);
        upper = F::reciprocal(F::set(1) + e);
    }
    BEVEL_INLINE V rate() const { return F::fma(square, F::set(T(3 * D)), F::set(T(C))); }  // h'
    BEVEL_INLINE V survival() const { return e * upper; }
    BEVEL_INLINE V density() const { return rate() * (survival() * upper); }
    BEVEL_INLINE V density_slope() const {
        const V h2 = rate() * rate() * ((F::set(1) - e) * upper);
        return survival() * upper * F::fma(this->v, F::set(T(6 * D)), -h2);
    }
    BEVEL_INLINE V ratio(int form) const {
        if constexpr (sizeof(T) == 4) {
            constexpr int terms = TANH_TERMS_SINGLE, panels = TANH_PANELS_SINGLE;
            const V at = F::set(T(panels)) * (this->v * F::reciprocal(this->v + F::set(3)));
            const V index = F::min(F::nearest(F::max(at - F::set(T(0.5)), F::set(0))), F::set(T(panels - 1)));
            const V t = F::fma(at - index, F::set(2), F::set(-1));
            const T* const table = task.table_single + panels * terms * form;
            V total = F::lookup32(table + panels * (terms - 1), index);
#pragma GCC unroll 9
            for (int k = terms - 2; k >= 0; --k) total = F::fma(total, t, F::lookup32(table + panels * k, index));
            return total;
        }
        return F::each_lane(this->v, [this, form](T at) { return tanh_ratio<T>(task, form, at); });
    }
    BEVEL_INLINE V excess() const { return survival() * ratio(0); }
    BEVEL_INLINE V moment() const { return survival() * (ratio(0) + this->v); }
    BEVEL_INLINE V second() const { return survival() * ratio(1); }
};

}  // namespace bevel::BEVEL_ISA
