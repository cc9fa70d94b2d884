"""A digital grid of neurons like DANNA2 (Dynamic Adaptive Neural Network Array, second version).

J. P. Mitchell, M. E. Dean, G. R. Bruer, J. S. Plank, G. S. Rose, "DANNA 2: Dynamic Adaptive Neural Network
Arrays", ICONS 2018. No simulator of it is public. From its file format are: a grid of w × h elements, each
with one neuron, its threshold (0 to 1023) and its own refractory period, and the synapses that come in there,
each with the element that it comes from, a weight (−1023 to 1023) and a delay.

The rest is our model. In timestep t, for each neuron i with threshold T, refractory period R and charge v::

    x = sum of the weights of synapses into i whose source fired at t − delay, and of inputs;
        lost if i fired at t − R or later
    v ← max(v + x, −1023)
    if something arrived and v ≥ T:  i fires, v ← 0, and i ignores what arrives at t + 1 … t + R

No charge leaks. The bound −1023 is that of an accumulator as wide as a weight; above 1023 there is none to
miss, because the neuron has fired.

Placement: each neuron takes one element, and an element hears those at most `reach` columns and rows away,
itself included. How far DANNA2's own wiring reaches we have not found; the patent of its predecessor, DANNA,
has elements with multiples of eight inputs (US 10,095,718). The search for a placement is quick and always
finds the same one (`kernels/placement.py`), but on a crowded grid it can miss one that there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from vilfredo.spiking import parameters
from vilfredo.spiking.kernels.placement import place
from vilfredo.spiking.network import Ints, NetworkError, Properties, Property, SpikingNetwork
from vilfredo.spiking.processors.driver import Driver, lower
from vilfredo.spiking.program import Program
from vilfredo.trial import JSON


@dataclass(frozen=True)
class Parameters:
    """What the grid has.

    width, height: elements. reach: columns and rows over which an element hears another.
    placement: "search" one, or take the network's own "coordinates" (column, row) and check them.
    max_threshold, max_weight (the least is its negative), max_delay, max_refractory: ranges from 0, delays
    from 1. A normalised input of 1 brings max_weight.
    """

    width: int = 15
    height: int = 15
    reach: int = 4
    placement: Literal["search", "coordinates"] = "search"
    max_threshold: int = 1023
    max_weight: int = 1023
    max_delay: int = 15
    max_refractory: int = 15

    def __post_init__(self) -> None:
        for name in ("width", "height", "max_delay", "max_threshold", "max_weight"):
            if getattr(self, name) < 1:
                raise ValueError(f"danna2: {name} is {getattr(self, name)}; it is 1 at least")
        for name in ("reach", "max_refractory"):
            if getattr(self, name) < 0:
                raise ValueError(f"danna2: {name} is {getattr(self, name)}; it is 0 at least")
        for name in ("max_threshold", "max_weight"):
            if getattr(self, name) > 1023:
                raise ValueError(f"danna2: {name} is {getattr(self, name)}; it is 1023 at most")


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the neurons are: `column`, `row` (n,), from 0, in the network's order of neurons."""

    column: Ints
    row: Ints


