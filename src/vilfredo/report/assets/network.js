// The selected network: its values, layers, family and history.
function detailView() {
  const place = byId("detail");
  const originWords = { measured: "measured: run and observed", estimated: "estimated: computed from constants with a low and a high bound", forecast: "forecast: predicted before training was over" };

  function line(v, twice) {
    const range = v.low !== null && v.high !== null ? h("div", { class: "quiet small" }, between(v.low, v.high, v.goal.unit)) : null;
    const trained = v.fidelity !== null ? `, after ${plural(v.fidelity, "epoch")}` : "";
    return h("tr", {}, h("td", {}, v.goal.label, twice.has(v.goal) ? h("div", { class: "quiet small" }, v.split) : null), h("td", { class: "number" }, show(v.mean, v.goal.unit, v.sd), range), h("td", { class: "number quiet" }, v.n), h("td", {}, h("span", { class: `origin ${v.origin}`, title: originWords[v.origin] }, v.origin + trained)));
  }

  function values(row) {
    const detail = detailOf(row);
    if (!detail) {
      const known = GOALS.filter(goal => mean(row, goal) !== null);
      return [h("table", { class: "values wide" }, h("tbody", {}, known.map(goal => h("tr", {}, h("td", {}, goal.label), h("td", { class: "number" }, show(mean(row, goal), goal.unit)), h("td", {}, isForecast(row, goal) && h("span", { class: "origin forecast", title: originWords.forecast }, "forecast")))))), h("p", { class: "quiet small" }, "Of dominated trials the page keeps the means. The rest: ", h("code", {}, `vilfredo show ${T.number[row]}`))];
    }
    const all = detail.values.map(unpack), pooled = all.filter(v => v.repeat === null), single = all.filter(v => v.repeat !== null);
    const head = h("thead", {}, h("tr", {}, ["goal", "value ± sd", "n", "origin"].map((t, i) => h("th", { class: i === 1 || i === 2 ? "number" : null, scope: "col" }, t))));
    const twice = new Set(pooled.filter(v => v.split === "test").map(v => v.goal));
    const used = ORIGINS.filter(o => pooled.some(v => v.origin === o));
    return [
      h("div", { class: "scroll" }, h("table", { class: "values wide" }, head, h("tbody", {}, pooled.map(v => line(v, twice))))),
      h("p", { class: "quiet small" }, used.map(o => originWords[o]).join("; "), "; n: independent measurements."),
      single.length ? h("details", {}, h("summary", {}, `every single value (${single.length})`), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["goal", "value", "split", "seed no.", "trained", "origin"].map(t => h("th", { scope: "col" }, t)))), h("tbody", {}, single.map(v => h("tr", {}, h("td", {}, v.goal.label), h("td", { class: "number" }, show(v.mean, v.goal.unit, v.sd)), h("td", {}, v.split), h("td", {}, v.repeat), h("td", {}, v.fidelity === null ? "in full" : plural(v.fidelity, "epoch")), h("td", {}, v.origin))))))) : null,
    ];
  }

  function render(row) {
    const detail = detailOf(row), goal = GOALS.filter(goal => D.best[goal.name] === row);
    const badge = (kind, text) => h("span", { class: `badge ${kind}` }, text);
    const parents = T.parents[row], seconds = detail ? Object.entries(detail.seconds) : [];
    put(place,
      h("h3", { id: "detail-title" }, `Trial ${T.number[row]}`),
      h("p", {}, FRONT.has(row) && badge("front", "on the front"), row === D.knee && badge("knee", "knee"), goal.map(x => badge("front", `${x.sense === "min" ? "lowest" : "highest"} ${x.label}`)), row === D.baseline && badge("base", "baseline"), BAD.has(row) && badge("bad", "beyond a limit"), T.state[row] !== "c" && badge("bad", STATES[T.state[row]]), detail && detail.confirmed > 0 && badge("", detail.spiking ? "confirmed" : `confirmed with ${plural(detail.confirmed, "seed")}`), FRONT.has(row) && PARTIAL.has(row) && badge("bad", "not confirmed")),
      values(row),
      h("dl", { class: "pairs" },
        h("dt", {}, "made by"), h("dd", {}, T.operators[T.operator[row]] || "–", parents.length ? [" of ", parents.map((p, i) => [i ? ", " : "", trialLink(p)])] : null),
        detail && detail.generation !== null ? [h("dt", {}, "generation"), h("dd", {}, detail.generation)] : null,
        T.epochs[row] ? [h("dt", {}, "trained"), h("dd", {}, plural(T.epochs[row], "epoch"), D.epochs ? ` of ${D.epochs}` : "")] : null,
        detail && detail.deployed ? [h("dt", {}, "deployed"), h("dd", {}, detail.deployed[0], detail.deployed[1].length ? h("div", { class: "quiet small" }, "as trained, in floats: ", detail.deployed[1].map(([i, x]) => `${GOALS[i].label} ${show(x, GOALS[i].unit)}`).join(", ")) : null)] : null,
        detail && detail.halts ? [h("dt", {}, "halted"), h("dd", {}, detail.halts.map(haltWords))] : null,
        h("dt", {}, "time"), h("dd", {}, duration(T.seconds[row]), seconds.length > 1 ? h("span", { class: "quiet" }, ` (${seconds.map(([s, t]) => `${s} ${duration(t)}`).join(", ")})`) : null),
        detail && detail.attempts.some(a => a[3]) ? [h("dt", {}, "attempts"), h("dd", {}, `${count(detail.attempts.length)}, of which ${count(detail.attempts.filter(a => a[3]).length)} lost`, detail.attempts.filter(a => a[3]).map(a => h("div", { class: "small" }, `no. ${a[0]}, after ${duration(a[2])}: ${a[3][0]}, ${a[3][1]}`)))] : null,
        detail && detail.failure ? [h("dt", {}, "failure"), h("dd", {}, `${detail.failure[0]}: ${detail.failure[1]}`)] : null),
      detail ? h("p", { class: "small" }, h("a", { href: "#network" }, detail.spiking ? "Neurons, spikes and family" : "Layers, family and learning curve")) : null);
  }
  chosen.watchers.push(render);
}

