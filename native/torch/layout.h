// A torch tensor as the library sees it, whatever its shape: (outer, channel, inner) in memory order. The twin of
// ops/_layout.py, without torch's headers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "bevel_native.h"

namespace bevel::torch_side {

constexpr int MAX_DIMS = 64;  // torch's own limit

struct View {
    int64_t dims;
    const int64_t *sizes, *strides;
};

// Whether the channel axis is one of the tensor's and as long as there are channels; one channel needs none.
inline bool fits(const View& t, int64_t axis, int64_t channels) {
    if (t.dims > MAX_DIMS) return false;
    return channels == 1 || (-t.dims <= axis && axis < t.dims && t.sizes[axis < 0 ? axis + t.dims : axis] == channels);
}

// Whether two tensors of one shape lie alike. The stride of an axis of one element says nothing.
inline bool same(const View& a, const View& b) {
    for (int64_t d = 0; d < a.dims; ++d)
        if (a.sizes[d] != 1 && a.strides[d] != b.strides[d]) return false;
    return true;
}

// Lengths and strides of a dense tensor; false if it has gaps or overlaps. Axes of larger stride than the channel axis are
// outer, those of smaller stride inner, and each group is one run.
inline bool describe(const View& t, int64_t axis, int64_t channels, bevel_layout& layout) {
    if (axis < 0) axis += t.dims;
    int64_t order[MAX_DIMS], expected = 1, outer = 1;
    int count = 0;
    bool empty = false;
    for (int64_t d = 0; d < t.dims; ++d) {
        empty = empty || t.sizes[d] == 0;
        if (t.sizes[d] > 1) order[count++] = d;
    }
    std::stable_sort(order, order + count, [&](int64_t a, int64_t b) { return t.strides[a] > t.strides[b]; });
    for (int i = count - 1; i >= 0 && !empty; --i) {
        if (t.strides[order[i]] != expected) return false;
        expected *= t.sizes[order[i]];
    }
    if (channels > 1)
        for (int i = 0; i < count && order[i] != axis; ++i) outer *= t.sizes[order[i]];
    layout.outer = empty ? 0 : outer;
    layout.channels = channels;
    layout.inner = empty ? 1 : expected / (outer * channels);
    for (int64_t* const strides : {layout.x, layout.y, layout.g, layout.dx}) {
        strides[0] = channels * layout.inner;
        strides[1] = layout.inner;
        strides[2] = 1;
    }
    return true;
}

}  // namespace bevel::torch_side
