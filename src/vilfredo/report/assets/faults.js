// Campaigns of faults on one network, one for each kind of fault (D.faults). An arm is the network in one form: as
// it is, or clipped.
// Shares come as [share, low, high]; cells, layers, bits and channels as rows of the columns in report/faults.py.
const tones = ["--front", "--select"];
const share = x => x === null || x === undefined ? "–" : x === 0 ? "0 %" : percent(x);
const spanned = range => `${share(range[1])} to ${share(range[2])}`.replace(" % to", " to");
const score = x => x === null || x === undefined ? "–" : `${(x * 100).toFixed(1)} %`;
const scored = range => `${score(range[0])} (${(range[1] * 100).toFixed(1)} to ${score(range[2])})`;
const rateOf = x => x !== 0 && x < 1e-3 ? x.toExponential(2).replace(/\.?0+e/, "e") : number(x);
const ranged = range => !range ? "–" : range[1] === range[2] ? share(range[0]) : `${share(range[0])} (${spanned(range)})`;
const LEVEL = `${Number((D.confidence * 100).toPrecision(4))} %`;
const middle = (text, most) => text.length <= most ? text : `${text.slice(0, Math.ceil(most / 2) - 1)}…${text.slice(text.length - Math.floor(most / 2))}`;
const near0 = x => Math.abs(x) < 1e-12 ? 0 : x;
const number = x => x === null ? "–" : typeof x === "string" ? x : Number.isInteger(x) && Math.abs(x) < 1e7 ? count(x) : String(Number(x.toPrecision(4))).replace("e+", "e");
const signed = (x, text) => (x < 0 ? "−" : "") + text(Math.abs(x));
const table = (columns, rows, more = {}) => h("div", { class: "scroll" + (more.tall ? " tall" : ""), tabindex: more.tall ? 0 : null, role: more.tall ? "group" : null, "aria-label": more.tall ? more.label : null }, h("table", { class: more.class || null }, h("thead", {}, h("tr", {}, columns.map(([name, numeric]) => h("th", { class: numeric ? "number" : null, scope: "col" }, name)))), h("tbody", {}, rows.map(row => h("tr", {}, row.map((cell, i) => h("td", { class: columns[i][1] ? "number" : null }, cell)))))));

const tile = (term, big, ...small) => h("div", { class: "tile" }, h("dt", {}, term), h("dd", {}, h("div", { class: "big" }, big), small.flat().filter(Boolean).map(s => h("div", { class: "small quiet" }, s))));
const bitWord = (F, layer, bit) => bit < 0 ? "" : `bit ${bit}${F.layers[layer].fields[bit] ? `, ${F.layers[layer].fields[bit]}` : ""}`;

function summaryView() {
  const F = D.faults[0], [first, clipped] = F.arms, drop = near0(first.accuracy[0] - D.float[0]);
  byId("subtitle").append(...D.subtitle.map(line => h("span", {}, line)));
  const accuracy = tile("Accuracy without faults", score(first.accuracy[0]), `as trained ${score(D.float[0])}${drop ? `, ${signed(drop * 100, x => Number(x.toPrecision(2)))} points` : ", the same"}`, `${count(D.images)} images, ${LEVEL}: ${(first.accuracy[1] * 100).toFixed(1)} to ${score(first.accuracy[2])}`);
  if (D.faults.length > 1) {
    put(byId("summary"), h("dl", { class: "tiles" }, accuracy, clipped && tile("With clipping", score(clipped.accuracy[0]), "accuracy without faults")), comparison());
    return;
  }
  const rate = first.rates.length ? first.rates[first.rates.length - 1] : null, worst = first.worst[0];
  put(byId("summary"), h("dl", { class: "tiles" }, accuracy,
    first.share && tile("Single faults that are critical", share(first.share[0]), first.exhaustive ? `all ${count(first.size)} tried` : `${LEVEL}: ${spanned(first.share)}`, first.exhaustive ? null : `${count(first.tried)} of ${count(first.size)} tried`, D.meaning),
    rate && tile(`Accuracy at ${F.strength} ${rateOf(rate[0])}`, score(rate[1][0]), `${LEVEL}: ${(rate[1][1] * 100).toFixed(1)} to ${score(rate[1][2])}`, `worst of ${plural(rate[4], "copy", "copies")} ${score(rate[3])}`),
    worst && tile("The worst single fault found", `${share(worst.ccr)} of images`, `layer ${worst.layer}${worst.bit >= 0 ? `, ${bitWord(F, worst.place, worst.bit)}` : ""}`, `${number(worst.before)} → ${number(worst.after)}`),
    clipped && first.share && tile("With clipping", share(clipped.share ? clipped.share[0] : null), "of single faults are critical", `accuracy without faults ${score(clipped.accuracy[0])}`)));
}

