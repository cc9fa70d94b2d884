// Early termination: what it saved, how the forecasts came out, who was halted and why.
const HALTED = ["paused", "stopped"];
const KINDS = [["complete", "--front", "trained in full"], ["revived", "--test", "halted, then trained in full"], ["stopped", "--select", "stopped"], ["paused", "--base", "paused"]];
const savedShare = () => D.early.epochs ? D.early.epochs / (D.early.epochs + D.early.trained) : 0;

// One halt in words, with what it forecast: [epoch, for good, reason, {place: [mean, sd, measured]}].
function haltWords([epoch, good, reason, forecast]) {
  const guesses = Object.entries(forecast).map(([place, [m, sd, real]]) => {
    const goal = GOALS[place];
    return h("div", {}, `forecast ${goal.label} ${show(m, goal.unit, sd)}${real !== null ? `, measured later ${show(real, goal.unit)}` : ""}`);
  });
  return h("div", { class: "halt" }, `${HALTED[good]} after ${plural(epoch, "epoch")}${reason ? `: ${reason}` : ""}`, guesses);
}

function earlyView() {
  const S = D.early;
  if (!S) { byId("early").hidden = true; return; }
  const tile = (term, big, ...small) => h("div", { class: "tile" }, h("dt", {}, term), h("dd", {}, h("div", { class: "big" }, big), small.filter(Boolean).map(s => h("div", { class: "small quiet" }, s))));
  const net = S.seconds - S.engine, all = S.stopped + S.paused + S.revived;
  const now = [[S.stopped, "stopped"], [S.paused, "paused"], [S.revived, "went on later"]].filter(([n]) => n).map(([n, word]) => firm(`${count(n)} ${word}`)).join(" · ");
  const tiles = h("dl", { class: "tiles" },
    tile("Halted early", count(all), now),
    tile("Epochs saved", percent(savedShare()), `${count(S.epochs)} of ${count(S.epochs + S.trained)} that full training would have taken`),
    tile(net < 0 ? "Training time lost" : "Training time saved", duration(Math.abs(net)), `net: about ${firm(duration(S.seconds))} less the engine’s own`),
    tile("The engine’s own time", duration(S.engine), S.training > 0 ? `${percent(S.engine / S.training)} of ${firm(duration(S.training))} of training` : null),
    S.calibration.map(([place, n, off, spread, inside]) => tile(`Forecasts of ${GOALS[place].label}`, firm(`${show(off, GOALS[place].unit)} off`), `on average, where measured later (${count(n)})`, spread ? `${count(inside)} of ${count(spread)} (${percent(inside / spread)}) within their 90 % interval` : "without a spread")));
  const left = h("div", {}, h("h3", {}, "Forecast against measured")), right = h("div", {}, h("h3", {}, "How long networks were trained"));
  put(byId("early-body"), tiles, h("div", { class: "halves" }, left, right), h("h3", {}, "Who was halted, and why"), haltedTable(S));
  calibrationPlot(S, left);
  lengthsPlot(S, right);
}

