"""What one faulty network has: concrete faults at concrete places, each of which can be made again."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vilfredo.nn.deployed import Deployed
from vilfredo.protocols import Fault, Site

T = TypeVar("T")
INPUT = -1  # the step whose output is the network's input


@dataclass(frozen=True, eq=False)
class Hit:
    """What one fault does to one array.

    `index` (k,) are flat positions: of site "weights" in the step's weight, of "biases" in its bias; of
    "activations", "accumulators", "inputs" and "neurons" in one image's output of the step (C · H · W).
    `detail` (k,) is what the fault needs to know there. `image` (k,) says in which image's inference it
    happens; None: in all of them (permanent). (index, image) are each there once.
    """

    fault: Fault
    step: int
    site: Site
    index: NDArray[np.int64]
    detail: NDArray[Any]
    image: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Injection:
    """All faults that one network has at once. A single fault is one hit of one position."""

    hits: tuple[Hit, ...]


class Runs(Protocol):
    """What runs injections: `campaign.engine.Engine`, or anything that gives the same answers slowly."""

    @property
    def network(self) -> Deployed: ...
    @property
    def golden(self) -> Tensor: ...  # (n, outputs): the last step's codes without faults
    @property
    def classes(self) -> Tensor: ...  # (n,) int64: argmax of `golden`
    def classes_under(
        self, injections: Sequence[Injection]
    ) -> NDArray[np.int64]: ...  # (injections, n): each injection on its own


def done(work: Generator[Any, None, T]) -> T:
    """What a generator returns that yields where it stands."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
