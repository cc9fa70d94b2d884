"""How well resilience is predicted before it is measured: two spaces, two schemes, four fault models.

Networks of `Chain` and `Macro` are trained on 5,000 images of Fashion-MNIST and quantised to 8 bits in both
schemes; those that learn too little (`dropped`) are left out. For each fault model the classification change
rate is measured, and predicted for architectures of which nothing was learned, their twins in the other
scheme included (`FOLDS` parts of the architectures, left out in turn).

`spearman.<space>.<scheme>.<fault>` is the rank correlation of predicted and measured with all features:
topology, gains of the trained weights, and a probe of them (a few thousand single flips tried). Beside it:
`topology.…` (topology and hyperparameters alone), `start.…` (and gains before training), `first.…` (and gains
after one epoch), `last.…` (and gains after the last, no probe); `index.<name>.…` of each plain index; of the
feature that is for that fault model, alone, without any learning: `estimate.…` of first order, `tried.…` the
probe's; `ridge.…`, ridge regression on all features;
`ceiling.…`, what a perfect prediction would reach: the root of the measurement's reliability, from two halves
of its draws (Spearman and Brown). `elsewhere.…`: all features, but taken from 100 other images than faults
are measured on; `again.…`: the measurement and one of other faults on those other images, which says how much
a prediction from there can be asked for. `learned.<n>` is the median when only n networks of one scheme
teach. `…_median_low` and `…_median_high`: 95 % of medians where architectures are drawn anew (bootstrap).
`cpu.…`: seconds of processor time for a network, taken in this run.

Faults: `weights_1e-3` and `activations_3e-4` flip each bit at that rate, `single_…` one random bit.

All is kept in `--folder`, so that an interrupted run goes on where it was: half a minute of CPU per network.
"""

from __future__ import annotations

import concurrent.futures
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report, resilience_measured, resilience_networks
from benchmarks.resilience_measured import FAULTS, SCHEMES, Measured
from benchmarks.resilience_networks import SPACES
from vilfredo.forecast.resilience import EDGE, Model, fit, spearman

LARGEST = 0.5  # validation error of a network that counts as trained
FOLDS = 12
TIERS = ("topology", "start", "first", "last", "elsewhere", "probe")
TAUGHT = (10, 20, 40)  # networks that teach, of the learning curve
DRAWS = 5  # of these
KINDS = ("spearman", *TIERS[:-1], "ridge")  # of predictions
PENALTIES = 10.0 ** np.arange(-1, 5)  # of ridge regression
RESAMPLED = 500
TIMED = 3  # networks of each space whose processor time is taken
Figures = dict[str, float | str]
Array = NDArray[np.float64]
Other = Callable[[Array, Array, Sequence[int], Array], Array]  # of features, values, networks, new features


def main(arguments: Sequence[str] | None = None) -> Figures:
    parser = report.arguments(__doc__)
    parser.add_argument("--folder", type=Path, help="where networks and measurements are kept")
    parser.add_argument("--networks", type=int, default=75, help="how many of each space are trained")
    parser.add_argument("--workers", type=int, default=1, help="processes that learn and predict")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as spare:
        folder = options.folder or Path(spare)
        known, dropped = gathered(options.networks, folder)
        found = figures(known, options.workers) | costs(folder)
        found |= {f"dropped.{name}": count for name, count in dropped.items()}
    report.write(options.json, found)
    return found


def gathered(count: int, folder: Path) -> tuple[list[Measured], dict[str, float]]:
    """All measurements of networks that learned, and how many of each space did not."""
    samples = resilience_networks.data()
    known: list[Measured] = []
    dropped = dict.fromkeys(SPACES, 0.0)
    for network in resilience_networks.networks(count, folder, samples):
        if not network.error <= LARGEST:
            dropped[network.space] += 1
            continue
        known += resilience_measured.measured(network, samples, folder)
        print(f"{network.space} {network.number}: error {network.error:.3f}", flush=True)
    return known, dropped


