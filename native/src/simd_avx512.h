// Vectors of AVX-512 (F, DQ, BW, VL): sixteen floats or eight doubles, masks in their own registers.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace bevel::BEVEL_ISA {

struct F32 {
    using T = float;
    using V = __m512;
    using M = __mmask16;
    static constexpr int W = 16;

    static BEVEL_INLINE V set(T a) { return _mm512_set1_ps(a); }
    static BEVEL_INLINE V load(const T* p) { return _mm512_loadu_ps(p); }
    static BEVEL_INLINE void store(T* p, V a) { _mm512_storeu_ps(p, a); }
    static BEVEL_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
    static BEVEL_INLINE V load_part(const T* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
    static BEVEL_INLINE void store_part(T* p, V a, int n) { _mm512_mask_storeu_ps(p, first(n), a); }

    static BEVEL_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a·b
    static BEVEL_INLINE V product_error(V a, V b, V p) { return _mm512_fmsub_ps(a, b, p); }
    static BEVEL_INLINE V min(V a, V b) { return _mm512_min_ps(a, b); }  // b where either is NaN
    static BEVEL_INLINE V max(V a, V b) { return _mm512_max_ps(a, b); }
    static BEVEL_INLINE V abs(V a) { return _mm512_abs_ps(a); }
    static BEVEL_INLINE V sqrt(V a) { return _mm512_sqrt_ps(a); }
    static BEVEL_INLINE V reciprocal(V a) { return set(1) / a; }
    static BEVEL_INLINE V rough_reciprocal(V a) { return _mm512_rcp14_ps(a); }     // eleven bits or more
    static BEVEL_INLINE V rough_root(V a) { return a * _mm512_rsqrt14_ps(a); }  // the same, of a > 0
    static BEVEL_INLINE V flip(V a, V sign) { return _mm512_xor_ps(a, _mm512_and_ps(sign, set(-0.0f))); }  // a·sgn(sign)
    static BEVEL_INLINE M nearer(V a, V radius) { return _mm512_cmp_ps_mask(abs(a), radius, _CMP_NGE_UQ); }  // |a| < radius, or NaN
    static BEVEL_INLINE M greater(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
    static BEVEL_INLINE M is_nan(V a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
    static BEVEL_INLINE V select(M m, V a, V b) { return _mm512_mask_blend_ps(m, b, a); }
    static BEVEL_INLINE V keep(M m, V a) { return _mm512_maskz_mov_ps(m, a); }
    static BEVEL_INLINE M either(M a, M b) { return static_cast<M>(a | b); }
    static BEVEL_INLINE bool any(M m) { return m != 0; }
    static BEVEL_INLINE V nearest(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static BEVEL_INLINE V scale(V a, V k) { return _mm512_scalef_ps(a, k); }  // a·2^k, k integral

    static BEVEL_INLINE void accumulate(double* sum, V a) {
        const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
        const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
        _mm512_storeu_pd(sum, _mm512_loadu_pd(sum) + low);
        _mm512_storeu_pd(sum + 8, _mm512_loadu_pd(sum + 8) + high);
    }
    static BEVEL_INLINE double total(V a) {
        return _mm512_reduce_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(a)) + _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)));
    }
    // table[index] for integral 0 <= index < 32.
    static BEVEL_INLINE V lookup32(const T* table, V index) {
        return _mm512_permutex2var_ps(load(table), _mm512_cvtps_epi32(index), load(table + 16));
    }

    static BEVEL_INLINE V load_bf16(const uint16_t* p) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    static BEVEL_INLINE void store_bf16(uint16_t* p, V a) {
        const __m512i bits = _mm512_castps_si512(a);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        const __m512i kept = _mm512_mask_or_epi32(rounded, is_nan(a), bits, _mm512_set1_epi32(0x400000));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
    }
    static BEVEL_INLINE V load_f16(const uint16_t* p) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    }
    static BEVEL_INLINE void store_f16(uint16_t* p, V a) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
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
    using V = __m512d;
    using M = __mmask8;
    static constexpr int W = 8;

    static BEVEL_INLINE V set(T a) { return _mm512_set1_pd(a); }
    static BEVEL_INLINE V load(const T* p) { return _mm512_loadu_pd(p); }
    static BEVEL_INLINE void store(T* p, V a) { _mm512_storeu_pd(p, a); }
    static BEVEL_INLINE __mmask8 first(int n) { return static_cast<__mmask8>((1u << n) - 1u); }
    static BEVEL_INLINE V load_part(const T* p, int n) { return _mm512_maskz_loadu_pd(first(n), p); }
    static BEVEL_INLINE void store_part(T* p, V a, int n) { _mm512_mask_storeu_pd(p, first(n), a); }

    static BEVEL_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return _mm512_fnmadd_pd(a, b, c); }
    static BEVEL_INLINE V product_error(V a, V b, V p) { return _mm512_fmsub_pd(a, b, p); }
    static BEVEL_INLINE V min(V a, V b) { return _mm512_min_pd(a, b); }
    static BEVEL_INLINE V max(V a, V b) { return _mm512_max_pd(a, b); }
    static BEVEL_INLINE V abs(V a) { return _mm512_abs_pd(a); }
    static BEVEL_INLINE V sqrt(V a) { return _mm512_sqrt_pd(a); }
    static BEVEL_INLINE V reciprocal(V a) { return set(1) / a; }
    static BEVEL_INLINE V rough_reciprocal(V a) { return reciprocal(a); }
    static BEVEL_INLINE V rough_root(V a) { return sqrt(a); }
    static BEVEL_INLINE V flip(V a, V sign) { return _mm512_xor_pd(a, _mm512_and_pd(sign, set(-0.0))); }  // a·sgn(sign)
    static BEVEL_INLINE M nearer(V a, V radius) { return _mm512_cmp_pd_mask(abs(a), radius, _CMP_NGE_UQ); }  // |a| < radius, or NaN
    static BEVEL_INLINE M greater(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
    static BEVEL_INLINE M is_nan(V a) { return _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q); }
    static BEVEL_INLINE V select(M m, V a, V b) { return _mm512_mask_blend_pd(m, b, a); }
    static BEVEL_INLINE V keep(M m, V a) { return _mm512_maskz_mov_pd(m, a); }
    static BEVEL_INLINE M either(M a, M b) { return static_cast<M>(a | b); }
    static BEVEL_INLINE bool any(M m) { return m != 0; }
    static BEVEL_INLINE V nearest(V a) { return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static BEVEL_INLINE V scale(V a, V k) { return _mm512_scalef_pd(a, k); }
    static BEVEL_INLINE void accumulate(double* sum, V a) { store(sum, load(sum) + a); }
    static BEVEL_INLINE double total(V a) { return _mm512_reduce_add_pd(a); }
    template <class Map> static BEVEL_INLINE V each_lane(V a, Map map) {
        T lane[W];
        store(lane, a);
        for (T& t : lane) t = map(t);
        return load(lane);
    }
};

}  // namespace bevel::BEVEL_ISA
