"""Normal variation of parameters: drift of supply voltage and current, write noise, mismatch of transistors.

Each value v becomes `v + sd · |v| · z`, or `v + sd · z` if `relative` is false, with z standard normal,
independent for each value and each copy. Relative variation of the weights is what "10 % weight variation"
means here: sd = 0.1. Reading of M. Dimovska, T. Johnston, C. D. Schuman, J. P. Mitchell, T. E. Potok,
"Multi-Objective Optimization for Size and Resilience of Spiking Neural Networks", 2019 (arXiv 2002.01406),
where voltage and current variations perturb weights.

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
class Gaussian:
    """`sd`: standard deviation, as a share of the value itself or, if `relative` is false, in the value's own
    unit. `site`: see `NumberSite`. `transient`: anew in each inference; None: if the site is activations,
    accumulators or inputs. Raises `ValueError` for other options.
    """

    sd: float = 0.1
    site: NumberSite = "weights"
    relative: bool = True
    transient: bool = None  # type: ignore[assignment]  # filled below

    def __post_init__(self) -> None:
        options.deviation("gaussian", self.sd)
        options.number_site("gaussian", self.site)
        options.yes_or_no("gaussian", "relative", self.relative)
        object.__setattr__(self, "transient", options.passing("gaussian", self.transient, self.site))

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
            scale = self.sd * np.abs(values) if self.relative else self.sd
            varied: NDArray[np.float64] = values + scale * detail
        return varied
