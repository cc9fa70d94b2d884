"""What a processor makes of a network, and what kernels run: plain arrays, all decisions taken."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.network import Floats, Ints

HALVES: Ints = np.rint(1024 * 2 ** (-np.arange(16) / 16)).astype(np.int64)  # 2^(−r/16) with 10 bits


@dataclass(frozen=True, eq=False)
class Program:
    """A network of n neurons and s synapses as integrate-and-fire arithmetic. Neurons are in ascending order
    of their numbers; synapses are grouped by their source (`first`), in ascending order of (source, target).

    One timestep t, for all neurons i at once, in exactly this order (dense form; all kernels agree with it):

    1. `x[i]` = sum of what arrives at t: the weights of the synapses whose source fired at t − delay, and
       inputs.
    2. If `refractory` > 0 and i fired less than `refractory` + 1 steps ago, `x[i]` is lost: set to 0, and i
       does not fire. `rests` gives each neuron its own period instead.
    3. `charge[i] += x[i]`; if `wrap`, the sum is kept in 8 bits, two's complement (127 + 1 = −128).
    4. i fires if `charge[i] >= threshold[i]` (for a strict `>` the processor raises the threshold), and, if
       `lazy`, only if something arrived at it in this step (a sum of 0 is an arrival, too).
       Then its charge becomes 0, or `charge − (threshold − above)` if `soft`, and each synapse delivers at
       t + delay ≥ t + 1.
    5. Leak: 0 none; 1 the charge of those that did not fire is lost; in floating point `decay[i]` multiplies
       what is left (1.0: none).
    6. `charge[i] = max(charge[i], floor)`.

    `halving` is Caspian's leak in integers, by neuron: with h = `halving[i]` >= 0 the charge halves in 2^h
    steps; −1: no leak. Whenever something arrives at i, before step 3, with e steps since something last
    arrived there, q = e >> h and r = (e mod 2^h)·2^(4 − h):
    `|charge| = ((|charge| · HALVES[r]) >> 10) >> q`, the sign stays.

    `exact`: all numbers are whole and kernels compute in integers wide enough that nothing overflows (with
    `wrap` in 8 bits); else in float64, where `x[i]` is summed from 0 in the order of (step of the source's
    firing, source), then the inputs in the order given.
    """

    numbers: Ints  # (n,) ascending
    threshold: Floats  # (n,)
    leak: NDArray[np.bool_]  # (n,)
    first: Ints  # (n + 1,) the synapses of neuron i are first[i] … first[i + 1] − 1
    target: Ints  # (s,)
    delay: Ints  # (s,) from 1
    weight: Floats  # (s,)
    origin: Ints  # (s,) place of each synapse in the network's own arrays
    inputs: Ints  # (i,) neurons, in the network's order
    outputs: Ints  # (o,)
    exact: bool = True
    lazy: bool = True
    floor: float = -np.inf
    refractory: int = 0
    soft: bool = False
    above: float = 0.0  # what the processor raised the thresholds by
    wrap: bool = False
    decay: Floats = field(default_factory=lambda: np.ones(0))  # (n,) or empty: none
    rests: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # (n,) or empty: `refractory` for all
    halving: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # (n,) or empty: none; −1 to 4
    one: float = 1.0  # the charge that a normalised input of 1 gives
    limits: tuple[float, float] = (-np.inf, np.inf)  # of a weight, for faults
    threshold_limits: tuple[float, float] = (-np.inf, np.inf)
    delay_limits: tuple[int, int] = (1, 2**31)

    @property
    def size(self) -> int:
        return len(self.numbers)

    @property
    def resting(self) -> Ints:
        """Steps that each neuron is refractory, (n,)."""
        return self.rests if len(self.rests) else np.full(self.size, self.refractory, np.int64)


@dataclass(frozen=True, eq=False)
class Activity:
    """What a run of p lanes came to. A lane: one network, one set of weights, one stream of inputs."""

    counts: Ints  # (p, n) or, of several networks, padded with 0: spikes of each neuron
    first: Ints  # (p, o) the first step in which each output fired; −1: never
    steps: Ints  # (p,) timesteps that were run
    synops: Ints  # (p,) synaptic deliveries: spikes times fan-out
