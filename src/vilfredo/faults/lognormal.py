"""Lognormal variation of parameters: resistances of memristors and other devices that vary by factors.

Each value v becomes v · exp(sd · z), z standard normal, independent for each value and each copy: no value
changes its sign, the median stays v, the mean is v · exp(sd² / 2). The model of B. Liu, H. Li, Y. Chen, X.
Li, Q. Wu, T. Huang, "Vortex: Variation-Aware Training for Memristor X-bar", DAC 2015 (w' = w · e^θ, θ ~ N(0,
σ²)).

The detail of a hit is its z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.faults import draws, options
from vilfredo.faults.options import NumberSite
from vilfredo.protocols import Hits


@dataclass(frozen=True)
class Lognormal:
    """`sd`: standard deviation of the logarithm. `site`: see `NumberSite`. `transient`: anew in each
    inference; None: if the site is activations, accumulators or inputs. Raises `ValueError` for other
    options.
    """

    sd: float = 0.1
    site: NumberSite = "weights"
    transient: bool = None  # type: ignore[assignment]  # filled below

    def __post_init__(self) -> None:
        options.deviation("lognormal", self.sd)
        options.number_site("lognormal", self.site)
        object.__setattr__(self, "transient", options.passing("lognormal", self.transient, self.site))

    @property
    def bitwise(self) -> bool:
        return False

    def places(self, codes: Codes) -> tuple[int, ...]:
        return (-1,)

    def extent(self, shape: tuple[int, ...]) -> int:
        return 1

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        return draws.acted(self, values, codes, rng)

    def draw(self, shape: tuple[int, ...], codes: Codes, rng: np.random.Generator) -> Hits:
        if self.sd == 0:
            return draws.nothing()
        return draws.everything(shape, rng.standard_normal(math.prod(shape)))

    def details(self, bits: NDArray[np.int64], codes: Codes, rng: np.random.Generator) -> NDArray[Any]:
        return rng.standard_normal(bits.shape)

    def apply(self, values: NDArray[np.float64], codes: Codes, detail: NDArray[Any]) -> NDArray[np.float64]:
        with np.errstate(over="ignore", invalid="ignore"):  # of what is infinite or not a number
            varied: NDArray[np.float64] = values * np.exp(self.sd * detail)
        return varied
