// Everything together. What is asked for in the address (#trial=12) is selected, else the knee.
function start() {
  byId("main").hidden = false;
  summaryView();
  frontView(); detailView(); networkView();
  tableView(); goalsView(); curvesView(); progressView(); earlyView(); failuresView(); againView();
  const left = D.detail.of - Object.keys(D.detail.kept).length;
  if (left > 0) byId("table-body").append(h("p", { class: "quiet small" }, `To keep this page small, ${plural(left, "trial")} of the front and its ancestors ${left === 1 ? "is" : "are"} here with means only.`));
  put(byId("contents"), [...document.querySelectorAll("main > section[id]")].filter(s => !s.hidden && s.querySelector("h2")).map(s => h("a", { href: `#${s.id}` }, s.querySelector("h2").textContent)));
  const asked = /^#trial=(\d+)$/.exec(location.hash), row = asked ? ROW.get(Number(asked[1])) : undefined;
  const first = row ?? D.knee ?? D.baseline ?? (T.number.length ? 0 : null);
  if (first === null) { byId("network").hidden = true; byId("detail").textContent = "No trial yet."; } else choose(first);
}
start();