function networkView() {
  const place = byId("network-body"), title = byId("network-title");
  let depth = 3;

  function render(row) {
    title.textContent = `Trial ${T.number[row]}: the network`;
    const detail = detailOf(row);
    const tree = h("div", { class: "scroll tree" });
    const drawTree = () => put(tree, familyTree(row, depth));
    const family = T.parents[row].length ? [h("h3", {}, "Family"), h("div", { class: "controls" }, select("generations", [[1, "1"], [2, "2"], [3, "3"], [5, "5"], [99, "all"]], depth, v => { depth = Number(v); drawTree(); })), tree] : [h("h3", {}, "Family"), h("p", { class: "quiet" }, "No parents: it was drawn at random, or given.")];
    if (T.parents[row].length) drawTree();
    if (!detail) { put(place, h("p", { class: "quiet" }, "Layers and genomes are kept for the front, the baseline and their ancestors."), ...family); return; }
    const layers = detail.layers.length ? [h("h3", {}, `Layers (${detail.layers.length})`), h("p", { class: "quiet small" }, costOf(detail.layers)), h("div", { class: "scroll layers", tabindex: 0, role: "group", "aria-label": "drawing of the layers" }, drawLayers(detail.layers, T.number[row]))] : null;
    const curve = h("div", { class: "plot" }), graph = h("div", { class: "plot" }), raster = h("div", { class: "plot" }), spiking = detail.spiking;
    const rest = h("div", {}, family, Object.keys(detail.epochs.curves || {}).length ? [h("h3", {}, "Learning curve"), curve] : null,
      h("h3", {}, "Genome"), h("pre", { tabindex: 0, "aria-label": "genome" }, pretty(detail.genome).slice(0, 8000)),
      h("p", { class: "quiet small" }, `seed ${detail.seed}`));
    if (spiking) {
      put(place, h("h3", {}, "Neurons and synapses"), h("p", { class: "quiet small" }, `${spiking.args.settings}. Blue excites, red inhibits; the wider the stronger; what is pale was silent.`), graph,
        h("h3", {}, "Spikes"), h("p", { class: "quiet small" }, `${plural(spiking.steps, "timestep")}${spiking.window > 1 && spiking.steps > spiking.window ? `, ${plural(Math.round(spiking.steps / spiking.window), "inference")} of ${spiking.window}` : ""}.`), raster, h("div", { class: "halves" }, h("div", {}, family), h("div", {}, h("h3", {}, "Genome"), h("pre", { class: "scroll tall", tabindex: 0, "aria-label": "genome" }, JSON.stringify(detail.genome).slice(0, 8000)), h("p", { class: "quiet small" }, `seed ${detail.seed}`))));
      if (graph.isConnected) { drawInto(graph, width => put(graph, drawSpiking(spiking, width, T.number[row]))); drawInto(raster, width => put(raster, drawRaster(spiking, width, T.number[row]))); }
      return;
    }
    put(place, layers ? h("div", { class: "beside" }, h("div", {}, layers), rest) : [h("p", { class: "quiet small" }, "No layers to draw: a function has none, and a problem that could not be built where this page was written gives none."), rest]);
    if (curve.isConnected) drawInto(curve, width => put(curve, ownCurve(detail, width)));
  }
  chosen.watchers.push(render);
}