// What the kinds of faults come to beside each other, at each one's highest rate.
function comparison() {
  const rows = D.faults.flatMap((F, i) => F.arms.map(arm => {
    const rate = arm.rates.length ? arm.rates[arm.rates.length - 1] : null, worst = arm.worst[0];
    return [h("a", { href: `#${prefixOf(i)}kind` }, F.name), ...(F.arms.length > 1 ? [arm.name] : []), arm.share ? ranged(arm.share) : "–", arm.share ? share(arm.ccr) : "–", worst ? share(worst.ccr) : "–", rate ? `${score(rate[1][0])} at ${F.strength} ${rateOf(rate[0])}` : "–"];
  }));
  return h("section", { id: "compared", "aria-labelledby": "compared-title" }, h("h2", { id: "compared-title" }, "The kinds of faults compared"),
    table([["fault"], ...(D.faults[0].arms.length > 1 ? [["network"]] : []), [`critical single faults (${LEVEL})`, true], ["mean CCR", true], ["the worst changes", true], ["accuracy, many at once", true]], rows),
    h("p", { class: "quiet small" }, `${D.meaning[0].toUpperCase()}${D.meaning.slice(1)}. CCR is the share of images whose class a fault changes.`));
}

const prefixOf = i => i ? `f${i + 1}-` : "";

