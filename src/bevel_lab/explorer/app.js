// Controls, panels and links.

const TABLES = JSON.parse(document.getElementById("tables").textContent);
const byId = (id) => document.getElementById(id);
const PANELS = ["value", "slope", "curvature", "kernel", "error"];
const TITLES = {value: "value", slope: "slope", curvature: "curvature", kernel: "kernel, n·φ(nx)", error: "error and bound"};
const app = {a: null, b: null, active: "a", reach: 4, middle: 0, drag: null, drawn: {}};

/** Where curves are drawn: evenly, and densely about every knot, or a sharp bend would be missed. */
function samples(terms, n, from, to) {
  const xs = [];
  for (let i = 0; i <= 400; i++) xs.push(from + (to - from) * i / 400);
  for (const knot of terms.knots) for (let i = -60; i <= 60; i++) xs.push(knot + Math.sinh(i / 20) / 2 / n);
  return [...new Set(xs.filter((x) => x >= from && x <= to))].sort((p, q) => p - q);
}

function drawnOf(setting, from, to) {
  const terms = resolve(setting), kernel = TABLES.kernels[setting.kernel], xs = samples(terms, setting.n, from, to);
  const found = xs.map((x) => evaluateAt(terms, kernel, setting.n, x));
  const columns = {xs};
  for (const what of ["value", "slope", "curvature", "kinked", "error"]) columns[what] = found.map((row) => row[what]);
  const wide = kernel.v[kernel.v.length - 1] < 1.5 ? 1.5 : 4, us = samples({knots: [0]}, setting.n, -wide / setting.n, wide / setting.n);
  columns.kernelXs = us;
  columns.kernel = us.map((x) => setting.n * formsAt(kernel, Math.abs(x) * setting.n).density);
  return {...columns, terms, bound: boundOf(terms, kernel, setting.n)};
}

function draw() {
  const names = app.b ? ["a", "b"] : ["a"];
  const knots = names.flatMap((name) => resolve(app[name]).knots);
  if (!app.drag) app.middle = knots.length ? (Math.min(...knots) + Math.max(...knots)) / 2 : 0;  // or the handle would leave the pointer
  const from = app.middle - app.reach, to = app.middle + app.reach;
  app.drawn = Object.fromEntries(names.map((name) => [name, drawnOf(app[name], from, to)]));
  for (const what of PANELS) {
    const curves = [], levels = [];
    let [left, right] = [from, to];
    for (const name of names) {
      const d = app.drawn[name];
      if (what === "value") curves.push({xs: d.xs, ys: d.kinked, name: `kinked ${name}`});
      curves.push({xs: what === "kernel" ? d.kernelXs : d.xs, ys: d[what], name});
      if (what === "error" && d.bound !== null) levels.push({y: d.bound, name}, {y: -d.bound, name});
    }
    if (what === "kernel") {
      right = Math.max(...names.map((name) => app.drawn[name].kernelXs.at(-1)));
      left = -right;
    }
    const [low, high] = rangeOf(curves), words = `${TITLES[what]} from ${tick(low)} to ${tick(high)}`;
    const scales = drawPanel(byId(`panel-${what}`), {curves, levels, from: left, to: right, words});
    if (what === "value") drawKnots(scales);
  }
  say();
}

/** A handle stays the same element while it is drawn again: one that goes loses the pointer. */
function drawKnots({x, y, back}) {
  const layer = byId("knots"), {terms, xs, kinked} = app.drawn[app.active];
  app.back = back;
  if (layer.childElementCount !== terms.knots.length) {
    app.drag = null;
    layer.replaceChildren(...terms.knots.map((_, i) => handleOf(i)));
  }
  terms.knots.forEach((knot, i) => {
    const nearest = xs.reduce((best, value, j) => Math.abs(value - knot) < Math.abs(xs[best] - knot) ? j : best, 0);
    assign(layer.children[i], {cx: x(knot), cy: y(kinked[nearest]), class: `knot ${app.active}`, "aria-valuenow": short(knot)});
  });
}

