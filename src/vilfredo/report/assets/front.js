// The front in any two goals.
const SHAPE = { base: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`, diamond: (x, y, r) => `M${x} ${y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z` };

function frontView() {
  const view = { x: GOALS[1] || GOALS[0], y: GOALS[0], bars: true, test: true, all: false };
  const ranked = GOALS.filter(goal => goal.ranked);
  if (ranked.length > 1) [view.y, view.x] = ranked;
  const anyTest = D.front.some(row => GOALS.some(goal => valueOf(row, goal, 1)));
  const place = byId("front-plot"), controls = byId("front-controls");
  let redraw = () => {};
  let marks = new Map(), spots = [], overlay = null, at = null;

  const options = GOALS.map(goal => [goal.place, goal.label]);
  function rebuild() {
    const logBox = (axis, name) => checkbox("log", LOG[view[axis].place], on => { LOG[view[axis].place] = on; redraw(); }, { "aria-label": `logarithmic ${name} axis`, disabled: !canLog(view[axis]), id: `${axis}-log` });
    put(controls,
      select("↑", options, view.y.place, v => { view.y = GOALS[v]; rebuild(); redraw(); }), logBox("y", "vertical"),
      select("→", options, view.x.place, v => { view.x = GOALS[v]; rebuild(); redraw(); }), logBox("x", "horizontal"),
      checkbox("uncertainty", view.bars, on => { view.bars = on; redraw(); }),
      anyTest && checkbox("test values", view.test, on => { view.test = on; redraw(); }),
      checkbox("all trials", view.all, on => { view.all = on; redraw(); }));
    controls.querySelectorAll("select")[0].setAttribute("aria-label", "vertical axis");
    controls.querySelectorAll("select")[1].setAttribute("aria-label", "horizontal axis");
    controls.querySelectorAll("select")[0].id = "y-goal";
    controls.querySelectorAll("select")[1].id = "x-goal";
  }

  function domain(goal) {
    const log = LOG[goal.place];
    const values = [];
    const take = v => { if (v !== null && v !== undefined && Number.isFinite(v) && (!log || v > 0)) values.push(v); };
    for (const row of D.front) {
      take(mean(row, goal));
      const v = valueOf(row, goal), t = valueOf(row, goal, 1);
      if (v && view.bars && !log) { take(v.mean - v.sd); take(v.mean + v.sd); }
      if (t && view.test) take(t.mean);
    }
    if (D.baseline !== null) take(mean(D.baseline, goal));
    if (!values.length || view.all) T.number.forEach((_, row) => { if (alive(row)) take(mean(row, goal)); });
    let [low, high] = extent(values);
    const more = view.all || !D.front.length ? 0.04 : 0.3, less = 0.05;
    const [down, up] = goal.sense === "min" ? [less, more] : [more, less];
    const most = goal.unit === "fraction" && high <= 1 ? 1 : Infinity;
    if (log) { const span = Math.log10(high / low) || 0.3; return [low / 10 ** (span * down), Math.min(most, high * 10 ** (span * up))]; }
    const span = high - low || Math.abs(high) * 0.2 || 1;
    const bottom = low - span * down;
    return [low >= 0 && bottom < 0 ? 0 : bottom, Math.min(most, high + span * up)];
  }

  function draw(width) {
    const { x: gx, y: gy } = view;
    const height = Math.round(within(300, width * 0.66, 520)), box = { width, height, left: width < 460 ? 56 : 66, right: 12, top: 24, bottom: 40 };
    const x = scaleFor(...domain(gx), box.left, width - box.right, { log: LOG[gx.place], unit: gx.unit });
    const y = scaleFor(...domain(gy), height - box.bottom, box.top, { log: LOG[gy.place], unit: gy.unit });
    const inside = (a, b) => a >= box.left - 1 && a <= width - box.right + 1 && b >= box.top - 1 && b <= height - box.bottom + 1;
    at = row => [round1(x(mean(row, gx))), round1(y(mean(row, gy)))];
    spots = []; marks = new Map();
    const dots = [], bad = [], guesses = []; let outside = 0;
    T.number.forEach((_, row) => {
      if (FRONT.has(row) || row === D.baseline || !"cspr".includes(T.state[row]) || !hasAll(row, gx, gy)) return;
      const [a, b] = at(row);
      if (!inside(a, b)) { outside++; return; }
      if (!BAD.has(row) && (isForecast(row, gx) || isForecast(row, gy))) guesses.push(`M${round1(a - 2)} ${b}a2 2 0 1 0 4 0a2 2 0 1 0 -4 0`);
      else (BAD.has(row) ? bad : dots).push(`M${a} ${b}h0`);
      spots.push([a, b, row]);
    });
    const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `The front: ${gy.label} against ${gx.label}. Arrow keys go from network to network.` });
    svg.append(g("defs", {}, g("clipPath", { id: "inside" }, g("rect", { x: box.left, y: box.top - 8, width: width - box.left - box.right + 6, height: height - box.top - box.bottom + 8 }))));
    svg.append(...axes(x, y, { ...box, xUnit: gx.unit, yUnit: gy.unit, xName: `${gx.label} →  ${better(gx)}`, yName: `↑ ${gy.label}, ${better(gy)}` }));
    const clipped = g("g", { "clip-path": "url(#inside)" });
    svg.append(clipped);
    clipped.append(...limitLines(gx, x, box, true), ...limitLines(gy, y, box, false));
    clipped.append(g("path", { class: "dots bad", d: bad.join("") }), g("path", { class: "dots", d: dots.join("") }), g("path", { class: "dots guess", d: guesses.join("") }));
    const members = D.front.filter(row => hasAll(row, gx, gy)).sort((a, b) => mean(a, gx) - mean(b, gx) || mean(a, gy) - mean(b, gy));
    if (gx !== gy) clipped.append(stairs(members, gx, gy, box));
    if (D.baseline !== null && hasAll(D.baseline, gx, gy) && !FRONT.has(D.baseline)) {
      const [a, b] = at(D.baseline);
      spots.push([a, b, D.baseline]);
      clipped.append(g("path", { class: "baseline", d: SHAPE.base(a, b, 6) }, g("title", {}, `baseline: ${spoken(D.baseline)}`)));
    }
    if (view.test) for (const row of members) clipped.append(...testMark(row, gx, gy, x, y));
    const layer = g("g");
    clipped.append(layer);
    members.forEach((row, order) => {
      const [a, b] = at(row);
      const mark = g("g", { class: "member" + (PARTIAL.has(row) ? " partial" : ""), "data-trial": T.number[row], tabindex: -1, role: "button", "aria-label": spoken(row), "aria-pressed": "false" },
        view.bars ? bars(row, gx, gy, x, y, a, b) : [],
        row === D.knee ? g("circle", { class: "ring", cx: a, cy: b, r: 9.5 }) : null,
        row === D.baseline ? g("path", { class: "mark baseline", d: SHAPE.base(a, b, 6) }) : g("circle", { class: "mark", cx: a, cy: b, r: 5.2 }),
        g("circle", { class: "hit", cx: a, cy: b, r: 11 }), g("title", {}, spoken(row)));
      mark.addEventListener("keydown", event => keys(event, members, order));
      marks.set(row, mark);
      layer.append(mark);
    });
    overlay = g("g", { "pointer-events": "none" });
    clipped.append(overlay);
    svg.addEventListener("click", event => {
      const target = event.target.closest(".member");
      if (target && event.detail === 0) return choose(ROW.get(Number(target.dataset.trial)));
      const frame = svg.getBoundingClientRect(), px = (event.clientX - frame.left) * width / frame.width, py = (event.clientY - frame.top) * height / frame.height;
      let best = null, least = 14;
      for (const row of members) { const [a, b] = at(row), d = Math.hypot(a - px, b - py); if (d < least) { least = d; best = row; } }
      if (best === null) { least = 10; for (const [a, b, row] of spots) { const d = Math.hypot(a - px, b - py); if (d < least) { least = d; best = row; } } }
      if (best !== null) { choose(best); if (marks.has(best)) marks.get(best).focus({ preventScroll: true }); }
    });
    put(place, svg);
    legend(gx, gy, members.length, outside, dots.length, bad.length, guesses.length);
    showChosen(chosen.row);
  }

  function limitLines(goal, scale, box, vertical) {
    const parts = [];
    for (const [limit, side] of [[goal.max, 1], [goal.min, -1]]) {
      if (limit === null || (LOG[goal.place] && limit <= 0)) continue;
      const p = round1(scale(limit)), [low, high] = vertical ? [box.left, box.width - box.right] : [box.top, box.height - box.bottom];
      if (p < low - 1 || p > high + 1) continue;
      const name = g("text", { class: "limit-name", ...(vertical ? { x: p + (side > 0 ? -5 : 5), y: box.top + 10, "text-anchor": side > 0 ? "end" : "start" } : { x: box.width - box.right - 4, y: p + (side > 0 ? 14 : -5), "text-anchor": "end" }) }, `limit ${tickText(limit, goal.unit)}`);
      if (vertical) parts.push(g("rect", { class: "beyond", x: side > 0 ? p : low, y: box.top, width: side > 0 ? high - p : p - low, height: box.height - box.top - box.bottom }), g("line", { class: "limit", x1: p, x2: p, y1: box.top, y2: box.height - box.bottom }), name);
      else parts.push(g("rect", { class: "beyond", x: box.left, y: side > 0 ? low : p, width: box.width - box.left - box.right, height: side > 0 ? p - low : high - p }), g("line", { class: "limit", x1: box.left, x2: box.width - box.right, y1: p, y2: p }), name);
    }
    return parts;
  }

  // The edge of what is attained in these two goals alone.
  function stairs(members, gx, gy, box) {
    const worseX = gx.sense === "min" ? 1 : -1, worseY = gy.sense === "min" ? 1 : -1;
    const sorted = [...members].sort((a, b) => worseX * (mean(a, gx) - mean(b, gx)) || worseY * (mean(a, gy) - mean(b, gy)));
    let best = Infinity, path = "";
    for (const row of sorted) {
      const value = worseY * mean(row, gy);
      if (value >= best) continue;
      const [a, b] = at(row);
      path += path ? `H${a}V${b}` : `M${a} ${worseY > 0 ? box.top : box.height - box.bottom}V${b}`;
      best = value;
    }
    return g("path", { class: "stairs", d: path && `${path}H${worseX > 0 ? box.width - box.right : box.left}` });
  }

  function bars(row, gx, gy, x, y, a, b) {
    const parts = [];
    for (const [goal, scale, across] of [[gx, x, true], [gy, y, false]]) {
      const v = valueOf(row, goal);
      if (!v) continue;
      const line = (name, low, high) => {
        const p = round1(scale(low)), q = round1(scale(high));
        parts.push(g("line", { class: name, ...(across ? { x1: p, x2: q, y1: b, y2: b } : { x1: a, x2: a, y1: p, y2: q }) }));
      };
      if (v.low !== null && v.high !== null) line("range", v.low, v.high);
      if (v.sd > 0) line("err", v.mean - v.sd, v.mean + v.sd);
    }
    return parts;
  }

  function testMark(row, gx, gy, x, y) {
    const tx = valueOf(row, gx, 1), ty = valueOf(row, gy, 1);
    if (!tx && !ty) return [];
    const [a, b] = at(row), p = tx ? round1(x(tx.mean)) : a, q = ty ? round1(y(ty.mean)) : b;
    return [g("line", { class: "tie", x1: a, y1: b, x2: p, y2: q }), g("path", { class: "tested", d: SHAPE.diamond(p, q, 4) }, g("title", {}, `#${T.number[row]} on the test set`))];
  }

  function legend(gx, gy, shown, outside, dots, bad, guesses) {
    const icon = (...parts) => g("svg", { width: 18, height: 14, viewBox: "0 0 18 14", "aria-hidden": "true" }, ...parts);
    const circle = more => g("circle", { cx: 9, cy: 7, r: 4.5, ...more });
    const one = (picture, text) => h("span", {}, picture, text);
    put(byId("front-legend"),
      one(icon(g("g", { class: "member" }, circle({ class: "mark" }))), `front (${count(shown)})`),
      D.front.some(row => PARTIAL.has(row)) && one(icon(g("g", { class: "member partial" }, circle({ class: "mark" }))), "not confirmed: forecast, or not trained in full"),
      D.knee !== null && one(icon(circle({ class: "ring" })), "knee"),
      anyTest && view.test && one(icon(g("path", { class: "tested", d: SHAPE.diamond(9, 7, 4) })), "on the test set"),
      D.baseline !== null && one(icon(g("path", { class: "baseline", d: SHAPE.base(9, 7, 4.5) })), "baseline"),
      dots > 0 && one(icon(g("path", { class: "dots", d: "M9 7h0" })), `dominated (${count(dots)})`),
      guesses > 0 && one(icon(g("path", { class: "dots guess", d: "M7 7a2 2 0 1 0 4 0a2 2 0 1 0 -4 0" })), `dominated, by a forecast (${count(guesses)})`),
      bad > 0 && one(icon(g("path", { class: "dots bad", d: "M9 7h0" })), `beyond a limit (${count(bad)})`),
      view.bars && h("span", {}, "bars: ± one standard deviation; broad: low to high of an estimate"),
      outside > 0 && h("span", {}, `${count(outside)} further out`));
  }

  function keys(event, members, order) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    let next = step ? members[order + step] : { Home: members[0], End: members[members.length - 1], Enter: members[order], " ": members[order] }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(next);
    marks.get(next).focus();
  }

  function showChosen(row) {
    if (!overlay) return;
    for (const [other, mark] of marks) {
      mark.classList.toggle("chosen", other === row);
      mark.setAttribute("aria-pressed", String(other === row));
      mark.setAttribute("tabindex", -1);
    }
    const first = marks.get(row) || marks.values().next().value;
    if (first) first.setAttribute("tabindex", 0);
    overlay.replaceChildren();
    if (row === null || !hasAll(row, view.x, view.y)) return;
    const [a, b] = at(row);
    overlay.append(marks.has(row) ? g("g", { class: "member chosen" }, g("circle", { class: "mark", cx: a, cy: b, r: 6.2 })) : g("circle", { class: "other-chosen", cx: a, cy: b, r: 7 }));
  }

  rebuild();
  redraw = drawInto(place, draw);
  chosen.watchers.push(showChosen);
}

// A trial in words: for titles and screen readers.
function spoken(row) {
  const values = GOALS.filter(goal => mean(row, goal) !== null).map(goal => `${goal.label} ${show(mean(row, goal), goal.unit, (valueOf(row, goal) || {}).sd || 0)}${isForecast(row, goal) ? " (forecast)" : ""}`);
  return `trial ${T.number[row]}${row === D.knee ? ", knee" : ""}: ${values.join(", ")}`;
}
