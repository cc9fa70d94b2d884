"""What early termination saves, and what it costs in truth: published learning curves through every engine.

Each network one at a time (`benchmarks.replay`), in the order of the file and in random orders. Keys are
`<engine>.<experiment>.<metric>` (file order), with `.random` (mean over the random orders), `.random_sd`
and `.random_worst` beside it (one random order where there are more than 500 networks);
`<engine>.mean.<metric>` is the mean over the experiments of accuracy curves, `<engine>.taskset_mean.<metric>`
that over TaskSet's tasks. Engines with the suffix `_two` rank two goals, error and FLOPs, wherever FLOPs are
known; the others error alone.

* `saved`, `saved_flops`: share of all epochs not trained; weighted with the network's FLOPs.
* `mae`: mean absolute error in points of what is returned for all networks, measured or forecast.
* `recall10`, `recall20`: share of the truly best tenth and fifth that is in the returned one.
* `mean_gap`: by how many points the true best tenth is better, in the mean, than the chosen one truly is.
* `tau`: Kendall's tau-b of returned and true values.
* `pareto_recall`, `hv_ratio`: share of the true front of accuracy against FLOPs that is on the returned
  one; the hypervolume of the true points of the returned front over the true front's. `confirmed_…`, with
  two goals: the same, and `saved`, when the front has been trained to the end as a search does before it
  hands it over.
* `inside90`: share of the returned forecasts whose 90 % interval holds the truth. `finished`: share of the
  networks trained to the end. `revived`: how often a network was revived, over their number.
* `ms_per_epoch`: the engine's own time, `revive` included, per epoch trained.
* `ceiling.<experiment>.…`: what hindsight could save (see `ceilings`).
"""

from __future__ import annotations

import inspect
import math
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import curves, report
from benchmarks.curves import FEWEST, Array, Experiment
from benchmarks.replay import ONE, TWO, on_front, replay, scores
from vilfredo.goal import Goal
from vilfredo.protocols import Stopper
from vilfredo.spec import names

ENGINES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "genrace": ("genrace", {}),
    "genrace_stop": ("genrace", {"resume": False}),
    "ensemble": ("ensemble", {}),
    "penguin": ("penguin", {}),
    "median": ("median", {}),
    "asha": ("asha", {}),
    "hyperband": ("hyperband", {}),
    "fixed": ("fixed", {}),
    "never": ("never", {}),
}
"""Name here: the engine and its options."""
TWO_GOALS = ("genrace", "genrace_stop", "ensemble", "asha", "never")
ALONE = ("penguin", "fixed", "never")  # look at no other network: no order changes what comes out
MANY = 500  # networks
MEANS: Mapping[str, str] = {"accuracy": "mean", "taskset": "taskset_mean"}
SHOWN = (
    "saved", "saved_flops", "mae", "recall10", "recall20", "mean_gap", "tau", "pareto_recall", "hv_ratio",
    "confirmed_saved", "confirmed_pareto_recall", "confirmed_hv_ratio", "inside90", "ms_per_epoch",
)  # fmt: skip
LESS_IS_BETTER = ("mae", "mean_gap", "ms_per_epoch")


@dataclass(frozen=True)
class Job:
    engine: str
    experiment: Experiment
    order: int  # 0: that of the file; else the number of a random one
    share: float = 1.0  # of the networks, in random orders


def engine(name: str, goals: Sequence[Goal]) -> Stopper:
    """The engine of that name of `ENGINES`, of the package, or "package.module:Name".

    Raises `ValueError` where there is none.
    """
    use, options = ENGINES.get(name, (name, {}))
    found = names.find("stopper", use)
    taken = inspect.signature(found).parameters
    given = {"goals": goals} if "goals" in taken else {}
    made: Stopper = found(**given, **options)
    return made


def split(name: str) -> tuple[str, bool]:
    """The engine's name, and whether it ranks two goals."""
    return (name.removesuffix("_two"), True) if name.endswith("_two") else (name, False)


def ordered(job: Job) -> list[int]:
    count = len(job.experiment.networks)
    if job.order == 0:
        return list(range(count))
    shuffled = np.random.default_rng([2026, job.order]).permutation(count)
    return [int(i) for i in shuffled[: math.ceil(job.share * count)]]