function handleOf(i) {
  const handle = element("circle", {r: 9, tabindex: 0, role: "slider", "aria-label": `knot ${i + 1}`, "aria-orientation": "horizontal"});
  handle.addEventListener("keydown", (event) => {
    const way = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!way) return;
    event.preventDefault();
    moveKnot(i, resolve(app[app.active]).knots[i] + way * app.reach / (event.shiftKey ? 200 : 40));
  });
  // a touch would scroll the page, and end the drag: Chromium passes over touch-action on a shape
  handle.addEventListener("touchstart", (event) => event.preventDefault(), {passive: false});
  handle.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    if (app.drag) return;
    handle.setPointerCapture(event.pointerId);
    app.drag = {pointer: event.pointerId};
  });
  handle.addEventListener("pointermove", (event) => {
    if (app.drag?.pointer === event.pointerId) moveKnot(i, app.back(event.clientX - byId("panel-value").getBoundingClientRect().left));
  });
  handle.addEventListener("lostpointercapture", () => { app.drag = null; show(); });  // comes after pointerup and pointercancel
  return handle;
}

/** Move a knot between its neighbors, to a number as round as the view can tell. */
function moveKnot(i, to) {
  const setting = app[app.active], {left, offset, knots, jumps, steps} = resolve({...setting, form: "exact"});
  const least = app.reach / 1000, low = i > 0 ? knots[i - 1] + least : -Infinity, high = i + 1 < knots.length ? knots[i + 1] - least : Infinity;
  if (low > high) return;
  const grain = 10 ** Math.floor(Math.log10(least)), place = Math.round(Math.min(Math.max(to, low), high) / grain) * grain;
  knots[i] = Number(short(place));
  Object.assign(setting, {f: "custom", values: [], form: "exact", custom: {left, offset, knots, jumps, steps}});
  show();
}

/** What can be copied, the bound in words, and the address. */
function say() {
  const setting = app[app.active], d = app.drawn[app.active];
  const text = toText(app.a, "") + (app.b ? `&${toText(app.b, "b.")}` : "") + `&reach=${short(app.reach)}`;
  byId("spec").value = specOf(setting) || "none: a spec string names its function";
  byId("python").value = pythonOf(setting);
  byId("link").value = `${location.href.split("#")[0]}#${text}`;
  const worst = Math.max(...d.error.map(Math.abs));
  const bound = d.bound === null ? "no bound is known" : `at most ${d.bound.toPrecision(4)} (proven)`;
  byId("words").textContent = `From its kinked function: ${bound}; ${worst.toPrecision(4)} drawn.`;
  history.replaceState(null, "", `#${text}`);
}

function field(label, value, change, {min, max, step = "any"} = {}) {
  const made = document.createElement("label");
  made.append(label);
  for (const type of min === undefined ? ["number"] : ["range", "number"]) {
    const input = Object.assign(document.createElement("input"), {type, step: type === "range" ? step : "any"});
    if (type === "range") Object.assign(input, {min, max});
    input.value = type === "range" ? value : short(value);
    input.setAttribute("aria-label", type === "range" ? `${label}, slider` : label);
    input.addEventListener("input", () => {
      const number = Number(input.value);
      if (input.value === "" || !Number.isFinite(number)) return;
      for (const other of made.querySelectorAll("input")) if (other !== input) other.value = input.value;
      change(number);
      draw();
    });
    made.append(input);
  }
  return made;
}

function numbersOf(setting) {
  if (setting.f !== "custom") {
    const {parameters} = TABLES.functions[setting.f];
    return parameters.map((name, i) => field(name, setting.values[i], (value) => {
      const values = setting.values.with(i, value);
      if (ordered(termsOf(TABLES.functions[setting.f], values).knots)) setting.values = values;
    }, {min: -2, max: 2, step: 0.01}));
  }
  const made = ["left", "offset"].map((name) => field(name, setting.custom[name], (value) => { setting.custom[name] = value; }));
  for (const group of GROUPS) setting.custom[group].forEach((value, i) => made.push(field(`${group.slice(0, -1)} ${i + 1}`, value, (to) => {
    const values = setting.custom[group].with(i, to);
    if (group === "knots" ? ordered(values) : group === "steps" || allows({jumps: values}, setting.kernel)) setting.custom[group] = values;
  })));
  return made;
}

