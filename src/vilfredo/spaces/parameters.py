"""Plain parameters: floats, integers and choices, with log scales, steps and conditions.

For users' own functions, for tables of measured networks, and for the training hyperparameters of the
network spaces. A genome is the mapping from names to values itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vilfredo.protocols import Impossible, Rng
from vilfredo.spaces.values import Choice, Float, Int, Parameter, as_json, identity, is_number
from vilfredo.trial import JSON, Genome

__all__ = ["Choice", "Float", "Int", "Parameter", "Parameters", "from_mapping", "to_mapping"]

_Conditions: TypeAlias = tuple[tuple[str, frozenset[Any]], ...]


@dataclass(frozen=True)
class Parameters:
    """A space of named parameters.

    A genome maps names to values. It may carry values of inactive parameters (they come back into
    play when a condition is met again) or lack them; `active` leaves them out, and two genomes mean the
    same if their active parameters are equal.

    Mutation changes each active parameter with probability 1/n, at least one of them: numbers by
    polynomial mutation with index `mutation` on their (log) scale, choices to another option. Crossover
    swaps each parameter with probability 1/2; with `crossover="sbx"` every second number that differs
    is blended first, by simulated binary crossover with index `spread`, on its (log) scale. Sources: Deb
    and Agrawal, "Simulated binary crossover for continuous search space", Complex Systems 9, 1995; Deb et
    al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 6(2), 2002.

    Raises `ValueError`, one sentence naming the parameter, for conditions that cannot be met.
    """

    items: Mapping[str, Parameter]
    mutation: float = 20.0
    spread: float = 15.0
    crossover: Literal["sbx", "uniform"] = "sbx"
    _plan: tuple[tuple[str, Parameter, _Conditions], ...] = field(
        init=False, repr=False, compare=False, default=()
    )
    _conditional: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError("a space needs at least one parameter")
        if self.crossover not in ("sbx", "uniform"):
            raise ValueError(f"crossover must be 'sbx' or 'uniform', not {self.crossover!r}")
        for name, value in (("mutation", self.mutation), ("spread", self.spread)):
            if not is_number(value) or value < 0:
                raise ValueError(f"{name} must be a number of at least 0, not {value!r}")
        conditions = {name: _conditions(name, item, self.items) for name, item in self.items.items()}
        order = _order(conditions)
        object.__setattr__(self, "items", dict(self.items))
        object.__setattr__(self, "_plan", tuple((n, self.items[n], conditions[n]) for n in order))
        object.__setattr__(self, "_conditional", any(conditions.values()))

    def sample(self, rng: Rng) -> Genome:
        """Every parameter drawn uniformly on its scale, the inactive ones too."""
        us = rng.random(len(self.items)).tolist()
        return {name: item.draw(u) for (name, item), u in zip(self.items.items(), us, strict=True)}

    def mutate(self, genome: Genome, rng: Rng) -> Genome:
        """A genome that differs in at least one active parameter, if any can be changed at all."""
        names = [name for name in self._names(genome) if not self.items[name].constant]
        if not names:
            return dict(genome)
        us = rng.random(2 * len(names) + 1).tolist()
        chance = 1.0 / len(names)
        forced = int(us[-1] * len(names))
        child = dict(genome)
        for i, name in enumerate(names):
            if i == forced or us[2 * i] < chance:
                child[name] = self.items[name].nudge(child[name], us[2 * i + 1], self.mutation)
        return self._complete(child, rng) if self._conditional else child

    def cross(self, first: Genome, second: Genome, rng: Rng) -> tuple[Genome, Genome]:
        """Two genomes with the parameters of both."""
        one, two = dict(first), dict(second)
        us = rng.random(3 * len(self.items)).tolist()
        for i, (name, item) in enumerate(self.items.items()):
            if (name in one) != (name in two):  # an inactive parameter that only one of them carries
                one[name] = two[name] = one[name] if name in one else two[name]
                continue
            if name not in one:
                continue
            a, b = one[name], two[name]
            if self.crossover == "sbx" and us[3 * i] < 0.5 and not isinstance(item, Choice) and a != b:
                u, v = _sbx(item.to_unit(a), item.to_unit(b), us[3 * i + 1], self.spread)
                a, b = item.from_unit(u), item.from_unit(v)
            one[name], two[name] = (b, a) if us[3 * i + 2] < 0.5 else (a, b)
        if self._conditional:
            return self._complete(one, rng), self._complete(two, rng)
        return one, two

    def encode(self, genome: Genome) -> NDArray[np.float64]:
        """Numbers as their place on their scale, choices one-hot, what is inactive as zeros. Shape (d,)."""
        names = frozenset(self._names(genome)) if self._conditional else self.items
        flat: list[float] = []
        for name, item in self.items.items():
            flat.extend(item.encode(genome[name]) if name in names else item.blank)
        return np.array(flat, dtype=np.float64)

    def canonical(self, genome: Genome) -> str:
        return as_json(self.active(genome))

    def check(self, genome: Genome) -> None:
        """Raises `Impossible`, one sentence naming the parameter, if `genome` is not of this space."""
        for name, value in genome.items():
            item = self.items.get(name)
            if item is None:
                raise Impossible(f"there is no parameter {name!r}{_nearest(name, self.items)}")
            if not item.accepts(value):
                raise Impossible(f"{name} = {value!r} is not {item.allowed()}")
        active = self._names(genome)
        missing = [name for name in active if name not in genome]
        if missing:
            raise Impossible(f"the parameter {missing[0]!r} is missing")

    def active(self, genome: Genome) -> dict[str, JSON]:
        """The parameters whose conditions are met, in the order of the space; what a user's function gets."""
        items = self.items
        return {name: items[name].normal(genome[name]) for name in self._names(genome)}

    def _names(self, genome: Genome) -> Sequence[str]:
        """Names of the active parameters, in the order of the space."""
        if not self._conditional:
            return tuple(self.items)
        met: set[str] = set()
        for name, _, conditions in self._plan:
            if all(other in met and identity(genome.get(other)) in values for other, values in conditions):
                met.add(name)
        return [name for name in self.items if name in met]

    def _complete(self, genome: dict[str, JSON], rng: Rng) -> dict[str, JSON]:
        """The genome with a value drawn for every active parameter that it lacks."""
        if len(genome) < len(self.items):
            for name, item, _ in self._plan:
                if name not in genome and name in self._names(genome):
                    genome[name] = item.draw(rng.random())
        return genome


