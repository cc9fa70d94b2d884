"""A user's own function as a problem: `f(params) -> {goal: value}`, or a generator that yields epochs."""

from __future__ import annotations

import difflib
import inspect
import pickle
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, cast

from vilfredo.goal import Goal
from vilfredo.goal import goal as known_goal
from vilfredo.protocols import Model, Snapshot, Space, Weights, Work
from vilfredo.trial import JSON, Genome, Value

OPTIONAL = ("seed", "epochs", "split")
"""Arguments that the function is given by name if it has them."""


class Function:
    """`function(params)` returns `{goal: value}`; a value is a number, `(mean, sd)` or a `Value`. Parameters
    whose condition is not met are not among `params`.

    A function that yields is a generator of epochs: each yield is a mapping of that epoch's metrics, and
    what it returns at the end are the goals (without a return, the goals must be among the metrics it
    yielded last). It may take further arguments by name: `seed` (int: every random number should follow
    from it), `epochs` (int: train up to this epoch), `split` ("validation" in the search, "test" when
    the front is confirmed).

    `goals` are `Goal`s or names (`vilfredo.goal.goal`). `epochs` is how many epochs a generator yields
    when it trains in full; 0 for a plain function. Raises `ValueError` for a function that cannot be
    called with one argument, and for no goals.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        space: Space,
        goals: Iterable[Goal | str],
        epochs: int = 0,
        quiet: Iterable[str] = (),
    ) -> None:
        self.function = function
        self.space = space
        self.goals: Sequence[Goal] = tuple(g if isinstance(g, Goal) else known_goal(g) for g in goals)
        self.epochs = epochs
        self.quiet = frozenset(quiet)
        if not callable(function):
            raise ValueError(f"{function!r} cannot be called; give a function f(params) -> {{goal: value}}")
        if not self.goals:
            raise ValueError("the function has no goals; name at least one, such as goals=['error']")
        self._optional = _arguments(function, _name(function))

    def describe(self) -> Mapping[str, JSON]:
        return {
            "kind": "function",
            "function": _name(self.function),
            "epochs": self.epochs,
            "about": (inspect.getdoc(self.function) or "").split("\n\n")[0],
        }

    def layers(self, genome: Genome) -> Sequence[Mapping[str, JSON]]:
        return []

    def preview(self, work: Work) -> Mapping[str, Value]:
        """Nothing: all is known when the function has run. Raises `Impossible` for another space's genome."""
        self.space.check(work.genome)
        return {}

    def train(
        self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]
    ) -> Generator[Snapshot, None, Model]:
        """Calls the function. The model that it returns is the mapping of goals.

        A generator is taken up to `work.fidelity` epochs, then closed. Raises `ValueError` if the function
        gives something else than it should, and whatever the function raises.
        """
        upto = work.fidelity if work.fidelity is not None else self.epochs
        given = {"seed": seed, "epochs": upto, "split": work.split}
        result: Any = self.function(self._parameters(work.genome), **{k: given[k] for k in self._optional})
        if not inspect.isgenerator(result):
            return self._checked(result)
        epochs = cast(Generator[Any, None, Any], result)
        metrics: Any = {}
        index = 0
        while True:
            try:
                metrics = next(epochs)
            except StopIteration as end:
                return self._checked(metrics if end.value is None else end.value)
            index += 1
            if not isinstance(metrics, Mapping):
                raise ValueError(
                    f"{_name(self.function)} yielded {_kind(metrics)} at epoch {index}; "
                    "it must yield a mapping of metrics, such as {'loss': 0.3}"
                )
            yield Snapshot(index, {str(k): self._number(v, f"metric {k!r}").mean for k, v in metrics.items()})
            if work.fidelity is not None and index >= work.fidelity:
                epochs.close()
                return self._checked(metrics)

    def measure(self, work: Work, model: Model, seed: int) -> Mapping[str, Value]:
        return {
            goal.name: self._number(model[goal.name], f"goal {goal.name!r}")
            for goal in self.goals
            if work.goals is None or goal.name in work.goals
        }

    def _parameters(self, genome: Genome) -> dict[str, JSON]:
        """The genome, without parameters whose condition is not met."""
        active = getattr(self.space, "active", dict)
        return dict(active(genome))

    def _checked(self, result: Any) -> Mapping[str, Any]:
        name = _name(self.function)
        if not isinstance(result, Mapping):
            raise ValueError(
                f"{name} returned {_kind(result)}; it must return a mapping of goals, "
                f"such as {{{self.goals[0].name!r}: 0.1}}"
            )
        for goal in self.goals:
            if goal.name not in result:
                near = difflib.get_close_matches(goal.name, map(str, result), 1, 0.6)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                there = ", ".join(map(repr, result)) or "nothing"
                raise ValueError(f"{name} gave no {goal.name!r}, which is a goal; it gave {there}{hint}")
        return result

    def _number(self, value: Any, what: str) -> Value:
        """`value` as a `Value`; whether it is finite is for `evaluation` to judge."""
        if isinstance(value, Value):
            return value
        if isinstance(value, tuple) and len(value) == 2:
            return Value(self._number(value[0], what).mean, self._number(value[1], what).mean)
        if not isinstance(value, str | bytes):
            try:
                return Value(float(value))  # numbers, NumPy scalars and tensors of one number
            except (TypeError, ValueError, RuntimeError):
                pass
        raise ValueError(
            f"{_name(self.function)}: {what} is {_kind(value)}; it must be a number or (mean, sd)"
        )

    def __getstate__(self) -> dict[str, Any]:
        try:
            pickle.dumps(self.function)
        except Exception as problem:
            raise ValueError(
                f"{_name(self.function)} cannot be sent to worker processes ({problem}); define it at the "
                "top level of a module, or use the inline executor"
            ) from problem
        return self.__dict__


def _arguments(function: Callable[..., Any], name: str) -> tuple[str, ...]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none
        return ()
    found = tuple(
        p.name
        for p in list(signature.parameters.values())[1:]
        if p.name in OPTIONAL and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    )
    try:
        signature.bind({}, **dict.fromkeys(found))
    except TypeError as problem:
        raise ValueError(
            f"{name} cannot be called as f(params): {problem}; beyond the parameters it may take "
            f"{', '.join(OPTIONAL)} and arguments that have a default"
        ) from None
    return found


def _name(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{module}:{name}" if module else name


def _kind(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
