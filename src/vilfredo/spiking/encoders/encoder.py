"""What all encoders come to: a region of the value, and a table of spikes for each region.

A value is put into one of finitely many regions, and each region has its input charges in time and over the
input neurons of that value. So every encoder, ours or anybody's, is two small things that compiled loops can
use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Code:
    """How one number of an observation becomes spikes of `neurons` input neurons.

    `rule` "floor": region = floor((v − low) / (high − low) · regions), held within 0 … regions − 1.
    `rule` "signed": m = (regions − 1) / 2; region = m + ceil(min(1, v / high) · m) for v > 0, and
    m − ceil(min(1, v / low) · m) else, where low < 0 < high; so v = 0 is region m.

    `charge` (regions, neurons, window): normalised input charge (0: no spike; 1: the processor's full input)
    of each neuron at each timestep.
    """

    low: float
    high: float
    rule: Literal["floor", "signed"]
    charge: NDArray[np.float64]

    @property
    def regions(self) -> int:
        return int(self.charge.shape[0])

    @property
    def neurons(self) -> int:
        return int(self.charge.shape[1])

    @property
    def window(self) -> int:
        """Timesteps in which spikes may come."""
        return int(self.charge.shape[2])


class Encoder(Protocol):
    """Built with its options alone; `code` is called once for each number of an observation."""

    def code(self, low: float, high: float) -> Code: ...  # for values from low to high


def bursts(spikes: int, interval: float, value: float = 1.0) -> NDArray[np.float64]:
    """Charges (spikes + 1, window): row n has n spikes of charge `value`, at timesteps 0, interval,
    2 · interval, … rounded (half to even)."""
    times = np.rint(np.arange(spikes) * interval).astype(np.int64)
    charge = np.zeros((spikes + 1, times[-1] + 1))
    for n in range(1, spikes + 1):
        charge[n, times[:n]] = value
    return charge
