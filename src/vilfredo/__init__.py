"""Vilfredo finds the Pareto set of neural networks for your data and your hardware.

    import vilfredo
    study = vilfredo.search("digits", budget="2min", workers=2)
    for trial in study:
        print(trial.number, trial.state)
    network = study.best("knee").load_model()

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Budget": "vilfredo.budget",
    "Goal": "vilfredo.goal",
    "Trial": "vilfredo.trial",
    "Value": "vilfredo.trial",
    "Study": "vilfredo.study",
    "search": "vilfredo.study",
    "resume": "vilfredo.study",
    "front": "vilfredo.study",
    "Function": "vilfredo.problems.function",
    "Spiking": "vilfredo.problems.spiking",
    "Supervised": "vilfredo.problems.supervised",
    "SpecError": "vilfredo.spec",
    "StoreError": "vilfredo.store",
    "Watch": "vilfredo.interop.watch",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from vilfredo.budget import Budget as Budget
    from vilfredo.goal import Goal as Goal
    from vilfredo.interop.watch import Watch as Watch
    from vilfredo.problems.function import Function as Function
    from vilfredo.problems.spiking import Spiking as Spiking
    from vilfredo.problems.supervised import Supervised as Supervised
    from vilfredo.spec import SpecError as SpecError
    from vilfredo.store import StoreError as StoreError
    from vilfredo.study import Study as Study
    from vilfredo.study import front as front
    from vilfredo.study import resume as resume
    from vilfredo.study import search as search
    from vilfredo.trial import Trial as Trial
    from vilfredo.trial import Value as Value


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vilfredo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
