// Vectors of baseline x86-64: four floats or two doubles, no fused multiply-add.
#pragma once

#include <emmintrin.h>

#include <cstdint>
#include <cstring>

#include "half.h"

namespace bevel::BEVEL_ISA {

struct F32 {
    using T = float;
    using V = __m128;
    using M = __m128;
    static constexpr int W = 4;

    static BEVEL_INLINE V set(T a) { return _mm_set1_ps(a); }
    static BEVEL_INLINE V load(const T* p) { return _mm_loadu_ps(p); }
    static BEVEL_INLINE void store(T* p, V a) { _mm_storeu_ps(p, a); }
    static BEVEL_INLINE V load_part(const T* p, int n) {
        T lane[W] = {};
        for (int i = 0; i < n; ++i) lane[i] = p[i];
        return load(lane);
    }
    static BEVEL_INLINE void store_part(T* p, V a, int n) {
        T lane[W];
        store(lane, a);
        for (int i = 0; i < n; ++i) p[i] = lane[i];
    }

    static BEVEL_INLINE V fma(V a, V b, V c) { return a * b + c; }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return c - a * b; }
    // Dekker: halves of twelve bits multiply exactly. Masking instead of multiplying by 2^12 + 1 cannot overflow.
    static BEVEL_INLINE V upper(V a) { return _mm_and_ps(a, _mm_castsi128_ps(_mm_set1_epi32(-0x1000))); }
    static BEVEL_INLINE V product_error(V a, V b, V p) {
        const V ah = upper(a), bh = upper(b), al = a - ah, bl = b - bh;
        return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    }
    static BEVEL_INLINE V min(V a, V b) { return _mm_min_ps(a, b); }  // b where either is NaN
    static BEVEL_INLINE V max(V a, V b) { return _mm_max_ps(a, b); }
    static BEVEL_INLINE V abs(V a) { return _mm_andnot_ps(set(-0.0f), a); }
    static BEVEL_INLINE V sqrt(V a) { return _mm_sqrt_ps(a); }
    static BEVEL_INLINE V reciprocal(V a) { return set(1) / a; }
    static BEVEL_INLINE V rough_reciprocal(V a) { return _mm_rcp_ps(a); }     // eleven bits or more
    static BEVEL_INLINE V rough_root(V a) { return a * _mm_rsqrt_ps(a); }  // the same, of a > 0
    static BEVEL_INLINE V flip(V a, V sign) { return _mm_xor_ps(a, _mm_and_ps(sign, set(-0.0f))); }  // a·sgn(sign)
    static BEVEL_INLINE M nearer(V a, V radius) { return _mm_cmpnge_ps(abs(a), radius); }  // |a| < radius, or NaN
    static BEVEL_INLINE M greater(V a, V b) { return _mm_cmpgt_ps(a, b); }
    static BEVEL_INLINE M is_nan(V a) { return _mm_cmpunord_ps(a, a); }
    static BEVEL_INLINE V select(M m, V a, V b) { return _mm_or_ps(_mm_and_ps(m, a), _mm_andnot_ps(m, b)); }
    static BEVEL_INLINE V keep(M m, V a) { return _mm_and_ps(m, a); }
    static BEVEL_INLINE M either(M a, M b) { return _mm_or_ps(a, b); }
    static BEVEL_INLINE bool any(M m) { return _mm_movemask_ps(m) != 0; }
    static BEVEL_INLINE V nearest(V a) { return (a + set(0x1.8p23f)) - set(0x1.8p23f); }  // |a| < 2^22
    static BEVEL_INLINE V scale(V a, V k) {                                               // a·2^k, k integral, -127 < k < 128
        const V shifted = k + set(127 + 0x1.8p23f);
        return a * _mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(shifted), 23));
    }

    static BEVEL_INLINE void accumulate(double* sum, V a) {
        _mm_storeu_pd(sum, _mm_loadu_pd(sum) + _mm_cvtps_pd(a));
        _mm_storeu_pd(sum + 2, _mm_loadu_pd(sum + 2) + _mm_cvtps_pd(_mm_movehl_ps(a, a)));
    }
    static BEVEL_INLINE V lookup32(const T* table, V index) {
        alignas(16) int32_t at[W];
        _mm_store_si128(reinterpret_cast<__m128i*>(at), _mm_cvtps_epi32(index));
        return _mm_setr_ps(table[at[0]], table[at[1]], table[at[2]], table[at[3]]);
    }

    static BEVEL_INLINE V load_bf16(const uint16_t* p) {
        const __m128i bits = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
        return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), bits));
    }
    static BEVEL_INLINE void store_bf16(uint16_t* p, V a) {
        const __m128i bits = _mm_castps_si128(a);
        const __m128i odd = _mm_and_si128(_mm_srli_epi32(bits, 16), _mm_set1_epi32(1));
        const __m128i rounded = _mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff)));
        const V quiet = _mm_castsi128_ps(_mm_or_si128(bits, _mm_set1_epi32(0x400000)));
        const V kept = select(is_nan(a), quiet, _mm_castsi128_ps(rounded));
        const __m128i high = _mm_srai_epi32(_mm_castps_si128(kept), 16);  // sign-extended: the pack cannot saturate
        _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(high, high));
    }
    static BEVEL_INLINE V load_f16(const uint16_t* p) { return _mm_setr_ps(half_to_float(p[0]), half_to_float(p[1]),
                                                              half_to_float(p[2]), half_to_float(p[3])); }
    static BEVEL_INLINE void store_f16(uint16_t* p, V a) {
        T lane[W];
        store(lane, a);
        for (int i = 0; i < W; ++i) p[i] = float_to_half(lane[i]);
    }
    template <class Map> static BEVEL_INLINE V each_lane(V a, Map map) {
        T lane[W];
        store(lane, a);
        for (T& t : lane) t = map(t);
        return load(lane);
    }
};

