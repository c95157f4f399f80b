// The compact kernels' half-line forms, and the tabulated one's; see kernels.h.
#pragma once

#include "gelu_tanh.h"

namespace bevel::BEVEL_ISA {

// Compact kernels are powers of z = 1 - v, which the rest makes exact near the edge.
template <class F> struct Compact : HalfLine<F> {
    using typename HalfLine<F>::T;
    using typename HalfLine<F>::V;
    V z;

    BEVEL_INLINE Compact(V u, V rest_) : HalfLine<F>(u, rest_), z(F::max((F::set(1) - this->v) - this->rest, F::set(0))) {}
    BEVEL_INLINE V inner() const { return z * (F::set(1) + this->v); }  // 1 - v²
};

template <class F> struct Box : Compact<F> {
    using typename Compact<F>::T;
    using typename Compact<F>::V;
    BEVEL_INLINE Box(V u, V rest_, const Task&) : Compact<F>(u, rest_) {}
    BEVEL_INLINE V density() const { return F::keep(F::greater(this->z, F::set(0)), F::set(T(0.5))); }
    BEVEL_INLINE V density_slope() const { return F::set(0); }
    BEVEL_INLINE V survival() const { return this->z * F::set(T(0.5)); }
    BEVEL_INLINE V excess() const { return this->z * this->z * F::set(T(0.25)); }
    BEVEL_INLINE V moment() const { return this->inner() * F::set(T(0.25)); }
    BEVEL_INLINE V second() const { return this->z * this->z * this->z * F::set(T(1.0 / 12)); }
};

template <class F> struct Triangle : Compact<F> {
    using typename Compact<F>::T;
    using typename Compact<F>::V;
    BEVEL_INLINE Triangle(V u, V rest_, const Task&) : Compact<F>(u, rest_) {}
    BEVEL_INLINE V density() const { return this->z; }
    BEVEL_INLINE V density_slope() const { return F::keep(F::greater(this->z, F::set(0)), F::set(-1)); }
    BEVEL_INLINE V survival() const { return this->z * this->z * F::set(T(0.5)); }
    BEVEL_INLINE V excess() const { return this->z * this->z * this->z * F::set(T(1.0 / 6)); }
    BEVEL_INLINE V moment() const { return F::fma(this->v, survival(), excess()); }
    BEVEL_INLINE V second() const { return (this->z * this->z) * (this->z * this->z) * F::set(T(1.0 / 24)); }
};

template <class F> struct Epanechnikov : Compact<F> {
    using typename Compact<F>::T;
    using typename Compact<F>::V;
    BEVEL_INLINE Epanechnikov(V u, V rest_, const Task&) : Compact<F>(u, rest_) {}
    BEVEL_INLINE V density() const { return this->inner() * F::set(T(0.75)); }
    BEVEL_INLINE V density_slope() const { return F::keep(F::greater(this->z, F::set(0)), this->v * F::set(T(-1.5))); }
    BEVEL_INLINE V survival() const { return this->z * this->z * F::fma(this->v, F::set(T(0.25)), F::set(T(0.5))); }
    BEVEL_INLINE V excess() const {
        return this->z * this->z * this->z * F::fma(this->v, F::set(T(0.0625)), F::set(T(0.1875)));
    }
    BEVEL_INLINE V moment() const { return this->inner() * this->inner() * F::set(T(0.1875)); }
    BEVEL_INLINE V second() const {
        return (this->z * this->z) * (this->z * this->z) * F::fma(this->v, F::set(T(1 / 80.0)), F::set(T(0.05)));
    }
};

template <class F> struct Biweight : Compact<F> {
    using typename Compact<F>::T;
    using typename Compact<F>::V;
    static constexpr T s[] = {T(0.5), T(0.5625), T(0.1875)}, x[] = {T(0.15625), T(0.125), T(0.03125)};
    static constexpr T y[] = {T(8 / 224.0), T(5 / 224.0), T(1 / 224.0)};
    BEVEL_INLINE Biweight(V u, V rest_, const Task&) : Compact<F>(u, rest_) {}
    BEVEL_INLINE V z2() const { return this->z * this->z; }
    BEVEL_INLINE V density() const { return this->inner() * this->inner() * F::set(T(0.9375)); }
    BEVEL_INLINE V density_slope() const { return this->v * this->inner() * F::set(T(-3.75)); }
    BEVEL_INLINE V survival() const { return z2() * this->z * polynomial<F>(this->v, s); }
    BEVEL_INLINE V excess() const { return z2() * z2() * polynomial<F>(this->v, x); }
    BEVEL_INLINE V moment() const { return this->inner() * this->inner() * this->inner() * F::set(T(0.15625)); }
    BEVEL_INLINE V second() const { return z2() * z2() * this->z * polynomial<F>(this->v, y); }
};

template <class F> struct Triweight : Compact<F> {
    using typename Compact<F>::T;
    using typename Compact<F>::V;
    static constexpr T s[] = {T(0.5), T(0.90625), T(0.625), T(0.15625)};
    static constexpr T x[] = {T(35 / 256.0), T(47 / 256.0), T(25 / 256.0), T(5 / 256.0)};
    static constexpr T y[] = {T(64 / 2304.0), T(69 / 2304.0), T(30 / 2304.0), T(5 / 2304.0)};
    BEVEL_INLINE Triweight(V u, V rest_, const Task&) : Compact<F>(u, rest_) {}
    BEVEL_INLINE V z2() const { return this->z * this->z; }
    BEVEL_INLINE V y2() const { return this->inner() * this->inner(); }
    BEVEL_INLINE V density() const { return y2() * this->inner() * F::set(T(1.09375)); }
    BEVEL_INLINE V density_slope() const { return this->v * y2() * F::set(T(-6.5625)); }
    BEVEL_INLINE V survival() const { return z2() * z2() * polynomial<F>(this->v, s); }
    BEVEL_INLINE V excess() const { return z2() * z2() * this->z * polynomial<F>(this->v, x); }
    BEVEL_INLINE V moment() const { return y2() * y2() * F::set(T(35 / 256.0)); }
    BEVEL_INLINE V second() const { return z2() * z2() * z2() * polynomial<F>(this->v, y); }
};

template <class F> struct Cosine : Compact<F> {
    using typename Compact<F>::T;
    using typename Compact<F>::V;
    using C = Coefficients<T>;
    BEVEL_INLINE Cosine(V u, V rest_, const Task&) : Compact<F>(u, rest_) {}
    BEVEL_INLINE V z2() const { return this->z * this->z; }
    BEVEL_INLINE V density() const { return z2() * polynomial<F>(z2(), C::cosine_density); }
    BEVEL_INLINE V density_slope() const {  // -½π·sin(πm), m = min(v, z); survival is ½(z - sin(πz)/π)
        const V m = F::min(this->v, this->z), m2 = m * m, part = m2 * polynomial<F>(m2, C::cosine_survival);
        return F::set(T(-4.9348022005446793094)) * (m * F::fnma(part, F::set(2), F::set(1)));
    }
    BEVEL_INLINE V survival() const { return z2() * this->z * polynomial<F>(z2(), C::cosine_survival); }
    BEVEL_INLINE V excess() const { return z2() * z2() * polynomial<F>(z2(), C::cosine_excess); }
    BEVEL_INLINE V moment() const { return F::fma(this->v, survival(), excess()); }
    BEVEL_INLINE V second() const { return z2() * z2() * this->z * polynomial<F>(z2(), C::cosine_second); }
};

// The steep half of 1/(1 - v²) = 1/(2z) + 1/(2(2 - z)) is split off; tools/bump.py says what is left.
template <class F> struct Bump : HalfLine<F> {
    using typename HalfLine<F>::T;
    using typename HalfLine<F>::V;
    using C = Coefficients<T>;
    static constexpr T a = T(0.25);
    V z, sum, t, e;

    BEVEL_INLINE Bump(V u, V rest_, const Task& task) : HalfLine<F>(u, rest_) {
        const V far = F::set(1) - this->v;  // exact from v = ½ on; before, an ulp of z is one of the forms
        z = far - this->rest;
        sum = z + F::set(a);
        const V r = F::reciprocal(z * sum);  // one division for two
        t = F::fnma(z * r, F::set(2 * a), F::set(1));
        const V h = sum * r * F::set(T(0.5)), both = z + z, one = h * both;
        V lost = h * ((F::set(1) - one) - F::product_error(h, both, one));  // 1/(2z) - h
        if (!task.simple) {
            const V dropped = (far - z) - this->rest;  // 1 - v - rest - z
            lost = F::fnma(dropped + dropped, h * h, lost);
        }
        e = exp_minus<F, 1>(h, lost);
    }
    BEVEL_INLINE V density() const {
        if constexpr (sizeof(T) == 4) return e * polynomial<F>(z, C::bump_density);
        return e * polynomial<F>(F::fma(z, F::set(2), F::set(-1)), C::bump_density);
    }
    BEVEL_INLINE V density_slope() const {
        const V r = F::reciprocal(z * (F::set(1) + this->v));
        return F::set(-2) * (this->v * r) * (density() * r);
    }
    BEVEL_INLINE V survival() const { return e * (z * z) * (sum * polynomial<F>(t, C::bump_survival)); }
    BEVEL_INLINE V excess() const { return e * (z * z) * ((z * z) * polynomial<F>(t, C::bump_excess)); }
    BEVEL_INLINE V moment() const { return F::fma(this->v, survival(), excess()); }
    BEVEL_INLINE V second() const { return e * (z * z) * ((z * z) * ((z * z) * polynomial<F>(t, C::bump_second))); }
};

// The large table's value at v, or its derivative by v. The fourth form, the second tail integral, lies behind the others.
template <class T> [[gnu::noinline]] T table_value(const Task& task, int form, T v, bool derivative = false) {
    const int64_t columns = form == 3 ? 12 : 11;
    const double scaled = static_cast<double>(v) * task.panels;
    const int cell = scaled < task.panels ? static_cast<int>(scaled) : task.panels - 1;
    const double t = 2 * (scaled - cell) - 1;
    const double* c = task.table + 11 * (static_cast<int64_t>(form) * task.panels) + columns * cell;
    double total = c[columns - 1], slope = 0;
    for (int64_t k = columns - 2; k >= 0; --k) slope = slope * t + total, total = total * t + c[k];
    return static_cast<T>(derivative ? 2 * slope * task.panels : total);
}

// Polynomials on panels. In float, excess alone is stored, 32 panels wide, so that a coefficient is one permutation
// of registers; survival and density are its derivatives. Otherwise lanes look into the large table one by one.
template <class F> struct Tabulated : Compact<F> {
    using typename Compact<F>::T;
    using typename Compact<F>::V;
    static constexpr int SINGLE = 9, PANELS = 32;
    const Task& task;
    V index, t;

    BEVEL_INLINE Tabulated(V u, V rest_, const Task& task_) : Compact<F>(u, rest_), task(task_) {
        const V scaled = F::min(this->v, F::set(1)) * F::set(T(PANELS));
        index = F::min(F::nearest(F::max(scaled - F::set(T(0.5)), F::set(0))), F::set(T(PANELS - 1)));
        t = F::fma(scaled - index, F::set(2), F::set(-1));
    }
    bool single() const { return sizeof(T) == 4 && task.table_single != nullptr; }
    BEVEL_INLINE V inside(V a) const { return F::keep(F::greater(this->z, F::set(0)), a); }

    // The derivative of order D of the float table, with respect to v.
    template <int D> BEVEL_INLINE V derivative() const {
        if constexpr (sizeof(T) == 4) {
            V total = F::set(0);
#pragma GCC unroll 9
            for (int k = SINGLE - 1; k >= D; --k) {
                const T factor = D == 0 ? 1 : D == 1 ? T(-2 * PANELS * k) : T(4 * PANELS * PANELS * k * (k - 1));
                const V c = F::lookup32(task.table_single + PANELS * k, index);
                total = F::fma(total, t, D == 0 ? c : c * F::set(factor));
            }
            return inside(total);
        }
        return F::set(0);
    }
    BEVEL_INLINE V looked_up(int form) const {
        return inside(F::each_lane(this->v, [this, form](T at) { return table_value<T>(task, form, at); }));
    }
    BEVEL_INLINE V density() const { return single() ? derivative<2>() : looked_up(0); }
    BEVEL_INLINE V density_slope() const {  // of the large table: the float one's third derivative would have three digits
        return inside(F::each_lane(this->v, [this](T at) { return table_value<T>(task, 0, at, true); }));
    }
    BEVEL_INLINE V survival() const { return single() ? derivative<1>() : looked_up(1); }
    BEVEL_INLINE V excess() const { return single() ? derivative<0>() : looked_up(2); }
    BEVEL_INLINE V moment() const { return F::fma(this->v, survival(), excess()); }
    BEVEL_INLINE V second() const { return looked_up(3); }
};

}  // namespace bevel::BEVEL_ISA
