"""The spec of a search as data: what a TOML file may say. Names in it are still only names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    model_validator,
)

from vilfredo.budget import Budget, duration, parse
from vilfredo.budget import to_json as budget_to_json
from vilfredo.goal import parse_quantity
from vilfredo.trial import JSON


def _seconds(value: JSON) -> float:
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError(f"a time of {value!r} is none; give a positive one")
    return seconds


def _bytes(value: JSON) -> int:
    size = parse_quantity(value, "B") if isinstance(value, str) else value
    if not isinstance(size, int | float) or isinstance(size, bool) or not math.isfinite(size):
        raise ValueError(f"cannot read {value!r} as a size; write for example '4 GiB' or '500 MB'")
    if size <= 0:
        raise ValueError(f"a size of {value!r} is none; give a positive one")
    return int(size)


def _limit(value: JSON) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"a limit is a number or text with a unit such as '2 ms', not {value!r}")


def _table(value: JSON) -> JSON:
    """`optimizer = "nsga2"` is short for `optimizer = { use = "nsga2" }`."""
    return {"use": value} if isinstance(value, str) else value


def _goals(value: JSON) -> JSON:
    """`goals = ["error", "latency"]` is short for a table with an empty table for each."""
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]!r} is there twice")
        return {name: {} for name in value}
    if isinstance(value, str) or not isinstance(value, Mapping):
        raise ValueError(
            f"goals are a list of names (['error', 'latency']) or a table of them, not {value!r}"
        )
    if not value:
        raise ValueError("a search needs at least one goal")
    return value


Seconds = Annotated[float, PlainValidator(_seconds)]
Bytes = Annotated[int, PlainValidator(_bytes)]
Limit = Annotated[float | str | None, PlainValidator(_limit)]
Whole = Annotated[int, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]
Name = Annotated[str, Field(strict=True, min_length=1)]
Flag = Annotated[bool, Field(strict=True)]


class Table(BaseModel):
    """A table of the file that has no entries but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(BaseModel):
    """A table that names what to `use`; all else in it are options of that."""

    model_config = ConfigDict(extra="allow", frozen=True)
    use: Name

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ProblemTable(Part):
    use: Name = "supervised"


class SpaceTable(Part):
    use: Name = "chain"


class OptimizerTable(Part):
    use: Name = "steady"


class GoalTable(BaseModel):
    """One goal: its limits, and options of the function that computes it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    use: Name | None = None
    sense: Literal["min", "max"] | None = None
    unit: Text | None = None
    max: Limit = None
    min: Limit = None
    ranked: Flag = True

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ExecutorTable(Part):
    """Where candidates run. `deadline` (seconds) and `memory` (bytes) are limits of one candidate."""

    use: Name = "local"
    workers: Annotated[int, Field(strict=True, ge=1)] | None = None
    deadline: Seconds | None = None
    memory: Bytes | None = None
    threads: Annotated[int, Field(strict=True, ge=1)] | None = None
    gpus: Annotated[int, Field(strict=True, ge=0)] | list[Whole] | None = None
    retries: Annotated[int, Field(strict=True, ge=0)] = 2


class StoreTable(Table):
    """`path` of the store, and how many bytes the files of a run's candidates may take."""

    path: Name = "vilfredo.db"
    quota: Bytes | None = 10 * 2**30


class Spec(Table):
    """A whole search. `folder` is that of the file: the data's relative paths start there.

    `confirm` is with how many training seeds the front is tested; None: 1 for networks trained on data,
    0 for others, which have no test set. `problem`, `space` and `goals` are None for a run whose problem
    is a Python object.
    """

    name: Text = ""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    budget: Annotated[Budget, PlainValidator(parse), PlainSerializer(budget_to_json)] = Budget(trials=100)
    confirm: Annotated[int, Field(strict=True, ge=0)] | None = None
    problem: Annotated[ProblemTable | None, BeforeValidator(_table)] = None
    space: Annotated[SpaceTable | None, BeforeValidator(_table)] = None
    goals: Annotated[dict[Name, GoalTable] | None, BeforeValidator(_goals)] = None
    optimizer: Annotated[OptimizerTable, BeforeValidator(_table)] = OptimizerTable()
    stopper: Annotated[Part | None, BeforeValidator(_table)] = None
    executor: Annotated[ExecutorTable, BeforeValidator(_table)] = ExecutorTable()
    store: Annotated[StoreTable, BeforeValidator(lambda v: {"path": v} if isinstance(v, str) else v)] = (
        StoreTable()
    )
    start: Name | None = None
    folder: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _without_none(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, Mapping) else data

    def to_json(self) -> dict[str, JSON]:
        """What the store keeps; `Spec.from_json` gives back an equal spec."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def from_json(cls, data: Mapping[str, JSON]) -> Spec:
        """The spec of a stored run. Names in it are looked up by `build` alone.

        Raises `ValueError` if the data is of a newer program.
        """
        return cls.model_validate(dict(data))
