// The run as a whole: summary, table, all goals at once, curves, growth, savings, failures, how to repeat.
function summaryView() {
  const total = T.number.length, tile = (term, big, ...small) => h("div", { class: "tile" }, h("dt", {}, term), h("dd", {}, h("div", { class: "big" }, big), small.map(s => h("div", { class: "small quiet" }, s))));
  const order = ["complete", "stopped", "paused", "rejected", "failed"], colour = { complete: "--front", stopped: "--select", paused: "--base", rejected: "--bad", failed: "--limit" };
  const bar = h("div", { class: "bar", "aria-hidden": "true" }, order.filter(s => D.states[s]).map(s => { const part = h("div"); part.style.flexGrow = D.states[s]; part.style.background = `var(${colour[s]})`; return part; }));
  const stages = Object.entries(D.seconds).filter(([, t]) => t > 0), work = stages.reduce((sum, [, t]) => sum + t, 0);
  const H = D.history, last = H.share ? H.share[H.share.length - 1] : null;
  const values = row => GOALS.filter(goal => goal.ranked).map(goal => firm(show(mean(row, goal), goal.unit))).join(" · ");
  put(byId("summary"), h("dl", { class: "tiles" },
    tile("Trials", count(total), bar, order.filter(s => D.states[s]).map(s => `${count(D.states[s])} ${s}`).join(" · ")),
    tile("On the front", count(D.front.length), D.front.length ? `${GOALS.filter(goal => goal.ranked).map(goal => goal.label).join(", ")}` : "no feasible network yet"),
    tile(D.wall ? "Time of the search" : "Time", D.wall ? duration(D.wall) : duration(work), stages.length ? `computing ${firm(duration(work))}: ${stages.slice(0, 3).map(([s, t]) => firm(`${s} ${duration(t)}`)).join(", ")}` : null),
    D.trained > 0 && tile("Epochs trained", count(D.trained), D.early ? `${count(D.early.epochs)} saved by stopping early (${percent(savedShare())})` : null),
    last !== null && tile("Hypervolume", show(last, "fraction"), "of the box between the best values and the reference point"),
    D.knee !== null && tile("Knee", trialButton(D.knee), values(D.knee)),
    GOALS.filter(goal => goal.name in D.best).map(goal => tile(`${goal.sense === "min" ? "Lowest" : "Highest"} ${goal.label}`, show(mean(D.best[goal.name], goal), goal.unit), [trialButton(D.best[goal.name])])),
    D.baseline !== null && tile("Baseline", trialButton(D.baseline), values(D.baseline))));
  const data = D.description.data || {}, space = D.description.space || {}, examples = (n, what) => typeof n === "number" && n > 0 ? `${count(n)} ${what}` : null;
  const sizes = [examples(data.train, "training"), examples(data.validation, "validation"), examples(data.test, "test examples")].filter(Boolean).join(", ");
  const what = [data.name && `${data.name}${sizes ? `: ${sizes}` : ""}${inputShape() ? ` of ${inputShape()}` : ""}`, D.description.function && `function ${D.description.function}`, space.use && `space ${space.use}`, D.epochs > 0 && `up to ${plural(D.epochs, "epoch")}`].filter(Boolean).join(" · ");
  const bound = goal => `${!goal.ranked ? "" : goal.sense === "max" ? "high " : "low "}${goal.label}${goal.max !== null ? ` ≤ ${tickText(goal.max, goal.unit)}` : ""}${goal.min !== null ? ` ≥ ${tickText(goal.min, goal.unit)}` : ""}${goal.ranked ? "" : " (not ranked)"}`;
  put(byId("subtitle"), h("span", {}, what), h("span", {}, `Wanted: ${GOALS.map(bound).join(", ")}`), h("span", {}, [D.status, D.finished && `as of ${D.finished.replace("T", " ").replace(/(\d\d:\d\d):\d\d.*$/, "$1")}${/(\+00:00|Z)$/.test(D.finished) ? " UTC" : ""}`].filter(Boolean).join(", ")));
}

