// A setting: a kinked function with its numbers, a form, a kernel and n. It is what a link holds.

const GROUPS = ["knots", "jumps", "steps"];
const short = (x) => String(Number(x.toPrecision(7)));

/** Coefficients from a row of Python's tables: base + sum of parameter times direction. */
function termsOf(row, values) {
  const flat = row.base.map((b, i) => b + values.reduce((sum, value, j) => sum + value * row.directions[j][i], 0));
  const k = row.knots, group = (i) => flat.slice(2 + i * k, 2 + (i + 1) * k);
  return {left: flat[0], offset: flat[1], knots: group(0), jumps: group(1), steps: group(2), c0: group(3), c1: group(4),
    multipliesCdf: Boolean(row.multipliesCdf)};
}

function resolve(setting) {
  if (setting.f === "custom") {
    const none = setting.custom.knots.map(() => 0);
    return {...setting.custom, c0: none, c1: none, multipliesCdf: false};
  }
  const form = hasForms(setting) ? setting.form : "exact";
  return termsOf(form === "exact" ? TABLES.functions[setting.f] : TABLES.forms[form], setting.values);
}

/** SAU's forms are of Leaky ReLU and the Gaussian. */
const hasForms = (setting) => setting.f === "leaky_relu" && setting.kernel === "gaussian";

/** A kernel without a first moment smooths steps only. */
const allows = (terms, kernel) => TABLES.kernels[kernel].hasMoment || terms.jumps.every((jump) => jump === 0);

function named(setting) {
  const row = TABLES.functions[setting.f];
  const asDefault = setting.values.every((value, i) => value === row.defaults[i]);
  return asDefault ? setting.f : `${setting.f}(${setting.values.map(short).join(",")})`;
}

function specOf(setting) {
  if (setting.f === "custom") return "";
  if (hasForms(setting) && setting.form !== "exact") {
    return `sau:alpha=${short(setting.values[0])},form=${setting.form},n=${short(setting.n)}`;
  }
  return `mollified:f=${named(setting)},kernel=${setting.kernel},n=${short(setting.n)}`;
}

function pythonOf(setting) {
  if (hasForms(setting) && setting.form !== "exact") {
    return `bevel.SAU(alpha=${short(setting.values[0])}, n=${short(setting.n)}, form="${setting.form}")`;
  }
  const list = (values) => `[${values.map(short).join(", ")}]`;
  const c = setting.custom;
  const f = setting.f !== "custom" ? `"${named(setting)}"` : "bevel.PiecewiseLinear("
    + `left=${short(c.left)}, offset=${short(c.offset)}, ${GROUPS.map((g) => `${g}=${list(c[g])}`).join(", ")})`;
  return `bevel.mollify(${f}, "${setting.kernel}", n=${short(setting.n)})`;
}

/** The text of a link for one setting; `prefix` keeps two of them apart. */
function toText(setting, prefix) {
  const fields = [["f", setting.f === "custom" ? "custom" : `${setting.f}(${setting.values.map(short).join(",")})`]];
  if (setting.f === "custom") {
    for (const name of ["left", "offset"]) fields.push([name, short(setting.custom[name])]);
    for (const name of GROUPS) fields.push([name, setting.custom[name].map(short).join(",")]);
  }
  fields.push(["form", setting.form], ["kernel", setting.kernel], ["n", short(setting.n)]);
  return fields.map(([name, value]) => `${prefix}${name}=${value}`).join("&");
}

const numbersIn = (text) => (text || "").split(",").filter((part) => part.trim() !== "").map(Number);

/** Read a setting out of a link; null if the link has none, or one that cannot be. */
function fromText(text, prefix) {
  const given = new URLSearchParams(text), get = (name) => given.get(prefix + name);
  if (get("f") === null) return null;
  const [, f, , inner] = /^(\w+)(\((.*)\))?$/.exec(get("f").trim()) || [];
  const setting = {f, values: [], form: get("form") || "exact", kernel: get("kernel") || "gaussian",
    n: Number(get("n") || 1), custom: null};
  if (f === "custom") {
    setting.custom = {left: Number(get("left")), offset: Number(get("offset"))};
    for (const name of GROUPS) setting.custom[name] = numbersIn(get(name));
    const {knots} = setting.custom;
    if (GROUPS.some((name) => setting.custom[name].length !== knots.length)) return null;
    if (knots.some((knot, i) => i > 0 && !(knot > knots[i - 1]))) return null;
  } else {
    const row = TABLES.functions[f];
    if (!row) return null;
    setting.values = [...row.defaults];
    (inner || "").split(",").filter(Boolean).forEach((part, i) => {
      const [value, name] = part.split("=").reverse();
      const place = name === undefined ? i : row.parameters.indexOf(name.trim());
      if (place in setting.values) setting.values[place] = Number(value);
    });
  }
  if (!(setting.kernel in TABLES.kernels) || !(setting.form in TABLES.forms)) return null;
  const terms = resolve(setting);
  const numbers = [setting.n, terms.left, terms.offset, ...terms.knots, ...terms.jumps, ...terms.steps];
  return numbers.every(Number.isFinite) && setting.n > 0 && allows(terms, setting.kernel) ? setting : null;
}
