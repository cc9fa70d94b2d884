"""MountainCar: a car that is too weak for its hill has to swing itself up."""

from __future__ import annotations

from vilfredo.spiking.tasks.gymnasium import Gymnasium


class MountainCar(Gymnasium):
    """Gymnasium's MountainCar-v0: position (−1.2 to 0.6) and speed (within ±0.07), three actions (left, none,
    right), a reward of −1 for each step until the flag; at most `steps`.

    Success: a mean reward of −110 or more, Gymnasium's threshold.
    """

    def __init__(self, steps: int = 200) -> None:
        super().__init__("MountainCar-v0", ((-1.2, 0.6), (-0.07, 0.07)), steps=steps)