function tableView() {
  const place = byId("table-body");
  if (!D.front.length) { put(place, h("p", { class: "quiet" }, "There is no feasible network yet.")); return; }
  const tested = GOALS.filter(goal => D.front.some(row => valueOf(row, goal, 1)));
  const columns = [{ name: "trial", get: row => T.number[row], cell: trialButton }];
  for (const goal of GOALS) {
    columns.push({ name: goal.label, number: true, get: row => mean(row, goal), cell: row => [isForecast(row, goal) && h("span", { class: "origin forecast", title: "predicted before training was over, not measured" }, "forecast "), show(mean(row, goal), goal.unit, (valueOf(row, goal) || {}).sd || 0)] });
    if (tested.includes(goal)) columns.push({ name: `${goal.label} (test)`, number: true, get: row => (valueOf(row, goal, 1) || {}).mean ?? null, cell: row => { const v = valueOf(row, goal, 1); return v ? show(v.mean, goal.unit, v.sd) : "–"; } });
  }
  columns.push({ name: "made by", get: row => T.operators[T.operator[row]], cell: row => T.operators[T.operator[row]] });
  const { table, rows } = sortable(columns, D.front, 1, GOALS[0].sense === "min");
  const guesses = GOALS.filter(goal => D.front.some(row => isForecast(row, goal)));
  const plain = () => rows().map(row => Object.fromEntries([["trial", T.number[row]], ...GOALS.flatMap(goal => [[goal.name, mean(row, goal)], ...(tested.includes(goal) ? [[`${goal.name}_test`, (valueOf(row, goal, 1) || {}).mean ?? null]] : [])]), ...(guesses.length ? [["forecast", guesses.filter(goal => isForecast(row, goal)).map(goal => goal.name).join(" ")]] : []), ["genome", (detailOf(row) || {}).genome ?? null]]));
  const quoted = v => v === null ? "" : /[",\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : String(v);
  const csv = () => { const data = plain().map(r => ({ ...r, genome: JSON.stringify(r.genome) })); return [Object.keys(data[0]).map(quoted).join(","), ...data.map(r => Object.values(r).map(quoted).join(","))].join("\n") + "\n"; };
  const said = h("span", { role: "status", class: "quiet" });
  const copier = (name, text) => h("button", { type: "button", onclick: () => copy(text(), said) }, `copy as ${name}`);
  put(place, h("div", { class: "controls" }, copier("CSV", csv), copier("JSON", () => JSON.stringify(plain(), null, 1)), said), h("div", { class: "scroll" }, table));
}

// A table of trials that sorts by a click on a column's head; a click on a row selects its trial. Columns are
// {name, get: what to sort by, cell: what to show, number}; `all` are rows of T; `below` are words under a row.
function sortable(columns, all, by, up, below = () => "") {
  let rows = [];
  const body = h("tbody"), heads = columns.map((c, i) => h("th", { scope: "col", class: c.number ? "number" : null }, h("button", { type: "button", onclick: () => { up = by === i ? !up : true; by = i; fillRows(); } }, c.name)));
  function fillRows() {
    const get = columns[by].get;
    rows = [...all].sort((a, b) => { const p = get(a), q = get(b); return p === q ? a - b : p === null ? 1 : q === null ? -1 : (p < q ? -1 : 1) * (up ? 1 : -1); });
    heads.forEach((head, i) => { head.setAttribute("aria-sort", i === by ? (up ? "ascending" : "descending") : "none"); head.firstChild.textContent = columns[i].name + (i === by ? (up ? " ↑" : " ↓") : ""); });
    const line = (row, kind, ...cells) => h("tr", { "data-trial": T.number[row], class: [row === chosen.row && "chosen", kind].filter(Boolean).join(" ") || null, onclick: () => choose(row) }, cells);
    put(body, rows.map(row => [line(row, null, columns.map(c => h("td", { class: c.number ? "number" : null }, c.cell(row)))), below(row) && line(row, "below", h("td", { colspan: columns.length }, h("div", {}, below(row))))]));
  }
  fillRows();
  chosen.watchers.push(row => body.querySelectorAll("tr").forEach(tr => tr.classList.toggle("chosen", Number(tr.dataset.trial) === T.number[row])));
  return { table: h("table", { class: "wide pick" }, h("thead", {}, h("tr", {}, heads)), body), rows: () => rows };
}

async function copy(text, said) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = h("textarea", { "aria-hidden": "true" });
    area.value = text; document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  said.textContent = "copied";
  setTimeout(() => { said.textContent = ""; }, 2500);
}

