"""A spiking network as arrays: neurons, synapses, inputs, outputs. Which numbers a neuron or synapse has is the
processor's to say (its properties); the network keeps them by name.

The words are those of the TENNLab network JSON: properties "Threshold", "Leak", "Weight", "Delay" and others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vilfredo.trial import JSON, Genome

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Kind = Literal["int", "float", "bool"]


class NetworkError(ValueError):
    """A network that is none, or that a processor cannot hold; one sentence that names the neuron or synapse."""


@dataclass(frozen=True, slots=True)
class Property:
    """One number of a neuron or synapse: its name, kind and the range that the processor allows.

    `index` is its place in the JSON's `values`, `size` how many places it takes there.
    """

    name: str
    kind: Kind
    low: float
    high: float
    index: int = 0
    size: int = 1

    def draw(self, rng: np.random.Generator) -> float:
        """A value, uniform over the range."""
        if self.kind == "float":
            return float(rng.uniform(self.low, self.high))
        return float(rng.integers(int(self.low), int(self.high) + 1))


@dataclass(frozen=True, slots=True)
class Properties:
    """What the neurons, the synapses and the network itself have on one processor."""

    neurons: tuple[Property, ...] = ()
    synapses: tuple[Property, ...] = ()
    network: tuple[Property, ...] = ()


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """A directed graph of n neurons and s synapses; frozen, its arrays are not to be written to.

    `ids` (n,) are the neurons' numbers, any different whole numbers from 0, in any order. `neurons` has an
    array (n,) for each property of the neurons ("Threshold"), `synapses` an array (s,) for each of the
    synapses ("Weight", "Delay"); all are float64, which holds the integers of discrete processors exactly.
    A property of size k > 1 has shape (n, k). `source`, `target` (s,), `inputs` and `outputs` are
    *positions* in `ids`, not numbers of neurons. `names` are by neuron number. `properties`, `values`
    (of the network itself), `coordinates` (by neuron number) and `data` (the JSON's `Associated_Data`) are
    kept as read.

    Raises `NetworkError` for arrays that do not belong together, numbers that are not finite, a neuron
    number that is there twice, two synapses from and to the same neurons, and inputs or outputs that are
    no neuron.
    """

    ids: Ints
    neurons: Mapping[str, Floats]
    source: Ints
    target: Ints
    synapses: Mapping[str, Floats]
    inputs: Ints
    outputs: Ints
    names: Mapping[int, str] = field(default_factory=dict)
    properties: Properties = Properties()
    values: tuple[float, ...] = ()
    coordinates: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    data: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.ids)

    @property
    def threshold(self) -> Floats:
        return self.neurons["Threshold"]

    @property
    def weight(self) -> Floats:
        return self.synapses["Weight"]

    @property
    def delay(self) -> Floats:
        return self.synapses["Delay"]

    @classmethod
    def build(
        cls,
        neurons: Iterable[tuple[int, Mapping[str, float]]],
        synapses: Iterable[tuple[int, int, Mapping[str, float]]],
        inputs: Sequence[int],
        outputs: Sequence[int],
        **rest: object,
    ) -> SpikingNetwork:
        """From plain rows: `(number, {"Threshold": 3})` and `(from, to, {"Weight": 1, "Delay": 2})`, all by the
        numbers of neurons. `rest` are further fields. Raises `NetworkError`."""
        raise NotImplementedError  # NETWORK helper

    @classmethod
    def from_genome(
        cls, genome: Genome, properties: Properties, inputs: int, outputs: int
    ) -> SpikingNetwork:
        """What a genome of `vilfredo.spaces.spiking` means: neurons 0 … inputs − 1 are the inputs, the next
        `outputs` ones the outputs, all others hidden. Raises `NetworkError`."""
        raise NotImplementedError  # NETWORK helper
