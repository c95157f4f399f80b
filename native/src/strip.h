// A strip: the vectors the inner loops are given at a time, and access to their coefficients and sums.
#pragma once

#include <type_traits>

#include "pair.h"
#include "task.h"

namespace bevel::BEVEL_ISA {

constexpr int STRIP = 64;          // sums stay in lanes of T for at most so many additions before they go to double
constexpr int64_t COLUMNS = 128;   // channels in one tile across
constexpr int64_t TILE = 1024;     // elements a buffer of the engine holds

// Along: one row of at most STRIP vectors, which share one set of coefficients. Across: at most STRIP rows of at most
// COLUMNS elements, each column with coefficients and sums of its own; those lie in the L1 cache and are read again for
// every vector, so that memory is walked in its own order.
template <class T> struct Strip {
    const T *x, *g;
    T* out;                             // y or dx
    int64_t x_row, g_row, out_row;      // elements from one row to the next
    int rows, count;                    // count vectors a row
    int full;                           // the first so many have all lanes,
    int lanes;                          // the last, if it is not among them, this many
    const T* coefficient;               // of the first column
    double* sum;                        // the same, or null
    T* partial;                         // across: zeros, [sums][COLUMNS]; left as zeros
};

// A row of the coefficients as vectors: of F, or of a Pair of them.
template <class F, bool Across> struct Reader {
    const typename F::T* base;
    int64_t pitch;

    BEVEL_INLINE typename F::V one(int row) const {
        if constexpr (Across)
            return F::load(base + row * pitch);
        else
            return F::set(base[row * pitch]);
    }
    BEVEL_INLINE typename Pair<F>::V two(int row) const {
        if constexpr (Across)
            return {F::load(base + row * pitch), F::load(base + row * pitch + F::W)};
        else
            return one(row);
    }
    BEVEL_INLINE Reader at(int64_t column) const { return {base + column, pitch}; }
};

// The sum of all lanes goes to one channel.
template <class F> BEVEL_INLINE void add_total(double* to, typename F::V a) { *to += total<F>(a); }

// The sums of `size` columns move from lanes of T to double.
template <class F> [[gnu::noinline]] void add_columns(double* to, typename F::T* partial, int64_t size) {
    for (int64_t c = 0; c < size; c += F::W) {
        F::accumulate(to + c, F::load(partial + c));
        F::store(partial + c, F::set(0));
    }
}

// One knot, and where x stands with respect to it. P is F or a Pair of F.
template <class P> struct Knot {
    using V = typename P::V;
    using M = typename P::M;
    V knot, knot_rest, n, n_rest, radius;
    bool centred, simple;

    template <class Read>
    BEVEL_INLINE Knot(const Task& task, Read read, int row, bool known_centred = false)
        : knot(P::set(0)), knot_rest(P::set(0)), n(read(N)), n_rest(P::set(0)), radius(read(RADIUS)),
          centred(known_centred || task.centred), simple(task.simple) {
        if (!simple) n_rest = read(N_REST);
        if (!centred) knot = read(row + KNOT), knot_rest = read(row + KNOT_REST);
    }

    BEVEL_INLINE M right(V x) const { return P::greater(x, knot); }
    BEVEL_INLINE V distance(V x) const { return centred ? x : x - knot; }
    BEVEL_INLINE M near(V d) const { return P::nearer(d, radius); }  // or NaN
    BEVEL_INLINE M zone(V d) const { return P::greater(radius, P::abs(d)); }

    // u + rest = (x - knot)·n to twice the working precision; 0 outside the zone.
    BEVEL_INLINE void scale(V x, V d, M zone, V& u, V& rest) const {
        const V exact = d * n;
        u = P::keep(zone, exact);
        rest = P::set(0);
        if (simple) return;
        V lost = P::set(0);
        if (!centred) {  // Knuth's sum: what rounding took from x - knot
            const V back = d - x;
            lost = ((x - (d - back)) - (knot + back)) - knot_rest;
        }
        rest = P::keep(zone, P::fma(lost, n, P::fma(d, n_rest, P::product_error(d, n, exact))));
        const V sum = u + rest;  // near a knot that is not a float, rest is more than a rounding error: carry it over
        rest = rest - (sum - u);
        u = sum;
    }
};

}  // namespace bevel::BEVEL_ISA
