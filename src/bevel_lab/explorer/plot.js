// Drawing: one SVG panel with axes, curves and a bound.

const SVG = "http://www.w3.org/2000/svg";

function assign(drawn, attributes) {
  for (const [key, value] of Object.entries(attributes)) drawn.setAttribute(key, value);
}

function element(name, attributes, parent) {
  const made = document.createElementNS(SVG, name);
  assign(made, attributes);
  if (parent) parent.append(made);
  return made;
}

/** Round numbers that cut a range into about `count` parts. */
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= 0.75 * rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}

const tick = (value) => value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3
  ? value.toExponential(0).replace("e+", "e") : String(Number(value.toPrecision(4)));

/** The range of all curves, with some air; a flat one gets a range too. */
function rangeOf(curves) {
  let low = Infinity, high = -Infinity;
  for (const {ys} of curves) for (const y of ys) {
    if (y < low) low = y;
    if (y > high) high = y;
  }
  const air = 0.06 * (high - low) || Math.max(Math.abs(high), 1) * 0.1;
  return [low - air, high + air];
}

/** Draw a panel into its first group; returns the scales, for what is dragged in it. */
function drawPanel(svg, {curves, levels = [], from, to, words}) {
  const width = svg.clientWidth, height = svg.clientHeight, left = 52, bottom = 22, top = 6, right = 8;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", words);
  const plot = svg.firstElementChild;
  plot.replaceChildren();
  const flat = levels.map((level) => ({ys: [level.y]}));
  const [low, high] = rangeOf([...curves, ...flat]);
  const x = (value) => left + (value - from) / (to - from) * (width - left - right);
  const y = (value) => top + (high - value) / (high - low) * (height - top - bottom);
  const back = (pixel) => from + (pixel - left) / (width - left - right) * (to - from);
  const grid = element("g", {class: "grid"}, plot);
  for (const value of ticks(from, to, Math.max(3, width / 90))) {
    element("line", {x1: x(value), x2: x(value), y1: top, y2: height - bottom, class: value === 0 ? "zero" : ""}, grid);
    element("text", {x: x(value), y: height - 6, "text-anchor": "middle"}, grid).textContent = tick(value);
  }
  for (const value of ticks(low, high, Math.max(3, height / 45))) {
    element("line", {x1: left, x2: width - right, y1: y(value), y2: y(value), class: value === 0 ? "zero" : ""}, grid);
    element("text", {x: left - 6, y: y(value) + 4, "text-anchor": "end"}, grid).textContent = tick(value);
  }
  for (const {y: at, name} of levels) {
    element("line", {x1: left, x2: width - right, y1: y(at), y2: y(at), class: `bound ${name}`}, plot);
  }
  for (const {xs, ys, name} of curves) {
    const points = xs.map((value, i) => `${x(value).toFixed(2)},${y(ys[i]).toFixed(2)}`);
    element("path", {d: `M${points.join("L")}`, class: `curve ${name}`}, plot);
  }
  return {x, y, back};
}
