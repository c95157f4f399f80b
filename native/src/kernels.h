// The kernels' half-line forms on vectors. Each class is built from u, within reach, and `rest`, what rounding took from u;
// members that are not called cost nothing, and what several share the compiler computes once.
#pragma once

#include <cstdint>

#include "coefficients.h"
#include "pair.h"
#include "task.h"

namespace bevel::BEVEL_ISA {

template <class F, int N> BEVEL_INLINE typename F::V polynomial(typename F::V t, const typename F::T (&c)[N]) {
    typename F::V total = F::set(c[N - 1]);
#pragma GCC unroll 32  // left to itself the compiler keeps the loop
    for (int k = N - 2; k >= 0; --k) total = F::fma(total, t, F::set(c[k]));
    return total;
}

// The coefficients of a polynomial in factor·t.
template <class T, int N> struct Scaled {
    T c[N];
    constexpr Scaled(const T (&from)[N], double factor) : c() {
        double power = 1;
        for (int k = 0; k < N; ++k, power *= factor) c[k] = static_cast<T>(from[k] * power);
    }
};

template <class T> struct Limits;
template <> struct Limits<float> {
    static constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 1.428606820309417e-06f;  // 15 bits: k·ln2_high is exact
    static constexpr float most = 0x1.fffffep127f, large = 1e9f;
};
template <> struct Limits<double> {
    static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    static constexpr double most = 0x1.fffffffffffffp1023, large = 1e18;
};

// v = |u|, and the rest with the sign that belongs to v.
template <class F> struct HalfLine {
    using T = typename F::T;
    using V = typename F::V;
    V v, rest;

    BEVEL_INLINE HalfLine(V u, V rest_) : v(F::abs(u)), rest(F::flip(rest_, u)) {}
};

// exp(-(h + rest)/S) for S = 1 or 2: rest carries what h lost, so that the relative error is of rounding size for any h.
template <class F, int S> BEVEL_INLINE typename F::V exp_minus(typename F::V h, typename F::V rest) {
    using T = typename F::T;
    using L = Limits<T>;
    static constexpr Scaled polynomial_of_r(Coefficients<T>::exp, 1.0 / S);  // exact
    const auto k = F::nearest(h * F::set(T(-1.4426950408889634 / S)));
    auto r = F::fma(k, F::set(S * L::ln2_high), h);
    r = F::fma(k, F::set(S * L::ln2_low), r) + rest;
    return F::scale(polynomial<F>(r, polynomial_of_r.c), k);
}

template <class F> struct Gaussian {
    using T = typename F::T;
    using V = typename F::V;
    using C = Coefficients<T>;
    V v, square, e;

    BEVEL_INLINE Gaussian(V u, V rest, const Task& task) : v(F::abs(u)), square(u * u) {
        V lost = F::product_error(u, u, square);
        if (!task.simple) lost = F::fma(u + u, rest, lost);
        e = exp_minus<F, 2>(square, lost);
    }
    BEVEL_INLINE V density() const { return e * F::set(T(0.39894228040143267794)); }
    BEVEL_INLINE V density_slope() const { return -v * density(); }
    BEVEL_INLINE V survival() const {
        const V r = F::reciprocal(v + F::set(C::survival_a));
        return (e * r) * polynomial<F>(F::fnma(r, F::set(2 * C::survival_a), F::set(1)), C::gauss_survival);
    }
    BEVEL_INLINE V excess() const {
        const V r = F::reciprocal(v + F::set(C::excess_a));
        const V far = (e * r) * (r * polynomial<F>(F::fnma(r, F::set(2 * C::excess_a), F::set(1)), C::gauss_excess));
        if constexpr (sizeof(T) == sizeof(float)) {
            // The quotient's seven roundings cost 7e-7 where excess is largest. Up to v = 1 use excess + v/2, which is even
            // in v, one rounding of v/2 away from 3e-8 absolutely.
            const V near = F::fnma(v, F::set(T(0.5)), polynomial<F>(square, C::gauss_near));
            return F::select(F::nearer(v, F::set(T(1))), near, far);
        } else {
            return far;
        }
    }
    BEVEL_INLINE V moment() const { return density(); }
    BEVEL_INLINE V second() const {
        const V r = F::reciprocal(v + F::set(C::second_a));
        return (e * r) * (r * (r * polynomial<F>(F::fnma(r, F::set(2 * C::second_a), F::set(1)), C::gauss_second)));
    }
};

// The Gaussian where its tails drown in the line they are added to: float accuracy beside the peaks of the forms, not beside
// their values far out. That takes two thirds of the operations.
template <class F> struct GaussianBulk {
    using T = typename F::T;
    using V = typename F::V;
    using C = Coefficients<float>;
    static constexpr T peak = T(0.39894228040143267794);
    V v, e, ratio;  // exp(-v²/2) and survival over it

    BEVEL_INLINE GaussianBulk(V u, V, const Task&) : GaussianBulk(u, C::gauss_bulk) {}
    template <int N> BEVEL_INLINE GaussianBulk(V u, const float (&mills)[N]) : v(F::abs(u)) {
        const V h = (u * u) * F::set(T(-0.72134752044448170368)), k = F::nearest(h);  // e = 2^h
        static constexpr Scaled exp2(C::exp, -0.69314718055994530942);
        e = F::scale(polynomial<F>(h - k, exp2.c), k);
        const V r = F::reciprocal(v + F::set(C::bulk_a));
        ratio = r * polynomial<F>(r, mills);
    }
    BEVEL_INLINE V density() const { return e * F::set(peak); }
    BEVEL_INLINE V survival() const { return e * ratio; }
    BEVEL_INLINE V excess() const { return e * F::fnma(v, ratio, F::set(peak)); }
    BEVEL_INLINE V moment() const { return density(); }
};

template <class F> struct Logistic : HalfLine<F> {
    using typename HalfLine<F>::T;
    using typename HalfLine<F>::V;
    V e;

    BEVEL_INLINE Logistic(V u, V rest_, const Task&) : HalfLine<F>(u, rest_), e(exp_minus<F, 1>(this->v, this->rest)) {}
    BEVEL_INLINE V upper() const { return F::reciprocal(F::set(1) + e); }
    BEVEL_INLINE V survival() const { return e * upper(); }
    BEVEL_INLINE V density() const { return survival() * upper(); }
    BEVEL_INLINE V density_slope() const { return -density() * (F::set(1) - e) * upper(); }
    BEVEL_INLINE V excess() const {
        if constexpr (sizeof(T) == 4) return e * polynomial<F>(e, Coefficients<T>::log1p);
        return e * polynomial<F>(F::fma(e, F::set(2), F::set(-1)), Coefficients<T>::log1p);
    }
    BEVEL_INLINE V moment() const { return F::fma(this->v, survival(), excess()); }
    BEVEL_INLINE V second() const {
        if constexpr (sizeof(T) == 4) return e * polynomial<F>(e, Coefficients<T>::logistic_second);
        return e * polynomial<F>(F::fma(e, F::set(2), F::set(-1)), Coefficients<T>::logistic_second);
    }
};

template <class F> struct Laplace : HalfLine<F> {
    using typename HalfLine<F>::T;
    using typename HalfLine<F>::V;
    V e;

    BEVEL_INLINE Laplace(V u, V rest_, const Task&)
        : HalfLine<F>(u, rest_), e(exp_minus<F, 1>(this->v, this->rest) * F::set(T(0.5))) {}
    BEVEL_INLINE V density() const { return e; }
    BEVEL_INLINE V density_slope() const { return -e; }
    BEVEL_INLINE V survival() const { return e; }
    BEVEL_INLINE V excess() const { return e; }
    BEVEL_INLINE V moment() const { return F::fma(this->v, e, e); }
    BEVEL_INLINE V second() const { return e; }
};

template <class F> struct Student {  // its forms are powers of v: rounding v costs them no more than that, no rest needed
    using T = typename F::T;
    using V = typename F::V;
    V v, h;

    BEVEL_INLINE Student(V u, V, const Task&) : v(F::abs(u)) {
        const V large = F::set(Limits<T>::large);  // from here on √(1+v²) rounds to v, and v² may overflow
        h = F::select(F::greater(v, large), v, F::sqrt(F::fma(v, v, F::set(1))));
    }
    BEVEL_INLINE V inverse() const { return F::reciprocal(F::min(h, F::set(Limits<T>::most / 16))); }
    BEVEL_INLINE V density() const { return F::set(T(0.5)) * inverse() * inverse() * inverse(); }
    BEVEL_INLINE V density_slope() const { return F::set(T(-3)) * density() * inverse() * (v * inverse()); }
    BEVEL_INLINE V survival() const { return excess() * inverse(); }
    BEVEL_INLINE V excess() const { return F::set(T(0.5)) * F::reciprocal(F::min(h + v, F::set(Limits<T>::most / 16))); }
    BEVEL_INLINE V moment() const { return F::set(T(0.5)) * inverse(); }
};

template <class F> struct Cauchy {  // steps only
    using T = typename F::T;
    using V = typename F::V;
    V v;

    BEVEL_INLINE Cauchy(V u, V, const Task&) : v(F::abs(u)) {}
    BEVEL_INLINE V density() const { return F::set(T(0.31830988618379067154)) / F::fma(v, v, F::set(1)); }
    BEVEL_INLINE V density_slope() const { return F::set(T(-2)) * density() * (v / F::fma(v, v, F::set(1))); }
    BEVEL_INLINE V survival() const {
        const auto far = F::greater(v, F::set(1));
        const V r = F::select(far, F::set(1) / v, v);
        V s = r * r;
        if constexpr (sizeof(T) == 8) s = F::fma(s, F::set(2), F::set(-1));
        const V turn = r * polynomial<F>(s, Coefficients<T>::atan) * F::set(T(0.31830988618379067154));
        return F::select(far, turn, F::set(T(0.5)) - turn);
    }
    BEVEL_INLINE V excess() const { return F::set(0); }
    BEVEL_INLINE V moment() const { return F::set(0); }
};

// What the loops form of a kernel. Overloads serve the kernels whose forms share a factor.

// lag·excess + weight·moment
template <template <class> class Kernel, class F>
BEVEL_INLINE typename F::V blend(const Kernel<F>& kernel, typename F::V lag, typename F::V weight) {
    return F::fma(weight, kernel.moment(), lag * kernel.excess());
}
template <class F>
BEVEL_INLINE typename F::V blend(const Gaussian<F>& kernel, typename F::V lag, typename F::V weight) {
    return F::fma(lag, kernel.excess(), weight * kernel.density());
}
template <class F>
BEVEL_INLINE typename F::V blend(const GaussianBulk<F>& kernel, typename F::V lag, typename F::V weight) {
    const auto peak = F::set(GaussianBulk<F>::peak);
    return kernel.e * F::fnma(lag * kernel.v, kernel.ratio, (lag + weight) * peak);
}

// The excess where the survival is known already; it need only be good to an ulp of the density.
template <template <class> class Kernel, class F>
BEVEL_INLINE typename F::V excess_given(const Kernel<F>& kernel, typename F::V) {
    return kernel.excess();
}
template <class F> BEVEL_INLINE typename F::V excess_given(const Gaussian<F>& kernel, typename F::V survival) {
    return F::fnma(kernel.v, survival, kernel.density());
}

}  // namespace bevel::BEVEL_ISA
