"""Dead neurons and channels: they take part in nothing and never fire.

Each neuron, be it input, hidden or output, is dead with probability `rate`, independently in each copy; or
each channel is, with all its neurons.

A hit has nothing to be known: its detail is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.faults import draws, options
from vilfredo.protocols import Hits


@dataclass(frozen=True)
class Dead:
    """`rate`: probability of each neuron or channel. `of`: "neurons" or "channels"; channels are the first
    axis of arrays (channels, height, width) or (features,). It acts on an array of ones, where 0 comes to
    mean dead. Raises `ValueError` for other options and, when called, for channels of other arrays.
    """

    rate: float
    of: Literal["neurons", "channels"] = "neurons"

    def __post_init__(self) -> None:
        options.rate("dead", self.rate)
        options.one_of("dead", "of", self.of, ("neurons", "channels"))

    @property
    def site(self) -> Literal["neurons"]:
        return "neurons"

    @property
    def transient(self) -> bool:
        return False

    @property
    def bitwise(self) -> bool:
        return False

    def places(self, codes: Codes) -> tuple[int, ...]:
        return (-1,)

    def extent(self, shape: tuple[int, ...]) -> int:
        if self.of == "neurons":
            return 1
        if len(shape) not in (1, 3):
            raise ValueError(
                f"dead: channels are of arrays (channels, height, width), not of shape {shape}; "
                "use of = 'neurons'"
            )
        return math.prod(shape[1:])

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        return draws.acted(self, values, codes, rng)

    def draw(self, shape: tuple[int, ...], codes: Codes, rng: np.random.Generator) -> Hits:
        extent = self.extent(shape)
        size = math.prod(shape) // max(extent, 1)
        dead = draws.hit(size, self.rate, rng)
        index = (dead[:, None] * extent + np.arange(extent)).reshape(-1)
        return Hits(index, np.zeros(len(index)))

    def details(self, bits: NDArray[np.int64], codes: Codes, rng: np.random.Generator) -> NDArray[Any]:
        return np.zeros(bits.shape)

    def apply(self, values: NDArray[np.float64], codes: Codes, detail: NDArray[Any]) -> NDArray[np.float64]:
        return np.zeros_like(values)
