// Vectors of AArch64: four floats or two doubles.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace bevel::BEVEL_ISA {

struct F32 {
    using T = float;
    using V = float32x4_t;
    using M = uint32x4_t;
    static constexpr int W = 4;

    static BEVEL_INLINE V set(T a) { return vdupq_n_f32(a); }
    static BEVEL_INLINE V load(const T* p) { return vld1q_f32(p); }
    static BEVEL_INLINE void store(T* p, V a) { vst1q_f32(p, a); }
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

    static BEVEL_INLINE V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return vfmsq_f32(c, a, b); }  // c - a·b
    static BEVEL_INLINE V product_error(V a, V b, V p) { return vfmaq_f32(-p, a, b); }
    static BEVEL_INLINE V min(V a, V b) { return vbslq_f32(vcltq_f32(a, b), a, b); }  // b where either is NaN
    static BEVEL_INLINE V max(V a, V b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
    static BEVEL_INLINE V abs(V a) { return vabsq_f32(a); }
    static BEVEL_INLINE V sqrt(V a) { return vsqrtq_f32(a); }
    static BEVEL_INLINE V reciprocal(V a) { return set(1) / a; }
    static BEVEL_INLINE V rough_reciprocal(V a) { return reciprocal(a); }
    static BEVEL_INLINE V rough_root(V a) { return sqrt(a); }
    static BEVEL_INLINE V flip(V a, V sign) { return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a), vandq_u32(vreinterpretq_u32_f32(sign), vdupq_n_u32(0x80000000u)))); }  // a·sgn(sign)
    static BEVEL_INLINE M nearer(V a, V radius) { return vmvnq_u32(vcgeq_f32(abs(a), radius)); }  // |a| < radius, or NaN
    static BEVEL_INLINE M greater(V a, V b) { return vcgtq_f32(a, b); }
    static BEVEL_INLINE M is_nan(V a) { return vmvnq_u32(vceqq_f32(a, a)); }
    static BEVEL_INLINE V select(M m, V a, V b) { return vbslq_f32(m, a, b); }
    static BEVEL_INLINE V keep(M m, V a) { return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(a))); }
    static BEVEL_INLINE M either(M a, M b) { return a | b; }
    static BEVEL_INLINE bool any(M m) { return vmaxvq_u32(m) != 0; }
    static BEVEL_INLINE V nearest(V a) { return vrndnq_f32(a); }
    static BEVEL_INLINE V scale(V a, V k) {  // a·2^k, k integral, -127 < k < 128
        const int32x4_t biased = vcvtq_s32_f32(k + set(127));
        return a * vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
    }

    static BEVEL_INLINE void accumulate(double* sum, V a) {
        vst1q_f64(sum, vld1q_f64(sum) + vcvt_f64_f32(vget_low_f32(a)));
        vst1q_f64(sum + 2, vld1q_f64(sum + 2) + vcvt_high_f64_f32(a));
    }
    static BEVEL_INLINE V lookup32(const T* table, V index) {
        const int32x4_t at = vcvtq_s32_f32(index);
        const T lane[W] = {table[at[0]], table[at[1]], table[at[2]], table[at[3]]};
        return load(lane);
    }

    static BEVEL_INLINE V load_bf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
    static BEVEL_INLINE void store_bf16(uint16_t* p, V a) {
        const uint32x4_t bits = vreinterpretq_u32_f32(a);
        const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
        const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        const uint32x4_t kept = vbslq_u32(is_nan(a), vorrq_u32(bits, vdupq_n_u32(0x400000)), rounded);
        vst1_u16(p, vshrn_n_u32(kept, 16));
    }
    static BEVEL_INLINE V load_f16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
    static BEVEL_INLINE void store_f16(uint16_t* p, V a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }
    template <class Map> static BEVEL_INLINE V each_lane(V a, Map map) {
        T lane[W];
        store(lane, a);
        for (T& t : lane) t = map(t);
        return load(lane);
    }
};

struct F64 {
    using T = double;
    using V = float64x2_t;
    using M = uint64x2_t;
    static constexpr int W = 2;

    static BEVEL_INLINE V set(T a) { return vdupq_n_f64(a); }
    static BEVEL_INLINE V load(const T* p) { return vld1q_f64(p); }
    static BEVEL_INLINE void store(T* p, V a) { vst1q_f64(p, a); }
    static BEVEL_INLINE V load_part(const T* p, int) { return V{p[0], 0}; }  // n == 1
    static BEVEL_INLINE void store_part(T* p, V a, int) { p[0] = a[0]; }

    static BEVEL_INLINE V fma(V a, V b, V c) { return vfmaq_f64(c, a, b); }
    static BEVEL_INLINE V fnma(V a, V b, V c) { return vfmsq_f64(c, a, b); }
    static BEVEL_INLINE V product_error(V a, V b, V p) { return vfmaq_f64(-p, a, b); }
    static BEVEL_INLINE V min(V a, V b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
    static BEVEL_INLINE V max(V a, V b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
    static BEVEL_INLINE V abs(V a) { return vabsq_f64(a); }
    static BEVEL_INLINE V sqrt(V a) { return vsqrtq_f64(a); }
    static BEVEL_INLINE V reciprocal(V a) { return set(1) / a; }
    static BEVEL_INLINE V rough_reciprocal(V a) { return reciprocal(a); }
    static BEVEL_INLINE V rough_root(V a) { return sqrt(a); }
    static BEVEL_INLINE V flip(V a, V sign) { return vreinterpretq_f64_u64(veorq_u64(vreinterpretq_u64_f64(a), vandq_u64(vreinterpretq_u64_f64(sign), vdupq_n_u64(uint64_t{1} << 63)))); }  // a·sgn(sign)
    static BEVEL_INLINE M nearer(V a, V radius) { return vcgeq_f64(abs(a), radius) ^ vdupq_n_u64(~uint64_t{0}); }  // |a| < radius, or NaN
    static BEVEL_INLINE M greater(V a, V b) { return vcgtq_f64(a, b); }
    static BEVEL_INLINE M is_nan(V a) { return vceqq_f64(a, a) ^ vdupq_n_u64(~uint64_t{0}); }
    static BEVEL_INLINE V select(M m, V a, V b) { return vbslq_f64(m, a, b); }
    static BEVEL_INLINE V keep(M m, V a) { return vreinterpretq_f64_u64(vandq_u64(m, vreinterpretq_u64_f64(a))); }
    static BEVEL_INLINE M either(M a, M b) { return a | b; }
    static BEVEL_INLINE bool any(M m) { return (m[0] | m[1]) != 0; }
    static BEVEL_INLINE V nearest(V a) { return vrndnq_f64(a); }
    static BEVEL_INLINE V scale(V a, V k) {
        const int64x2_t biased = vcvtq_s64_f64(k + set(1023));
        return a * vreinterpretq_f64_s64(vshlq_n_s64(biased, 52));
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
