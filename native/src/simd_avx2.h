// Vectors of AVX2 with FMA and F16C: eight floats or four doubles, masks as vectors of sign bits.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace bevel::BEVEL_ISA {

BEVEL_INLINE double total_of_four(__m256d a) {
    const __m128d half = _mm256_castpd256_pd128(a) + _mm256_extractf128_pd(a, 1);
    return _mm_cvtsd_f64(half + _mm_unpackhi_pd(half, half));
}

struct F32 {
    using T = float;
    using V = __m256;
    using M = __m256;
    static constexpr int W = 8;

    static BEVEL_INLINE V set(T a) { return _mm256_set1_ps(a); }
    static BEVEL_INLINE V load(const T* p) { return _mm256_loadu_ps(p); }
    static BEVEL_INLINE void store(T* p, V a) { _mm256_storeu_ps(p, a); }
    static BEVEL_INLINE __m256i first(int n) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
    static BEVEL_INLINE V load_part(const T* p, int n) { return _mm256_maskload_ps(p, first(n)); }
    static BEVEL_INLINE void store_part(T* p, V a, int n) { _mm256_maskstore_ps(p, first(n), a); }

    static BEVEL_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a·b
    static BEVEL_INLINE V product_error(V a, V b, V p) { return _mm256_fmsub_ps(a, b, p); }
    static BEVEL_INLINE V min(V a, V b) { return _mm256_min_ps(a, b); }  // b where either is NaN
    static BEVEL_INLINE V max(V a, V b) { return _mm256_max_ps(a, b); }
    static BEVEL_INLINE V abs(V a) { return _mm256_andnot_ps(set(-0.0f), a); }
    static BEVEL_INLINE V sqrt(V a) { return _mm256_sqrt_ps(a); }
    static BEVEL_INLINE V reciprocal(V a) { return set(1) / a; }
    static BEVEL_INLINE V rough_reciprocal(V a) { return _mm256_rcp_ps(a); }     // eleven bits or more
    static BEVEL_INLINE V rough_root(V a) { return a * _mm256_rsqrt_ps(a); }  // the same, of a > 0
    static BEVEL_INLINE V flip(V a, V sign) { return _mm256_xor_ps(a, _mm256_and_ps(sign, set(-0.0f))); }  // a·sgn(sign)
    static BEVEL_INLINE M nearer(V a, V radius) { return _mm256_cmp_ps(abs(a), radius, _CMP_NGE_UQ); }  // |a| < radius, or NaN
    static BEVEL_INLINE M greater(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
    static BEVEL_INLINE M is_nan(V a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
    static BEVEL_INLINE V select(M m, V a, V b) { return _mm256_blendv_ps(b, a, m); }
    static BEVEL_INLINE V keep(M m, V a) { return _mm256_and_ps(m, a); }
    static BEVEL_INLINE M either(M a, M b) { return _mm256_or_ps(a, b); }
    static BEVEL_INLINE bool any(M m) { return _mm256_movemask_ps(m) != 0; }
    static BEVEL_INLINE V nearest(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static BEVEL_INLINE V scale(V a, V k) {  // a·2^k, k integral, -127 < k < 128
        const V shifted = k + set(127 + 0x1.8p23f);
        return a * _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23));
    }

    static BEVEL_INLINE void accumulate(double* sum, V a) {
        const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(a));
        const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
        _mm256_storeu_pd(sum, _mm256_loadu_pd(sum) + low);
        _mm256_storeu_pd(sum + 4, _mm256_loadu_pd(sum + 4) + high);
    }
    static BEVEL_INLINE double total(V a) {
        return total_of_four(_mm256_cvtps_pd(_mm256_castps256_ps128(a)) + _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
    }
    static BEVEL_INLINE V lookup32(const T* table, V index) { return _mm256_i32gather_ps(table, _mm256_cvtps_epi32(index), 4); }

    static BEVEL_INLINE V load_bf16(const uint16_t* p) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }
    static BEVEL_INLINE void store_bf16(uint16_t* p, V a) {
        const __m256i bits = _mm256_castps_si256(a);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
        const __m256i kept = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan(a)));
        const __m256i high = _mm256_srli_epi32(kept, 16);
        const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
    }
    static BEVEL_INLINE V load_f16(const uint16_t* p) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    static BEVEL_INLINE void store_f16(uint16_t* p, V a) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
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
    using V = __m256d;
    using M = __m256d;
    static constexpr int W = 4;

    static BEVEL_INLINE V set(T a) { return _mm256_set1_pd(a); }
    static BEVEL_INLINE V load(const T* p) { return _mm256_loadu_pd(p); }
    static BEVEL_INLINE void store(T* p, V a) { _mm256_storeu_pd(p, a); }
    static BEVEL_INLINE __m256i first(int n) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)); }
    static BEVEL_INLINE V load_part(const T* p, int n) { return _mm256_maskload_pd(p, first(n)); }
    static BEVEL_INLINE void store_part(T* p, V a, int n) { _mm256_maskstore_pd(p, first(n), a); }

    static BEVEL_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return _mm256_fnmadd_pd(a, b, c); }
    static BEVEL_INLINE V product_error(V a, V b, V p) { return _mm256_fmsub_pd(a, b, p); }
    static BEVEL_INLINE V min(V a, V b) { return _mm256_min_pd(a, b); }
    static BEVEL_INLINE V max(V a, V b) { return _mm256_max_pd(a, b); }
    static BEVEL_INLINE V abs(V a) { return _mm256_andnot_pd(set(-0.0), a); }
    static BEVEL_INLINE V sqrt(V a) { return _mm256_sqrt_pd(a); }
    static BEVEL_INLINE V reciprocal(V a) { return set(1) / a; }
    static BEVEL_INLINE V rough_reciprocal(V a) { return reciprocal(a); }
    static BEVEL_INLINE V rough_root(V a) { return sqrt(a); }
    static BEVEL_INLINE V flip(V a, V sign) { return _mm256_xor_pd(a, _mm256_and_pd(sign, set(-0.0))); }  // a·sgn(sign)
    static BEVEL_INLINE M nearer(V a, V radius) { return _mm256_cmp_pd(abs(a), radius, _CMP_NGE_UQ); }  // |a| < radius, or NaN
    static BEVEL_INLINE M greater(V a, V b) { return _mm256_cmp_pd(a, b, _CMP_GT_OQ); }
    static BEVEL_INLINE M is_nan(V a) { return _mm256_cmp_pd(a, a, _CMP_UNORD_Q); }
    static BEVEL_INLINE V select(M m, V a, V b) { return _mm256_blendv_pd(b, a, m); }
    static BEVEL_INLINE V keep(M m, V a) { return _mm256_and_pd(m, a); }
    static BEVEL_INLINE M either(M a, M b) { return _mm256_or_pd(a, b); }
    static BEVEL_INLINE bool any(M m) { return _mm256_movemask_pd(m) != 0; }
    static BEVEL_INLINE V nearest(V a) { return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    static BEVEL_INLINE V scale(V a, V k) {
        const V shifted = k + set(1023 + 0x1.8p52);
        return a * _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(shifted), 52));
    }
    static BEVEL_INLINE void accumulate(double* sum, V a) { store(sum, load(sum) + a); }
    static BEVEL_INLINE double total(V a) { return total_of_four(a); }
    template <class Map> static BEVEL_INLINE V each_lane(V a, Map map) {
        T lane[W];
        store(lane, a);
        for (T& t : lane) t = map(t);
        return load(lane);
    }
};

}  // namespace bevel::BEVEL_ISA
