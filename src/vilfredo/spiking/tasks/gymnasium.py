"""Any environment of Gymnasium, by its name or as an object, as a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking import options

try:
    import gymnasium
except ModuleNotFoundError as problem:
    raise ModuleNotFoundError(
        'control tasks need Gymnasium; install it with: pip install "vilfredo[spiking]"', name=problem.name
    ) from problem

Floats = NDArray[np.float64]


class Gymnasium:
    """`environment` is a name ("LunarLander-v3") or an environment; a `Control` for `play` and `search`.

    `ranges`: (low, high) of each number of an observation, for the encoder; None: those of the observation
    space, if they are finite. `actions`: what each action of the network is in the environment, for spaces
    that are not a choice of n (`actions=[[-1.0], [0.0], [1.0]]`); None: 0 … n − 1. `steps`: after how many an
    episode ends; None: the environment's own limit. `success`: the mean reward from which the task counts as
    solved; None: Gymnasium's `reward_threshold`, if there is one.

    Raises `ValueError` for a name that Gymnasium does not know, and where the spaces do not say what is
    needed.
    """

    window = 24  # timesteps of the network for one step

    def __init__(
        self,
        environment: Any,
        ranges: Sequence[tuple[float, float]] | None = None,
        actions: Sequence[Any] | None = None,
        steps: int | None = None,
        success: float | None = None,
    ) -> None:
        if steps is not None:
            options.whole(self, "steps", steps, 1)
        self.environment = _made(environment, steps)
        self.name = str(
            getattr(self.environment.spec, "id", None) or type(self.environment.unwrapped).__name__
        )
        self.ranges = self._ranges(ranges)
        self._values = self._actions(actions)
        self.actions = len(self._values)
        known = getattr(self.environment.spec, "max_episode_steps", None)
        limit = known if steps is None else steps
        if limit is None:
            raise ValueError(
                f"{self.name} has no limit of its own; say after how many `steps` an episode ends"
            )
        self.steps = int(limit)
        threshold = getattr(self.environment.spec, "reward_threshold", None)
        self.success: float | None = success if success is not None else threshold
        self._taken = 0

    def reset(self, seed: int) -> Floats:
        """Begin an episode; the same seed, the same start."""
        observation, _ = self.environment.reset(seed=int(seed))
        self._taken = 0
        return _flat(observation)

    def step(self, action: int) -> tuple[Floats, float, bool]:
        """One step: observation, reward, whether the episode is over."""
        observation, reward, ended, cut, _ = self.environment.step(self._values[action])
        self._taken += 1
        return _flat(observation), float(reward), bool(ended or cut or self._taken >= self.steps)

    def _ranges(self, given: Sequence[tuple[float, float]] | None) -> tuple[tuple[float, float], ...]:
        space = self.environment.observation_space
        if isinstance(space, gymnasium.spaces.Box):
            found = list(zip(space.low.ravel().tolist(), space.high.ravel().tolist(), strict=True))
        elif isinstance(space, gymnasium.spaces.Discrete):
            found = [(float(space.start), float(space.start + space.n - 1))]
        else:
            raise ValueError(
                f"{self.name} observes {space}; wrap it so that an observation is an array of numbers "
                "(gymnasium.wrappers.FlattenObservation)"
            )
        if given is None:
            for place, (low, high) in enumerate(found):
                if not np.isfinite([low, high]).all() or max(abs(low), abs(high)) > 1e30:
                    raise ValueError(
                        f"number {place} of an observation of {self.name} has no limits; give `ranges`, "
                        f"a (low, high) for each of the {len(found)} numbers"
                    )
            return tuple(found)
        if len(given) != len(found):
            raise ValueError(f"{self.name} observes {len(found)} numbers, there are {len(given)} ranges")
        pairs = tuple((float(low), float(high)) for low, high in given)
        for low, high in pairs:
            options.interval(self, low, high)
        return pairs

    def _actions(self, given: Sequence[Any] | None) -> list[Any]:
        space = self.environment.action_space
        if given is None:
            if not isinstance(space, gymnasium.spaces.Discrete):
                raise ValueError(
                    f"{self.name} takes {space}; say what each of the network's `actions` is in it, "
                    "such as actions=[[-1.0], [0.0], [1.0]]"
                )
            return [int(space.start) + i for i in range(int(space.n))]
        values = [np.asarray(a, dtype=space.dtype) if space.shape else a for a in given]
        if len(values) < 2:
            raise ValueError(f"{self.name}: a network needs at least 2 `actions` to choose from")
        for value in values:
            if not space.contains(value):
                raise ValueError(
                    f"the action {np.asarray(value).tolist()} is not one of {self.name}: {space}"
                )
        return values


def _made(environment: Any, steps: int | None) -> Any:
    if isinstance(environment, str):
        limit = {} if steps is None else {"max_episode_steps": steps}
        try:
            return gymnasium.make(environment, disable_env_checker=True, **limit)
        except gymnasium.error.Error as problem:
            raise ValueError(f"Gymnasium cannot make {environment!r}: {problem}") from problem
    if not isinstance(environment, gymnasium.Env):
        raise ValueError(
            f"an environment is a name or a gymnasium.Env, not {type(environment).__name__}; a class of your "
            "own with reset(seed) and step(action) is a task as it is"
        )
    return environment


def _flat(observation: Any) -> Floats:
    return np.asarray(observation, dtype=np.float64).ravel()
