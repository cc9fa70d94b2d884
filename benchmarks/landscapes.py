"""Search landscapes whose true front is known (or nearly), for comparing optimizers without training.

Real tables come from `$VILFREDO_DATA/nas_tables`; the functions are the usual ones of the field.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vilfredo import pareto
from vilfredo.goal import Goal
from vilfredo.spaces.parameters import Parameters, from_mapping

Array = pareto.Array


@dataclass(frozen=True)
class Landscape:
    """`evaluate` gives the goals of a genome as a tuple, all to be minimised.

    `parameters` is the space as plain data (`from_mapping`), `ideal` and `reference` (m,) the corners of
    the box that hypervolume is measured in, `full` the hypervolume of the true front in that box
    scaled to the unit cube.
    """

    name: str
    parameters: Mapping[str, Mapping[str, Any]]
    goals: tuple[str, ...]
    evaluate: Callable[[Mapping[str, Any]], tuple[float, ...]]
    ideal: Array
    reference: Array
    full: float

    @property
    def space(self) -> Parameters:
        return from_mapping(self.parameters)

    @property
    def ranked(self) -> tuple[Goal, ...]:
        return tuple(Goal(name) for name in self.goals)

    def quality(self, points: Array) -> float:
        """Hypervolume of `points` (n, m) over that of the true front: 1 is all there is to have."""
        return unit_volume(points, self.ideal, self.reference) / self.full

    def progress(self, points: Array) -> Array:
        """`quality` after each evaluation, (n,)."""
        result = np.zeros(len(points))
        front = np.zeros((0, points.shape[1]))
        for row, point in enumerate(points):
            if row and (front <= point).all(axis=1).any():
                result[row] = result[row - 1]
                continue
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
            result[row] = self.quality(front)
        return result


def unit_volume(points: Array, ideal: Array, reference: Array) -> float:
    """Hypervolume within the box from `ideal` to `reference`, as a share of the box."""
    return pareto.hypervolume((points - ideal) / (reference - ideal), np.ones(len(ideal)))


def landscape(
    name: str,
    parameters: Mapping[str, Mapping[str, Any]],
    goals: tuple[str, ...],
    evaluate: Callable[[Mapping[str, Any]], tuple[float, ...]],
    front: Array,
    margin: float = 0.1,
) -> Landscape:
    """The box goes from the ideal corner of the true front to 10 % of the front's extent beyond its nadir."""
    ideal, nadir = front.min(axis=0), front.max(axis=0)
    reference = nadir + margin * (nadir - ideal)
    return Landscape(
        name, parameters, goals, evaluate, ideal, reference, unit_volume(front, ideal, reference)
    )


def tables() -> Path:
    """Where the tables of measured networks lie. Raises `FileNotFoundError` where they do not."""
    folder = Path(os.environ.get("VILFREDO_DATA", "")) / "nas_tables"
    if not folder.is_dir():
        raise FileNotFoundError("there is no nas_tables folder in $VILFREDO_DATA; set it to the data")
    return folder


def rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


MACRO = {"error": ("mean_acc", -1.0), "flops": ("flops", 1.0), "parameters": ("params", 1.0)}


@cache
def macro(goals: tuple[str, ...] = ("error", "flops")) -> Landscape:
    """NAS-Bench-Macro: all 3^8 networks trained on CIFAR-10 (error = 100 - mean test accuracy)."""
    table: dict[str, tuple[float, ...]] = {}
    for row in rows(tables() / "nasbench_macro_cifar10.csv.gz"):
        values = []
        for goal in goals:
            column, sign = MACRO[goal]
            values.append(100 - float(row[column]) if sign < 0 else float(row[column]))
        table[row["arch"]] = tuple(values)
    points = np.array(list(table.values()))
    return landscape(
        "macro" if goals == ("error", "flops") else "macro_" + "_".join(goals),
        {f"g{i}": {"int": [0, 2]} for i in range(8)},
        goals,
        lambda genome: table["".join(str(genome[f"g{i}"]) for i in range(8))],
        points[pareto.ranks(points) == 0],
    )


OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def _cell(text: str) -> tuple[int, ...]:
    """The six operations of a NAS-Bench-201 cell string."""
    return tuple(OPERATIONS.index(part.split("~")[0]) for part in text.replace("+", "").split("|") if part)


@cache
def nb201(device: str = "raspi4") -> Landscape:
    """NAS-Bench-201: measured latency of all 15,625 cells, and their CIFAR-10 error.

    The error is known for 1,104 of the cells; for the rest it is predicted by ridge regression on the
    operations and their pairs, fitted to the logarithm of the known errors. So the latency is real and the
    error is a smoothed likeness of the real one.
    """
    latency: dict[tuple[int, ...], float] = {}
    for row in rows(tables() / "nb201_latency_27devices.csv.gz"):
        latency[_cell(row["arch_str"])] = float(row[f"lat_ms_{device}"])
    known = {
        _cell(row["arch_str"]): 100 - float(row["val_accuracy"])
        for row in rows(tables() / "naslib_zero_cost_proxies.csv.gz")
        if row["benchmark"] == "nasbench201" and row["dataset"] == "cifar10"
    }

    def features(cells: list[tuple[int, ...]]) -> Array:
        hot = np.eye(5)[np.array(cells)].reshape(len(cells), 30)
        first, second = np.triu_indices(30, 1)
        return np.hstack([np.ones((len(cells), 1)), hot, hot[:, first] * hot[:, second]])

    x = features(list(known))
    y = np.log(np.array(list(known.values())))
    weights = np.linalg.solve(x.T @ x + 3.0 * np.eye(x.shape[1]), x.T @ y)
    cells = list(latency)
    errors = np.exp(features(cells) @ weights)
    table = {cell: (known.get(cell, float(e)), latency[cell]) for cell, e in zip(cells, errors, strict=True)}
    points = np.array(list(table.values()))
    return landscape(
        f"nb201_{device}",
        {f"e{i}": {"choice": list(OPERATIONS)} for i in range(6)},
        ("error", "latency"),
        lambda genome: table[tuple(OPERATIONS.index(genome[f"e{i}"]) for i in range(6))],
        points[pareto.ranks(points) == 0],
    )


def _floats(count: int) -> dict[str, dict[str, Any]]:
    return {f"x{i}": {"float": [0.0, 1.0]} for i in range(count)}


def _zdt(kind: int, size: int = 8) -> Landscape:
    """ZDT1, 3 and 4 (Zitzler, Deb and Thiele, Evolutionary Computation 8(2), 2000), `size` variables."""

    def g(x: Array) -> float:
        if kind == 4:  # its variables but the first go from -5 to 5: 21^(size-1) local fronts
            z = 10 * x[1:] - 5
            return float(1 + 10 * (size - 1) + (z**2 - 10 * np.cos(4 * math.pi * z)).sum())
        return float(1 + 9 * x[1:].mean())

    def both(first: float, g: float) -> tuple[float, float]:
        shape = 1 - math.sqrt(first / g)
        if kind == 3:
            shape -= first / g * math.sin(10 * math.pi * first)
        return first, g * shape

    points = np.array([both(float(f), 1.0) for f in np.linspace(0, 1, 1001)])
    return landscape(
        f"zdt{kind}",
        _floats(size),
        ("f1", "f2"),
        lambda genome: both(genome["x0"], g(np.array([genome[f"x{i}"] for i in range(size)]))),
        points[pareto.ranks(points) == 0],
        # Fronts of 200 evaluations lie far from the true one: a wide box, in which they show.
        margin={1: 2.0, 3: 2.0, 4: 150.0}[kind],
    )


