// A spiking network as a graph with its activity, and the raster of its spikes.

const roleOf = n => ["input", "hidden", "output"][n[2]];
const nameOf = n => n[1] || String(n[0]);
const words = values => Object.entries(values).map(([name, v]) => `${name.toLowerCase()} ${v}`).join(", ");

function drawSpiking(p, width, number) {
  const columns = new Map();
  p.neurons.forEach(n => columns.set(n[3], (columns.get(n[3]) || 0) + 1));
  const tallest = Math.max(1, ...columns.values()), r = tallest > 24 ? 6 : 9;
  const height = Math.min(900, Math.max(150, tallest * (2 * r + 9) + 30)), left = 44, right = 58;
  const x = n => left + n[3] * (width - left - right), y = n => 12 + n[4] * (height - 24);
  const most = Math.max(1, ...p.neurons.map(n => n[5]));
  const strongest = Math.max(1e-9, ...p.synapses.map(s => Math.abs(s[2].Weight ?? 1)));
  const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", class: "drawing spiking", "data-trial": number, "aria-label": `Spiking network: ${plural(p.neurons.length, "neuron")}, ${plural(p.synapses.length, "synapse")}` });
  for (const [from, to, values] of p.synapses) {
    const a = p.neurons[from], b = p.neurons[to], w = values.Weight ?? 1;
    const x1 = x(a), y1 = y(a), x2 = x(b), y2 = y(b), forward = b[3] > a[3];
    const bend = Math.max(24, Math.abs(x2 - x1) * 0.4), lift = Math.abs(y2 - y1) < 4 ? 14 : 0;
    const d = from === to ? `M${x1 - 4} ${y1 - r + 2}C${x1 - 22} ${y1 - r - 20} ${x1 + 22} ${y1 - r - 20} ${x1 + 4} ${y1 - r + 2}`
      : forward ? `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`
        : `M${x1} ${y1}C${x1 + bend} ${y1 + lift + 16} ${x2 + bend} ${y2 + lift + 16} ${x2} ${y2}`;
    svg.append(g("path", { class: `synapse ${w < 0 ? "inhibits" : "excites"}`, d: d.replace(/\d+\.\d+/g, round1), "stroke-width": round1(0.6 + 2.2 * Math.abs(w) / strongest), "stroke-opacity": a[5] ? round1(0.35 + 0.65 * a[5] / most) : 0.15 },
      g("title", {}, `${nameOf(a)} → ${nameOf(b)}: ${words(values)}; ${plural(a[5], "spike")}`)));
  }
  for (const n of p.neurons) {
    svg.append(g("g", { class: `neuron ${roleOf(n)}${n[5] ? "" : " silent"}` },
      g("circle", { cx: round1(x(n)), cy: round1(y(n)), r, "fill-opacity": n[5] ? round1(0.3 + 0.7 * n[5] / most) : 0 }),
      n[2] === 1 && tallest > 24 ? null : g("text", { x: round1(x(n) + (n[2] === 0 ? -r - 4 : r + 4)), y: round1(y(n) + 4), "text-anchor": n[2] === 0 ? "end" : "start" }, cut(nameOf(n), 8)),
      g("title", {}, `${roleOf(n)} neuron ${nameOf(n)}: ${words(n[6])}; ${plural(n[5], "spike")} in ${plural(p.steps, "timestep")}`)));
  }
  return svg;
}

// One row for each neuron, inputs on top, outputs at the bottom; lines where a new inference begins.
function drawRaster(p, width, number) {
  const order = p.neurons.map((n, i) => i).sort((a, b) => p.neurons[a][2] - p.neurons[b][2] || p.neurons[a][0] - p.neurons[b][0]);
  const row = order.length > 40 ? 7 : 12, left = 74, bottom = 26, height = order.length * row + bottom, scale = (width - left - 12) / Math.max(1, p.steps);
  const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", class: "drawing raster", "data-trial": number, "aria-label": `Spikes of ${plural(order.length, "neuron")} in ${plural(p.steps, "timestep")}` });
  const end = height - bottom;
  if (p.window > 1 && p.steps / p.window <= 60) for (let t = 0; t <= p.steps; t += p.window) svg.append(g("line", { class: "inference", x1: round1(left + t * scale), x2: round1(left + t * scale), y1: 0, y2: end }));
  const step = niceStep(p.steps, 6, true);
  for (let t = 0; t <= p.steps; t += step) svg.append(g("text", { class: "mark", x: round1(left + t * scale), y: end + 15, "text-anchor": "middle" }, count(t)));
  order.forEach((i, line) => {
    const n = p.neurons[i], top = line * row + 1;
    if (row > 7) svg.append(g("text", { class: "mark", x: left - 7, y: top + row - 3, "text-anchor": "end" }, cut(nameOf(n), 9)));
    const marks = p.raster[i].map(t => `M${round1(left + (t + 0.5) * scale)} ${top}v${row - 2}`).join("");
    svg.append(g("path", { class: `spikes ${roleOf(n)}`, d: marks || "M0 0", "stroke-width": round1(Math.max(0.8, Math.min(3, scale * 0.8))) }, g("title", {}, `${roleOf(n)} neuron ${nameOf(n)}: ${plural(p.raster[i].length, "spike")}`)));
  });
  svg.append(g("text", { class: "mark", x: width - 12, y: end + 25, "text-anchor": "end" }, "timestep"));
  return svg;
}