function goalsView() {
  const place = byId("goals-body");
  if (GOALS.length < 2 || !D.front.length) { byId("goals").hidden = true; return; }
  const brushes = new Map(), plot = h("div", { class: "scroll plot" }), note = h("span", { class: "quiet", role: "status" });
  let lines = new Map();
  const clear = h("button", { type: "button", onclick: () => { brushes.clear(); redraw(); } }, "clear");
  put(place, h("p", { class: "quiet small" }, "One line per network of the front; better is up on every axis. Drag along an axis to keep a range." + (D.front.some(row => GOALS.some(goal => isForecast(row, goal))) ? " Dashed: with a forecast." : "")), h("div", { class: "controls" }, note, clear), plot);
  const sample = T.number.map((_, row) => row).filter(row => alive(row) && !FRONT.has(row) && hasAll(row, ...GOALS));
  const step = Math.ceil(sample.length / 800), mass = sample.filter((_, i) => i % step === 0);
  function filter() {
    let kept = 0;
    for (const [row, line] of lines) {
      const fits = [...brushes].every(([p, [low, high]]) => { const v = mean(row, GOALS[p]); return v !== null && v >= low && v <= high; });
      line.classList.toggle("off", !fits);
      kept += fits;
    }
    clear.hidden = brushes.size === 0;
    note.textContent = brushes.size ? `${count(kept)} of ${plural(lines.size, "network")} within the ranges` : "";
  }
  function draw(room) {
    const width = Math.max(room, 60 + GOALS.length * 92), height = 330, top = 44, bottom = 16, left = 62, right = 48;
    const xs = GOALS.map((_, i) => round1(left + i * (width - left - right) / (GOALS.length - 1)));
    const scales = GOALS.map(goal => {
      const log = LOG[goal.place] && canLog(goal), values = D.front.map(row => mean(row, goal));
      if (D.baseline !== null) values.push(mean(D.baseline, goal));
      const [low, high] = extent(values.filter(v => v !== null && (!log || v > 0)));
      return scaleFor(low, high, ...(goal.sense === "min" ? [top, height - bottom] : [height - bottom, top]), { log, unit: goal.unit });
    });
    const path = row => GOALS.map((goal, i) => `${i ? "L" : "M"}${xs[i]} ${round1(within(top - 6, scales[i](mean(row, goal)), height - bottom + 6))}`).join("");
    const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Parallel coordinates: every network of the front over all goals; the table above has the same numbers" });
    svg.append(g("path", { class: "mass", d: mass.map(path).join("") }));
    lines = new Map();
    for (const row of D.front.filter(row => hasAll(row, ...GOALS))) {
      const line = g("path", { class: "line" + (GOALS.some(goal => isForecast(row, goal)) ? " guess" : ""), d: path(row), onclick: () => choose(row) }, g("title", {}, spoken(row)));
      lines.set(row, line); svg.append(line);
    }
    const labels = [];
    GOALS.forEach((goal, i) => {
      const scale = scales[i], x = xs[i];
      const ends = [[top, -8], [height - bottom, 4]].map(([p]) => g("text", { class: "soft", x: x - 6, y: p + 4, "text-anchor": "end" }, tickText(scale.invert(p), goal.unit)));
      for (const t of scale.ticks(4)) { const p = scale(t); if (p > top + 16 && p < height - bottom - 16) ends.push(g("text", { class: "soft", x: x - 6, y: round1(p) + 4, "text-anchor": "end" }, tickText(t, goal.unit))); }
      svg.append(g("text", { class: "goal-name", x, y: i % 2 && width / GOALS.length < 110 ? 30 : 15, "text-anchor": i === GOALS.length - 1 ? "end" : i ? "middle" : "start", ...(i === GOALS.length - 1 ? { x: x + right - 4 } : i ? {} : { x: 4 }) }, goal.label), g("line", { class: "rail", x1: x, x2: x, y1: top, y2: height - bottom }));
      labels.push(...ends);
      const range = brushes.get(goal.place), shade = g("rect", { class: "brush", x: x - 7, width: 14, y: 0, height: 0, "pointer-events": "none" });
      const cover = (a, b) => { shade.setAttribute("y", Math.min(a, b)); shade.setAttribute("height", Math.abs(a - b)); };
      if (range) cover(scale(range[0]), scale(range[1]));
      let from = null;
      const pixel = event => within(top, event.clientY - svg.getBoundingClientRect().top, height - bottom);
      const grip = g("rect", { class: "grip", x: x - 15, y: top - 4, width: 30, height: height - top - bottom + 8,
        onpointerdown: event => { from = pixel(event); grip.setPointerCapture(event.pointerId); event.preventDefault(); },
        onpointermove: event => { if (from !== null) cover(from, pixel(event)); },
        onpointerup: event => {
          if (from === null) return;
          const to = pixel(event), slack = 1e-9 + 0.004 * Math.abs(scale.high - scale.low);
          if (Math.abs(to - from) < 4) { brushes.delete(goal.place); cover(0, 0); }
          else { const [a, b] = [scale.invert(from), scale.invert(to)]; brushes.set(goal.place, [Math.min(a, b) - (LOG[goal.place] ? 1e-12 : slack), Math.max(a, b) + (LOG[goal.place] ? 1e-12 : slack)]); }
          from = null; filter();
        } });
      svg.append(shade, grip);
    });
    const over = g("path", { class: "line chosen", "pointer-events": "none" });
    svg.append(over, g("g", { class: "halo", "pointer-events": "none" }, labels));
    mark = row => { over.setAttribute("d", row !== null && hasAll(row, ...GOALS) ? path(row) : ""); };
    put(plot, svg); filter(); mark(chosen.row);
  }
  let mark = () => {};
  const redraw = drawInto(plot, draw);
  chosen.watchers.push(row => mark(row));
}

