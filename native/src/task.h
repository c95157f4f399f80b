// What the instruction-set independent part of the library hands to the compiled engines. Plain data only: engines are
// compiled with different flags, and a shared inline function would let the linker pick the wrong one's copy.
#pragma once

#include <cstdint>

#include "bevel_native.h"

namespace bevel {

// From v = reach on a kernel's forms are taken as zero: compact kernels are; exp(-v) and exp(-v²/2) would leave the normal
// numbers (the Gaussian in float stops at 12.5, where its density is 5e-35, to spare a degree of its polynomials).
static constexpr double reach_of(int kernel, bool single) {
    switch (kernel) {
        case BEVEL_SHARP: return 0;
        case BEVEL_GAUSSIAN: return single ? 12.5 : 37.6;
        case BEVEL_LOGISTIC:
        case BEVEL_LAPLACE: return single ? 87.3 : 708;
        case BEVEL_STUDENT:
        case BEVEL_CAUCHY: return __builtin_huge_val();
        case BEVEL_GELU_TANH: return single ? 9.999 : 21.14;  // where h is 87.3 and 708
        case BEVEL_BUMP: return single ? 1 - 0.5 / 87.3 : 1 - 0.5 / 708;  // its exponent there
        default: return 1;
    }
}

// For task.bulk: survival is 4e-11 there, and what adds to the slope, v·density, 2e-9.
constexpr double BULK_REACH = 6.5;

// Rows of the prepared coefficients, one number a channel each. RADIUS is reach/n: nearer to a knot the kernel acts. Segment
// j lies between knots j-1 and j, sorted.
enum Row : int { LOW = 0, HIGH, N, N_REST, RADIUS, SEGMENTS };
enum SegmentRow : int { SLOPE = 0, LEVEL, LEVEL_REST, PER_SEGMENT };
enum KnotRow : int { KNOT = 0, KNOT_REST, LAG, JUMP, STEP, STEP_N, C0, C1, C0_W, C1_W, PER_KNOT };

static constexpr int segment_row(int j) { return SEGMENTS + PER_SEGMENT * j; }
static constexpr int knot_row(int knots, int i) { return SEGMENTS + PER_SEGMENT * (knots + 1) + PER_KNOT * i; }
static constexpr int rows(int knots) { return knot_row(knots, knots); }
constexpr int CURVE_ROWS = 25;  // behind those, for task.from_output: curve.h

// Sums that backward collects per channel, from which the gradient of every coefficient follows (gradient.cpp). Those of the
// line are kept by segment: a side that a parameter does not move must not enter its gradient, not even to be subtracted.
enum SegmentSum : int {
    G = 0,  // Σ g
    GX,     // Σ g·x
    RISE,   // Σ g·(x - knot), from the knot on the segment's left; the first has none
    PER_SEGMENT_SUMS
};
enum KnotSum : int {
    SUM_LAG = 0,  // Σ g·excess, or -Σ g·v·survival where it multiplies the cdf
    SUM_STEP,     // Σ g·(cdf - [x > knot])
    MOMENT,       // Σ g·moment
    X_MOMENT,     // Σ g·x·moment
    SHIFT,        // Σ g·Q,   Q = pdf·([multiplies_cdf] jump·u + step·n - (c0 + c1·x)·u)
    U_SHIFT,      // Σ g·u·Q
    PER_KNOT_SUMS
};
static constexpr int segment_sum(int j) { return PER_SEGMENT_SUMS * j; }
static constexpr int knot_sum(int knots, int i) { return segment_sum(knots + 1) + PER_KNOT_SUMS * i; }
static constexpr int sums(int knots) { return knot_sum(knots, knots); }

struct Tensor {
    void* data;
    int64_t stride[3];
};

struct Task {
    int dtype, kernel, knots;
    bool multiplies_cdf;
    bool centred;  // every knot is 0, and the levels are exact in working precision
    bool simple;   // centred, and every n is a power of two: u has no rounding error either
    bool flat;     // the function is constant on one of its ends, for some channel
    bool bulk;     // a Gaussian whose tails drown in the line, wherever they would be seen alone
    bool ramps, steps, moments, tilted;  // whether any jump, any step, any c0 or c1, any c1 is not zero
    bool needs_survival, needs_excess, needs_moment, needs_density, needs_second;
    bool bent;         // it has bends: bends.h
    bool from_output;  // x holds y; without g, y gets x
    bool want_dx, want_sums;
    bool want_all;  // sums beyond the first GX, RISE, SUM_LAG and MOMENT: those of offset, knots, steps, c1 or n

    // Either `outer·channels` runs of `inner` elements with one coefficient each (across == false), or `outer` rows of
    // `channels` adjacent elements, the columns, with one coefficient per element (across == true, inner == 1).
    bool across;
    int64_t outer, channels, inner;
    int64_t channel_period;  // 0: one coefficient for all; else the number of channels
    Tensor x, y, g, dx;

    const void* coefficients;  // float or double, [rows][pitch]
    int64_t pitch;
    int64_t sum_pitch;  // of the double sums, [sums][sum_pitch]

    const double* table;
    const float* table_single;
    int panels;
};

// BEVEL_GELU_TANH: excess and second over survival, as polynomials on panels of v/(v + 3), made at first use (table.cpp). In
// double [2][panel][power]; in float [2][power][panel], for lookup32.
constexpr int TANH_PANELS = 96, TANH_TERMS = 11, TANH_PANELS_SINGLE = 32, TANH_TERMS_SINGLE = 7;
struct TanhTables {
    double wide[2 * TANH_PANELS * TANH_TERMS];
    float single[2 * TANH_TERMS_SINGLE * TANH_PANELS_SINGLE];
};
const TanhTables& tanh_tables();

struct Second;  // second.h
struct Paired;  // paired.h

// One instruction set. Work is counted in tiles so that a range of them can be given to a thread.
struct Engine {
    const char* name;
    void (*put_curves)(const Task&);  // the rows behind the coefficients, for task.from_output
    int64_t (*tiles)(const Task&);
    void (*run)(const Task&, int64_t begin, int64_t end, double* sums);  // forward if task.g has no data
    int64_t (*second_tiles)(const Task&);
    void (*run_second)(const Task&, const Second&, int64_t begin, int64_t end, double* sums);
    int64_t (*pair_tiles)(const Task&);
    void (*run_pair)(const Task&, const Paired&, int64_t begin, int64_t end, double* sums);
};

}  // namespace bevel
