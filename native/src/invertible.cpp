// Whether a function's value tells where it was taken, to the accuracy that backward needs: then backward can be given y.
#include <cmath>
#include <vector>

#include "plan.h"

namespace bevel {

namespace {

// A slope that is this much smaller than the other one takes steps that inverse.h does not make.
constexpr double LEAST_RATIO = 1e-4;

// The Gaussian's forms at u, the knot at 0.
struct Point {
    double u, density, survival, excess;
};

const std::vector<Point>& points() {
    static const std::vector<Point> made = [] {
        std::vector<Point> all;
        for (int i = -7 * 32; i <= 7 * 32; ++i) {
            const double u = i / 32.0, v = std::fabs(u), survival = std::erfc(v * std::sqrt(0.5)) / 2;
            const double density = std::exp(-v * v / 2) * 0.39894228040143267794;
            all.push_back({u, density, survival, density - v * survival});
        }
        return all;
    }();
    return made;
}

// Where backward rounds the slope once, finding x from a rounded y adds |F·F''|/F' roundings to it. Two are what bevel allows
// itself. This also bounds F' from below, since F'' is zero only where F' is least; a convolution never comes near.
bool well_posed(const Channel& ch, bool multiplies_cdf, double larger) {
    const double left = ch.left, jump = ch.jump[0], c0 = ch.c0[0], c1 = ch.c1[0] * ch.w;
    if (!multiplies_cdf && c1 == 0 && jump >= 0 && 0 <= c0 && c0 <= left) return true;  // 0.39 at most: SAU's published form
    const double sign = left < 0 ? -1 : 1;
    for (const Point& p : points()) {
        const double u = p.u, side = u > 0 ? left + jump : left, below = u > 0 ? -p.survival : p.survival;
        const double weight = c0 + c1 * u, d = p.density;
        double value = side * u + weight * d, slope = side + jump * below + c1 * d - weight * u * d;
        double curvature = jump * d - weight * (1 - u * u) * d - 2 * c1 * u * d;
        if (multiplies_cdf) {
            value -= jump * std::fabs(u) * p.survival;
            slope += jump * u * d;
            curvature += jump * (1 - u * u) * d;
        } else {
            value += jump * p.excess;
        }
        if (!(std::fabs(value * curvature) <= larger * sign * slope)) return false;
    }
    return true;
}

bool tells(const bevel_plan& plan, const Channel& ch, int dtype) {
    const double left = ch.left, right = ch.left + ch.jump[0];
    const double larger = std::fmax(std::fabs(left), std::fabs(right)), smaller = std::fmin(std::fabs(left), std::fabs(right));
    if (!((left > 0) == (right > 0) && smaller >= bevel_least_slope(dtype) && smaller >= LEAST_RATIO * larger &&
          std::isfinite(larger) && std::isfinite(ch.n)))
        return false;
    const bool convolution = !plan.multiplies_cdf && ch.c0[0] == 0 && ch.c1[0] == 0;
    return convolution || (plan.kernel == BEVEL_GAUSSIAN && well_posed(ch, plan.multiplies_cdf != 0, larger));
}

}  // namespace

bool output_tells(const bevel_plan& plan, const bevel_layout& layout, const void* const* param) {
    if (plan.kernel == BEVEL_SHARP || plan.bends != 0 || plan.knots != 1 || used(plan, 1) || group_used(plan, KNOTS) || group_used(plan, STEPS))
        return false;
    int64_t distinct = 1;
    for (int p = 0; p < plan.params; ++p)
        if (plan.param_length[p] != 1) distinct = layout.channels;
    for (int64_t c = 0; c < distinct; ++c)
        if (!tells(plan, channel_of(plan, param, c), layout.dtype)) return false;
    return true;
}

}  // namespace bevel
