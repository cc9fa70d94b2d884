// The run's data, and which trial is selected.
const T = D.trials;
const GOALS = D.goals.map(([name, sense, unit, max, min, ranked], place) => ({ place, name, sense, unit, max, min, ranked, label: name.replaceAll("_", " ") }));
const ROW = new Map(T.number.map((number, row) => [number, row]));
const FRONT = new Set(D.front);
const BAD = new Set(T.bad);
const PARTIAL = new Set(T.partial);
const FORECAST = T.forecast.map(rows => new Set(rows));
const isForecast = (row, goal) => FORECAST[goal.place].has(row);
const STATES = { c: "complete", s: "stopped", p: "paused", r: "rejected", f: "failed" };
const ORIGINS = ["measured", "estimated", "forecast"];
const mean = (row, goal) => T.means[goal.place][row];
const detailOf = row => D.detail.kept[T.number[row]] || null;
const hasAll = (row, ...goals) => goals.every(g => mean(row, g) !== null);
const alive = row => "csp".includes(T.state[row]);

// The pooled value of a goal: {mean, sd, n, origin, low, high, fidelity}, or null where only means are kept.
function valueOf(row, goal, split = 0) {
  const detail = detailOf(row);
  if (!detail) return null;
  const found = detail.values.find(v => v[0] === goal.place && v[1] === split && v[4] === null);
  return found ? unpack(found) : null;
}
function unpack(v) {
  return { goal: GOALS[v[0]], split: v[1] ? "test" : "validation", fidelity: v[2], noise: v[3], repeat: v[4], mean: v[5], sd: v[6], n: v[7], origin: ORIGINS[v[8]], low: v[9] ?? null, high: v[10] ?? null };
}

const better = goal => goal.sense === "min" ? "lower is better" : "higher is better";

const LOG = GOALS.map(goal => wide(D.front.map(row => mean(row, goal))));
const canLog = goal => D.front.every(row => { const v = mean(row, goal); return v === null || v > 0; });

// Which trial is selected, and who wants to know.
const chosen = { row: null, watchers: [] };
function choose(row) {
  if (row === null || row === undefined || row === chosen.row) return;
  chosen.row = row;
  for (const watcher of chosen.watchers) watcher(row);
}
const trialButton = row => h("button", { class: "link", type: "button", onclick: () => choose(row) }, `#${T.number[row]}`);
const trialLink = number => ROW.has(number) ? trialButton(ROW.get(number)) : `#${number}`;
