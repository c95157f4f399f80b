// From the caller's plan and layout to what an engine runs, and from an engine's sums back to gradients.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "bends.h"
#include "linear.h"

namespace bevel {

constexpr int64_t width(int dtype) { return dtype == BEVEL_F64 ? 8 : dtype == BEVEL_F32 ? 4 : 2; }  // bytes an element

// Slots of the interface: left, offset, five groups of one a knot, n; then those of bends.
enum Group { KNOTS = 0, JUMPS, STEPS, CONSTANTS, TILTS };
constexpr int MAX_SLOTS = 4 + 6 * BEVEL_MAX_KNOTS;
constexpr int n_slot(int knots) { return 2 + 5 * knots; }
constexpr int left_bend_slot(int knots) { return 3 + 5 * knots; }
constexpr int bend_slot(int knots) { return 4 + 5 * knots; }  // of the first
inline int slot_count(const bevel_plan& plan) { return plan.bends != 0 ? 4 + 6 * plan.knots : 3 + 5 * plan.knots; }

bool used(const bevel_plan& plan, int slot);               // whether it is anything but the constant zero
bool group_used(const bevel_plan& plan, Group group);  // whether anything in it is not the constant zero

// Why a call cannot be run, or BEVEL_OK.
int check(const bevel_plan& plan, const bevel_layout& layout);

// The coefficients of one channel, knots ascending.
struct Channel {
    double left, offset, n, w;
    int order[BEVEL_MAX_KNOTS];  // place in sorted order -> number in the plan
    double knot[BEVEL_MAX_KNOTS], jump[BEVEL_MAX_KNOTS], step[BEVEL_MAX_KNOTS], c0[BEVEL_MAX_KNOTS], c1[BEVEL_MAX_KNOTS];
    double left_bend, bend[BEVEL_MAX_KNOTS];  // set where the plan has bends
};
// A function of the channel's knots and its bends, sorted as they are.
struct Weights {
    double left, offset, n, left_bend, knot[BEVEL_MAX_KNOTS], jump[BEVEL_MAX_KNOTS], step[BEVEL_MAX_KNOTS], c0[BEVEL_MAX_KNOTS],
        c1[BEVEL_MAX_KNOTS], bend[BEVEL_MAX_KNOTS];
};
// The largest number of T that is not above a knot: x is right of it where x is right of the knot, however close.
template <class T> T rounded_down(double knot) {
    const T near = static_cast<T>(knot);
    return !(static_cast<double>(near) > knot) ? near : std::nextafter(near, -std::numeric_limits<T>::infinity());
}
template <class T> double rounded_away(double knot) {  // what that takes from it
    const double rest = knot - static_cast<double>(rounded_down<T>(knot));
    return std::isfinite(static_cast<T>(rest)) ? rest : 0;
}

// By slot, sorted as the channel's knots are.
Weights sorted(const bevel_plan& plan, const Channel& ch, const double* slot);

// On one segment, level + slope·d + ½·bend·d², with d the distance from the knot on its left; left of all knots d = x.
struct Quadratic {
    double level, slope, bend;
};
// The channel's function on each segment, its derivative along a direction of the coefficients, and what two directions leave.
void quadratics(const bevel_plan& plan, const Channel& ch, Quadratic* out);
void quadratics_along(const bevel_plan& plan, const Channel& ch, const Weights& by, Quadratic* out);
void quadratics_along_both(const bevel_plan& plan, const Channel& ch, const Weights& by, const Weights& other, Quadratic* out);

// ½·variance·w², by which smoothing lifts a parabola of second derivative 1.
double lift(const bevel_plan& plan, const Channel& ch);

Channel channel_of(const bevel_plan& plan, const void* const* param, int64_t c);

// Whether y tells x for every channel: see bevel_output_tells.
bool output_tells(const bevel_plan& plan, const bevel_layout& layout, const void* const* param);

// One call: prepared coefficients and the task that points to them. Where few elements or none follow each channel, a row of
// all channels is walked at once, each column with its channel's coefficients (geometry.cpp). Short rows are joined until they
// fill vectors; the rows that are then left over are a task of their own. `second`: a call of the second pass.
class Call {
public:
    Call(const bevel_plan& plan, const bevel_layout& layout, const void* const* param, bool back, bool want_dx,
         bool want_sums, bool from_output = false, bool second = false);

    // Data pointers; g and dx, or y, are null.
    void bind(const void* x, void* y, const void* g, void* dx);

    const Task& task() const { return task_; }
    const Task& rest() const { return rest_; }  // outer == 0: nothing is left over
    int64_t elements() const { return elements_; }
    int64_t bytes() const { return elements_ * width(task_.dtype); }  // of a dense tensor
    int sum_rows() const { return task_.bent ? bent_sums(plan_.knots) : sums(plan_.knots); }
    int64_t sum_count() const { return sum_rows() * task_.sum_pitch; }

    // Writes the parameters' gradients from `parts` blocks of sum_count() sums.
    void gradients(double* part, int parts, void* const* dparam) const;

    // Those of one channel, whose coefficients move with the parameters as `linear` says, from sums that are folded.
    void channel_gradients(int64_t c, const Linear& linear, const double* folded, double* own) const;

    int64_t distinct() const { return distinct_; }
    // Adds up what `parts` blocks of so many rows of sums have in each channel's columns, in a fixed order; the totals, one a
    // channel, take the place of the first block's.
    void fold(double* part, int parts, int count) const;
    // Rows of one number a channel become rows of one a column, in their place; the padding, up to a pair of vectors, goes on so.
    template <class T> void fill(T* base, int height) const {
        for (T* row = base; row != base + height * task_.pitch; row += task_.pitch) {
            for (int64_t c = distinct_; c-- > 0 && repeat_ > 1;) repeat_at(row + c * repeat_, row[c]);
            for (int64_t at = distinct_ * repeat_; at < task_.pitch; ++at) row[at] = row[at - distinct_ * repeat_];
        }
    }
    Channel channel(int64_t c) const { return channel_of(plan_, param_, c); }

private:
    // One channel's sums by segment.
    struct Line {
        double g[BEVEL_MAX_KNOTS + 1], x[BEVEL_MAX_KNOTS + 1], rise[BEVEL_MAX_KNOTS + 1];
    };

    template <class Sum> Line line_sums(const Channel& ch, Sum sum) const;
    double line_gradient(const double* weight, const Channel& ch, const Line& line) const;
    template <class Sum> void straight_gradients(const Channel& ch, const Linear& linear, Sum sum, double* own) const;
    template <class Sum> void bent_gradients(const Channel& ch, const Linear& linear, Sum sum, double* own) const;
    template <class T> void put_bends(const Channel& ch, T* base, int64_t pitch, int64_t c);
    static bool tails_drown(const Channel& ch);
    void set_flags(bool back, bool second);
    void set_geometry(const bevel_layout& layout, bool second);
    template <class T> void prepare();
    template <class T> void repeat_at(T* to, T value) const {  // four at once: one by one, this would be half of a forward pass
        const T four[4] = {value, value, value, value};
        int64_t i = 0;
        for (; i + 4 <= repeat_; i += 4) std::memcpy(to + i, four, sizeof four);
        for (; i < repeat_; ++i) to[i] = value;
    }

    const bevel_plan& plan_;
    const void* const* param_;
    Task task_{}, rest_{};
    int64_t elements_ = 0;
    int64_t distinct_ = 1;  // sets of coefficients
    int64_t repeat_ = 1;    // columns of each, one after the other, in a row
    std::unique_ptr<char[]> storage_;
    int64_t rest_row_ = 0;  // the row the rest starts at
};

}  // namespace bevel
