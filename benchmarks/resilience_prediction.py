"""How well resilience is predicted before it is measured: two spaces, two schemes, four fault models.

Networks of `Chain` and `Macro` are trained on 5,000 images of Fashion-MNIST and quantised to 8 bits in both
schemes; those that learn too little (`dropped`) are left out. For each fault model the classification change
rate is measured, and predicted for architectures of which nothing was learned, their twins in the other
scheme included (`FOLDS` parts of the architectures, left out in turn).

`spearman.<space>.<scheme>.<fault>` is the rank correlation of predicted and measured with all features:
topology and gains of the trained weights. Beside it: `topology.…` (topology and hyperparameters alone),
`start.…` (and gains before training), `first.…` (and gains after one epoch); `index.<name>.…` of each plain
index; `estimate.…` of the first-order feature of that fault model alone, without any learning; `ceiling.…`,
what a perfect prediction would reach: the root of the measurement's reliability, from two halves of its draws
(Spearman and Brown). `learned.<n>` is the median when only n networks of one scheme teach.

Faults: `weights_1e-3` and `activations_3e-4` flip each bit at that rate, `single_…` one random bit.

All is kept in `--folder`, so that an interrupted run goes on where it was: half a minute of CPU per network.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import report, resilience_measured, resilience_networks
from benchmarks.resilience_measured import FAULTS, SCHEMES, Measured
from benchmarks.resilience_networks import SPACES
from vilfredo.forecast.resilience import Model, fit, spearman

LARGEST = 0.5  # validation error of a network that counts as trained
FOLDS = 12
TIERS = ("topology", "start", "first", "last")
TAUGHT = (10, 20, 40)  # networks that teach, of the learning curve
DRAWS = 5  # of these
Figures = dict[str, float | str]
Array = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> Figures:
    parser = report.arguments(__doc__)
    parser.add_argument("--folder", type=Path, help="where networks and measurements are kept")
    parser.add_argument("--networks", type=int, default=75, help="how many of each space are trained")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as spare:
        folder = options.folder or Path(spare)
        known, dropped = gathered(options.networks, folder)
    found = figures(known) | {f"dropped.{name}": count for name, count in dropped.items()}
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


def figures(known: Sequence[Measured]) -> Figures:
    found: Figures = {}
    medians: dict[str, list[float]] = {}

    def add(kind: str, where: str, value: float) -> None:
        found[f"{kind}.{where}"] = value
        medians.setdefault(kind, []).append(value)

    for space in SPACES:
        own = [m for m in known if m.space == space]
        found[f"networks.{space}"] = len({m.number for m in own})
        found[f"accuracy.{space}"] = statistics.mean(m.float_accuracy for m in own)
        for scheme in SCHEMES:
            drops = [m.float_accuracy - m.accuracy for m in own if m.scheme == scheme]
            found[f"accuracy_lost.{space}.{scheme}"] = statistics.mean(drops)
        for fault in FAULTS:
            truth = np.array([m.ccr[fault][0] for m in own])
            predicted = {tier: left_out(own, fault, tier) for tier in TIERS}
            for scheme in SCHEMES:
                rows = np.array([m.scheme == scheme for m in own])
                where = f"{space}.{scheme}.{fault}"
                some = [m for m in own if m.scheme == scheme]
                found[f"ccr.{where}"] = float(np.median(truth[rows]))
                for tier in TIERS:
                    name = "spearman" if tier == "last" else tier
                    add(name, where, spearman(predicted[tier][rows], truth[rows]))
                add("ceiling", where, ceiling(some, fault))
                add("estimate", where, spearman(np.array([estimate(m, fault) for m in some]), truth[rows]))
                for index in sorted(some[0].indices):
                    values = np.array([m.indices[index] for m in some])
                    add(f"index.{index}", where, spearman(values, truth[rows]))
    for kind, all in medians.items():
        found[f"{kind}_median"] = statistics.median(all)
        found[f"{kind}_min"] = min(all)
    for count in TAUGHT:
        found[f"learned.{count}"] = curve(known, count)
    return found | times(known)


def left_out(known: Sequence[Measured], fault: str, tier: str) -> Array:
    """Predictions for each row by models that have seen nothing of its architecture."""
    predicted = np.full(len(known), math.nan)
    for taught, asked in folds(known):
        model = learned([known[i] for i in taught], fault, tier)
        predicted[asked] = model.latent([row(known[i], tier) for i in asked])[0]
    return predicted


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
    return {**known, **{f"gains.{name}": value for name, value in of.features[tier].items()}}


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
                    model = learned([own[i] for i in order[:count]], fault, "last")
                    asked = [own[i] for i in order[count:]]
                    predicted = model.latent([row(m, "last") for m in asked])[0]
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


def times(known: Sequence[Measured]) -> Figures:
    """Median seconds for each network: of its features, of asking the model, of measuring each fault."""
    found: Figures = {
        f"seconds.{fault}": statistics.median(m.seconds[fault] for m in known) for fault in FAULTS
    }
    for part in ("topology", "gains"):
        found[f"seconds.{part}"] = statistics.median(m.seconds[part] for m in known)
    began = time.perf_counter()
    model = learned(known[: 2 * max(TAUGHT)], FAULTS[0], "last")
    found["seconds.learn"] = time.perf_counter() - began
    began = time.perf_counter()
    model.predict([row(m, "last") for m in known])
    found["seconds.predict"] = (time.perf_counter() - began) / len(known)
    return found


if __name__ == "__main__":
    main()
