"""Dead neurons: they take part in nothing and never fire.

Each neuron, be it input, hidden or output, is dead with probability `rate`, independently in each copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.faults import options


@dataclass(frozen=True)
class Dead:
    """`rate`: probability of each neuron. It acts on an array of ones, where 0 comes to mean dead. Raises
    `ValueError` for other rates.
    """

    rate: float

    def __post_init__(self) -> None:
        options.rate("dead", self.rate)

    @property
    def site(self) -> Literal["neurons"]:
        return "neurons"

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        faulty = values.copy()
        faulty.flat[options.hit(values.size, self.rate, rng)] = 0.0
        return faulty
