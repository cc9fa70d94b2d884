"""Rate: how often one output spikes, as a level."""

from __future__ import annotations

from dataclasses import dataclass

from vilfredo.spiking import options
from vilfredo.spiking.decoders.decoder import Reading


@dataclass(frozen=True)
class Rate:
    """One output neuron for all answers, which are levels (of a force, say): c spikes mean answer
    floor(c · answers / (full + 1)), at most the last. `full` is how many spikes mean the last answer;
    without it, a spike in each timestep of the window."""

    full: int | None = None

    def __post_init__(self) -> None:
        if self.full is not None:
            options.whole(self, "full", self.full, 1)

    def reading(self, answers: int, window: int) -> Reading:
        full = window if self.full is None else self.full
        if full + 1 < answers:
            raise ValueError(
                f"Rate: {answers} answers cannot be told apart by 0 to {full} spikes; "
                f"`full` must be at least {answers - 1}"
            )
        return Reading("level", 1, answers, full)