function curvesView() {
  const place = byId("curves-body"), metrics = D.detail.metrics;
  const members = D.front.filter(row => { const d = detailOf(row); return d && d.epochs.curves; });
  if (!metrics.length || !members.length) { byId("curves").hidden = true; return; }
  const goalNames = new Set(GOALS.map(goal => goal.name));
  let metric = metrics.find(m => !isTrain(m) && goalNames.has(baseName(m))) || metrics.find(m => !isTrain(m)) || metrics[0], log = false;
  const plot = h("div", { class: "plot" });
  const controls = h("div", { class: "controls" }, select("", metrics.map(m => [m, metricName(m)]), metric, v => { metric = v; redraw(); }), checkbox("log", log, on => { log = on; redraw(); }), h("span", { class: "quiet" }, "the selected network in bold, its training dashed"));
  controls.querySelector("select").setAttribute("aria-label", "what is drawn");
  put(place, controls, plot);
  function draw(width) {
    const all = members.map(row => [row, seriesOf(detailOf(row)).find(s => s.metric === metric)]).filter(([, s]) => s);
    const height = Math.round(within(240, width * 0.34, 360)), box = { width, height, left: 62, right: 12, top: 22, bottom: 38 };
    const values = all.flatMap(([, s]) => s.values).filter(v => v !== null && (!log || v > 0));
    const range = extent(values), unit = unitOf(baseName(metric));
    const x = scaleFor(...extent(all.flatMap(([, s]) => s.indices)), box.left, width - box.right, { whole: true }), y = scaleFor(...(log ? range : pad(range)), height - box.bottom, box.top, { log, unit });
    const over = g("g", { "pointer-events": "none" });
    put(plot, g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metric} by epoch, of ${plural(all.length, "network")} of the front` }, axes(x, y, { ...box, xUnit: "", yUnit: unit, xName: "epoch →", yName: metricName(metric) }),
      all.map(([row, s]) => g("path", { class: "line", d: pathOf(s.indices, s.values, x, y), onclick: () => choose(row) }, g("title", {}, spoken(row)))), over));
    mark = row => {
      const detail = row === null ? null : detailOf(row);
      put(over, detail ? seriesOf(detail).filter(s => baseName(s.metric) === baseName(metric)).map(s => g("path", { class: "line chosen" + (isTrain(s.metric) ? " train" : ""), d: pathOf(s.indices, s.values.map(v => v === null ? null : within(y.low, v, y.high)), x, y) })) : []);
    };
    mark(chosen.row);
  }
  let mark = () => {};
  const redraw = drawInto(plot, draw);
  chosen.watchers.push(row => mark(row));
}

function progressView() {
  const H = D.history, place = byId("progress-body");
  if (!H.count) { byId("progress").hidden = true; return; }
  const left = h("div", { class: "plot" }), right = h("div", { class: "plot" });
  const point = values => GOALS.filter(goal => goal.name in values).map(goal => `${goal.label} ${show(values[goal.name], goal.unit)}`).join(", ");
  put(place, h("div", { class: "halves" }, h("div", {}, h("h3", {}, "Over trials"), left), h("div", {}, h("h3", {}, H.wall ? "Over time" : "Over computing time"), right)),
    h("p", { class: "quiet small" }, `Hypervolume of the feasible trials so far, as a share of the box between the best value in each goal (${point(H.ideal)}) and the reference point (${point(H.reference)}): the worst values of the final front and a tenth of its span. In the goals' own units it ends at ${show(H.volume)}.`));
  const draw = (where, xs, unit, name) => width => {
    const height = 230, box = { width, height, left: 52, right: 14, top: 16, bottom: 40 };
    const x = scaleFor(0, Math.max(...xs) || 1, box.left, width - box.right, { unit, whole: unit === "" }), y = scaleFor(0, Math.max(...H.share) * 1.05 || 1, height - box.bottom, box.top, { unit: "fraction" });
    let path = `M${box.left} ${round1(y(0))}`;
    H.share.forEach((v, i) => { path += `H${round1(x(xs[i]))}V${round1(y(v))}`; });
    path += `H${round1(x(x.high))}`;
    put(where, g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Hypervolume by ${name}: from ${show(H.share[0], "fraction")} to ${show(H.share[H.share.length - 1], "fraction")}` }, axes(x, y, { ...box, xUnit: unit, yUnit: "fraction", xName: `${name} →` }), g("path", { class: "area", d: `${path}V${round1(y(0))}z` }), g("path", { class: "growth", d: path })));
  };
  drawInto(left, draw(left, H.count, "", "trials"));
  drawInto(right, draw(right, H.seconds, "s", "time"));
}

function failuresView() {
  const F = D.failures, failed = D.states.failed || 0, beyond = D.limits.filter(l => l[1] > 0);
  if (!failed && !F.lost.length && !D.limits.length) { put(byId("failures-body"), h("p", { class: "quiet" }, "Nothing failed.")); return; }
  put(byId("failures-body"),
    failed ? h("div", { class: "scroll" }, h("table", { class: "wide" }, h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "number" }, "trials"), h("th", { scope: "col" }, "cause"), h("th", { scope: "col" }, "message"))), h("tbody", {}, F.rows.map(r => h("tr", {}, h("td", { class: "number" }, count(r.count)), h("td", {}, r.kind), h("td", {}, r.message || "–", h("div", { class: "small quiet" }, r.trials.map((n, i) => [i ? ", " : "", trialLink(n)]), r.count > r.trials.length ? ", …" : ""), r.traceback ? h("details", { class: "small" }, h("summary", {}, `traceback of #${r.trials[0]}`), h("pre", {}, r.traceback)) : null)))))) : h("p", { class: "quiet" }, "No trial failed."),
    F.left ? h("p", { class: "quiet" }, `and ${plural(F.left, "rarer cause")}`) : null,
    F.lost.length ? h("p", {}, "Attempts that were lost and made again: ", F.lost.map(([kind, n]) => `${count(n)} × ${kind}`).join(", "), ".") : null,
    D.limits.length ? [h("h3", {}, "Limits"), h("ul", {}, D.limits.map(([name, n, of]) => h("li", {}, `${name.replaceAll("_", " ")}: ${count(n)} of ${count(of)} trials beyond it`)))] : null);
}

function againView() {
  put(byId("again-body"),
    D.commands.length ? h("pre", { tabindex: 0, "aria-label": "commands" }, D.commands.join("\n")) : null,
    D.commands.length && D.spec ? h("p", { class: "quiet small" }, "with the specification below in that file.") : null,
    D.seed !== null ? h("p", {}, `Seed: ${D.seed}. Every random number of the run follows from it and the number of the trial.`) : null,
    D.spec ? h("details", { open: D.spec.length < 2500 }, h("summary", {}, "Specification"), h("pre", { tabindex: 0 }, D.spec)) : null,
    Object.keys(D.description).length ? h("details", {}, h("summary", {}, "What was searched"), pairs(D.description)) : null,
    Object.keys(D.environment).length ? h("details", { open: true }, h("summary", {}, "Versions and machine"), pairs(D.environment)) : null);
}
