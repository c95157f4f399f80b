// float16 by integer arithmetic, for instruction sets that cannot convert it.
#pragma once

#include <cstdint>
#include <cstring>

namespace bevel::BEVEL_ISA {

inline float half_to_float(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
    const uint32_t magnitude = h & 0x7fffu;
    // The exponent is re-biased by a multiplication by 2^112, which makes subnormals right as well; it keeps inf and NaN
    // only if their exponent is put to the top first.
    const uint32_t bits = magnitude >= 0x7c00u ? (magnitude << 13) | 0x7f800000u : magnitude << 13;
    float f;
    std::memcpy(&f, &bits, 4);
    if (magnitude < 0x7c00u) f *= 0x1p112f;
    uint32_t out;
    std::memcpy(&out, &f, 4);
    out |= sign;
    std::memcpy(&f, &out, 4);
    return f;
}

inline uint16_t float_to_half(float f) {
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((bits >> 13) & 0x3ffu));
    if (bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
    if (bits < 0x38800000u) {                                              // subnormal: let an addition round it
        float magnitude, shift = 0.5f;                                     // one unit in the last place is 2^-24
        std::memcpy(&magnitude, &bits, 4);
        shift += magnitude;
        uint32_t sum;
        std::memcpy(&sum, &shift, 4);
        return static_cast<uint16_t>(sign | (sum - 0x3f000000u));
    }
    const uint32_t odd = (bits >> 13) & 1u;
    return static_cast<uint16_t>(sign | ((bits + 0xfffu + odd - 0x38000000u) >> 13));
}

}  // namespace bevel::BEVEL_ISA