const kindOf = op => /conv/i.test(op) ? "conv" : /pool/i.test(op) ? "pool" : /dense|linear/i.test(op) ? "dense" : /norm/i.test(op) ? "norm" : "other";
const FOLDED = /norm|relu|tanh|sigmoid|gelu|silu|elu|softmax|dropout|identity|flatten/i;

function inputShape() {
  const data = D.description.data;
  return data && Array.isArray(data.input) ? data.input.join("×") : "";
}
function costOf(layers) {
  const sum = place => layers.reduce((total, l) => total + (l[place] || 0), 0), parameters = sum(3), macs = sum(4);
  return [parameters && `${show(parameters, "count")} parameters`, macs && `${show(macs, "count")} MACs`].filter(Boolean).join(", ");
}

// Layers from top to bottom; one row each, what only follows (batch norm, ReLU) written into the row of
// what it follows. An edge that skips rows is an arc on the right.
function drawLayers(layers, number) {
  const texts = D.detail.texts;
  const nodes = [{ op: "input", text: "", shape: inputShape(), inputs: [], folded: [], parameters: 0 }];
  const nodeOf = new Map([[-1, 0]]);
  const uses = new Map();
  layers.forEach((l, i) => (l[5] || [i - 1]).forEach(p => uses.set(p, (uses.get(p) || 0) + 1)));
  layers.forEach((layer, i) => {
    const [op, text, shape] = layer.slice(0, 3).map(t => texts[t]), inputs = layer[5] || [i - 1], parameters = layer[3];
    const last = nodes[nodes.length - 1];
    if (FOLDED.test(op) && nodes.length > 1 && inputs.length === 1 && nodeOf.get(inputs[0]) === nodes.length - 1 && uses.get(inputs[0]) === 1 && inputs[0] === i - 1) {
      last.folded.push(op.replaceAll("_", " ") + (text ? ` (${text})` : "")); last.shape = /flatten/i.test(op) && last.shape && last.shape !== shape ? `${last.shape} → ${shape}` : shape; last.parameters += parameters;
      nodeOf.set(i, nodes.length - 1);
    } else { nodes.push({ op, text, shape, inputs: inputs.map(p => nodeOf.get(p) ?? 0), folded: [], parameters }); nodeOf.set(i, nodes.length - 1); }
  });
  const tall = node => node.folded.length || node.parameters ? 40 : 26, gap = 15, boxWidth = 300, left = 8;
  let y = 4;
  for (const node of nodes) { node.y = y; node.h = tall(node); y += node.h + gap; }
  const arcs = [];
  nodes.forEach((node, i) => node.inputs.forEach(p => { if (p < i - 1) arcs.push([p, i]); }));
  const lanes = [];
  arcs.sort((a, b) => (a[1] - a[0]) - (b[1] - b[0]));
  for (const arc of arcs) { let lane = 0; while (lanes[lane] && lanes[lane].some(o => arc[0] < o[1] && o[0] < arc[1])) lane++; (lanes[lane] ||= []).push(arc); arc.push(lane); }
  const width = left + boxWidth + 16 + lanes.length * 13 + (lanes.length ? 16 : 0), height = y;
  const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", class: "drawing", "data-trial": number, "aria-label": `${plural(nodes.length - 1, "block")}: ${nodes.slice(1).map(n => `${n.op} ${n.text}`.trim()).join("; ").slice(0, 900)}` });
  svg.append(g("defs", {}, g("marker", { id: "arrow", viewBox: "0 0 6 6", refX: 5, refY: 3, markerWidth: 6, markerHeight: 6, orient: "auto" }, g("path", { d: "M0 0L6 3L0 6z", fill: "context-stroke" }))));
  nodes.forEach((node, i) => {
    if (node.inputs.includes(i - 1)) { const from = nodes[i - 1]; svg.append(g("line", { class: "edge", x1: left + 40, x2: left + 40, y1: from.y + from.h, y2: node.y - 1, "marker-end": "url(#arrow)" })); }
    svg.append(g("g", { class: `node ${kindOf(node.op)}` },
      g("rect", { x: left, y: node.y, width: boxWidth, height: node.h, rx: 5 }),
      g("text", { x: left + 9, y: node.y + 17 }, cut(`${node.op.replaceAll("_", " ")} ${node.text}`.trim(), Math.max(16, 43 - node.shape.length)), g("title", {}, `${node.op} ${node.text}`)),
      g("text", { x: left + boxWidth - 9, y: node.y + 17, "text-anchor": "end", class: "shape" }, node.shape),
      node.folded.length ? g("text", { x: left + 9, y: node.y + 33, class: "shape" }, cut(node.folded.join(" · "), node.parameters ? 28 : 46)) : null,
      node.parameters ? g("text", { x: left + boxWidth - 9, y: node.y + 33, "text-anchor": "end", class: "shape" }, `${show(node.parameters, "count")} parameters`) : null));
  });
  for (const [p, i, lane] of arcs) {
    const a = nodes[p], b = nodes[i], x = left + boxWidth, out = x + 18 + lane * 13, y1 = a.y + a.h - 8, y2 = b.y + 8;
    svg.append(g("path", { class: "skip-edge", d: `M${x} ${y1}C${out + 8} ${y1} ${out} ${y1 + 8} ${out} ${Math.min((y1 + y2) / 2, y1 + 20)}V${Math.max((y1 + y2) / 2, y2 - 20)}C${out} ${y2 - 8} ${out + 8} ${y2} ${x + 1} ${y2}`, "marker-end": "url(#arrow)" }));
  }
  return svg;
}
const cut = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;

