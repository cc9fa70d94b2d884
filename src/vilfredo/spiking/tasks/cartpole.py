"""CartPole in the four settings of Plank et al.: keep a pole upright on a cart for five minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking import options, pole

try:
    import gymnasium
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv
except ModuleNotFoundError as problem:
    raise ModuleNotFoundError(
        'control tasks need Gymnasium; install it with: pip install "vilfredo[spiking]"', name=problem.name
    ) from problem

Floats = NDArray[np.float64]


class Pole(CartPoleEnv):
    """Gymnasium's CartPole with the forces and the starts of a setting.

    Its physics are `pole.advance`, which the compiled loop has, too: Gymnasium's operations in Gymnasium's
    order, with the C library's sine and cosine in place of NumPy's. `state` has the full precision; the
    observation that Gymnasium returns is rounded to 32 bits.
    """

    def __init__(
        self, setting: pole.Setting, spread: Sequence[float], render_mode: str | None = None
    ) -> None:
        super().__init__(render_mode=render_mode)
        self.setting = setting
        self.spread = tuple(spread)
        self.action_space = gymnasium.spaces.Discrete(setting.actions)  # type: ignore[assignment]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Gymnasium's `reset`, from within this setting's bounds; `options` may have Gymnasium's "low" and
        "high" instead."""
        seen, facts = super().reset(seed=seed, options=options)
        if options is None:
            # Gymnasium's own draw is taken back: it has other bounds.
            rng = self.np_random if seed is None else np.random.default_rng(seed)
            self.state = pole.draw(rng, self.spread)
            seen = self.state.astype(np.float32)
        return seen, facts

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Gymnasium's `step`; the reward is always 1."""
        if self.state is None:
            raise ValueError("an episode begins with reset()")
        position, speed, angle, spin = self.state.tolist()
        state = pole.advance(position, speed, angle, spin, self.setting.forces[int(action)])
        self.state = np.array(state)
        if self.render_mode == "human":
            self.render()  # type: ignore[no-untyped-call]
        return self.state.astype(np.float32), 1.0, pole.fallen(state[0], state[2]), False, {}


class Cartpole:
    """`setting`: "easy" (4 numbers are seen, 2 actions), "medium" (4, 3), "hard" (position and angle only,
    3) or "hardest" (the same, 2). Two actions are −10 N and 10 N; three are 0 N, −10 N and 10 N.

    Each step gives a reward of 1, also the one in which the pole falls (beyond 12°) or the cart leaves
    (beyond 2.4 m); an episode has at most `steps`. `starts`: "paper" (position within ±1.2 m, angle within
    ±0.10475, speeds within ±0.05) or "gymnasium" (all within ±0.05); an episode's seed says which. `success`
    is the mean reward of 15,000 that Plank et al. ask for: 14,250, 12,000, 9,000 and 6,000. (They want
    "medium" to do nothing in three quarters of the steps, too; that is no part of the reward here.)

    Raises `ValueError` for a setting or starts that there are not.
    """

    window = pole.WINDOW

    def __init__(self, setting: str = "easy", steps: int = pole.STEPS, starts: str = "paper") -> None:
        options.whole(self, "steps", steps, 1)
        if setting not in pole.SETTINGS:
            raise ValueError(f"Cartpole: there is no setting {setting!r}; known: {', '.join(pole.SETTINGS)}")
        if starts not in pole.SPREADS:
            raise ValueError(f"Cartpole: there are no starts {starts!r}; known: {', '.join(pole.SPREADS)}")
        self.name = f"CartPole {setting}"
        self.setting = pole.SETTINGS[setting]
        self.spread = pole.SPREADS[starts]
        self.ranges = self.setting.ranges
        self.actions = self.setting.actions
        self.steps = steps
        self.success = self.setting.goal * steps / pole.STEPS
        self.environment = Pole(self.setting, self.spread)
        self._taken = 0

    def starts(self, seeds: Sequence[int]) -> Floats:
        """The states (E, 4) in which the episodes of these seeds begin."""
        return pole.starts(seeds, self.spread)

    def reset(self, seed: int) -> Floats:
        self.environment.reset(seed=int(seed))
        self._taken = 0
        return self._seen()

    def step(self, action: int) -> tuple[Floats, float, bool]:
        _, reward, ended, _, _ = self.environment.step(action)
        self._taken += 1
        return self._seen(), reward, ended or self._taken >= self.steps

    def _seen(self) -> Floats:
        state: Floats = np.asarray(self.environment.state)[list(self.setting.seen)]
        return state
