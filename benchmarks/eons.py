"""Spiking networks by evolution: how fast EONS reaches the full goal, and what size and resilience as goals
buy.

All searches go through `vilfredo.search`. `--part` runs some of the parts alone; each run's result is kept
beside FILE (`FILE.rows`) as it comes, and `--resume` goes on from there. Seeds of a run decide everything in
it: networks, episodes, perturbations, and how a data set is split. The settings (`eons_runs.py`) are the same
for all seeds and were chosen on others (from 1,000).

* `full-goal`: CartPole Easy on RISP 127. Seconds, on all cores, from the call of `search` to the first
  network that stays up for 15,000 steps in each of 10 fresh episodes (see `eons_runs.full_goal`), with
  compiled code in the cache; `full_goal.cold` is one run in a new process with an empty cache, imports
  included. A search that takes longer than the limit counts with the limit; `reached` is the share of the
  others.
* `front`: the same task; synapses against `resilience_q05` under 10 % Gaussian variation of the weights, by
  Pareto ranks. `front.points` are those of the first seed on the test: fresh episodes of 15,000 steps, fresh
  perturbations; scores as shares of 15,000.
* `multi`: on danna2 and mrdanna, for CartPole (1,000 steps), iris and wine: accuracy alone against the
  weighted fitness of arXiv 2002.01406 (score − c · synapses + mean score under 10 % variation; c = 0.002 for
  control, 0.001 for classification), equal numbers of networks. Both sides are pruned of dead parts, and each
  gives the network of its best fitness. On fresh episodes, or the test samples, and with fresh perturbations:
  `synapses_ratio` is the geometric mean of multi/single, `difference` that of the clean scores (multi −
  single), `lost` what faults take from single, `recovered` = (multi faulty − single faulty) / (single clean −
  single faulty), sums over seeds before the division. `.low`, `.high`: 95 % bootstrap interval over seeds.
* `classification`: iris, wine and breast cancer on RISP 127 beside a logistic regression and an MLP of
  scikit-learn on the same splits; test accuracy, mean over seeds with 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import eons_plots, eons_runs, report
from benchmarks.eons_runs import Row, Sizes

PARTS = ("full-goal", "front", "multi", "classification")
ARCHITECTURES = ("danna2", "mrdanna")
COMPARED = ("cartpole", "iris", "wine")
CLASSIFIED = ("iris", "wine", "breast_cancer")
RESAMPLES = 10_000
Figures = dict[str, float | str]


def main(arguments: Sequence[str] | None = None) -> Figures:
    options = parse(arguments)
    if options.cold:
        print(json.dumps(eons_runs.full_goal(options.first_seed, options.sizes)))
        return {}
    rows = Rows(options.json, options.resume)
    figures: Figures = {}
    for part in options.part:
        if part == "full-goal":
            full_goal(rows, options)
        else:
            pooled(part, rows, options)
        figures = summarised(rows.all, options)
        report.write(options.json, figures)
    if options.plots is not None:
        eons_plots.write(options.plots, rows.all)
    return figures


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = report.arguments(__doc__)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--generations", type=int, help="of the searches of a fixed length")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="but for full-goal")
    parser.add_argument("--resume", action="store_true", help="keep the runs that FILE.rows has")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the figures there, as SVG")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--cold", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.sizes = eons_runs.QUICK if options.quick else Sizes()
    if options.quick:
        options.seeds = min(options.seeds, 2)
    if options.generations is not None:
        options.sizes = replace(options.sizes, generations=options.generations)
    return options


# -- running --------------------------------------------------------------------------------------------


class Rows:
    """The results of all runs, by what was run; kept in a file as they come."""

    def __init__(self, path: Path | None, resume: bool) -> None:
        self._path = None if path is None else path.with_name(path.name + ".rows")
        self.all: dict[tuple[str, ...], Row] = {}
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if resume and self._path.exists():
                for line in self._path.read_text().splitlines():
                    entry = json.loads(line)
                    self.all[tuple(entry["key"])] = entry["row"]
            else:
                self._path.write_text("")

    def add(self, key: tuple[str, ...], row: Row) -> None:
        self.all[key] = row
        shown = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, int | float))
        print(f"{' '.join(key)}  {shown}", flush=True)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"key": key, "row": row}) + "\n")


def seeds(options: argparse.Namespace) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def full_goal(rows: Rows, options: argparse.Namespace) -> None:
    missing = [seed for seed in seeds(options) if ("full-goal", str(seed)) not in rows.all]
    if missing:
        if ("cold",) not in rows.all:
            rows.add(("cold",), cold(options))
        warm = replace(options.sizes, limit=3.0)
        eons_runs.full_goal(10_000, warm)  # compiles, or loads, everything
    for seed in missing:
        rows.add(("full-goal", str(seed)), eons_runs.full_goal(seed, options.sizes))


def cold(options: argparse.Namespace) -> Row:
    """The first seed's run in a process that has nothing compiled yet."""
    command = [sys.executable, "-m", "benchmarks.eons", "--cold", "--first-seed", str(options.first_seed)]
    command += ["--quick"] if options.quick else []
    with tempfile.TemporaryDirectory(prefix="eons_cold") as cache:
        began = time.perf_counter()
        done = subprocess.run(
            command,
            env={**os.environ, "NUMBA_CACHE_DIR": cache},
            cwd=Path(__file__).resolve().parents[1],
            check=True,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - began
    return {**json.loads(done.stdout.splitlines()[-1]), "whole_seconds": seconds}


def pooled(part: str, rows: Rows, options: argparse.Namespace) -> None:
    """The runs of a part, in processes that compute with one thread each."""
    wanted = {key: call for key, call in calls(part, options).items() if key not in rows.all}
    if not wanted:
        return
    if options.workers <= 1:
        for key, (function, given) in wanted.items():
            rows.add(key, function(*given))
        return
    before = {name: os.environ.get(name) for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.workers, context) as pool:
            first, *others = wanted.items()
            rows.add(first[0], pool.submit(first[1][0], *first[1][1]).result())  # compiles for all
            running = [(key, pool.submit(function, *given)) for key, (function, given) in others]
            for key, future in running:
                rows.add(key, future.result())
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def calls(
    part: str, options: argparse.Namespace
) -> dict[tuple[str, ...], tuple[Callable[..., Row], tuple[Any, ...]]]:
    """What a part runs: (function, arguments) by key."""
    sizes = options.sizes
    if part == "front":
        return {("front", str(seed)): (eons_runs.front, (seed, sizes)) for seed in seeds(options)}
    if part == "classification":
        return {
            ("classification", name, str(seed)): (eons_runs.classification, (name, seed, sizes))
            for seed in seeds(options)
            for name in CLASSIFIED
        }
    return {
        ("multi", chip, name, condition, str(seed)): (
            eons_runs.compared,
            (chip, name, condition, seed, sizes),
        )
        for seed in seeds(options)
        for chip in ARCHITECTURES
        for name in COMPARED
        for condition in eons_runs.CONDITIONS
    }


# -- what it comes to -----------------------------------------------------------------------------------


def summarised(rows: Mapping[tuple[str, ...], Row], options: argparse.Namespace) -> Figures:
    figures: Figures = {
        "first_seed": options.first_seed,
        "seeds": options.seeds,
        "generations": options.sizes.generations,
        "population": options.sizes.population,
        "copies": options.sizes.copies,
        "test_copies": options.sizes.test_copies,
        "quick": float(options.quick),
    }
    reached = [row for key, row in rows.items() if key[0] == "full-goal"]
    if reached:
        figures |= report.summary("full_goal.seconds", [row["seconds"] for row in reached])
        figures |= report.summary("full_goal.networks", [row["networks"] for row in reached])
        figures["full_goal.reached"] = float(np.mean([row["reached"] for row in reached]))
        sizes = [row["synapses"] for row in reached if row["reached"]]
        figures |= report.summary("full_goal.synapses", sizes)
        figures["full_goal.tested"] = float(np.mean([row["tested"] for row in reached]))
    if ("cold",) in rows:
        figures["full_goal.cold"] = rows[("cold",)]["whole_seconds"]
    figures |= of_front(rows)
    figures |= of_multi(rows)
    for name in CLASSIFIED:
        found = [row for key, row in rows.items() if key[:2] == ("classification", name)]
        if found:
            for field in ("clean", "faulty", "logistic", "mlp"):
                label = "eons" if field == "clean" else field
                values = np.array([row[field] for row in found])
                figures |= interval(f"classification.{name}.{label}", values, np.mean)
            figures |= report.summary(f"classification.{name}.synapses", [row["synapses"] for row in found])
            figures |= report.summary(f"classification.{name}.seconds", [row["seconds"] for row in found])
    return figures


def of_front(rows: Mapping[tuple[str, ...], Row]) -> Figures:
    figures: Figures = {}
    fronts = [row for key, row in sorted(rows.items()) if key[0] == "front"]
    if fronts:
        points = sorted(fronts[0]["points"], key=lambda p: p["synapses"])
        for place, point in enumerate(points):
            for name in ("synapses", "neurons", "clean", "faulty", "q05", "worst", "search_q05"):
                figures[f"front.points.{place}.{name}"] = float(point[name])
        for least in (0.5, 0.9, 0.99):
            sizes = [[p["synapses"] for p in f["points"] if p["q05"] >= least] for f in fronts]
            smallest = [min(found) for found in sizes if found]
            figures |= report.summary(f"front.synapses_for_q05_{least:g}", smallest)
        best = [max((p["q05"] for p in f["points"]), default=0.0) for f in fronts]
        figures |= report.summary("front.best_q05", best)
        figures |= report.summary("front.seconds", [f["seconds"] for f in fronts])
    return figures


def of_multi(rows: Mapping[tuple[str, ...], Row]) -> Figures:
    """By architecture and task, and over all of them (`multi.all`)."""
    figures: Figures = {}
    cells: dict[str, list[tuple[Row, Row]]] = {}
    for (part, *rest), row in rows.items():
        if part == "multi" and rest[2] == "single":
            chip, name, _, seed = rest
            other = rows.get(("multi", chip, name, "multi", seed))
            if other is not None:
                cells.setdefault(f"{chip}.{name}", []).append((row, other))
    for cell, pairs in cells.items():
        figures |= figures_of(f"multi.{cell}", pairs)
    everything = [pair for pairs in cells.values() for pair in pairs]
    if len(cells) > 1:
        figures |= figures_of("multi.all", everything)
        whole = [name for name in cells if float(figures[f"multi.{name}.synapses_ratio"]) <= 0.5]
        figures["multi.cells"] = len(cells)
        figures["multi.cells_half_the_synapses"] = len(whole)
        won = [name for name in cells if float(figures.get(f"multi.{name}.recovered", 0)) >= 0.5]
        figures["multi.cells_half_recovered"] = len(won)
    return figures


def figures_of(name: str, pairs: Sequence[tuple[Row, Row]]) -> Figures:
    """Of single and multi with the same seeds."""

    def column(side: int, field: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([pair[side][field] for pair in pairs], dtype=np.float64)

    figures: Figures = {}
    for side, condition in enumerate(("single", "multi")):
        for field in ("clean", "faulty", "q05"):
            figures[f"{name}.{condition}.{field}"] = float(column(side, field).mean())
        for field in ("synapses", "neurons", "seconds"):
            figures |= report.summary(f"{name}.{condition}.{field}", column(side, field).tolist())
    ratios = np.maximum(column(1, "synapses"), 1) / np.maximum(column(0, "synapses"), 1)
    figures |= interval(f"{name}.synapses_ratio", np.log(ratios), lambda x: math.exp(x.mean()))
    figures |= interval(f"{name}.difference", column(1, "clean") - column(0, "clean"), np.mean)
    for suffix, field in (("", "faulty"), ("_q05", "q05")):
        gained, lost = column(1, field) - column(0, field), column(0, "clean") - column(0, field)
        figures |= interval(f"{name}.lost{suffix}", lost, np.mean)
        figures |= interval(f"{name}.recovered{suffix}", np.stack([gained, lost], axis=1), _share)
    return figures


def _share(table: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Sum of the first column over that of the second; NaN where nothing was lost."""
    gained, lost = table.sum(axis=0)
    return float(gained / lost) if lost > 0 else math.nan


def interval(
    name: str,
    values: np.ndarray[Any, np.dtype[np.float64]],
    statistic: Callable[[np.ndarray[Any, np.dtype[np.float64]]], float],
) -> Figures:
    """A statistic of rows with its 95 % percentile-bootstrap interval; where it is NaN it is left out."""
    rng = np.random.default_rng(0)
    drawn = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)]
    finite = np.array([x for x in drawn if math.isfinite(x)])
    figures: Figures = {name: float(statistic(values)), f"{name}.n": len(values)}
    if len(finite):
        figures[f"{name}.low"], figures[f"{name}.high"] = np.quantile(finite, (0.025, 0.975)).tolist()
    return {key: value for key, value in figures.items() if not _is_nan(value)}


def _is_nan(value: float | str) -> bool:
    return isinstance(value, float) and math.isnan(value)


if __name__ == "__main__":
    main()
