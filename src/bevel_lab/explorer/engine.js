"use strict";
// The engine's sum, as bevel/formulas.py has it: the kinked line plus deviations that decay away from the knots.
// Kernels are tables of their forms on v >= 0, between whose nodes values and derivatives are interpolated.

function quintic(t, h, f0, d0, s0, f1, d1, s1) {
  const t2 = t * t, t3 = t2 * t, t4 = t3 * t, t5 = t4 * t;
  return f0 * (1 - 10 * t3 + 15 * t4 - 6 * t5) + f1 * (10 * t3 - 15 * t4 + 6 * t5)
    + h * (d0 * (t - 6 * t3 + 8 * t4 - 3 * t5) + d1 * (-4 * t3 + 7 * t4 - 3 * t5))
    + h * h * (s0 * (t2 - 3 * t3 + 3 * t4 - t5) + s1 * (t3 - 2 * t4 + t5)) / 2;
}

const NOTHING = {excess: 0, survival: 0, density: 0, slope: 0};

/** The forms of a kernel at v >= 0; the slope is that of the density. */
function formsAt(k, v) {
  const last = k.v.length - 1;
  if (!(v < k.v[last])) return NOTHING;
  let low = 0, high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (k.v[middle] <= v) low = middle; else high = middle;
  }
  const h = k.v[high] - k.v[low], t = (v - k.v[low]) / h, a = low, b = high;
  return {
    excess: quintic(t, h, k.excess[a], -k.survival[a], k.density[a], k.excess[b], -k.survival[b], k.density[b]),
    survival: quintic(t, h, k.survival[a], -k.density[a], -k.slope[a], k.survival[b], -k.density[b], -k.slope[b]),
    density: quintic(t, h, k.density[a], k.slope[a], k.bend[a], k.density[b], k.slope[b], k.bend[b]),
    slope: quintic(t, h, k.slope[a], k.bend[a], k.third[a], k.slope[b], k.bend[b], k.third[b]),
  };
}

/** Value, slope, curvature and the kinked value of one smoothed function at x. */
function evaluateAt(terms, kernel, n, x) {
  const w = 1 / n;
  let lineSlope = terms.left, intercept = terms.offset, value = 0, slope = 0, curvature = 0;
  terms.knots.forEach((knot, i) => {
    const jump = terms.jumps[i], step = terms.steps[i], c1 = terms.c1[i], weight = terms.c0[i] + c1 * x;
    const right = x > knot, sign = right ? 1 : -1, distance = Math.abs(x - knot), v = distance * n;
    if (right) { lineSlope += jump; intercept += step - jump * knot; }
    const {excess, survival, density, slope: dp} = formsAt(kernel, v);
    const below = -sign * survival, moment = excess + v * survival;
    if (terms.multipliesCdf) {
      value -= jump * distance * survival;
      slope += jump * (below + sign * v * density);
      curvature += jump * n * (2 * density + v * dp);
    } else {
      value += jump * w * excess;
      slope += jump * below;
      curvature += jump * n * density;
    }
    value += step * below + weight * w * moment;
    slope += step * n * density + c1 * w * moment - weight * sign * v * density;
    curvature += step * n * n * sign * dp - 2 * c1 * sign * v * density - weight * n * (density + v * dp);
  });
  const kinked = lineSlope * x + intercept;
  return {value: kinked + value, slope: lineSlope + slope, curvature, kinked, error: value};
}

/** How far the smoothed function is from the kinked one at most (bevel/_bound.py); null where no bound is known. */
function boundOf(terms, kernel, n) {
  const w = 1 / n, gap = kernel.excess[0];
  let total = 0;
  for (let i = 0; i < terms.knots.length; i++) {
    const c1 = terms.c1[i];
    const lag = terms.multipliesCdf ? -terms.jumps[i] * kernel.lag : terms.jumps[i] * gap;
    const rest = (terms.c0[i] + c1 * terms.knots[i]) * gap;
    const up = Math.max(lag, 0) + Math.max(rest, 0), down = Math.min(lag, 0) + Math.min(rest, 0);
    total += Math.abs(terms.steps[i]) / 2 + w * Math.max(up, -down);
    if (c1 !== 0) {
      if (kernel.moment === null) return null;
      total += w * w * Math.abs(c1) * kernel.moment;
    }
  }
  return total;
}