// All that is said of one kind of fault, in a copy of the template.
function kindView(F, place) {
  const prefix = prefixOf(place), ARMS = F.arms, several = ARMS.length > 1;
  const copy = document.getElementById("kind-template").content.cloneNode(true);
  for (const node of copy.querySelectorAll("[id], [aria-labelledby]")) {
    if (node.id) node.id = prefix + node.id;
    if (node.hasAttribute("aria-labelledby")) node.setAttribute("aria-labelledby", prefix + node.getAttribute("aria-labelledby"));
  }
  document.getElementById("kinds").append(copy);
  const byId = id => document.getElementById(prefix + id);
  const LAYERS = F.layers.map(layer => layer.name), widest = Math.max(0, ...F.layers.map(layer => layer.bits));
  const armPicker = (changed, place) => several ? select("network", ARMS.map((arm, i) => [i, arm.name]), place, v => changed(Number(v))) : null;
  if (D.faults.length > 1) byId("kind-title").textContent = F.name; else { byId("kind").removeAttribute("aria-labelledby"); byId("kind-title").remove(); }

  function worstView() {
    const body = byId("worst-body");
    if (!ARMS.some(arm => arm.worst.length)) { byId("worst").hidden = true; return; }
    const one = arm => {
      const shown = arm.worst;
      if (!shown.length) return h("p", { class: "quiet" }, "No fault that was tried changed a class.");
      return table([["#", true], ["layer"], ["position"], ["bit"], ["from → to"], ["images that change class", true], ["accuracy", true]],
        shown.map((w, i) => [i + 1, w.layer, h("span", { class: "nowrap", title: `flat index ${w.index}` }, w.at), w.bit < 0 ? "–" : h("span", { class: "nowrap" }, bitWord(F, w.place, w.bit)), h("span", { class: "nowrap" }, `${number(w.before)} → ${number(w.after)}`), share(w.ccr), score(w.accuracy)]), { class: "wide" });
    };
    put(body, ARMS.map(arm => [several ? h("h3", {}, arm.name) : null, one(arm)]), F.found ? h("p", { class: "quiet small" }, F.found) : null);
  }

  // Cells by layer and bit; the last column is a layer's total, the first row a bit's.
  function mapView() {
    if (!ARMS.some(arm => arm.cells.length)) { byId("map").hidden = true; return; }
    const state = { arm: 0, what: 0, worstFirst: false, at: null };
    const bits = widest > 0 ? Array.from({ length: widest }, (_, i) => widest - 1 - i) : [-1];
    const asBits = widest > 0;
    const said = byId("map-said"), plot = byId("map-plot");
    const value = row => row === undefined ? null : state.what === 0 ? (row.share ? row.share[0] : null) : row.ccr;
    const frame = g("rect", { class: "frame" });
    let marks = new Map(), high = 0;
    const tell = (row, what) => { said.textContent = row === undefined ? `${what}: not tried` : `${what}: ${ranged(row.share)} critical, ${row.size && row.tried < row.size ? `${count(row.tried)} of ${count(row.size)}` : `all ${count(row.tried)}`} tried; a fault changes the class of ${share(row.ccr)} of images on average`; };
    function draw(room) {
      const arm = ARMS[state.arm];
      const cells = new Map(arm.cells.map(c => [`${c.layer}/${c.bit}`, c])), layerRows = new Map(arm.layers.map(c => [c.layer, c])), bitRows = new Map(arm.bits.map(c => [c.bit, c]));
      const order = LAYERS.map((_, i) => i);
      if (state.worstFirst) order.sort((a, b) => (value(layerRows.get(b)) ?? -1) - (value(layerRows.get(a)) ?? -1));
      const chars = Math.min(room < 600 ? 14 : 30, Math.max(10, ...LAYERS.map(n => n.length)));
      const left = chars * 7 + 10, total = 62, gap = 10, cols = asBits ? bits.length : 0;
      const w = within(14, Math.floor((Math.min(room, 1100) - left - total - gap - 4) / Math.max(1, cols)), 66), tall = LAYERS.length <= 24 ? 24 : 18;
      const top = asBits ? 40 : 26, rowGap = 6, width = left + cols * w + (cols ? gap : 0) + total + 4, height = top + tall + rowGap + order.length * tall + 4;
      const all = [...arm.cells, ...arm.layers].map(value).filter(v => v !== null), most = Math.max(1e-9, ...all);
      const ink = v => v === 0 ? 0 : 0.1 + 0.8 * Math.sqrt(v / most);
      const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "heat", tabindex: 0, role: "application", "aria-label": `${state.what ? "Mean share of images that change class" : "Share of faults that are critical"} by layer${asBits ? " and bit" : ""}, ${arm.name}. Arrow keys go from cell to cell.` });
      marks = new Map();
      const cell = (row, x, y, cw, what, key) => {
        const v = value(row), o = v === null ? 0 : ink(v);
        const node = g("g", { class: "cell" + (row === undefined ? " none" : ""), onpointerenter: () => mark(key), onclick: () => mark(key) },
          g("rect", { x: x + 0.5, y: y + 0.5, width: cw - 1, height: tall - 1, class: "ground" }),
          o ? g("rect", { x: x + 0.5, y: y + 0.5, width: cw - 1, height: tall - 1, class: "heat-ink", "fill-opacity": round1(o * 100) / 100 }) : null,
          row === undefined ? (cw >= 12 ? g("text", { x: x + cw / 2, y: y + tall / 2 + 4, "text-anchor": "middle", class: "soft" }, "·") : null) : v !== null && cw >= 44 ? g("text", { x: x + cw / 2, y: y + tall / 2 + 4, "text-anchor": "middle", class: o > 0.55 ? "on" : null }, share(v)) : null,
          g("title", {}, what));
        svg.append(node); marks.set(key, { row, what, x, y, cw });
      };
      if (asBits) {
        // What the bits are, from the layer with the most of them.
        const fields = F.layers.find(layer => layer.bits === widest).fields;
        for (let i = 0; i < bits.length;) {
          let j = i; while (j + 1 < bits.length && fields[bits[j + 1]] === fields[bits[i]]) j++;
          const name = fields[bits[i]], room = (j - i + 1) * w;
          if (room >= name.length * 6.4) svg.append(g("text", { x: left + i * w + room / 2, y: 12, "text-anchor": "middle", class: "soft" }, name));
          else if (room >= 12) svg.append(g("text", { x: left + i * w + room / 2, y: 12, "text-anchor": "middle", class: "soft" }, name === "sign" ? "±" : name[0]));
          i = j + 1;
        }
        bits.forEach((bit, i) => { if (w >= 17 || bit % 2 === 0) svg.append(g("text", { x: left + i * w + w / 2, y: 30, "text-anchor": "middle" }, String(bit))); });
      }
      const rightmost = left + cols * w + (cols ? gap : 0);
      svg.append(g("text", { x: rightmost + total / 2, y: asBits ? 30 : 16, "text-anchor": "middle" }, asBits ? "all bits" : "share"));
      svg.append(g("text", { x: left - 8, y: top + tall / 2 + 4, "text-anchor": "end", class: "goal-name" }, "all layers"));
      if (asBits) bits.forEach((bit, i) => cell(bitRows.get(bit), left + i * w, top, w, `all layers, bit ${bit}`, `all/${bit}`));
      cell({ share: arm.share, ccr: arm.ccr, tried: arm.tried, size: arm.size }, rightmost, top, total, "the whole network", "all/all");
      order.forEach((layer, line) => {
        const y = top + tall + rowGap + line * tall;
        svg.append(g("text", { x: left - 8, y: y + tall / 2 + 4, "text-anchor": "end" }, middle(LAYERS[layer], chars), g("title", {}, LAYERS[layer])));
        if (asBits) bits.forEach((bit, i) => { if (bit < F.layers[layer].bits) cell(cells.get(`${layer}/${bit}`), left + i * w, y, w, `${LAYERS[layer]}, ${bitWord(F, layer, bit)}`, `${layer}/${bit}`); });
        cell(layerRows.get(layer), rightmost, y, total, `${LAYERS[layer]}, all together`, `${layer}/all`);
      });
      const lines = ["all", ...order], columns = [...(asBits ? bits : []), "all"];
      svg.addEventListener("keydown", event => {
        const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
        if (!step) return;
        event.preventDefault();
        const [r, c] = state.at ? state.at.split("/") : ["all", "all"];
        let y = lines.findIndex(l => String(l) === r), x = columns.findIndex(k => String(k) === c);
        for (let tries = 0; tries < 64; tries++) {
          y += step[0]; x += step[1];
          if (y < 0 || x < 0 || y >= lines.length || x >= columns.length) return;
          if (marks.has(`${lines[y]}/${columns[x]}`)) { mark(`${lines[y]}/${columns[x]}`); return; }
        }
      });
      svg.append(frame);
      high = tall;
      put(plot, svg);
      if (state.at && marks.has(state.at)) mark(state.at);
      const stops = [0, 0.01, 0.1, 0.25, 0.5, 1].map(s => s * most);
      put(byId("map-legend"), stops.map(s => h("span", {}, g("svg", { width: 16, height: 14, class: "heat" }, g("rect", { width: 16, height: 14, class: "ground" }), s ? g("rect", { width: 16, height: 14, class: "heat-ink", "fill-opacity": round1(ink(s) * 100) / 100 }) : null), share(s))),
        arm.cells.length && asBits ? h("span", {}, "· not tried") : null);
    }
    function mark(key) {
      const found = marks.get(key);
      state.at = key;
      if (!found) return;
      fill(frame, { x: found.x + 0.5, y: found.y + 0.5, width: found.cw - 1, height: high - 1 }, []);
      tell(found.row, found.what);
    }
    let redraw = () => {};
    put(byId("map-controls"), armPicker(v => { state.arm = v; redraw(); }, 0),
      select("colour", [[0, "share of faults that are critical"], [1, "images that change class, on average"]], 0, v => { state.what = Number(v); redraw(); }),
      checkbox("worst layers first", false, on => { state.worstFirst = on; redraw(); }, { id: `${prefix}map-order` }));
    redraw = drawInto(plot, draw);
    mark("all/all");
  }

  function rankingView() {
    const body = byId("ranking-body");
    if (!ARMS.some(arm => arm.layers.length)) { byId("ranking").hidden = true; return; }
    const state = { arm: 0 };
    const controls = h("div", { class: "controls" }), left = h("div", {}), right = h("div", {}), below = h("div", {});
    function bars(rows, name, label) {
      const most = Math.max(1e-9, ...rows.map(r => r.share[2])), wide = 64, line = 20;
      const bar = r => g("svg", { width: wide, height: line, role: "img", "aria-label": ranged(r.share), class: "bars" },
        g("rect", { class: "bar-ink", x: 0, y: 5, width: round1(r.share[0] / most * wide), height: line - 10 }),
        g("line", { class: "whisker", x1: round1(r.share[1] / most * wide), x2: round1(r.share[2] / most * wide), y1: line / 2, y2: line / 2 }));
      return table([[label], ["critical", true], [`${LEVEL}`], ["", false], ["tried", true], ["mean CCR", true]], rows.map(r => [h("span", { class: "nowrap", title: name(r) }, middle(name(r), 28)), share(r.share[0]), h("span", { class: "nowrap quiet" }, spanned(r.share)), bar(r), count(r.tried), share(r.ccr)]), { tall: rows.length > 16, label });
    }
    function draw() {
      const arm = ARMS[state.arm], by = rows => rows.filter(r => r.tried).sort((a, b) => b.share[0] - a.share[0] || b.ccr - a.ccr);
      put(left, h("h3", {}, "Layers"), bars(by([...arm.layers]), r => LAYERS[r.layer], "layer"));
      put(right, arm.bits.length ? [h("h3", {}, "Bits"), bars(by([...arm.bits]), r => `${r.bit}${r.field ? `, ${r.field}` : ""}`, "bit")] : null);
      put(below, arm.channels.length ? [h("h3", {}, "Channels with the most images changed"), table([["layer"], ["channel", true], ["critical", true], [`${LEVEL}`], ["tried", true], ["mean CCR", true]], arm.channels.map(r => [LAYERS[r.layer], r.channel, share(r.share[0]), h("span", { class: "nowrap quiet" }, spanned(r.share)), count(r.tried), share(r.ccr)])), arm.exhaustive ? null : h("p", { class: "quiet small" }, "Few faults of a channel were tried, so this order is rough; the intervals say how rough.")] : null);
    }
    put(controls, armPicker(v => { state.arm = v; draw(); }, 0));
    put(body, several ? controls : null, h("div", { class: "halves ranks" }, left, right), below);
    draw();
  }

  function ratesView() {
    const body = byId("rates-body");
    if (!ARMS.some(arm => arm.rates.length)) { byId("rates").hidden = true; return; }
    const points = ARMS[0].rates;
    const lines = h("div", { class: "halves" }), left = h("div", { class: "plot" }), right = h("div", { class: "plot" });
    lines.append(h("div", {}, h("h3", {}, "Accuracy"), left), h("div", {}, h("h3", {}, "Classification change rate (CCR)"), right));
    const rows = ARMS.flatMap(arm => arm.rates.map(r => [...(several ? [arm.name] : []), rateOf(r[0]), scored(r[1]), score(r[3]), ranged(r[2]), count(r[4]), r[5] === null ? "–" : number(Number(r[5].toPrecision(3)))]));
    put(body, points.length && points[0][0] > 0 ? lines : null, several ? h("div", { class: "legend" }, ARMS.map((arm, i) => h("span", {}, g("svg", { width: 26, height: 10 }, g("line", { class: `curve tone${i}`, x1: 0, x2: 26, y1: 5, y2: 5 })), arm.name))) : null,
      table([...(several ? [["network"]] : []), [F.strength, true], [`accuracy (${LEVEL})`, true], ["worst copy", true], [`CCR (${LEVEL})`, true], ["copies", true], ["faults a copy", true]], rows),
      h("p", { class: "quiet small" }, `Means over copies of the network, each with its own faults; intervals of the mean. ${several ? "Both networks met the same faults. " : ""}The dashed line is the network without faults.`));
    const plot = (place, which, name, zero) => drawInto(place, room => {
      const width = Math.min(room, 620), height = Math.round(within(200, width * 0.6, 320)), box = { width, height, left: 52, right: 14, top: 24, bottom: 40 };
      const at = ARMS.flatMap(arm => arm.rates.map(r => r[0])), values = ARMS.flatMap(arm => arm.rates.flatMap(r => [r[which][1], r[which][2]]));
      let [low, high] = extent(at); if (low === high) { low /= 3; high *= 3; }
      const top = Math.max(...values, which === 1 ? Math.max(...ARMS.map(a => a.accuracy[0])) : 0), bottom = zero ? 0 : Math.min(...values);
      const pad = (top - bottom) * 0.06 || 0.02;
      const x = scaleFor(low, high, box.left, width - box.right, { log: true }), y = scaleFor(zero ? 0 : Math.max(0, bottom - pad), Math.min(1, top + pad), height - box.bottom, box.top, { unit: "fraction" });
      if (new Set(at).size <= 6) x.ticks = () => [...new Set(at)];
      const svg = g("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} against ${F.strength}; the table below has the numbers.` }, axes(x, y, { ...box, xUnit: "", yUnit: "fraction", xName: "", yName: "" }), g("text", { x: width - box.right, y: height - 6, "text-anchor": "end", class: "goal-name" }, `${F.strength} →`));
      for (const t of svg.querySelectorAll(".tick text")) { const v = Number(t.textContent); if (v > 0) t.textContent = rateOf(v); }
      ARMS.forEach((arm, i) => {  // where they coincide, dashes show both
        const side = k => arm.rates.map(r => [round1(x(r[0])), round1(y(r[which][k]))]);
        const path = list => list.map(p => p.join(" ")).join("L");
        if (which === 1) svg.append(g("line", { class: `clean tone${i}`, x1: box.left, x2: width - box.right, y1: round1(y(arm.accuracy[0])), y2: round1(y(arm.accuracy[0])) }));
        if (arm.rates.length > 1) svg.append(g("path", { class: `band tone${i}`, d: `M${path(side(1))}L${path(side(2).reverse())}Z` }), g("path", { class: `curve tone${i}`, d: `M${path(side(0))}` }));
        arm.rates.forEach((r, k) => { const [px, py] = side(0)[k]; svg.append(g("g", { class: `point tone${i}` }, g("line", { x1: px, x2: px, y1: side(1)[k][1], y2: side(2)[k][1] }), g("circle", { cx: px, cy: py, r: 4 }), g("title", {}, `${several ? `${arm.name}, ` : ""}${F.strength} ${rateOf(r[0])}: ${name.toLowerCase()} ${which === 1 ? scored(r[which]) : ranged(r[which])}`))); });
      });
      put(place, svg);
    });
    if (points.length && points[0][0] > 0) { plot(left, 1, "Accuracy", false); plot(right, 2, "CCR", true); }
  }

  function clipView() {
    const C = F.clip;
    if (!C || !several) { byId("clip").hidden = true; return; }
    const [a, b] = ARMS, rows = [["accuracy without faults", scored(a.accuracy), scored(b.accuracy)]];
    if (a.share) rows.push(["single faults that are critical", ranged(a.share), ranged(b.share)], ["images that a single fault changes, on average", share(a.ccr), share(b.ccr)]);
    if (a.worst.length) rows.push(["the worst single fault changes", `${share(a.worst[0].ccr)} of images`, b.worst.length ? `${share(b.worst[0].ccr)} of images` : "–"]);
    for (const r of a.rates) { const other = b.rates.find(s => s[0] === r[0]); if (other) rows.push([`accuracy at ${F.strength} ${rateOf(r[0])}`, scored(r[1]), scored(other[1])]); }
    put(byId("clip-body"), C.words.map(w => h("p", {}, w)), table([["", false], [a.name, true], [b.name, true]], rows),
      C.pairs ? table([["the same single faults", false], ["faults", true]], [[`critical in neither`, count(C.pairs[3])], [`critical only ${a.name}`, count(C.pairs[1])], [`critical only ${b.name}`, count(C.pairs[2])], ["critical in both", count(C.pairs[0])]]) : null);
  }

  function criticalView() {
    if (!ARMS.some(arm => arm.critical)) { byId("critical").hidden = true; return; }
    put(byId("critical-body"), ARMS.filter(arm => arm.critical).map(arm => [several ? h("h3", {}, arm.name) : null, arm.critical.words.map(w => h("p", {}, w)),
      table(arm.critical.head.slice(0, 5).map((name, i) => [name, i > 0]), arm.critical.rows.map(row => row.slice(0, 5)))]));
  }

  worstView(); mapView(); rankingView(); criticalView(); ratesView(); clipView();
}