def from_mapping(mapping: Mapping[str, Mapping[str, JSON]]) -> Parameters:
    """A space from plain data, as a spec file has it:

    `{"lr": {"float": [1e-4, 0.1], "log": True}, "depth": {"int": [1, 8]}, "act": {"choice": ["relu",
    "tanh"]}, "momentum": {"float": [0, 0.99], "when": {"optimizer": "sgd"}}}`.

    Raises `ValueError`, one sentence naming the parameter.
    """
    return Parameters({name: _parameter(name, table) for name, table in mapping.items()})


def to_mapping(space: Parameters) -> dict[str, dict[str, JSON]]:
    """Plain data from which `from_mapping` makes an equal space."""
    result: dict[str, dict[str, JSON]] = {}
    for name, item in space.items.items():
        table: dict[str, JSON]
        if isinstance(item, Choice):
            table = {"choice": list(item.options)}
        else:
            table = {"float" if isinstance(item, Float) else "int": [item.low, item.high]}
            if item.log:
                table["log"] = True
            if item.step is not None and not (isinstance(item, Int) and item.step == 1):
                table["step"] = item.step
        if item.when:
            table["when"] = dict(item.when)
        result[name] = table
    return result


def _parameter(name: str, table: Mapping[str, JSON]) -> Parameter:
    kinds = {"float": Float, "int": Int, "choice": Choice}
    if not isinstance(table, Mapping) or sum(kind in table for kind in kinds) != 1:
        raise ValueError(
            f"the parameter {name!r} must be a table with one of float = [low, high], int = [low, high] "
            f"or choice = [...], not {table!r}"
        )
    kind = next(kind for kind in kinds if kind in table)
    options = {"choice": ("when",)}.get(kind, ("log", "step", "when"))
    for key in table:
        if key != kind and key not in options:
            raise ValueError(
                f"the parameter {name!r} has no setting {key!r}{_nearest(key, (*options, *kinds))}"
            )
    rest = {key: value for key, value in table.items() if key != kind}
    if not isinstance(rest.get("log", False), bool):
        raise ValueError(f"log of the parameter {name!r} must be true or false, not {rest['log']!r}")
    if not isinstance(rest.get("when", {}), Mapping):
        raise ValueError(
            f"when of the parameter {name!r} must be a table of others' values, not {rest['when']!r}"
        )
    try:
        if kind == "choice":
            return Choice(table[kind], **rest)
        if not isinstance(table[kind], Sequence) or len(table[kind]) != 2:
            raise ValueError(f"{kind} must be [low, high], not {table[kind]!r}")
        low, high = table[kind]
        return Float(low, high, **rest) if kind == "float" else Int(low, high, **rest)
    except ValueError as problem:
        raise ValueError(f"the parameter {name!r}: {problem}") from problem


