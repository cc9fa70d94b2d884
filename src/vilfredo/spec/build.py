"""From a spec to the objects of a search."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vilfredo.budget import Budget
from vilfredo.executors.state import Broken
from vilfredo.protocols import Executor, Optimizer, Problem, Stopper, Work
from vilfredo.spec import plan as plans
from vilfredo.spec.model import Spec
from vilfredo.spec.read import SpecError

TESTED = ("supervised", "spiking")
"""Problems with something to test the front on: unseen samples, or fresh episodes and perturbations."""


@dataclass(frozen=True)
class Parts:
    """All that a search is made of. `optimizer`, `stopper` and `executor` make a new one each call."""

    problem: Problem
    optimizer: Callable[[], Optimizer]
    stopper: Callable[[], Stopper] | None
    executor: Callable[[], Executor]
    budget: Budget
    seed: int
    confirm: int
    retries: int
    initial: tuple[Work, ...]
    workers: int
    store: str
    quota: int | None


def build(spec: Spec, problem: Problem | None = None, initial: Sequence[Work] = ()) -> Parts:
    """The objects of `spec`; loads the data, trains nothing, starts no process.

    `problem` is for a spec without one (of a run made from a Python object); `initial` are works that
    run first. Raises `SpecError` if something cannot be found or made; `OSError` for data that cannot
    be read.
    """
    label = spec.name or "spec"
    data = spec.to_json()
    if problem is not None:
        data = {n: v for n, v in data.items() if n not in ("problem", "space", "goals")}
    elif spec.problem is None:
        raise SpecError(label, [("", "this run was made from a Python object; give it again as problem=…")])
    plan, mistakes = plans.make(data)
    if mistakes:
        raise SpecError(label, mistakes)
    made = problem if problem is not None else _problem(plan, label, spec.seed)
    optimizer, stopper, executor = plan.optimizer, plan.stopper, plan.executor
    assert optimizer is not None
    assert executor is not None
    given = {n: getattr(spec.executor, n) for n in plans.LIMITS}
    given = {n: v for n, v in given.items() if v is not None}
    given.setdefault("workers", _workers(made, spec))
    space, goals, seed = made.space, made.goals, spec.seed

    def new_optimizer() -> Optimizer:
        made: Optimizer = _made(label, optimizer, space=space, goals=goals, seed=seed)
        return made

    def new_stopper() -> Stopper:
        assert stopper is not None
        several = {"stoppers": tuple(_made(label, one, goals=goals, seed=seed) for one in plan.stoppers)}
        more = several if plan.stoppers else {}
        made: Stopper = _made(label, stopper, goals=goals, seed=seed, **more)
        return made

    def new_executor() -> Executor:
        executing: Executor = _made(label, executor, problem=made, **given)
        return executing

    return Parts(
        problem=made,
        optimizer=new_optimizer,
        stopper=None if stopper is None else new_stopper,
        executor=new_executor,
        budget=spec.budget,
        seed=seed,
        confirm=_confirm(made) if spec.confirm is None else spec.confirm,
        retries=spec.executor.retries,
        initial=tuple(initial),
        workers=given["workers"],
        store=spec.store.path,
        quota=spec.store.quota,
    )


def _workers(problem: Problem, spec: Spec) -> int:
    """As many as the cores can feed; on GPUs one for each."""
    if str(getattr(problem, "device", "cpu")) != "cpu":
        gpus = spec.executor.gpus or 1
        return gpus if isinstance(gpus, int) else len(gpus)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (spec.executor.threads or 1))


def _confirm(problem: Problem) -> int:
    """Training seeds to test the front with, unless the user says: none where there is no test set."""
    return 1 if problem.describe().get("kind") in TESTED else 0


def _problem(plan: plans.Plan, label: str, seed: int) -> Problem:
    assert plan.problem is not None
    assert plan.space is not None
    given: dict[str, object] = {
        "space": plan.space(),
        "goals": plan.goals,
        "objectives": plan.objectives,
        "seed": seed,
    }
    if plan.data is not None:
        given["data"] = _made(label, plan.data)
    problem: Problem = _made(label, plan.problem, **given)
    return problem


def _made(label: str, call: plans.Call, **given: object) -> Any:
    try:
        return call(**given)
    except (SpecError, Broken):  # the latter: no entry is wrong, the problem cannot be sent to workers
        raise
    except (ValueError, TypeError) as problem:
        if isinstance(problem, TypeError) and problem.__traceback__ and problem.__traceback__.tb_next:
            raise  # from within the constructor: a bug, which must stay visible
        raise SpecError(label, [(call.path, str(problem))]) from problem
