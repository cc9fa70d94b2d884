"""What a network loses when all faults come at once, each at its own rate: K faulty copies of one network."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo import seeds
from vilfredo.campaign import sampling
from vilfredo.campaign.injection import Runs, done
from vilfredo.campaign.log import Book, Table
from vilfredo.campaign.sites import drawn
from vilfredo.protocols import Fault

AT_ONCE = 4  # copies that run, and are logged, together: bounds what hits of all images take of the memory


@dataclass(frozen=True, eq=False)
class Damage:
    """Of K faulty copies: `accuracy` (K,), the share of images that are classified as labelled, and `ccr`
    (K,), the share that is classified otherwise than without faults. `clean`: accuracy without faults."""

    accuracy: NDArray[np.float64]
    ccr: NDArray[np.float64]
    clean: float

    @cached_property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(self.accuracy.mean())

    @cached_property
    def sd(self) -> float:
        """Sample standard deviation of the accuracy; 0 of a single copy."""
        return float(self.accuracy.std(ddof=1)) if len(self.accuracy) > 1 else 0.0

    @cached_property
    def q05(self) -> float:
        """5 % quantile of the accuracy, linear between the sorted copies."""
        return float(np.quantile(self.accuracy, 0.05))

    @cached_property
    def worst(self) -> float:
        return float(self.accuracy.min())

    @cached_property
    def mean_ccr(self) -> float:
        return float(self.ccr.mean())

    def interval(self, of: str = "accuracy", confidence: float = 0.95) -> tuple[float, float]:
        """Bounds of the mean `accuracy` or `ccr` of all possible copies, from Student's t of these K.

        With one copy nothing is known: (0, 1).
        """
        values = self.accuracy if of == "accuracy" else self.ccr
        if len(values) < 2:
            return 0.0, 1.0
        mean = float(values.mean())
        half = (
            sampling.t_quantile(confidence, len(values) - 1)
            * float(values.std(ddof=1))
            / math.sqrt(len(values))
        )
        return max(mean - half, 0.0), min(mean + half, 1.0)


def under(
    engine: Runs,
    faults: Sequence[Fault],
    answers: Any,
    copies: int = 20,
    seed: int = 0,
    layers: Sequence[str] | None = None,
) -> Damage:
    """What K = `copies` draws of `faults` do to the engine's network; `answers` (n,) are its images' labels.

    Permanent faults make K networks that classify all images; transient ones are drawn anew for each image of
    each copy. Copy k has the random numbers of (seed, k): networks whose arrays have equal shapes and bits
    meet equal perturbations, and more copies go on where fewer ended. Raises `ValueError` if there are
    no copies, not as many answers as images, or no such site or layer.
    """
    return done(each(engine, faults, answers, copies, seed, layers))


def each(
    engine: Runs,
    faults: Sequence[Fault],
    answers: Any,
    copies: int = 20,
    seed: int = 0,
    layers: Sequence[str] | None = None,
    known: Table | None = None,
    rate: float = 0.0,
) -> Generator[int, None, Damage]:
    """`under`, some copies at a time: yields how many there are by then, and returns what they came to.

    `known`: the table `copies` of a campaign's book, where their counts stand under `rate`: what is there is
    not run, what is run is added.
    """
    if copies < 1:
        raise ValueError(f"the faults are to be drawn {copies} times; take 1 copy or more")
    golden, right = golden_answers(engine, answers)
    network, images = engine.network, len(golden)
    known = Book().copies if known is None else known
    missing = [k for k in range(copies) if (rate, k) not in known.known]
    size = AT_ONCE * getattr(engine, "workers", 1)
    for start in range(0, len(missing), size):
        part = missing[start : start + size]
        yield copies - len(missing) + start
        found = engine.classes_under(
            [drawn(network, faults, seeds.generator(seed, "copy", k), images, layers) for k in part]
        )
        counts = zip((found == right).sum(1).tolist(), (found != golden).sum(1).tolist(), strict=True)
        known.add([((rate, k), count) for k, count in zip(part, counts, strict=True)])
    yield copies
    accuracy, ccr = np.array([known.known[rate, k] for k in range(copies)]).T / images
    return Damage(accuracy, ccr, float((golden == right).mean()))


def curve(
    engine: Runs,
    faults: Sequence[Fault],
    answers: Any,
    rates: Sequence[float],
    copies: int = 20,
    seed: int = 0,
    layers: Sequence[str] | None = None,
) -> tuple[tuple[float, Damage], ...]:
    """`under` at several rates: each of the faults with its `rate` (a variation: its `sd`) replaced.

    All rates have the same seed. Raises `ValueError` as the faults do for a rate that they cannot have.
    """
    return tuple(
        (rate, under(engine, [at_rate(fault, rate) for fault in faults], answers, copies, seed, layers))
        for rate in rates
    )


def at_rate(fault: Fault, rate: float) -> Fault:
    """The fault at another rate or strength. Raises `ValueError` if it has neither `rate` nor `sd`."""
    for option in ("rate", "sd"):
        if hasattr(fault, option):
            return replace(fault, **{option: rate})  # type: ignore[type-var]
    raise ValueError(f"{type(fault).__name__} has no rate and no sd that could be set to {rate}")


def golden_answers(engine: Runs, answers: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The classes (n,) without faults, and the labels (n,). Raises `ValueError` if they are not as many."""
    golden = np.asarray(engine.classes, np.int64)
    right = np.asarray(answers, np.int64)
    if right.shape != golden.shape:
        raise ValueError(
            f"there are {len(golden)} images and answers of the shape {right.shape}; give one label an image"
        )
    return golden, right
