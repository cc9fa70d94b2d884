// Numbers as people read them; the same as units.py, which says the rules.
const SCALES = {
  s: [[1e-9, "ns"], [1e-6, "µs"], [1e-3, "ms"], [1, "s"], [60, "min"], [3600, "h"]],
  J: [[1e-12, "pJ"], [1e-9, "nJ"], [1e-6, "µJ"], [1e-3, "mJ"], [1, "J"], [1e3, "kJ"]],
  B: [[1, "B"], [2 ** 10, "KiB"], [2 ** 20, "MiB"], [2 ** 30, "GiB"], [2 ** 40, "TiB"]],
  count: [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"]],
  fraction: [[0.01, "%"]],
};
const exponent = size => size ? Number(size.toExponential(2).split("e")[1]) : 0;
const within = (low, x, high) => Math.max(low, Math.min(x, high));

function decimalsOf(sd) {
  if (!(sd > 0 && Number.isFinite(sd))) return 2;
  const e = exponent(sd);
  return -e + (sd / 10 ** e < 2 ? 1 : 0);
}

function scaleOf(value, unit) {
  const scales = SCALES[unit] || [[1, unit]];
  const rounded = Math.abs(Number(value.toExponential(2)));
  if (rounded === 0) return scales.find(s => s[0] === 1) || scales[0];
  let chosen = scales[0];
  for (const scale of scales.slice(1)) {
    const least = scale[1] === "min" || scale[1] === "h" ? 2 : 1;
    if (rounded >= scale[0] * least * (1 - 1e-12)) chosen = scale;
  }
  return chosen;
}

function written(value, sd = 0) {
  const size = Math.abs(value);
  if (size && !sd && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("e+", "e");
  const decimals = within(0, sd > 0 ? decimalsOf(sd) : 2 - exponent(size), 6);
  if (sd <= 0 && decimals && Math.abs(value - Math.round(value)) < 1e-9 * Math.max(1, size)) return value.toFixed(0);
  return value.toFixed(decimals);
}

function show(value, unit = "", sd = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const [scale, name] = scaleOf(value, unit);
  const spread = sd > 0 && Number.isFinite(sd) ? ` ± ${(sd / scale).toFixed(within(0, decimalsOf(sd / scale), 6))}` : "";
  return written(value / scale, sd / scale) + (name ? ` ${name}` : "") + spread;
}

function between(low, high, unit = "") {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return "–";
  const [scale, name] = scaleOf(high, unit);
  if (low > 0 && low < 0.1 * scale && scaleOf(low, unit)[0] < scale) return `${show(low, unit)} – ${show(high, unit)}`;
  return `${written(low / scale)}–${written(high / scale)}` + (name ? ` ${name}` : "");
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 59.95) return seconds < 1 ? show(seconds, "s") : `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), two = n => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole % 3600 / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${two(Math.floor(whole % 86400 / 3600))} h`;
}
const count = n => n.toLocaleString("en");
const plural = (n, word, words = word + "s") => `${count(n)} ${n === 1 ? word : words}`;