def figures(known: Sequence[Measured], workers: int = 1) -> Figures:
    found: Figures = {}
    medians: dict[str, list[float]] = {}
    pairs: dict[str, dict[str, tuple[Array, Array]]] = {}  # predicted and measured, by kind and cell

    def add(kind: str, where: str, value: float) -> None:
        found[f"{kind}.{where}"] = value
        medians.setdefault(kind, []).append(value)

    jobs = [(space, fault, kind) for space in SPACES for fault in FAULTS for kind in KINDS]
    answer = partial(predictions, known)
    if workers > 1:
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            said = dict(zip(jobs, pool.map(answer, jobs), strict=True))
    else:
        said = dict(zip(jobs, map(answer, jobs), strict=True))
    for space in SPACES:
        own = [m for m in known if m.space == space]
        found[f"networks.{space}"] = len({m.number for m in own})
        found[f"accuracy.{space}"] = statistics.mean(m.float_accuracy for m in own)
        for scheme in SCHEMES:
            drops = [m.float_accuracy - m.accuracy for m in own if m.scheme == scheme]
            found[f"accuracy_lost.{space}.{scheme}"] = statistics.mean(drops)
        for fault in FAULTS:
            truth = np.array([m.ccr[fault][0] for m in own])
            predicted = {kind: said[space, fault, kind] for kind in KINDS}
            for scheme in SCHEMES:
                rows = np.array([m.scheme == scheme for m in own])
                where = f"{space}.{scheme}.{fault}"
                some = [m for m in own if m.scheme == scheme]
                found[f"ccr.{where}"] = float(np.median(truth[rows]))
                for name, values in predicted.items():
                    add(name, where, spearman(values[rows], truth[rows]))
                    pairs.setdefault(name, {})[where] = values[rows], truth[rows]
                add("ceiling", where, ceiling(some, fault))
                for name, guess in (("estimate", estimate), ("tried", tried), ("again", again)):
                    add(name, where, spearman(np.array([guess(m, fault) for m in some]), truth[rows]))
                for index in sorted(some[0].indices):
                    values = np.array([m.indices[index] for m in some])
                    add(f"index.{index}", where, spearman(values, truth[rows]))
    for kind, all in medians.items():
        found[f"{kind}_median"] = statistics.median(all)
        found[f"{kind}_min"] = min(all)
    for name in ("spearman", "last", "elsewhere"):
        found[f"{name}_median_low"], found[f"{name}_median_high"] = spread(pairs[name])
    for count in TAUGHT:
        found[f"learned.{count}"] = curve(known, count)
    return found | times(known)


def predictions(known: Sequence[Measured], job: tuple[str, str, str]) -> Array:
    """Of the networks of a space, for a fault: what a kind of prediction says (`KINDS`)."""
    space, fault, kind = job
    own = [m for m in known if m.space == space]
    if kind == "ridge":
        return left_out(own, fault, "probe", ridge)
    return left_out(own, fault, "probe" if kind == "spearman" else kind)


def left_out(known: Sequence[Measured], fault: str, tier: str, other: Other | None = None) -> Array:
    """Predictions for each row by models (`fit`'s, or others) that have seen nothing of its architecture."""
    predicted = np.full(len(known), math.nan)
    for taught, asked in folds(known):
        some = [known[i] for i in taught]
        if other is None:
            rows = [row(known[i], tier) for i in asked]
            predicted[asked] = learned(some, fault, tier).latent(rows)[0]
            continue
        names = sorted(row(known[0], tier))
        x, new = (
            np.array([[row(m, tier)[name] for name in names] for m in of])
            for of in (some, [known[i] for i in asked])
        )
        centre, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
        share = np.clip([m.ccr[fault][0] for m in some], EDGE, 1 - EDGE)
        x, new = (np.clip((table - centre) / scale, -5, 5) for table in (x, new))
        predicted[asked] = other(x, np.log(share / (1 - share)), [m.number for m in some], new)
    return predicted


def ridge(x: Array, y: Array, groups: Sequence[int], new: Array) -> Array:
    """Ridge regression, its penalty the best of `PENALTIES` by networks left out of those that teach."""
    shift = y.mean()
    mine = np.array([groups]) == np.array([groups]).T
    errors = []
    for penalty in PENALTIES:
        hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T) + 1 / len(y)
        residual, total = y - hat @ y, 0.0
        for first in np.unique(mine.argmax(axis=1)):
            own = np.flatnonzero(mine[first])
            inner = np.eye(len(own)) - hat[np.ix_(own, own)]
            total += float((np.linalg.solve(inner, residual[own]) ** 2).sum())
        errors.append(total)
    best = PENALTIES[int(np.argmin(errors))]
    slopes = np.linalg.solve(x.T @ x + best * np.eye(x.shape[1]), x.T @ (y - shift))
    return np.asarray(shift + new @ slopes)


