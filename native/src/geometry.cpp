// How a call walks its tensors: in runs of elements that share their coefficients, or in rows whose columns have their own.
#include "plan.h"

namespace bevel {
namespace {

// A dimension of the tensor: its size, and its stride in each of the tensors that take part.
struct Dimension {
    int64_t size;
    int64_t stride[4];
};

constexpr Dimension NONE = {1, {0, 0, 0, 0}};

// Neighbors in memory, `size` of them.
Dimension adjacent(int64_t size) { return {size, {1, 1, 1, 1}}; }

bool are_adjacent(const Dimension& d) {
    for (const int64_t s : d.stride)
        if (s != 1) return false;
    return true;
}

bool follows(const Dimension& slow, const Dimension& fast) {
    for (int t = 0; t < 4; ++t)
        if (slow.stride[t] != fast.stride[t] * fast.size) return false;
    return true;
}

int64_t gcd(int64_t a, int64_t b) { return b == 0 ? a : gcd(b, a % b); }

// A run costs some 75 ns beside its elements. Where runs are short, rows of channels·inner columns are faster, with each
// channel's coefficients repeated, if there are enough rows to repeat them for. The second pass has twice as many to repeat,
// and works longer on an element.
bool short_runs(int64_t outer, int64_t channels, int64_t inner, bool second) {
    const int64_t most = second ? 12 : 32, enough = second ? inner : (inner + 1) / 2;
    return inner <= most && outer >= 4 && outer >= enough && channels * inner <= 16384;
}

}  // namespace

void Call::set_geometry(const bevel_layout& layout, bool second) {
    elements_ = layout.outer * layout.channels * layout.inner;
    if (elements_ == 0) return;
    for (int p = 0; p < plan_.params; ++p)
        if (plan_.param_length[p] != 1) distinct_ = plan_.param_length[p];

    const int64_t size[3] = {layout.outer, layout.channels, layout.inner};
    Dimension dims[3];
    for (int d = 0; d < 3; ++d) dims[d] = {size[d], {layout.x[d], layout.y[d], layout.g[d], layout.dx[d]}};
    const auto spread = [&](const Dimension& o, const Dimension& c, const Dimension& i) {
        task_.outer = o.size, task_.channels = c.size, task_.inner = i.size;
        Tensor* const tensors[4] = {&task_.x, &task_.y, &task_.g, &task_.dx};
        for (int t = 0; t < 4; ++t) {
            tensors[t]->stride[0] = o.stride[t];
            tensors[t]->stride[1] = c.stride[t];
            tensors[t]->stride[2] = i.size == 1 ? 1 : i.stride[t];
        }
    };

    if (distinct_ == 1) {  // one set of coefficients: join dimensions that follow each other in memory
        Dimension joined[3] = {NONE, NONE, NONE};
        int last = 2;
        for (int d = 2; d >= 0; --d) {
            if (dims[d].size == 1) continue;
            if (joined[last].size == 1)
                joined[last] = dims[d];
            else if (follows(dims[d], joined[last]))
                joined[last].size *= dims[d].size;
            else
                joined[--last] = dims[d];
        }
        spread(joined[0], joined[1], joined[2]);
        return;
    }
    task_.channel_period = distinct_;
    Dimension columns = dims[1];
    if (dims[2].size > 1 && are_adjacent(dims[2]) && follows(dims[1], dims[2]) && short_runs(size[0], size[1], size[2], second)) {
        repeat_ = dims[2].size;
        columns = adjacent(dims[1].size * repeat_);
    }
    task_.across = are_adjacent(columns) && dims[2].size == repeat_;
    if (!task_.across) return spread(dims[0], dims[1], dims[2]);
    // Dense rows are joined to a multiple of 16 elements, so that no row ends inside a vector.
    const int64_t join = 16 / gcd(columns.size, 16);
    if (join == 1 || !follows(dims[0], columns) || dims[0].size < 4 * join) return spread(dims[0], columns, NONE);
    const int64_t whole = dims[0].size / join, left = dims[0].size % join, length = columns.size * join;
    spread({whole, {length, length, length, length}}, adjacent(length), NONE);
    rest_row_ = whole * join;
    rest_.outer = left > 0 ? 1 : 0;
    rest_.channels = left * columns.size;
}

void Call::bind(const void* x, void* y, const void* g, void* dx) {
    task_.x.data = const_cast<void*>(x);
    task_.g.data = const_cast<void*>(g);
    task_.y.data = y;
    task_.dx.data = dx;
    if (rest_.outer == 0) return;
    const int64_t channels = rest_.channels;
    const int64_t skip = rest_row_ * distinct_ * repeat_ * width(task_.dtype);
    rest_ = task_;
    rest_.outer = 1;
    rest_.channels = channels;
    for (Tensor* t : {&rest_.x, &rest_.y, &rest_.g, &rest_.dx})
        if (t->data != nullptr) t->data = static_cast<char*>(t->data) + skip;
}

void Call::fold(double* part, int parts, int count) const {
    const int64_t pitch = task_.sum_pitch, end = task_.across ? task_.channels : distinct_;
    if (parts == 1 && end == distinct_) return;
    for (double* row = part; row != part + count * pitch; row += pitch) {
        for (int64_t c = 0; c < distinct_; ++c) {
            double total = 0;
            for (int t = 0; t < parts; ++t)
                for (int64_t first = c * repeat_; first < end; first += distinct_ * repeat_)
                    for (int64_t at = first; at < first + repeat_; ++at) total += row[t * count * pitch + at];
            row[c] = total;
        }
    }
}

}  // namespace bevel