// Ancestors to the right of their children, one column per generation.
function familyTree(row, depth) {
  const level = new Map([[row, 0]]);
  let edge = [row];
  for (let d = 1; d <= depth && edge.length; d++) {
    const next = [];
    for (const child of edge) for (const p of T.parents[child]) { const r = ROW.get(p); if (r !== undefined && !level.has(r)) { level.set(r, d); next.push(r); } }
    edge = next;
    if (level.size > 150) break;
  }
  const rows = [...level.keys()].sort((a, b) => T.number[b] - T.number[a]);
  for (const r of rows) for (const p of T.parents[r]) { const q = ROW.get(p); if (level.has(q) && level.get(q) <= level.get(r)) level.set(q, level.get(r) + 1); }
  // Edges that skip columns get a place in each column on their way, so that they pass between the boxes.
  const kids = new Map(), columns = [], edges = [];
  const add = (item, column, child) => { (columns[column] ||= []).includes(item) || columns[column].push(item); kids.set(item, [...(kids.get(item) || []), child]); };
  for (const r of [...rows].sort((a, b) => level.get(a) - level.get(b))) {
    if (r === row) columns[0] = [r];
    for (const p of new Set(T.parents[r])) {
      const q = ROW.get(p);
      if (!level.has(q)) continue;
      const path = [r];
      for (let c = level.get(r) + 1; c < level.get(q); c++) { const by = `${r}-${q}-${c}`; add(by, c, path[path.length - 1]); path.push(by); }
      add(q, level.get(q), path[path.length - 1]);
      edges.push([...path, q]);
    }
  }
  const w = 158, hgt = 40, gapX = 30, gapY = 9, passing = 8;
  const high = item => typeof item === "string" ? passing : hgt;
  const tallness = columns.map(c => c.reduce((sum, item) => sum + high(item) + gapY, -gapY));
  const height = Math.max(...tallness) + 8, width = columns.length * (w + gapX) - gapX + 8, spot = new Map();
  columns.forEach((column, d) => {
    const around = item => { const known = (kids.get(item) || []).filter(k => spot.has(k)); return known.reduce((s, k) => s + spot.get(k)[1] + high(k) / 2, 0) / (known.length || 1); };
    column.sort((a, b) => around(a) - around(b));
    let y = (height - tallness[d]) / 2;
    for (const item of column) { spot.set(item, [4 + d * (w + gapX), y]); y += high(item) + gapY; }
  });
  const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Family tree of trial ${T.number[row]}` });
  for (const path of edges) {
    let d = "", end = 0, level0 = 0;
    path.forEach((item, i) => {
      const [x, y] = spot.get(item), middle = y + high(item) / 2;
      if (i === 0) d = `M${x + w} ${middle}`;
      else { const m = (end + x) / 2; d += `C${m} ${level0} ${m} ${middle} ${x} ${middle}`; if (typeof item === "string") d += `H${x + w}`; }
      end = x + w; level0 = middle;
    });
    svg.append(g("path", { class: "edge", d }));
  }
  const shown = GOALS.filter(goal => goal.ranked).slice(0, 2);
  for (const [r, [x, y]] of spot) {
    if (typeof r === "string") continue;
    const go = () => choose(r);
    svg.append(g("g", { class: "kin" + (FRONT.has(r) ? " on-front" : "") + (r === row ? " chosen" : ""), tabindex: 0, role: "button", "aria-label": `${spoken(r)}, made by ${T.operators[T.operator[r]]}`, onclick: go, onkeydown: event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); go(); } } },
      g("title", {}, `${spoken(r)}; made by ${T.operators[T.operator[r]] || "–"}`),
      g("rect", { x, y, width: w, height: hgt, rx: 5 }),
      g("text", { x: x + 8, y: y + 16 }, g("tspan", { class: "name" }, `#${T.number[r]}`), g("tspan", { class: "soft", dx: 6 }, cut(T.operators[T.operator[r]], 17 - String(T.number[r]).length))),
      g("text", { x: x + 8, y: y + 32, class: "values" }, cut(hasAll(r, ...shown) ? shown.map(goal => show(mean(r, goal), goal.unit)).join(" · ") : STATES[T.state[r]], 23))));
  }
  return svg;
}

