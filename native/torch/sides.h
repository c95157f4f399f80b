// On which side of its kink x lies, one bit an element, and what stands in for x where only these bits and y are left. On
// the bits of floating numbers, read as signed integers.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace bevel::torch_side {

// One bit an element, in memory order: whether x > 0, which is so where its bits are as a signed number.
template <class Bits> void write_sides(const Bits* x, int64_t size, uint8_t* sides) {
    int64_t i = 0;
#if defined(__SSE2__)
    if constexpr (sizeof(Bits) == 4)
        for (; i + 16 <= size; i += 16) {
            __m128i above[4];
            for (int k = 0; k < 4; ++k)
                above[k] = _mm_cmpgt_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i) + k), _mm_setzero_si128());
            const __m128i bytes = _mm_packs_epi16(_mm_packs_epi32(above[0], above[1]), _mm_packs_epi32(above[2], above[3]));
            const auto two = static_cast<uint16_t>(_mm_movemask_epi8(bytes));
            std::memcpy(sides + i / 8, &two, 2);
        }
    if constexpr (sizeof(Bits) == 2)
        for (; i + 16 <= size; i += 16) {
            const auto* const at = reinterpret_cast<const __m128i*>(x + i);
            const __m128i low = _mm_cmpgt_epi16(_mm_loadu_si128(at), _mm_setzero_si128());
            const __m128i high = _mm_cmpgt_epi16(_mm_loadu_si128(at + 1), _mm_setzero_si128());
            const auto two = static_cast<uint16_t>(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
            std::memcpy(sides + i / 8, &two, 2);
        }
#endif
    for (; i < size; i += 8) {
        unsigned byte = 0;
        for (int64_t j = i; j < size && j < i + 8; ++j) byte |= static_cast<unsigned>(x[j] > 0) << (j - i);
        sides[i / 8] = static_cast<uint8_t>(byte);
    }
}

// |y| with the sign of x, and never 0 right of the kink: it lies on x's side, and times 1/|slope| it is x.
template <class Bits> void signed_as_x(const Bits* y, const uint8_t* sides, int64_t size, Bits* out) {
    typedef Bits Vector __attribute__((vector_size(16)));
    constexpr int lanes = 16 / sizeof(Bits), vectors = 8 / lanes;
    constexpr Bits sign = std::numeric_limits<Bits>::min();
    Vector weight[vectors];
    for (int j = 0; j < 8; ++j) weight[j / lanes][j % lanes] = static_cast<Bits>(1 << j);
    const auto eight = [&](const Bits* from, uint8_t byte, Bits* to) {
        for (int k = 0; k < vectors; ++k) {
            Vector v;
            std::memcpy(&v, from + k * lanes, sizeof v);
            const Vector left = (weight[k] & static_cast<Bits>(byte)) == 0, large = v & ~sign;
            v = large | (left & sign) | (~left & (large == 0) & 1);
            std::memcpy(to + k * lanes, &v, sizeof v);
        }
    };
    int64_t i = 0;
    if constexpr (sizeof(Bits) == 8) {  // compilers take vectors of so few lanes apart
        for (; i < size; ++i) {
            const Bits left = static_cast<Bits>(sides[i / 8] >> (i % 8) & 1) - 1, large = y[i] & ~sign;
            out[i] = large | (left & sign) | (~left & static_cast<Bits>(large == 0));
        }
    }
    for (; i + 8 <= size; i += 8) eight(y + i, sides[i / 8], out + i);
    if (i == size) return;
    Bits rest[8] = {};
    std::memcpy(rest, y + i, sizeof(Bits) * static_cast<size_t>(size - i));
    eight(rest, sides[i / 8], rest);
    std::memcpy(out + i, rest, sizeof(Bits) * static_cast<size_t>(size - i));
}

}  // namespace bevel::torch_side