// Forecasts with their sd over what was measured after full training; on the diagonal they are the same.
function calibrationPlot(S, place) {
  if (!S.points.length) { place.append(h("p", { class: "quiet" }, "No forecast can be compared yet: that takes networks which were halted with a forecast and trained in full later, as contenders or to confirm the front.")); return; }
  const goals = S.calibration.map(row => GOALS[row[0]]);
  let goal = goals[0], log = false;
  const plot = h("div", { class: "plot" }), controls = h("div", { class: "controls" });
  const own = () => S.points.filter(p => p[1] === goal.place);
  const canBeLog = () => own().every(p => p[3] > 0 && p[5] > 0);
  const start = () => { log = canBeLog() && wide(own().flatMap(p => [p[3], p[5]])); };
  const rebuild = () => {
    put(controls, goals.length > 1 && select("", goals.map(x => [x.place, x.label]), goal.place, v => { goal = GOALS[v]; start(); rebuild(); redraw(); }), checkbox("log", log, on => { log = on; redraw(); }, { disabled: !canBeLog(), "aria-label": "logarithmic axes", id: "calibration-log" }));
    const list = controls.querySelector("select");
    if (list) list.setAttribute("aria-label", "goal");
  };
  let marks = new Map();
  function draw(room) {
    const points = own(), width = Math.min(room, 520), height = Math.round(within(240, width * 0.78, 400));
    const box = { width, height, left: 62, right: 12, top: 24, bottom: 40 };
    const ends = points.length <= 60 ? points.flatMap(p => [p[3] - p[4], p[3] + p[4]]) : [];  // of many, bars may be cut
    let [low, high] = extent([...points.flatMap(p => [p[3], p[5]]), ...ends.filter(v => !log || v > 0)]);
    if (log) { const more = (high / low) ** 0.06; low /= more; high *= more; } else [low, high] = pad([low, high]);
    const x = scaleFor(low, high, box.left, width - box.right, { log, unit: goal.unit }), y = scaleFor(low, high, height - box.bottom, box.top, { log, unit: goal.unit });
    const [, n, off, spread, inside] = S.calibration.find(row => row[0] === goal.place);
    const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Forecast ${goal.label} against measured, ${plural(n, "network")}: off by ${show(off, goal.unit)} on average${spread ? `, ${inside} of ${spread} within the 90 % interval` : ""}. The table below has the numbers.` });
    svg.append(g("defs", {}, g("clipPath", { id: "calibration-inside" }, g("rect", { x: box.left, y: box.top - 6, width: width - box.left - box.right + 6, height: height - box.top - box.bottom + 6 }))));
    svg.append(...axes(x, y, { ...box, xUnit: goal.unit, yUnit: goal.unit, xName: `${goal.label} measured →`, yName: `↑ ${goal.label} forecast, ± one standard deviation` }));
    const clipped = g("g", { "clip-path": "url(#calibration-inside)" }, g("line", { class: "diagonal", x1: round1(x(x.low)), y1: round1(y(x.low)), x2: round1(x(x.high)), y2: round1(y(x.high)) }));
    marks = new Map();
    for (const [row, , epoch, m, sd, real] of points) {
      const a = round1(x(real)), b = round1(y(m));
      const mark = g("g", { class: "check", "data-trial": T.number[row], onclick: () => choose(row) },
        sd > 0 ? g("line", { class: "err", x1: a, x2: a, y1: round1(y(m - sd)), y2: round1(y(m + sd)) }) : null,
        g("circle", { class: "mark", cx: a, cy: b, r: points.length > 150 ? 3 : 4 }), g("circle", { class: "hit", cx: a, cy: b, r: 8 }),
        g("title", {}, `trial ${T.number[row]}: forecast ${show(m, goal.unit, sd)} after ${plural(epoch, "epoch")}, measured ${show(real, goal.unit)}`));
      marks.set(row, mark); clipped.append(mark);
    }
    svg.append(clipped);
    put(plot, svg);
    mark(chosen.row);
  }
  const mark = row => { for (const [other, node] of marks) { node.classList.toggle("chosen", other === row); if (other === row) node.parentNode.append(node); } };
  let redraw = () => {};
  const drawn = S.points.length, checked = S.calibration.reduce((sum, row) => sum + row[1], 0);
  start(); rebuild();
  place.append(controls, plot, h("p", { class: "quiet small" }, `On the dashed line forecast and measurement are the same.${drawn < checked ? ` ${count(drawn)} of ${count(checked)} are drawn.` : ""} Only networks that went on can be compared. They were mostly those forecast to be good, so they say less about the others.`));
  redraw = drawInto(plot, draw);
  chosen.watchers.push(row => mark(row));
}

function lengthsPlot(S, place) {
  const { width: wide, kinds } = S.lengths, used = KINDS.filter(([kind]) => kinds[kind]);
  if (!used.length) { place.append(h("p", { class: "quiet" }, "Nothing was trained.")); return; }
  const plot = h("div", { class: "plot" }), bars = kinds[used[0][0]].length;
  const total = Array.from({ length: bars }, (_, i) => used.reduce((sum, [kind]) => sum + kinds[kind][i], 0));
  const name = i => wide === 1 ? plural(i + 1, "epoch") : `${i * wide + 1} to ${(i + 1) * wide} epochs`;
  const draw = room => {
    const width = Math.min(room, 520), height = Math.round(within(240, width * 0.78, 400)), box = { width, height, left: 52, right: 12, top: 24, bottom: 40 };
    const x = scaleFor(0.5, bars * wide + 0.5, box.left, width - box.right, { whole: true }), y = scaleFor(0, Math.max(...total) * 1.05, height - box.bottom, box.top, { whole: true });
    const parts = [], gap = (x(1 + wide) - x(1)) * 0.12;
    total.forEach((sum, i) => {
      let at = 0;
      const said = used.filter(([kind]) => kinds[kind][i]).map(([kind, , words]) => `${count(kinds[kind][i])} ${words}`).join(", ");
      const bar = g("g", {}, sum ? g("title", {}, `${name(i)}: ${said}`) : null);
      for (const [kind] of used) {
        const n = kinds[kind][i];
        if (n) bar.append(g("rect", { class: `length ${kind}`, x: round1(x(i * wide + 0.5) + gap), width: Math.max(1, round1(x((i + 1) * wide + 0.5) - x(i * wide + 0.5) - 2 * gap)), y: round1(y(at + n)), height: round1(y(at) - y(at + n)) }));
        at += n;
      }
      parts.push(bar);
    });
    put(plot, g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Networks by epochs trained: ${total.map((sum, i) => sum ? `${name(i)} ${sum}` : "").filter(Boolean).join(", ")}` }, axes(x, y, { ...box, xUnit: "", yUnit: "", xName: "epochs trained →", yName: "networks" }), parts));
  };
  place.append(h("div", { class: "controls legend" }, used.map(([kind, , words]) => h("span", {}, g("svg", { width: 12, height: 12, viewBox: "0 0 12 12", "aria-hidden": "true" }, g("rect", { class: `length ${kind}`, x: 1, y: 1, width: 10, height: 10 })), words))), plot);
  drawInto(plot, draw);
}