def spread(pairs: Mapping[str, tuple[Array, Array]]) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of the median over the cells, with architectures drawn with replacement: the
    same ones in all cells of a space."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLED):
        drawn: dict[str, NDArray[np.int64]] = {}
        values = []
        for where, (predicted, measured) in pairs.items():
            space = where.split(".")[0]
            if space not in drawn:
                drawn[space] = rng.integers(0, len(measured), len(measured))
            values.append(spearman(predicted[drawn[space]], measured[drawn[space]]))
        found.append(statistics.median(values))
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def folds(known: Sequence[Measured]) -> Iterator[tuple[list[int], list[int]]]:
    """Rows that teach and rows that are asked for: each architecture is asked for once."""
    numbers = sorted({m.number for m in known})
    order = np.random.default_rng(0).permutation(len(numbers))
    for part in range(min(FOLDS, len(numbers))):
        held = {numbers[i] for i in order[part::FOLDS]}
        asked = [i for i, m in enumerate(known) if m.number in held]
        yield [i for i, m in enumerate(known) if m.number not in held], asked


def learned(known: Sequence[Measured], fault: str, tier: str) -> Model:
    return fit([row(m, tier) for m in known], [m.ccr[fault][0] for m in known], [m.number for m in known])


def row(of: Measured, tier: str) -> Mapping[str, float]:
    known = of.features["topology"]
    if tier == "topology":
        return known
    families: Mapping[str, Mapping[str, float]]
    if tier == "probe":
        families = {"gains": of.features["last"], "probe": of.features["probe"]}
    elif tier == "elsewhere":
        families = of.elsewhere
    else:
        families = {"gains": of.features[tier]}
    named = {f"{kind}.{name}": v for kind, values in families.items() for name, v in values.items()}
    return {**known, **named}


def curve(known: Sequence[Measured], count: int) -> float:
    """The median over all settings when `count` networks of one scheme teach, for the others."""
    values = []
    for space in SPACES:
        for scheme in SCHEMES:
            own = [m for m in known if m.space == space and m.scheme == scheme]
            if len(own) < count + 5:
                continue
            for fault in FAULTS:
                for draw in range(DRAWS):
                    order = np.random.default_rng(draw).permutation(len(own))
                    model = learned([own[i] for i in order[:count]], fault, "probe")
                    asked = [own[i] for i in order[count:]]
                    predicted = model.latent([row(m, "probe") for m in asked])[0]
                    values.append(spearman(predicted, np.array([m.ccr[fault][0] for m in asked])))
    return statistics.median(values) if values else math.nan


def ceiling(known: Sequence[Measured], fault: str) -> float:
    """What a perfect prediction could reach: the measurement's own reliability's square root."""
    halves = spearman(*(np.array([m.ccr[fault][half] for m in known]) for half in (1, 2)))
    whole = 2 * halves / (1 + halves) if halves > -1 else 0.0
    return math.sqrt(max(whole, 0.0))


def estimate(of: Measured, fault: str) -> float:
    """The first-order feature of the fault model."""
    names = {
        "weights_1e-3": "ccr_weights_0.001",
        "activations_3e-4": "ccr_activations_0.001",
        "single_activation": "flip_activations",
        "single_weight": "flip_weights",
    }
    return of.features["last"][names[fault]]


def tried(of: Measured, fault: str) -> float:
    """The probe's feature of the fault model."""
    names = {
        "weights_1e-3": "ccr_weights_0.001",
        "activations_3e-4": "ccr_activations_0.0003",
        "single_activation": "single_activations",
        "single_weight": "single_weights",
    }
    return of.features["probe"][names[fault]]


def again(of: Measured, fault: str) -> float:
    """The measurement of other faults on other images."""
    return of.again[fault]


def times(known: Sequence[Measured]) -> Figures:
    """Seconds to learn from all of a space's networks, and to predict one."""
    some = [m for m in known if m.space == known[0].space]
    began = time.process_time()
    model = learned(some, FAULTS[0], "probe")
    taught = time.process_time()
    model.predict([row(m, "probe") for m in some])
    return {"cpu.learn": taught - began, "cpu.predict": (time.process_time() - taught) / len(some)}


def costs(folder: Path) -> Figures:
    """Median seconds of processor time for a network: of its features, and of measuring each fault model."""
    samples = resilience_networks.data()
    spent = [
        resilience_measured.costs(network, samples, "real")
        for network in resilience_networks.networks(TIMED, folder, samples)
    ]
    return {f"cpu.{part}": statistics.median(one[part] for one in spent) for part in spent[0]}


if __name__ == "__main__":
    main()
