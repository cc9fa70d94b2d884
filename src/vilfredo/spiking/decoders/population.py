"""Population: several outputs for each answer; their spikes are added."""

from __future__ import annotations

from dataclasses import dataclass

from vilfredo.spiking import options
from vilfredo.spiking.decoders.decoder import Reading


@dataclass(frozen=True)
class Population:
    """`neurons` output neurons for each answer: output j is for answer j % answers. Most spikes wins, of
    equals the first answer. One dead neuron then costs a vote, not an answer."""

    neurons: int = 4

    def __post_init__(self) -> None:
        options.whole(self, "neurons", self.neurons, 1)

    def reading(self, answers: int, window: int) -> Reading:
        return Reading("most", answers * self.neurons, answers)
