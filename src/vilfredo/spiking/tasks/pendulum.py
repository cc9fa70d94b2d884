"""Pendulum: swing a pendulum up and hold it there, with a motor that is too weak to lift it at once."""

from __future__ import annotations

import numpy as np

from vilfredo.spiking import options
from vilfredo.spiking.tasks.gymnasium import Gymnasium


class Pendulum(Gymnasium):
    """Gymnasium's Pendulum-v1: three numbers (cosine and sine of the angle, speed within ±8); its torque,
    which is a real number, has `levels` equally spaced values from −2 to 2 N m. The reward of a step is
    −(angle² + 0.1 · speed² + 0.001 · torque²), 0 being upright; an episode has `steps`.

    Success: a mean reward of −200 or more; Gymnasium names no threshold. It is what swinging up from below at
    once and then standing still costs.
    """

    def __init__(self, levels: int = 5, steps: int = 200) -> None:
        options.whole(self, "levels", levels, 2)
        torques = [[float(t)] for t in np.linspace(-2.0, 2.0, levels)]
        ranges = ((-1.0, 1.0), (-1.0, 1.0), (-8.0, 8.0))
        super().__init__("Pendulum-v1", ranges, torques, steps, success=-200.0)