def orders_of(experiment: Experiment, orders: int) -> int:
    """How many random orders: one will do for many networks, which take long and vary little."""
    return min(orders, 1) if len(experiment.networks) > MANY else orders


def play(job: Job) -> tuple[Job, dict[str, float]]:
    name, two = split(job.engine)
    goals = TWO if two else ONE
    run = replay(job.experiment, ordered(job), engine(name, goals), goals)
    return job, scores(run, two)


def results(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, dict[str, float]]]:
    if processes <= 1:
        yield from map(play, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(play, jobs)


def figures(
    experiments: Sequence[Experiment],
    engines: Sequence[str],
    orders: int,
    share: float = 1.0,
    processes: int = 1,
) -> dict[str, float | str]:
    """All figures, flat. Random orders are not replayed for engines that look at one network alone."""
    jobs = [
        Job(name, experiment, order, share)
        for experiment in experiments
        for name in engines
        for order in range(1 + orders_of(experiment, orders))
        if experiment.priced or not split(name)[1]
        if order == 0 or share < 1 or split(name)[0] not in ALONE
    ]
    jobs.sort(key=lambda job: -len(job.experiment.networks) * job.experiment.epochs)
    played: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for job, found in results(jobs, processes):
        played.setdefault((job.engine, job.experiment.name), {})[job.order] = found
        print(f"  {job.engine} on {job.experiment.name}, order {job.order}: {_brief(found)}", file=sys.stderr)
    out: dict[str, float | str] = {"orders": orders, "share": share}
    for experiment in experiments:
        out[f"curves.{experiment.name}.networks"] = len(experiment.networks)
        out[f"curves.{experiment.name}.epochs"] = experiment.epochs
        out[f"curves.{experiment.name}.orders"] = orders_of(experiment, orders)
        out |= {f"ceiling.{experiment.name}.{name}": value for name, value in ceilings(experiment).items()}
    for name in engines:
        per_experiment: dict[str, dict[str, dict[str, float]]] = {}
        for experiment in experiments:
            by_order = played.get((name, experiment.name))
            if by_order is None:
                continue
            found = by_order[0] | _spread(by_order, orders)
            out |= {f"{name}.{experiment.name}.{metric}": value for metric, value in found.items()}
            if experiment.group in MEANS and len(experiment.networks) >= FEWEST:
                per_experiment.setdefault(MEANS[experiment.group], {})[experiment.name] = found
        for mean, rows in per_experiment.items():
            for metric in next(iter(rows.values())):
                values = [row[metric] for row in rows.values() if metric in row]
                out[f"{name}.{mean}.{metric}"] = float(np.mean(values))
    for mean in set(MEANS.values()):
        in_it = [e.name for e in experiments if MEANS.get(e.group) == mean and len(e.networks) >= FEWEST]
        if in_it:
            out[f"curves.{mean}.experiments"] = ", ".join(in_it)
    return out


def _spread(by_order: Mapping[int, Mapping[str, float]], orders: int) -> dict[str, float]:
    """Mean, standard deviation and worst over the random orders."""
    if orders == 0:
        return {}
    random = [found for order, found in by_order.items() if order > 0] or [by_order[0]]
    out = {}
    for metric in by_order[0]:
        values = [found[metric] for found in random if metric in found]
        if values:
            out[f"{metric}.random"] = float(np.mean(values))
            out[f"{metric}.random_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            out[f"{metric}.random_worst"] = max(values) if metric in LESS_IS_BETTER else min(values)
    return out


def _brief(found: Mapping[str, float]) -> str:
    shown = ("saved", "mae", "recall10", "recall20", "tau", "pareto_recall", "ms_per_epoch")
    return ", ".join(f"{m} {found[m]:.3f}" for m in shown if m in found)


# -- what hindsight could save ----------------------------------------------------------------------

PROBE = 2  # epochs that everybody gets


def ceilings(experiment: Experiment) -> dict[str, float]:
    """What a perfect predictor could save at a recall (shares of all epochs).

    * `oracle_recall10`, `oracle_recall20`: two epochs for everybody, then just the true best tenth, fifth,
      to the end; `…_09`: 90 % of them.
    * `rule_recall10`, `rule_recall20`: the best rule of thresholds with hindsight: after every epoch
      whoever is below a threshold in training or in validation accuracy is stopped for good, and the
      thresholds, one of each for every epoch, are the highest that stop nobody of the true best tenth,
      fifth; `…_09`: of 90 % of it, those that are left out chosen greedily. `rule_train_…` looks at
      training accuracy alone, `rule_val_…` at validation.
    * `oracle_front`: with two goals, two epochs for everybody, then just the true front.
    * `front`: how many are on it.
    """
    val = np.stack([n.val for n in experiment.networks])
    train = np.stack([n.train for n in experiment.networks])
    true = val[:, -1]
    count, epochs = val.shape
    probe = min(PROBE, epochs)

    def finishing(kept: float) -> float:
        return float(1.0 - (count * probe + kept * (epochs - probe)) / (count * epochs))

    out = {}
    looks = {"rule": [train, val], "rule_train": [train], "rule_val": [val]}
    for part in (10, 20):
        best = max(1, round(part / 100 * count))
        out[f"oracle_recall{part}"] = finishing(best)
        out[f"oracle_recall{part}_09"] = finishing(math.ceil(0.9 * best))
        if count < FEWEST:
            continue
        top = [int(i) for i in np.argsort(-true, kind="stable")[:best]]
        for name, seen in looks.items():
            tables = [np.nan_to_num(one, nan=math.inf) for one in seen]
            out[f"{name}_recall{part}"] = _thresholds(tables, top)
            out[f"{name}_recall{part}_09"] = _leaving_out(tables, top, best - math.ceil(0.9 * best))
    if experiment.priced:
        front = on_front(true, np.array([n.cost for n in experiment.networks]))
        out["front"] = float(front.sum())
        out["oracle_front"] = finishing(float(front.sum()))
    return out


def _thresholds(seen: Sequence[Array], kept: Sequence[int]) -> float:
    """What is saved by the highest thresholds that stop none of `kept`."""
    count, epochs = seen[0].shape
    failed = np.zeros((count, epochs), dtype=bool)
    for table in seen:
        failed |= table < table[list(kept)].min(axis=0)
    paid = np.where(failed.any(axis=1), failed.argmax(axis=1) + 1, epochs)
    return float(1.0 - paid.mean() / epochs)


def _leaving_out(seen: Sequence[Array], kept: Sequence[int], places: int) -> float:
    """The same, when `places` of `kept` may be lost: each time the one whose loss saves most."""
    kept = list(kept)
    for _ in range(places):
        # Only those who set a threshold somewhere are worth losing.
        setting = sorted({kept[int(i)] for table in seen for i in table[kept].argmin(axis=0)})
        lost = max(setting, key=lambda one: _thresholds(seen, [k for k in kept if k != one]))
        kept.remove(lost)
    return _thresholds(seen, kept)


# -- the command ------------------------------------------------------------------------------------


def table(
    out: Mapping[str, float | str], engines: Sequence[str], experiments: Sequence[Experiment]
) -> Iterator[str]:
    """The figures for people: a block per experiment and mean, a line per engine."""
    groups = [m for m in ("mean", "taskset_mean") if f"curves.{m}.experiments" in out]
    for name in (*(e.name for e in experiments), *groups):
        metrics = [m for m in SHOWN if any(f"{e}.{name}.{m}" in out for e in engines)]
        ceiling = [k.split(".")[-1] for k in out if k.startswith(f"ceiling.{name}.")]
        heads = [m.replace("confirmed_", "c_").replace("pareto_", "p_") for m in metrics]
        yield ""
        yield f"{name}  (file order; below it the mean over random orders)" if int(out["orders"]) else name
        yield " " * 18 + "".join(f"{h:>13}" for h in heads)
        for engine_name in engines:
            for suffix in ("", ".random"):
                cells = [out.get(f"{engine_name}.{name}.{m}{suffix}") for m in metrics]
                if any(c is not None for c in cells):
                    row = "".join(f"{c:>13.3f}" if isinstance(c, float) else f"{'':>13}" for c in cells)
                    yield f"{'' if suffix else engine_name:18}{row}"
        if ceiling:
            yield "ceilings: " + ", ".join(f"{c} {float(out[f'ceiling.{name}.{c}']):.3g}" for c in ceiling)


def markdown(out: Mapping[str, float | str], engines: Sequence[str]) -> Iterator[str]:
    """The means as tables for the documentation: file order, the mean over random orders in brackets."""
    for title, mean, two, metrics in (
        ("one goal", "mean", False, ("saved", "mae", "recall10", "recall20", "tau", "ms_per_epoch")),
        ("two goals", "mean", True, ("saved", "pareto_recall", "hv_ratio", *CONFIRMED)),
        ("TaskSet", "taskset_mean", False, ("saved", "mae", "recall10", "recall20", "tau", "ms_per_epoch")),
    ):
        rows = [n for n in engines if split(n)[1] == two and f"{n}.{mean}.saved" in out]
        if not rows:
            continue
        yield ""
        yield f"| {title} | " + " | ".join(f"`{m}`" for m in metrics) + " |"
        yield "|---|" + "---|" * len(metrics)
        for name in rows:
            cells = []
            for metric in metrics:
                value, random = out[f"{name}.{mean}.{metric}"], out.get(f"{name}.{mean}.{metric}.random")
                text = _digits(metric, value)
                known = split(name)[0] in ALONE or metric == "ms_per_epoch" or random is None
                cells.append(text if known else f"{text} ({_digits(metric, random)})")
            yield f"| `{name}` | " + " | ".join(cells) + " |"


CONFIRMED = ("confirmed_saved", "confirmed_pareto_recall", "confirmed_hv_ratio")


def _digits(metric: str, value: object) -> str:
    places = 3 if metric.startswith(("hv", "confirmed_hv", "saved", "confirmed_saved")) else 2
    return f"{value:.{places}f}"


def chosen(asked: Sequence[str]) -> list[str]:
    """The engines to be replayed: those asked for, or all that there are. Raises `ValueError`."""
    if asked:
        for name in asked:
            engine(split(name)[0], ONE)
        return list(dict.fromkeys(asked))
    found = []
    for name in (*ENGINES, *(f"{n}_two" for n in TWO_GOALS)):
        try:
            engine(split(name)[0], ONE)
        except ValueError as problem:
            print(f"{name} left out: {problem}", file=sys.stderr)
        else:
            found.append(name)
    return found


def chosen_curves(files: Sequence[Path], few: bool) -> list[Experiment]:
    """The experiments to be replayed, with a printed note for each that is not.

    `few`: those with fewer networks than shares of a tenth need, too.
    """
    fit, unfit = curves.read_all(files)
    for one in unfit:
        print(f"{one.name} left out: {one.reason}", file=sys.stderr)
    kept = []
    for experiment in fit:
        count = len(experiment.networks)
        if count < FEWEST and not few:
            print(f"{experiment.name} left out: only {count} complete networks", file=sys.stderr)
            continue
        if experiment.note:
            print(f"{experiment.name}: {experiment.note}", file=sys.stderr)
        kept.append(experiment)
    return kept


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--curves", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument(
        "--engines", nargs="+", default=[], metavar="NAME", help="also NAME_two; package.module:Name"
    )
    parser.add_argument("--orders", type=int, default=5, help="random orders beside the file's")
    parser.add_argument("--share", type=float, default=1.0, help="of the networks, in random orders")
    parser.add_argument("--limit", type=int, default=0, help="networks of each experiment, the first")
    parser.add_argument("--markdown", action="store_true", help="print the means as tables for documents")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 2))
    options = parser.parse_args()
    try:
        experiments = chosen_curves(options.curves or curves.available(), bool(options.curves))
        engines = chosen([name for text in options.engines for name in text.split(",")])
    except (OSError, ValueError) as problem:
        sys.exit(f"{problem}")
    if options.limit:
        experiments = [replace(e, networks=e.networks[: options.limit]) for e in experiments]
    out = figures(experiments, engines, options.orders, options.share, options.processes)
    report.write(options.json, out)
    print("\n".join(table(out, engines, experiments)))
    if options.markdown:
        print("\n".join(markdown(out, engines)))


if __name__ == "__main__":
    # The processes of the pool take over the environment: one thread of BLAS each.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    main()