// What was recorded at each epoch. Where only an accuracy was recorded, its error is drawn too.
function seriesOf(detail) {
  const epochs = detail.epochs;
  if (!epochs.curves) return [];
  const all = Object.entries(epochs.curves).map(([place, values]) => ({ metric: D.detail.metrics[place], values, indices: epochs.indices || values.map((_, i) => i + 1) }));
  for (const series of [...all]) {
    const error = series.metric.replace(/accuracy$/, "error");
    if (error !== series.metric && !all.some(s => s.metric === error)) all.push({ ...series, metric: error, values: series.values.map(v => v === null ? null : 1 - v) });
  }
  return all;
}
const metricName = metric => metric.replace(/^val_/, "validation_").replaceAll("_", " ");
const baseName = metric => metric.replace(/^(train|training|validation|valid|val|test)[_/]/, "");
const isTrain = metric => /^train/.test(metric);

// Small drawings side by side: one per thing that was recorded, training dashed.
function ownCurve(detail, width) {
  const groups = new Map();
  for (const series of seriesOf(detail)) { const name = baseName(series.metric); if (!groups.has(name)) groups.set(name, []); groups.get(name).push(series); }
  if (groups.has("error")) groups.delete("accuracy");
  const each = groups.size > 1 && width > 420 ? Math.floor((width - 20) / 2) : width;
  return h("div", { class: "row" }, [...groups].slice(0, 6).map(([name, series]) => {
    const height = 170, box = { width: each, height, left: 54, right: 10, top: 22, bottom: 26 }, unit = unitOf(name);
    const guess = forecastOf(detail, name), end = detail.halts ? [Math.max(D.epochs, ...series.flatMap(s => s.indices))] : [], spread = guess ? [guess[0] - guess[1], guess[0] + guess[1]] : [];
    const x = scaleFor(...extent([...series.flatMap(s => s.indices), ...end]), box.left, each - box.right, { whole: true }), y = scaleFor(...pad(extent([...series.flatMap(s => s.values), ...spread])), height - box.bottom, box.top, { unit });
    const words = [series.some(s => isTrain(s.metric)) && series.length > 1 && "training dashed", guess && "○ forecast"].filter(Boolean).join(", ");
    return g("svg", { width: each, height, viewBox: `0 0 ${each} ${height}`, role: "img", "aria-label": `${name} by epoch` }, axes(x, y, { ...box, yUnit: unit, xUnit: "", yName: `${name.replaceAll("_", " ")}${words ? ` (${words})` : ""}` }),
      series.map(s => g("path", { class: "line chosen" + (isTrain(s.metric) ? " train" : ""), d: pathOf(s.indices, s.values, x, y) })),
      guess ? g("g", { class: "check" }, g("line", { class: "err", x1: round1(x(end[0])), x2: round1(x(end[0])), y1: round1(y(spread[0])), y2: round1(y(spread[1])) }), g("circle", { class: "mark", cx: round1(x(end[0])), cy: round1(y(guess[0])), r: 4 }), g("title", {}, `forecast ${show(guess[0], unit, guess[1])} after ${plural(guess[3], "epoch")}`)) : null);
  }));
}
// What was last forecast of a goal: [mean, sd, measured, after which epoch], or null.
function forecastOf(detail, name) {
  const goal = GOALS.find(goal => goal.name === name);
  for (const halt of [...(detail.halts || [])].reverse()) if (goal && halt[3][goal.place]) return [...halt[3][goal.place], halt[0]];
  return null;
}
const pad = ([low, high]) => { const space = (high - low || Math.abs(high) || 1) * 0.06; return [low >= 0 ? Math.max(0, low - space) : low - space, high + space]; };
const unitOf = name => (GOALS.find(goal => goal.name === name) || { unit: /^(acc|accuracy|error)$/.test(name) ? "fraction" : "" }).unit;
function pathOf(xs, ys, x, y) {
  let path = "", pen = "M";
  ys.forEach((v, i) => { if (v === null) { pen = "M"; return; } path += `${pen}${round1(x(xs[i]))} ${round1(y(v))}`; pen = "L"; });
  return path;
}

// JSON with one line per entry as long as that fits, deeper only where it does not.
function pretty(value, indent = "") {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const entries = deep => Array.isArray(value) ? value.map(v => pretty(v, deep)) : Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${pretty(v, deep)}`);
  if (JSON.stringify(value).length <= 64) return open + entries(indent).join(", ") + close;
  const deeper = indent + "  ";
  return `${open}\n${entries(deeper).map(e => deeper + e).join(",\n")}\n${indent}${close}`;
}
