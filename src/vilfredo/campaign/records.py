"""What a campaign has seen: one line for each fault, and what they come to by stratum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.campaign import sampling
from vilfredo.campaign.sampling import Estimate
from vilfredo.campaign.sites import Stratum

Measure = Literal["critical", "ccr", "drop"]
MEASURES: tuple[Measure, ...] = ("critical", "ccr", "drop")

RECORD = np.dtype(
    [("stratum", np.int32), ("index", np.int64), ("changed", np.int32), ("lost", np.int32), ("won", np.int32)]
)
"""One fault: its stratum's number, its place there, and of how many images it changes the class (`changed`),
turns a right one into a wrong one (`lost`) and a wrong one into a right one (`won`)."""


@dataclass(frozen=True)
class Population:
    """What faults are drawn from: of each stratum its size. Of several faults at once there is one stratum
    without an end, whose places are the numbers of the sets that were drawn."""

    strata: tuple[Stratum, ...]
    at_once: int = 1

    @property
    def sizes(self) -> tuple[float, ...]:
        """How many faults each stratum has."""
        return (math.inf,) if self.at_once > 1 else tuple(float(s.size) for s in self.strata)

    @property
    def size(self) -> float:
        return sum(self.sizes)


class Tally:
    """Counts by stratum, kept up as faults come in."""

    def __init__(self, sizes: Sequence[float], images: int, critical: int) -> None:
        self.sizes, self.images, self.critical = tuple(sizes), images, critical
        self.sums = np.zeros((len(sizes), 5))  # faults, critical ones, shares changed, lost, won
        self._records = np.empty(1024, RECORD)
        self._count = 0

    def add(self, records: NDArray[np.void]) -> None:
        number, n = records["stratum"], self.images
        columns = [
            np.ones(len(records)),
            records["changed"] >= self.critical,
            records["changed"] / n,
            records["lost"] / n,
            records["won"] / n,
        ]
        for column, values in enumerate(columns):
            np.add.at(self.sums[:, column], number, values)
        while self._count + len(records) > len(self._records):
            self._records = np.concatenate([self._records, np.empty_like(self._records)])
        self._records[self._count : self._count + len(records)] = records
        self._count += len(records)

    @property
    def records(self) -> NDArray[np.void]:
        """All so far, in their order; what is handed out does not change any more."""
        return self._records[: self._count]

    def __len__(self) -> int:
        return self._count


def counted(
    found: NDArray[np.int64], golden: NDArray[np.int64], right: NDArray[np.int64]
) -> list[tuple[int, int, int]]:
    """Of classes (F, n) under F faults: how many images each changes, makes wrong, makes right; `golden` (n,)
    are the classes without faults, `right` (n,) the labels."""
    turned = found != golden
    lost, won = turned & (golden == right), turned & (found == right)
    columns = (kind.sum(1).tolist() for kind in (turned, lost, won))
    return list(zip(*columns, strict=True))


def estimates(
    sizes: Sequence[float], sums: NDArray[np.float64], confidence: float
) -> Mapping[Measure, Estimate]:
    """What a fault of these strata does in the mean, from a tally's sums (strata, 5).

    `critical`: the share of critical faults; `ccr`: the share of images whose class changes; `drop`: what
    accuracy loses. Exact where all faults were tried.
    """
    if len(sizes) == 1 and not math.isfinite(sizes[0]):  # sets of faults: one endless stratum
        parts = [sampling.cautious(float(sums[0, c]), float(sums[0, 0]), confidence) for c in range(1, 5)]
    else:
        whole = [int(size) for size in sizes]
        counts = sums[:, 0].astype(int).tolist()
        parts = [sampling.stratified(whole, counts, sums[:, c].tolist(), confidence) for c in range(1, 5)]
    critical, ccr, lost, won = parts
    exact = bool((sums[:, 0] >= np.array(sizes)).all())
    drop = lost.value - won.value
    return {
        "critical": critical,
        "ccr": ccr,
        "drop": Estimate(drop, drop, drop) if exact else sampling.difference(lost, won),
    }