function layersView() {
  const rows = D.quantisation;
  if (!rows.rows.length) { byId("layers").hidden = true; return; }
  put(byId("layers-body"), rows.words ? h("p", {}, rows.words) : null, table(rows.columns, rows.rows.map(row => row.map((cell, i) => rows.columns[i][1] && typeof cell === "number" ? (rows.units[i] ? show(cell, rows.units[i]) : number(cell)) : cell ?? "–")), { tall: rows.rows.length > 20, label: "layers", class: "spaced" }));
}

function againView() {
  put(byId("again-body"), D.commands.length ? h("pre", { tabindex: 0, "aria-label": "commands" }, D.commands.join("\n")) : null,
    h("p", {}, `Seed: ${D.seed}. Every fault follows from it; a single one is made again from layer, site, position and bit.`),
    h("details", { open: true }, h("summary", {}, "Settings"), pairs(D.settings)),
    Object.keys(D.environment).length ? h("details", {}, h("summary", {}, "Versions and machine"), pairs(D.environment)) : null);
}

byId("main").hidden = false;
summaryView();
D.faults.forEach(kindView);
layersView(); againView();
const link = section => h("a", { href: `#${section.id}` }, section.querySelector("h2").textContent);
const shown = selector => [...document.querySelectorAll(selector)].filter(s => !s.hidden && s.querySelector("h2"));
put(byId("contents"), D.faults.length > 1
  ? [...D.faults.map((F, i) => h("a", { href: `#${prefixOf(i)}kind` }, F.name)), ...shown("main > section[id]").filter(s => s.id !== "summary").map(link)]
  : shown("#kinds section[id], main > section[id]").filter(s => s.id !== "summary").map(link));
