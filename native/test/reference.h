// The definition, written plainly in the type that is asked for, long double or double: slow, obvious, and sharing no code with
// the library.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "bevel_native.h"

namespace reference {

template <class Real> constexpr Real PI = 3.14159265358979323846264338327950288L;

template <class Real> struct Forms {
    Real density, survival, excess, moment, second;
};

// Points and weights of the double exponential rule, made once: with an emulator's long double they are most of the time.
template <class Real> struct Rule {
    std::vector<Real> at, rest, weight;
};

// Over s > 0, for a function that falls as an exponential does: good to 2e-17, as twice as many points say.
template <class Real> const Rule<Real>& half_line_rule() {
    static const Rule<Real> rule = [] {
        Rule<Real> r;
        for (int k = -64; k <= 64; ++k) {
            const Real t = k / 16.0L, s = std::exp(t - std::exp(-t));
            r.at.push_back(s), r.weight.push_back(s * (1 + std::exp(-t)) / 16);
        }
        return r;
    }();
    return rule;
}

template <class Real, class Function> Real integral(Function f) {
    const Rule<Real>& rule = half_line_rule<Real>();
    Real total = 0;
    for (size_t k = 0; k < rule.at.size(); ++k) total += f(rule.at[k]) * rule.weight[k];
    return total;
}

// On (0, 1), good to 1e-18 for the bump: `at` from the right end, `rest` from the left, without cancellation.
template <class Real> const Rule<Real>& unit_rule() {
    static const Rule<Real> rule = [] {
        Rule<Real> r;
        for (int k = -96; k <= 96; ++k) {
            const Real s = k / 24.0L, q = PI<Real> / 2 * std::sinh(s);
            r.at.push_back(1 / (1 + std::exp(2 * q))), r.rest.push_back(1 / (1 + std::exp(-2 * q)));
            r.weight.push_back(PI<Real> / 4 * std::cosh(s) / (std::cosh(q) * std::cosh(q)) / 24);
        }
        return r;
    }();
    return rule;
}

// By kernel, at v >= 0; the second tail integral, which takes time, where it is asked for.
template <class Real> Forms<Real> compute_forms(int kernel, Real v, bool second = false) {
    const Real z = 1 - v, y = 1 - v * v;
    Forms<Real> f = {0, 0, 0, 0, 0};
    if (kernel == BEVEL_SHARP || (kernel >= BEVEL_BOX && kernel != BEVEL_CAUCHY && kernel != BEVEL_GELU_TANH && z <= 0)) return f;
    switch (kernel) {
        case BEVEL_GAUSSIAN:
            f.density = std::exp(-v * v / 2) / std::sqrt(2 * PI<Real>);
            f.survival = std::erfc(v / std::sqrt(Real(2))) / 2;
            f.excess = f.density - v * f.survival;
            if (v > 2) {  // that difference cancels; Laplace's continued fraction, good to 1e-18 at this length, does not
                Real q = 0;
                for (int k = 20 + static_cast<int>(480 / (v * v)); k >= 1; --k) q = k / (v + q);
                f.excess = f.density * q / (v + q);
            }
            if (second) f.second = f.density * integral<Real>([v](Real s) { return s * s / 2 * std::exp(-s * (v + s / 2)); });
            break;
        case BEVEL_LOGISTIC:
            f.survival = 1 / (1 + std::exp(v));
            f.density = f.survival * (1 - f.survival);
            f.excess = std::log1p(std::exp(-v));
            if (second) f.second = integral<Real>([v](Real s) { return std::log1p(std::exp(-v - s)); });
            break;
        case BEVEL_LAPLACE: f.density = f.survival = f.excess = f.second = std::exp(-v) / 2; break;
        case BEVEL_STUDENT: {
            const Real h = std::sqrt(1 + v * v);
            f = {1 / (2 * h * h * h), 1 / (2 * h * (h + v)), 1 / (2 * (h + v)), 0, 0};
            break;
        }
        case BEVEL_BOX: f = {0.5L, z / 2, z * z / 4, 0, z * z * z / 12}; break;
        case BEVEL_TRIANGLE: f = {z, z * z / 2, z * z * z / 6, 0, z * z * z * z / 24}; break;
        case BEVEL_EPANECHNIKOV: f = {0.75 * y, z * z * (2 + v) / 4, z * z * z * (3 + v) / 16, 0, z * z * z * z * (4 + v) / 80}; break;
        case BEVEL_BIWEIGHT:
        case BEVEL_TABULATED:  // the table of the tests is a biweight
            f = {15 * y * y / 16, z * z * z * (8 + 9 * v + 3 * v * v) / 16, z * z * z * z * (5 + 4 * v + v * v) / 32, 0,
                 z * z * z * z * z * (8 + 5 * v + v * v) / 224};
            break;
        case BEVEL_TRIWEIGHT:
            f.density = 35 * y * y * y / 32;
            f.survival = z * z * z * z * (16 + v * (29 + v * (20 + 5 * v))) / 32;
            f.excess = z * z * z * z * z * (35 + v * (47 + v * (25 + 5 * v))) / 256;
            f.second = z * z * z * z * z * z * (64 + v * (69 + v * (30 + 5 * v))) / 2304;
            break;
        case BEVEL_COSINE: {  // in powers of the distance from the edge, where the closed forms cancel
            f.density = std::sin(PI<Real> * z / 2) * std::sin(PI<Real> * z / 2);
            Real term = z / 2;  // (-1)^k (πz)^(2k) z / (2 (2k+1)!)
            for (int k = 1; k < 20; ++k) {
                term *= -PI<Real> * PI<Real> * z * z / ((2 * k) * (2 * k + 1));
                f.survival -= term;
                f.excess -= term * z / (2 * k + 2);
                f.second -= term * z * z / ((2 * k + 2) * (2 * k + 3));
            }
            break;
        }
        case BEVEL_BUMP: {  // integrated from v to 1
            const Real scale = 2.252283621043581010500L;  // 1/∫ e^(-1/(1-u²)) du over (-1, 1)
            const auto density = [scale](Real d) { return scale * std::exp(-1 / (d * (2 - d))); };  // d = 1 - x
            const Rule<Real>& rule = unit_rule<Real>();
            f.density = density(z);
            for (size_t k = 0; k < rule.at.size(); ++k) {
                const Real part = density(z * rule.at[k]) * z * rule.weight[k], away = z * rule.rest[k];
                f.survival += part;
                f.excess += part * away;
                f.second += part * away * away / 2;
            }
            break;
        }
        case BEVEL_GELU_TANH: {
            const Real c = 2 * std::sqrt(2 / PI<Real>), k = 0.044715L, rate = c * (1 + 3 * k * v * v);
            const auto survival = [c, k](Real at) { return 1 / (1 + std::exp(c * at * (1 + k * at * at))); };
            f.survival = survival(v);
            f.density = rate * f.survival * (1 - f.survival);
            const Rule<Real>& rule = half_line_rule<Real>();
            for (size_t i = 0; i < rule.at.size(); ++i) {
                const Real away = rule.at[i] / rate, part = survival(v + away) / rate * rule.weight[i];
                f.excess += part;
                f.second += part * away;
            }
            break;
        }
        case BEVEL_CAUCHY: return {1 / (PI<Real> * (1 + v * v)), std::atan2(Real(1), v) / PI<Real>, 0, 0, 0};
        default: break;
    }
    f.moment = f.excess + v * f.survival;
    return f;
}

// The same, with a memory of some points: the definition's differences, which move one slot after the other, ask for most of
// them again and again, and a function with bends for all of them twice.
template <class Real> const Forms<Real>& forms(int kernel, Real v, bool second = false) {
    struct Known {
        int kernel = -1;
        bool second = false;
        Real v = 0;
        Forms<Real> forms{};
    };
    static std::array<Known, 256> memory;
    const double rounded = static_cast<double>(v);
    uint64_t bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    Known& known = memory[bits * 0x9E3779B97F4A7C15u >> 56];  // a place that depends on all of its bits
    if (known.kernel != kernel || known.second != second || known.v != v) known = {kernel, second, v, compute_forms(kernel, v, second)};
    return known.forms;
}

// ½ of the kernel's variance, computed once.
template <class Real> Real half_variance(int kernel) {
    static std::map<int, Real> known;
    const auto found = known.find(kernel);
    return found != known.end() ? found->second : known[kernel] = 2 * compute_forms<Real>(kernel, 0, true).second;
}

// Value, slope and derivative by every slot (n itself, not log n) at one x; `size` is the sum of all terms' magnitudes,
// against which rounding is judged.
template <class Real> struct Point {
    static constexpr int most_slots = 4 + 6 * BEVEL_MAX_KNOTS;
    Real value = 0, slope = 0, size = 0, slope_size = 0;
    std::array<Real, most_slots> by_slot{}, by_slot_size{};
};

// What bends add. The library measures from the knot on the left, so that rounding counts against the distance to the furthest.
template <class Real> void add_bends(Point<Real>& p, int kernel, int knots, const std::vector<Real>& slot, Real x) {
    const int n_slot = 2 + 5 * knots;
    const Real n = slot[n_slot], w = 1 / n, lift = half_variance<Real>(kernel) * w * w;
    Real reach = std::fabs(x);
    for (int i = 0; i < knots; ++i) reach = std::fmax(reach, std::fabs(x) + std::fabs(slot[2 + i]));
    const auto parabola = [&](Real bend, Real d, int to) {  // ½·d² and what stays of it
        p.value += bend * (d * d / 2 + lift);
        p.size += std::fabs(bend) * (reach * reach + lift);
        p.slope += bend * d;
        p.slope_size += std::fabs(bend) * reach;
        p.by_slot[to] += d * d / 2 + lift;
        p.by_slot_size[to] += reach * reach + lift;
        p.by_slot[n_slot] -= 2 * bend * lift * w;
        p.by_slot_size[n_slot] += 2 * std::fabs(bend) * lift * w;
    };
    parabola(slot[n_slot + 1], x, n_slot + 1);
    for (int i = 0; i < knots; ++i) {
        const Real bend = slot[n_slot + 2 + i], d = x - slot[2 + i], v = std::fabs(d * n);
        const bool right = d > 0;
        const Forms<Real>& f = forms(kernel, v, true);
        if (right) parabola(bend, d, n_slot + 2 + i);
        const Real sign = right ? -1 : 1, part = w * w * f.second, slope = (right ? d : 0) + w * f.excess;
        const Real dn = w * w * w * (2 * f.second + v * f.excess), more = kernel == BEVEL_TABULATED ? 2 * w * w : 0;
        p.value += sign * bend * part;
        p.size += std::fabs(bend) * (part + more);
        p.slope += bend * w * f.excess;
        p.slope_size += std::fabs(bend) * (w * f.excess + more);
        p.by_slot[2 + i] -= bend * slope;
        p.by_slot_size[2 + i] += std::fabs(bend) * (reach + w * f.excess + more);
        p.by_slot[n_slot + 2 + i] += sign * part;
        p.by_slot_size[n_slot + 2 + i] += part + more;
        p.by_slot[n_slot] -= sign * bend * dn;
        p.by_slot_size[n_slot] += std::fabs(bend) * (dn + more * w);
    }
    for (int s = 0; s < 2 + 2 * knots; ++s) p.by_slot_size[s] += reach;  // the line's, also measured from a knot
    p.size += reach * std::fabs(slot[0]);
    for (int i = 0; i < knots; ++i) p.size += reach * std::fabs(slot[2 + knots + i]);
}

// A function with bends has slots for them behind n.
template <class Real> Point<Real> at(int kernel, bool multiplies_cdf, int knots, const std::vector<Real>& slot, Real x) {
    Point<Real> p;
    const bool bends = static_cast<int>(slot.size()) == 4 + 6 * knots;
    const auto add = [](Real& to, Real& size, Real term) {
        to += term;
        size += std::fabs(term);
    };
    const auto partial = [&](int s, Real term) { add(p.by_slot[s], p.by_slot_size[s], term); };
    const Real n = slot[2 + 5 * knots], w = 1 / n;
    add(p.value, p.size, slot[0] * x);
    add(p.value, p.size, slot[1]);
    add(p.slope, p.slope_size, slot[0]);
    partial(0, x);
    partial(1, 1);
    for (int i = 0; i < knots; ++i) {
        const Real knot = slot[2 + i], jump = slot[2 + knots + i], step = slot[2 + 2 * knots + i];
        const Real c0 = slot[2 + 3 * knots + i], c1 = slot[2 + 4 * knots + i];
        const bool right = x > knot;
        const Real u = (x - knot) * n, v = std::fabs(u), extra = c0 + c1 * x;
        const Forms<Real>& f = forms(kernel, v, bends);
        const Real lag = multiplies_cdf ? -v * f.survival : f.excess, below = right ? -f.survival : f.survival;
        const Real cdf = (right ? 1 : 0) + below;
        if (right) add(p.value, p.size, jump * x);
        if (right) add(p.value, p.size, -jump * knot);
        if (right) add(p.value, p.size, step);
        add(p.value, p.size, jump * w * lag);
        add(p.value, p.size, step * below);
        add(p.value, p.size, c0 * w * f.moment);
        add(p.value, p.size, c1 * x * w * f.moment);
        if (right) add(p.slope, p.slope_size, jump);
        add(p.slope, p.slope_size, jump * below);
        if (multiplies_cdf) add(p.slope, p.slope_size, jump * u * f.density);
        add(p.slope, p.slope_size, step * f.density * n);
        add(p.slope, p.slope_size, c1 * w * f.moment);
        add(p.slope, p.slope_size, -c0 * u * f.density);
        add(p.slope, p.slope_size, -c1 * x * u * f.density);
        partial(2 + i, -jump * cdf);
        if (multiplies_cdf) partial(2 + i, -jump * u * f.density);
        partial(2 + i, -step * f.density * n);
        partial(2 + i, c0 * u * f.density);
        partial(2 + i, c1 * x * u * f.density);
        if (right) partial(2 + knots + i, x - knot);
        partial(2 + knots + i, w * lag);
        partial(2 + 2 * knots + i, cdf);
        partial(2 + 3 * knots + i, w * f.moment);
        partial(2 + 4 * knots + i, x * w * f.moment);
        const int s = 2 + 5 * knots;
        if (kernel == BEVEL_TABULATED && v < 1) {  // a table is as good as its largest entry, not as the one looked up
            const Real more = std::fabs(jump) + std::fabs(extra), top = 2;
            p.size += top * (w * more + std::fabs(step));
            p.slope_size += top * (more + std::fabs(c1) * w + std::fabs(step) * n);
            for (int group = 0; group < 5; ++group) p.by_slot_size[2 + group * knots + i] += top * (group == 2 ? 1 : w * (1 + std::fabs(x)));
            p.by_slot_size[2 + i] += top * (more + std::fabs(step) * n);
            p.by_slot_size[s] += top * w * w * (more + std::fabs(step) * n);
        }
        partial(s, -w * w * jump * (multiplies_cdf ? -u * u * f.density : f.moment));
        partial(s, w * w * step * u * f.density * n);
        partial(s, -w * w * extra * f.moment);
        partial(s, -w * w * extra * u * u * f.density);
    }
    if (bends) add_bends(p, kernel, knots, slot, x);
    return p;
}

}  // namespace reference