const ordered = (knots) => knots.every((knot, i) => i === 0 || knot > knots[i - 1]);

function choices(select, names, chosen, allowed = () => true) {
  select.replaceChildren(...names.map((name) => Object.assign(new Option(name, name, false, name === chosen), {disabled: !allowed(name)})));
}

/** Set every control to the active setting, and draw. */
function show() {
  const setting = app[app.active], terms = resolve(setting);
  choices(byId("function"), [...Object.keys(TABLES.functions), "custom"], setting.f);
  choices(byId("kernel"), Object.keys(TABLES.kernels), setting.kernel, (name) => allows(terms, name));
  choices(byId("form"), Object.keys(TABLES.forms), hasForms(setting) ? setting.form : "exact");
  byId("form").disabled = !hasForms(setting);
  byId("n").value = short(setting.n);
  byId("log-n").value = Math.log10(setting.n);
  byId("numbers").replaceChildren(...numbersOf(setting));
  byId("compare").checked = app.b !== null;
  byId("which").hidden = app.b === null;
  for (const name of ["a", "b"]) byId(`edit-${name}`).checked = app.active === name;
  draw();
}

function choose(f) {
  const setting = app[app.active];
  if (f === "custom") {
    const {left, offset, knots, jumps, steps} = resolve({...setting, form: "exact"});
    Object.assign(setting, {f, values: [], form: "exact", custom: {left, offset, knots, jumps, steps}});
  } else {
    Object.assign(setting, {f, values: [...TABLES.functions[f].defaults], custom: null, form: "exact"});
  }
  if (!allows(resolve(setting), setting.kernel)) setting.kernel = "gaussian";
  show();
}

function setN(n) {
  if (!(n > 0) || !Number.isFinite(n)) return;
  app[app.active].n = n;
  draw();
}

async function copy(button) {
  const input = byId(button.dataset.copy);
  input.select();
  try { await navigator.clipboard.writeText(input.value); } catch { document.execCommand("copy"); }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1200);
}

function zoom(factor) { app.reach = Math.min(Math.max(app.reach * factor, 1e-5), 1e3); draw(); }

function open(text) {
  app.a = fromText(text, "") || fromText(document.body.dataset.start, "") || fromText("f=leaky_relu(0.15)&n=2", "");
  app.b = fromText(text, "b.");
  app.active = "a";
  const reach = Number(new URLSearchParams(text).get("reach"));
  app.reach = reach > 0 && Number.isFinite(reach) ? reach : 4;
  show();
}

function begin() {
  for (const what of PANELS) {
    const figure = document.createElement("figure");
    figure.innerHTML = `<figcaption>${TITLES[what]}</figcaption><svg id="panel-${what}" role="${what === "value" ? "group" : "img"}"><g></g></svg>`;
    byId("panels").append(figure);
  }
  element("g", {id: "knots"}, byId("panel-value"));
  byId("function").addEventListener("change", (event) => choose(event.target.value));
  byId("kernel").addEventListener("change", (event) => { app[app.active].kernel = event.target.value; show(); });
  byId("form").addEventListener("change", (event) => { app[app.active].form = event.target.value; show(); });
  byId("n").addEventListener("input", (event) => { byId("log-n").value = Math.log10(event.target.value); setN(Number(event.target.value)); });
  byId("log-n").addEventListener("input", (event) => {
    const n = Number((10 ** Number(event.target.value)).toPrecision(3));
    byId("n").value = n;
    setN(n);
  });
  byId("compare").addEventListener("change", (event) => {
    app.b = event.target.checked ? {...structuredClone(app.a), n: app.a.n * 2} : null;
    app.active = app.b ? "b" : "a";
    show();
  });
  for (const name of ["a", "b"]) byId(`edit-${name}`).addEventListener("change", () => { app.active = name; show(); });
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
  byId("closer").addEventListener("click", () => zoom(0.5));
  byId("farther").addEventListener("click", () => zoom(2));
  window.addEventListener("hashchange", () => open(decodeURIComponent(location.hash.slice(1))));
  new ResizeObserver(draw).observe(byId("panels"));
  open(decodeURIComponent(location.hash.slice(1)));
}

begin();
