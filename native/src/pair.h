// Two vectors as one. Evaluating a kernel is a chain of some forty dependent operations; two chains side by side in
// program order keep the units busy where one would wait (measured: a fifth less time at n = 1).
#pragma once

#include "simd.h"

namespace bevel::BEVEL_ISA {

template <class F> struct Pair {
    using T = typename F::T;
    using B = typename F::V;
    static constexpr int W = 2 * F::W;

    struct M {
        typename F::M a, b;
    };
    struct V {
        B a, b;
        BEVEL_INLINE V() = default;
        BEVEL_INLINE V(B both) : a(both), b(both) {}
        BEVEL_INLINE V(B a_, B b_) : a(a_), b(b_) {}
        BEVEL_INLINE V operator-() const { return V(-a, -b); }
        friend BEVEL_INLINE V operator+(V x, V y) { return V(x.a + y.a, x.b + y.b); }
        friend BEVEL_INLINE V operator-(V x, V y) { return V(x.a - y.a, x.b - y.b); }
        friend BEVEL_INLINE V operator*(V x, V y) { return V(x.a * y.a, x.b * y.b); }
        friend BEVEL_INLINE V operator/(V x, V y) { return V(x.a / y.a, x.b / y.b); }
    };

    static BEVEL_INLINE V set(T a) { return V(F::set(a)); }
    static BEVEL_INLINE V fma(V a, V b, V c) { return V(F::fma(a.a, b.a, c.a), F::fma(a.b, b.b, c.b)); }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return V(F::fnma(a.a, b.a, c.a), F::fnma(a.b, b.b, c.b)); }
    static BEVEL_INLINE V product_error(V a, V b, V p) {
        return V(F::product_error(a.a, b.a, p.a), F::product_error(a.b, b.b, p.b));
    }
    static BEVEL_INLINE V min(V a, V b) { return V(F::min(a.a, b.a), F::min(a.b, b.b)); }
    static BEVEL_INLINE V max(V a, V b) { return V(F::max(a.a, b.a), F::max(a.b, b.b)); }
    static BEVEL_INLINE V abs(V a) { return V(F::abs(a.a), F::abs(a.b)); }
    static BEVEL_INLINE V sqrt(V a) { return V(F::sqrt(a.a), F::sqrt(a.b)); }
    static BEVEL_INLINE V reciprocal(V a) { return V(F::reciprocal(a.a), F::reciprocal(a.b)); }
    static BEVEL_INLINE V rough_reciprocal(V a) { return V(F::rough_reciprocal(a.a), F::rough_reciprocal(a.b)); }
    static BEVEL_INLINE V rough_root(V a) { return V(F::rough_root(a.a), F::rough_root(a.b)); }
    static BEVEL_INLINE V flip(V a, V sign) { return V(F::flip(a.a, sign.a), F::flip(a.b, sign.b)); }
    static BEVEL_INLINE M nearer(V a, V radius) { return {F::nearer(a.a, radius.a), F::nearer(a.b, radius.b)}; }
    static BEVEL_INLINE M greater(V a, V b) { return {F::greater(a.a, b.a), F::greater(a.b, b.b)}; }
    static BEVEL_INLINE M is_nan(V a) { return {F::is_nan(a.a), F::is_nan(a.b)}; }
    static BEVEL_INLINE V select(M m, V a, V b) { return V(F::select(m.a, a.a, b.a), F::select(m.b, a.b, b.b)); }
    static BEVEL_INLINE V keep(M m, V a) { return V(F::keep(m.a, a.a), F::keep(m.b, a.b)); }
    static BEVEL_INLINE M either(M m, M n) { return {F::either(m.a, n.a), F::either(m.b, n.b)}; }
    static BEVEL_INLINE bool any(M m) { return F::any(F::either(m.a, m.b)); }
    static BEVEL_INLINE V nearest(V a) { return V(F::nearest(a.a), F::nearest(a.b)); }
    static BEVEL_INLINE V scale(V a, V k) { return V(F::scale(a.a, k.a), F::scale(a.b, k.b)); }
    static BEVEL_INLINE V lookup32(const T* table, V index) {
        return V(F::lookup32(table, index.a), F::lookup32(table, index.b));
    }
    static BEVEL_INLINE B sum(V a) { return a.a + a.b; }
    template <class Map> static BEVEL_INLINE V each_lane(V a, Map map) {
        return V(F::each_lane(a.a, map), F::each_lane(a.b, map));
    }
};

// How much of two vectors is there: `have` of them, `whole` with all lanes, and the last otherwise with `lanes` of them.
struct Two {
    int have, whole, lanes;
};
constexpr Two WHOLE = {2, 2, 0};

// What is not there is zero.
template <class F> BEVEL_INLINE typename Pair<F>::V load(const typename F::T* p, Two two) {
    if (two.whole >= 2) return {F::load(p), F::load(p + F::W)};
    const auto a = two.whole >= 1 ? F::load(p) : F::load_part(p, two.lanes);
    return {a, two.have >= 2 ? F::load_part(p + F::W, two.lanes) : F::set(0)};
}
template <class F> BEVEL_INLINE void store(typename F::T* p, typename Pair<F>::V a, Two two) {
    if (two.whole >= 1)
        F::store(p, a.a);
    else
        F::store_part(p, a.a, two.lanes);
    if (two.whole >= 2)
        F::store(p + F::W, a.b);
    else if (two.have >= 2)
        F::store_part(p + F::W, a.b, two.lanes);
}

}  // namespace bevel::BEVEL_ISA
