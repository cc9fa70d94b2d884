"""Normal variation of parameters: drift of supply voltage and current, write noise, mismatch of transistors.

Each value v becomes `v + sd · |v| · z`, or `v + sd · z` if `relative` is false, with z standard normal,
independent for each value and each copy. Relative variation of the weights is what "10 % weight variation"
means here: sd = 0.1. Reading of M. Dimovska, T. Johnston, C. D. Schuman, J. P. Mitchell, T. E. Potok,
"Multi-Objective Optimization for Size and Resilience of Spiking Neural Networks", 2019 (arXiv 2002.01406),
where voltage and current variations perturb weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.faults import options


@dataclass(frozen=True)
class Gaussian:
    """`sd`: standard deviation, as a share of the value itself or, if `relative` is false, in the value's own
    unit. `site`: "weights", "thresholds" or "delays". Raises `ValueError` for other options.
    """

    sd: float = 0.1
    site: Literal["weights", "thresholds", "delays"] = "weights"
    relative: bool = True

    def __post_init__(self) -> None:
        options.deviation("gaussian", self.sd)
        options.one_of("gaussian", "site", self.site, ("weights", "thresholds", "delays"))
        options.yes_or_no("gaussian", "relative", self.relative)

    def __call__(
        self, values: NDArray[np.float64], codes: Codes, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        if self.sd == 0:
            return values.copy()
        scale = self.sd * np.abs(values) if self.relative else self.sd
        varied: NDArray[np.float64] = values + scale * rng.standard_normal(values.shape)
        return varied
