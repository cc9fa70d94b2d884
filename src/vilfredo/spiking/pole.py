"""A pole on a cart, as plain numbers: the one table of settings, the one draw of starts and the one step of
physics that the Gymnasium task and the compiled loop share. Needs neither Gymnasium nor Numba.

Physics: R. V. Florian, "Correct equations for the dynamics of the cart-pole system", 2007, without friction,
as Gymnasium's CartPole has it (explicit Euler, 0.02 s). Settings: J. S. Plank, C. P. Rizzo, C. A. White and
C. D. Schuman, "The Cart-Pole Application as a Benchmark for Neuromorphic Computing", JLPEA 2025, 15(1):5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRAVITY = 9.8  # m/s²
CART = 1.0  # kg
POLE = 0.1  # kg
TOTAL = POLE + CART
LENGTH = 0.5  # m, half the pole's
MOMENT = POLE * LENGTH
PUSH = 10.0  # N
TAU = 0.02  # s, one step
EDGE = 2.4  # m: an episode ends beyond
TILT = 12 * 2 * math.pi / 360  # rad: an episode ends beyond
STEPS = 15_000  # five minutes
WINDOW = 24  # timesteps of the network for one step

NAMES = ("position", "speed", "angle", "spin")  # m, m/s, rad, rad/s
RANGES = ((-2.4, 2.4), (-2.0, 2.0), (-0.209, 0.209), (-2.0, 2.0))  # for the encoder; nothing ends there

SPREADS = {
    # The benchmark's: anywhere in the inner half of what is allowed.
    "paper": (1.2, 0.05, 0.10475, 0.05),
    # Gymnasium's: close to the middle and upright.
    "gymnasium": (0.05, 0.05, 0.05, 0.05),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What the network sees and may do. `seen`: places in the state; `forces`: newtons, by action; `goal`:
    the mean number of steps, of 15,000, that the paper asks for."""

    name: str
    seen: tuple[int, ...]
    forces: tuple[float, ...]
    goal: float

    @property
    def actions(self) -> int:
        return len(self.forces)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of each number that is seen."""
        return tuple(RANGES[place] for place in self.seen)


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("easy", (0, 1, 2, 3), (-PUSH, PUSH), 14_250.0),
        Setting("medium", (0, 1, 2, 3), (0.0, -PUSH, PUSH), 12_000.0),
        Setting("hard", (0, 2), (0.0, -PUSH, PUSH), 9_000.0),
        Setting("hardest", (0, 2), (-PUSH, PUSH), 6_000.0),
    )
}


def starts(seeds: Sequence[int], spread: Sequence[float] = SPREADS["paper"]) -> NDArray[np.float64]:
    """The states (E, 4) in which the episodes of these seeds begin: each number uniform within ± its spread.

    With Gymnasium's spread they are exactly those of its `reset(seed=…)`.
    """
    states = [draw(np.random.default_rng(seed), spread) for seed in seeds]
    return np.array(states, dtype=np.float64).reshape(len(states), 4)


def draw(rng: np.random.Generator, spread: Sequence[float]) -> NDArray[np.float64]:
    """One state (4,) in which an episode begins."""
    half = np.asarray(spread, dtype=np.float64)
    return rng.uniform(-half, half)


def advance(
    position: float, speed: float, angle: float, spin: float, force: float
) -> tuple[float, float, float, float]:
    """The state one step later."""
    return moved(position, speed, angle, spin, force, math.cos(angle), math.sin(angle))


def moved(
    position: float, speed: float, angle: float, spin: float, force: float, cosine: float, sine: float
) -> tuple[float, float, float, float]:
    """The state one step later, with cosine and sine of the angle. Written for Python and Numba alike, the
    operations in Gymnasium's order."""
    push = (force + MOMENT * (spin * spin) * sine) / TOTAL
    turn = (GRAVITY * sine - cosine * push) / (LENGTH * (4.0 / 3.0 - POLE * (cosine * cosine) / TOTAL))
    pull = push - MOMENT * turn * cosine / TOTAL
    return position + TAU * speed, speed + TAU * pull, angle + TAU * spin, spin + TAU * turn


def fallen(position: float, angle: float) -> bool:
    """Whether the episode is over."""
    return position < -EDGE or position > EDGE or angle < -TILT or angle > TILT