function haltedTable(S) {
  const known = new Map(S.rows.map(row => [row[0], row])), latest = row => known.get(row);
  const guess = (row, goal) => latest(row)[5][goal.place] || null;
  const guessed = GOALS.filter(goal => S.rows.some(row => row[5][goal.place])), measured = goal => S.rows.some(row => row[5][goal.place] && row[5][goal.place][2] !== null);
  const columns = [
    { name: "trial", get: row => T.number[row], cell: trialButton },
    { name: "after epoch", number: true, get: row => latest(row)[2], cell: row => count(latest(row)[2]) },
    { name: "was", get: row => HALTED[latest(row)[3]], cell: row => HALTED[latest(row)[3]] + (latest(row)[1] > 1 ? firm(` (${latest(row)[1]} times)`) : "") },
    ...guessed.flatMap(goal => [
      { name: `${goal.label} forecast`, number: true, get: row => (guess(row, goal) || [null])[0], cell: row => { const v = guess(row, goal); return v ? show(v[0], goal.unit, v[1]) : "–"; } },
      ...(measured(goal) ? [{ name: "measured later", number: true, get: row => (guess(row, goal) || [0, 0, null])[2], cell: row => show((guess(row, goal) || [0, 0, null])[2], goal.unit) }] : []),
    ]),
    { name: "now", get: row => STATES[T.state[row]], cell: row => STATES[T.state[row]] },
  ];
  const { table } = sortable(columns, S.rows.map(row => row[0]), 0, false, row => latest(row)[4]);
  return [h("div", { class: "scroll tall", tabindex: 0, role: "group", "aria-label": "halted networks" }, table), S.left ? h("p", { class: "quiet small" }, `and ${plural(S.left, "other")}; all of them: `, h("code", {}, "vilfredo stopped --all")) : null];
}