struct F64 {
    using T = double;
    using V = __m128d;
    using M = __m128d;
    static constexpr int W = 2;

    static BEVEL_INLINE V set(T a) { return _mm_set1_pd(a); }
    static BEVEL_INLINE V load(const T* p) { return _mm_loadu_pd(p); }
    static BEVEL_INLINE void store(T* p, V a) { _mm_storeu_pd(p, a); }
    static BEVEL_INLINE V load_part(const T* p, int) { return _mm_load_sd(p); }  // n == 1
    static BEVEL_INLINE void store_part(T* p, V a, int) { _mm_store_sd(p, a); }

    static BEVEL_INLINE V fma(V a, V b, V c) { return a * b + c; }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return c - a * b; }
    static BEVEL_INLINE V upper(V a) { return _mm_and_pd(a, _mm_castsi128_pd(_mm_set1_epi64x(-0x8000000))); }  // 26 bits
    static BEVEL_INLINE V product_error(V a, V b, V p) {
        const V ah = upper(a), bh = upper(b), al = a - ah, bl = b - bh;
        return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    }
    static BEVEL_INLINE V min(V a, V b) { return _mm_min_pd(a, b); }
    static BEVEL_INLINE V max(V a, V b) { return _mm_max_pd(a, b); }
    static BEVEL_INLINE V abs(V a) { return _mm_andnot_pd(set(-0.0), a); }
    static BEVEL_INLINE V sqrt(V a) { return _mm_sqrt_pd(a); }
    static BEVEL_INLINE V reciprocal(V a) { return set(1) / a; }
    static BEVEL_INLINE V rough_reciprocal(V a) { return reciprocal(a); }
    static BEVEL_INLINE V rough_root(V a) { return sqrt(a); }
    static BEVEL_INLINE V flip(V a, V sign) { return _mm_xor_pd(a, _mm_and_pd(sign, set(-0.0))); }  // a·sgn(sign)
    static BEVEL_INLINE M nearer(V a, V radius) { return _mm_cmpnge_pd(abs(a), radius); }  // |a| < radius, or NaN
    static BEVEL_INLINE M greater(V a, V b) { return _mm_cmpgt_pd(a, b); }
    static BEVEL_INLINE M is_nan(V a) { return _mm_cmpunord_pd(a, a); }
    static BEVEL_INLINE V select(M m, V a, V b) { return _mm_or_pd(_mm_and_pd(m, a), _mm_andnot_pd(m, b)); }
    static BEVEL_INLINE V keep(M m, V a) { return _mm_and_pd(m, a); }
    static BEVEL_INLINE M either(M a, M b) { return _mm_or_pd(a, b); }
    static BEVEL_INLINE bool any(M m) { return _mm_movemask_pd(m) != 0; }
    static BEVEL_INLINE V nearest(V a) { return (a + set(0x1.8p52)) - set(0x1.8p52); }
    static BEVEL_INLINE V scale(V a, V k) {
        const V shifted = k + set(1023 + 0x1.8p52);
        return a * _mm_castsi128_pd(_mm_slli_epi64(_mm_castpd_si128(shifted), 52));
    }
    static BEVEL_INLINE void accumulate(double* sum, V a) { store(sum, load(sum) + a); }
    template <class Map> static BEVEL_INLINE V each_lane(V a, Map map) {
        T lane[W];
        store(lane, a);
        for (T& t : lane) t = map(t);
        return load(lane);
    }
};

}  // namespace bevel::BEVEL_ISA