def _dtlz2(goals: int = 3, size: int = 8) -> Landscape:
    """DTLZ2 (Deb, Thiele, Laumanns and Zitzler, CEC 2002)."""

    def sphere(angles: Array, radius: float) -> tuple[float, ...]:
        values = []
        for goal in range(goals):
            value = radius * float(np.prod(np.cos(angles[: goals - 1 - goal] * math.pi / 2)))
            if goal:
                value *= math.sin(float(angles[goals - 1 - goal]) * math.pi / 2)
            values.append(value)
        return tuple(values)

    def evaluate(genome: Mapping[str, Any]) -> tuple[float, ...]:
        x = np.array([genome[f"x{i}"] for i in range(size)])
        return sphere(x[: goals - 1], 1 + float(((x[goals - 1 :] - 0.5) ** 2).sum()))

    ticks = np.linspace(0, 1, 41)
    grid = np.stack(np.meshgrid(*[ticks] * (goals - 1)), axis=-1).reshape(-1, goals - 1)
    front = np.array([sphere(angles, 1.0) for angles in grid])
    return landscape(
        "dtlz2", _floats(size), tuple(f"f{i}" for i in range(goals)), evaluate, front, margin=0.5
    )


def _trap(blocks: int = 5, size: int = 4) -> Landscape:
    """Deceptive: traps and inverse traps over the same bits (Pelikan, Sastry and Goldberg, GECCO 2005).

    In every block of `size` bits one goal is best at all ones and otherwise leads to all zeros; the other
    goal is the same with zeros and ones exchanged.
    """

    def trap(ones: int) -> int:
        return size if ones == size else size - 1 - ones

    def evaluate(genome: Mapping[str, Any]) -> tuple[float, ...]:
        ones = [sum(genome[f"b{i}"] for i in range(b * size, (b + 1) * size)) for b in range(blocks)]
        top = blocks * size
        return float(top - sum(map(trap, ones))), float(top - sum(trap(size - k) for k in ones))

    front = np.array([(float(k), float(blocks - k)) for k in range(blocks + 1)])
    return landscape(
        "trap", {f"b{i}": {"int": [0, 1]} for i in range(blocks * size)}, ("f1", "f2"), evaluate, front, 2.0
    )


def _rugged(size: int = 10, neighbours: int = 4) -> Landscape:
    """Two NK landscapes over the same genes of three values: as rugged as chance makes them (seed fixed).

    Kauffman, "The Origins of Order", 1993; with two goals: Aguirre and Tanaka, EJOR 181(3), 2007.
    """
    rng = np.random.default_rng(0)
    table = rng.random((2, size, 3 ** (neighbours + 1)))
    links = np.array(
        [[i, *rng.choice([j for j in range(size) if j != i], neighbours, replace=False)] for i in range(size)]
    )
    weights = 3 ** np.arange(neighbours + 1)

    def many(genes: Array) -> Array:
        codes = (genes[:, links] * weights).sum(axis=2)
        return np.stack([table[k][np.arange(size), codes].mean(axis=1) for k in range(2)], axis=1)

    everything = np.stack(np.meshgrid(*[np.arange(3)] * size), axis=-1).reshape(-1, size)
    points = many(everything)
    return landscape(
        "rugged",
        {f"g{i}": {"choice": ["a", "b", "c"]} for i in range(size)},
        ("f1", "f2"),
        lambda genome: tuple(
            many(np.array([["abc".index(genome[f"g{i}"]) for i in range(size)]]))[0].tolist()
        ),
        points[pareto.ranks(points) == 0],
        margin=0.5,
    )


LANDSCAPES: Mapping[str, Callable[[], Landscape]] = {
    "macro": macro,
    "macro_error_parameters": lambda: macro(("error", "parameters")),
    "macro_error_flops_parameters": lambda: macro(("error", "flops", "parameters")),
    "nb201_raspi4": nb201,
    "nb201_fpga": lambda: nb201("fpga"),
    "zdt1": lambda: _zdt(1),
    "zdt3": lambda: _zdt(3),
    "zdt4": lambda: _zdt(4),
    "dtlz2": _dtlz2,
    "trap": _trap,
    "rugged": _rugged,
}
