// The page's data, elements, scales and axes.
const D = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const g = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const put = (place, ...children) => { place.replaceChildren(...children.flat(3).filter(c => c !== null && c !== undefined && c !== false)); return place; };
const round1 = x => Math.round(x * 10) / 10;

function niceStep(span, wanted, whole) {
  const raw = span / Math.max(1, wanted), base = 10 ** Math.floor(Math.log10(raw));
  const step = base * (whole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).find(m => m * base >= raw * 0.999);
  return whole ? Math.max(1, step) : step;
}

// A scale from values to pixels; `unit` makes round ticks in the unit that is shown.
function scaleFor(low, high, from, to, { log = false, unit = "", whole = false } = {}) {
  if (!(high > low)) { const pad = Math.abs(low) * 0.1 || 1; high = low + pad; low = log && low - pad <= 0 ? low / 2 : low - pad; }
  const f = log ? Math.log10 : x => x;
  const a = f(low), b = f(high);
  const scale = x => from + (f(Math.max(x, log ? low * 1e-3 : x)) - a) / (b - a) * (to - from);
  scale.invert = pixel => { const x = a + (pixel - from) / (to - from) * (b - a); return log ? 10 ** x : x; };
  scale.low = low; scale.high = high;
  scale.ticks = wanted => {
    const factor = scaleOf(Math.max(Math.abs(low), Math.abs(high)), unit)[0];
    if (log) {
      const ticks = [], decades = Math.log10(high / low);
      const factors = decades > 4 ? [1] : decades > 2 ? [1, 3] : decades > 0.9 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 8];
      for (let e = Math.floor(Math.log10(low)) - 1; e <= Math.ceil(Math.log10(high)); e++)
        for (const m of factors) { const t = m * 10 ** e; if (t >= low * 0.9999 && t <= high * 1.0001) ticks.push(t); }
      const every = Math.ceil(ticks.length / Math.max(2, wanted + 1));
      return ticks.filter((_, i) => i % every === 0);
    }
    const step = niceStep((high - low) / factor, wanted, whole), ticks = [];
    for (let k = Math.ceil(low / factor / step - 1e-9); k * step <= high / factor + 1e-9; k++) ticks.push(k * step * factor);
    return ticks;
  };
  return scale;
}
const tickText = (value, unit) => Math.abs(value) < 1e-14 ? "0" : show(value, unit).replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");

function axes(x, y, { width, height, left, right, top, bottom, xUnit, yUnit, xName, yName }) {
  const parts = [];
  for (const t of y.ticks(Math.max(4, Math.floor(height / 60)))) {
    const at = round1(y(t));
    parts.push(g("g", { class: "tick" }, g("line", { x1: left, x2: width - right, y1: at, y2: at }), g("text", { x: left - 7, y: at + 4, "text-anchor": "end" }, tickText(t, yUnit))));
  }
  for (const t of x.ticks(Math.max(3, Math.floor(width / 95)))) {
    const at = round1(x(t));
    parts.push(g("g", { class: "tick" }, g("line", { x1: at, x2: at, y1: top, y2: height - bottom }), g("text", { x: at, y: height - bottom + 17, "text-anchor": "middle" }, tickText(t, xUnit))));
  }
  parts.push(g("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }), g("line", { class: "axis", x1: left, x2: left, y1: top, y2: height - bottom }));
  if (xName) parts.push(g("text", { x: width - right, y: height - 6, "text-anchor": "end", class: "goal-name" }, xName));
  if (yName) parts.push(g("text", { x: 4, y: 13, class: "goal-name" }, yName));
  return parts;
}
const percent = share => share >= 0.0995 ? `${(share * 100).toFixed(0)} %` : `${Number((share * 100).toPrecision(2))} %`;
const firm = text => text.replaceAll(" ", "\u00a0");

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null && Number.isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
  return low <= high ? [low, high] : [0, 1];
}
function wide(values) {
  const known = values.filter(v => v !== null);
  const [low, high] = extent(known);
  return low > 0 && high / low > 10;
}

// Draws again when the place becomes wider or narrower, and not otherwise.
function drawInto(place, draw) {
  let last = 0;
  const again = force => {
    const width = Math.floor(place.clientWidth);
    if (width > 0 && (force || Math.abs(width - last) > 1)) { last = width; draw(width); }
  };
  new ResizeObserver(() => requestAnimationFrame(() => again(false))).observe(place);
  again(true);
  return () => again(true);
}

function select(label, options, value, changed) {
  const list = h("select", { onchange: () => changed(list.value) }, options.map(([key, text]) => h("option", { value: key, selected: String(key) === String(value) }, text)));
  return h("label", {}, label, list);
}
function checkbox(label, value, changed, more = {}) {
  const box = h("input", { type: "checkbox", onchange: () => changed(box.checked), ...more });
  box.checked = value;
  return h("label", {}, box, label);
}

// Settings in words, as a list of pairs.
const settingWords = (key, value) => {
  if (value === null || value === "") return "–";
  if (key === "memory" && typeof value === "number") return show(value, "B");
  if (Array.isArray(value)) return !value.length ? "none" : key === "command" ? h("code", {}, value.join(" ")) : value.every(v => typeof v !== "object") ? value.join(", ") : h("code", {}, JSON.stringify(value));
  if (typeof value === "object") return Object.values(value).some(v => v !== null && typeof v === "object") ? pairs(value) : Object.entries(value).map(([k, v]) => `${k.replaceAll("_", " ")} ${v ?? "–"}`).join(", ");
  return String(value);
};
const pairs = data => h("dl", { class: "pairs" }, Object.entries(data).map(([key, value]) => [h("dt", {}, key.replaceAll("_", " ")), h("dd", {}, settingWords(key, value))]));