class Processor(Driver):
    """The grid. `params` as `Parameters` has them; None: the defaults. Raises `ValueError`."""

    name = "danna2"
    chip: ClassVar[str] = "danna2"
    params: Parameters

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.params = parameters.read(Parameters, params or {}, "danna2")

    @property
    def properties(self) -> Properties:
        p = self.params
        return Properties(
            (
                Property("Threshold", "int", 0, p.max_threshold),
                Property("Refractory", "int", 0, p.max_refractory, 1),
            ),
            (
                Property("Weight", "int", -p.max_weight, p.max_weight),
                Property("Delay", "int", 1, p.max_delay, 1),
            ),
        )

    @property
    def one(self) -> float:
        return float(self.params.max_weight)

    def charge(self, value: float, normalized: bool) -> float:
        if normalized:
            return float(int(value * self.params.max_weight))
        if value != int(value):
            raise ValueError(f"its value {value:g} is not a whole number")
        return float(value)

    def check(self, network: SpikingNetwork) -> None:
        """Raises `NetworkError` naming a neuron or synapse out of range, or one that finds no place."""
        super().check(network)
        self.place(network)

    def place(self, network: SpikingNetwork) -> Placement:
        """A place for each neuron; raises `NetworkError` naming a neuron or synapse that finds none."""
        p, ids, size = self.params, network.ids, network.size
        if size > p.width * p.height:
            raise NetworkError(
                f"neuron {ids[p.width * p.height]} has no place: the network has {size} neurons, the grid "
                f"{p.width} × {p.height} elements"
            )
        if p.placement == "coordinates":
            column, row = self._coordinates(network)
            excess = 1
        else:
            self._crowded(network)
            column, row, excess = place(size, network.source, network.target, p.width, p.height, p.reach)
        if excess:
            across = abs(column[network.source] - column[network.target])
            down = abs(row[network.source] - row[network.target])
            long = np.flatnonzero(np.maximum(across, down) > p.reach)
            if len(long):
                a, b = network.source[long[0]], network.target[long[0]]
                found = "" if p.placement == "coordinates" else "; no placement was found"
                raise NetworkError(
                    f"synapse {ids[a]} -> {ids[b]} has no place: it would go from element ({column[a]}, "
                    f"{row[a]}) to ({column[b]}, {row[b]}), and an element reaches {p.reach}{found}"
                )
        return Placement(column, row)

    def _crowded(self, network: SpikingNetwork) -> None:
        """Raise `NetworkError` for a neuron with more neighbours than elements in reach."""
        p = self.params
        room = min(2 * p.reach + 1, p.width) * min(2 * p.reach + 1, p.height) - 1
        if network.size <= room + 1:
            return
        low, high = np.minimum(network.source, network.target), np.maximum(network.source, network.target)
        pairs = np.unique((low * network.size + high)[low != high])
        joined = np.bincount(
            np.concatenate([pairs // network.size, pairs % network.size]), minlength=network.size
        )
        if joined.max() > room:
            neuron = int(joined.argmax())
            raise NetworkError(
                f"neuron {network.ids[neuron]} has no place: it is joined to {joined[neuron]} others, but an "
                f"element reaches {room}"
            )

    def _coordinates(self, network: SpikingNetwork) -> tuple[Ints, Ints]:
        p, taken = self.params, dict[tuple[float, ...], int]()
        for number in network.ids.tolist():
            here = tuple(network.coordinates.get(number, ()))[:2]
            if len(here) < 2:
                raise NetworkError(f'neuron {number} has no coordinates; placement "search" finds some')
            x, y = here
            if not (0 <= x < p.width and 0 <= y < p.height and x == int(x) and y == int(y)):
                raise NetworkError(
                    f"neuron {number} has no place: there is no element ({x:g}, {y:g}) in a grid of "
                    f"{p.width} × {p.height}"
                )
            if here in taken:
                raise NetworkError(
                    f"neuron {number} has no place: neuron {taken[here]} is at ({x:g}, {y:g}), too"
                )
            taken[here] = number
        both = np.array(list(taken), np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def program(self, network: SpikingNetwork) -> Program:
        p = self.params
        self.check(network)
        rests = network.of_neurons("Refractory")
        return lower(
            network,
            rests=rests if (rests > 0).any() else None,
            floor=-1023.0,
            one=self.one,
            limits=(-p.max_weight, p.max_weight),
            threshold_limits=(0, p.max_threshold),
            delay_limits=(1, p.max_delay),
        )

    def get_processor_properties(self) -> dict[str, JSON]:
        return {
            **super().get_processor_properties(),
            "input_scaling_value": self.params.max_weight,
            "threshold_inclusive": True,
            "run_time_inclusive": False,
        }