def _conditions(name: str, item: Parameter, items: Mapping[str, Parameter]) -> _Conditions:
    """The conditions of one parameter: (name of another, identities of the values that meet it)."""
    result: list[tuple[str, frozenset[Any]]] = []
    for other, wanted in item.when.items():
        if other not in items or other == name:
            nearest = _nearest(other, [n for n in items if n != name])
            raise ValueError(f"the parameter {name!r} depends on {other!r}, which does not exist{nearest}")
        parent = items[other]
        if isinstance(parent, Float):
            raise ValueError(f"the parameter {name!r} cannot depend on {other!r}, because that is a float")
        # A list is a list of allowed values, unless it is itself an option of the other parameter.
        several = isinstance(wanted, list | tuple) and not parent.accepts(wanted)
        values = list(wanted) if several else [wanted]
        for value in values:
            if not parent.accepts(value):
                raise ValueError(
                    f"the parameter {name!r} depends on {other} = {value!r}, which is not {parent.allowed()}"
                )
        if not values:
            raise ValueError(f"the parameter {name!r} is never active: no value of {other!r} is named")
        result.append((other, frozenset(identity(value) for value in values)))
    return tuple(result)


def _order(conditions: Mapping[str, _Conditions]) -> list[str]:
    """Names such that each comes after those it depends on. Raises `ValueError` for a circle."""
    order: list[str] = []
    waiting = list(conditions)
    while waiting:
        ready = [n for n in waiting if all(other in order for other, _ in conditions[n])]
        if not ready:
            raise ValueError(f"the parameters {', '.join(waiting)} depend on each other in a circle")
        order.extend(ready)
        waiting = [n for n in waiting if n not in order]
    return order


def _sbx(a: float, b: float, u: float, eta: float) -> tuple[float, float]:
    """Simulated binary crossover within [0, 1], bounded on both sides (Deb and Agrawal 1995)."""
    low, high = min(a, b), max(a, b)
    if high - low < 1e-12:
        return a, b
    power = 1.0 / (eta + 1.0)

    def beta(room: float) -> float:
        alpha = 2.0 - (1.0 + 2.0 * room / (high - low)) ** -(eta + 1.0)
        return float((u * alpha if u <= 1.0 / alpha else 1.0 / (2.0 - u * alpha)) ** power)

    one = 0.5 * (low + high - beta(low) * (high - low))
    two = 0.5 * (low + high + beta(1.0 - high) * (high - low))
    one, two = min(max(one, 0.0), 1.0), min(max(two, 0.0), 1.0)
    return (one, two) if a <= b else (two, one)


def _nearest(name: str, known: Any) -> str:
    match = get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else f"; known: {', '.join(known)}"
