// The vector types F32 and F64 of the instruction set this file is compiled for; BEVEL_ISA is its namespace.
//
// Each has the scalar type T, the vector V (with the operators + - * / of the compiler), the mask M, the width W, and the
// operations below as static functions. Contraction is off, so a multiply-add is fused exactly where fma() says so.
#pragma once

// Everything between the inner loops and the instructions is inlined by order: one object that the compiler leaves in memory
// because a call takes its address would cost more than the arithmetic.
#define BEVEL_INLINE inline __attribute__((always_inline))

#if defined(BEVEL_AVX512)
#include "simd_avx512.h"
#elif defined(BEVEL_AVX2)
#include "simd_avx2.h"
#elif defined(BEVEL_SSE2)
#include "simd_sse2.h"
#elif defined(BEVEL_NEON)
#include "simd_neon.h"
#else
#error "no instruction set chosen"
#endif

namespace bevel::BEVEL_ISA {

// Sixteen-bit floats, widened to and narrowed from float a vector at a time.
struct Bf16 {
    static BEVEL_INLINE F32::V load(const uint16_t* p) { return F32::load_bf16(p); }
    static BEVEL_INLINE void store(uint16_t* p, F32::V a) { F32::store_bf16(p, a); }
};
struct F16 {
    static BEVEL_INLINE F32::V load(const uint16_t* p) { return F32::load_f16(p); }
    static BEVEL_INLINE void store(uint16_t* p, F32::V a) { F32::store_f16(p, a); }
};

// The sum of all lanes, in double and always in the same order.
template <class F> BEVEL_INLINE double total(typename F::V a) {
    if constexpr (sizeof(typename F::V) > 16) {
        return F::total(a);
    } else {
        double lane[F::W] = {};
        F::accumulate(lane, a);
        for (int half = F::W / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
        return lane[0];
    }
}

}  // namespace bevel::BEVEL_ISA
