// The second pass: what differentiates the results of bevel_backward once more. Plain data only, as in task.h.
#pragma once

#include "task.h"

namespace bevel {

// Rows of the direction in which the coefficients move, one number a channel each: the cotangents of the parameters'
// gradients, taken to the coefficients. STRETCH is the relative change of n.
enum TurnRow : int { TURN_LOW = 0, TURN_HIGH, WIDTH, STRETCH, STRETCH_W, TURN_SEGMENTS };
enum TurnSegmentRow : int { TURN_SLOPE = 0, TURN_LEVEL, TURN_LEVEL_REST, PER_TURN_SEGMENT };
enum TurnKnotRow : int { TURN_KNOT = 0, TURN_JUMP, TURN_STEP, TURN_C0, TURN_C1, PER_TURN_KNOT };

static constexpr int turn_segment(int j) { return TURN_SEGMENTS + PER_TURN_SEGMENT * j; }
static constexpr int turn_knot(int knots, int i) { return turn_segment(knots + 1) + PER_TURN_KNOT * i; }
static constexpr int turn_rows(int knots) { return turn_knot(knots, knots); }

// Sums by segment, and by knot those of what a kernel adds to the derivative by each of the knot's coefficients and by n.
enum SecondSegmentSum : int { SECOND_G = 0, SECOND_GA, PER_SECOND_SEGMENT };
enum SecondKnotSum : int { BY_KNOT = 0, BY_JUMP, BY_STEP, BY_C0, BY_C1, BY_N, PER_SECOND_KNOT };

static constexpr int second_segment(int j) { return PER_SECOND_SEGMENT * j; }
static constexpr int second_knot(int knots, int i) { return second_segment(knots + 1) + PER_SECOND_KNOT * i; }
static constexpr int second_sums(int knots) { return second_knot(knots, knots); }

struct Second {
    const void *a;          // cotangent of dx; null: every_a in each element
    void *h, *dx;           // the results by g and by x; null: not wanted
    double every_g, every_a;
    const void* direction;  // float or double, [turn_rows][task.pitch]
    bool log_n, want_sums, needs_slope;
    bool by[PER_SECOND_KNOT];  // which of the knots' sums are wanted
};

}  // namespace bevel
