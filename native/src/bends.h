// What a function with bends has beside that of lines: more rows of coefficients and more sums. Plain data, as in task.h.
#pragma once

#include "second.h"

namespace bevel {

// SLOPE and LEVEL of a segment belong to its quadratic in d = x - ANCHOR, where ANCHOR is the knot on its left, 0 left of all.
enum BentSegmentRow : int { HALF_BEND = 0, ANCHOR, ANCHOR_REST, PER_BENT_SEGMENT };
enum BentKnotRow : int { BEND = 0, BEND_W, BEND_W2, PER_BENT_KNOT };

static constexpr int bent_segment_row(int knots, int j) { return rows(knots) + PER_BENT_SEGMENT * j; }
static constexpr int bent_knot_row(int knots, int i) { return bent_segment_row(knots, knots + 1) + PER_BENT_KNOT * i; }
static constexpr int bent_rows(int knots) { return bent_knot_row(knots, knots); }

// Backward: RISE of the first segment is there too, from 0, and GX is not.
enum BentKnotSum : int {
    SUM_SECOND = 0,  // Σ g·(x > knot ? -second : second)
    SUM_EXCESS,      // Σ g·excess
    SUM_U_EXCESS,    // -Σ g·u·excess
    PER_BENT_KNOT_SUMS
};
static constexpr int half_square_sum(int knots, int j) { return sums(knots) + j; }  // ½·Σ g·d²
static constexpr int bent_knot_sum(int knots, int i) { return half_square_sum(knots, knots + 1) + PER_BENT_KNOT_SUMS * i; }
static constexpr int bent_sums(int knots) { return bent_knot_sum(knots, knots); }

// The second pass: how bends move, and its sums.
static constexpr int turn_half_bend(int knots, int j) { return turn_rows(knots) + j; }
static constexpr int turn_bend(int knots, int i) { return turn_half_bend(knots, knots + 1) + i; }
static constexpr int bent_turn_rows(int knots) { return turn_bend(knots, knots); }

enum BentSecondSum : int { SECOND_GD = 0, SECOND_GAD, PER_BENT_SECOND_SEGMENT };
static constexpr int bent_second_segment(int knots, int j) { return second_sums(knots) + PER_BENT_SECOND_SEGMENT * j; }
static constexpr int by_bend(int knots, int i) { return bent_second_segment(knots, knots + 1) + i; }
static constexpr int bent_second_sums(int knots) { return by_bend(knots, knots); }

}  // namespace bevel
