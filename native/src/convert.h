// Elements in memory and the T of arithmetic.
#pragma once

#include <cstdint>

#include "simd.h"

namespace bevel::BEVEL_ISA {

// How elements in memory become the T of arithmetic, and back: `size` of them, the last vector padded with zeros.
template <class F> struct Same {
    using E = typename F::T;
    static void widen(const E* from, E* to, int64_t size) {
        int64_t i = 0;
        for (; i + F::W <= size; i += F::W) F::store(to + i, F::load(from + i));
        if (i < size) F::store(to + i, F::load_part(from + i, static_cast<int>(size - i)));
    }
    static void narrow(const E* from, E* to, int64_t size) {
        int64_t i = 0;
        for (; i + F::W <= size; i += F::W) F::store(to + i, F::load(from + i));
        if (i < size) F::store_part(to + i, F::load(from + i), static_cast<int>(size - i));
    }
};
template <class Half> struct Widened {
    using E = uint16_t;
    static void widen(const E* from, float* to, int64_t size) {
        int64_t i = 0;
        for (; i + F32::W <= size; i += F32::W) F32::store(to + i, Half::load(from + i));
        E part[F32::W] = {};
        for (int64_t j = i; j < size; ++j) part[j - i] = from[j];
        if (i < size) F32::store(to + i, Half::load(part));
    }
    static void narrow(const float* from, E* to, int64_t size) {
        int64_t i = 0;
        for (; i + F32::W <= size; i += F32::W) Half::store(to + i, F32::load(from + i));
        E part[F32::W];
        if (i < size) Half::store(part, F32::load(from + i));
        for (int64_t j = i; j < size; ++j) to[j] = part[j - i];
    }
};

}  // namespace bevel::BEVEL_ISA
