"""Simulated candidates go together: a `BatchProblem` in the inline executor and in the search loop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from runs import Slope, new_run, plain
from vilfredo.budget import Budget
from vilfredo.executors import inline
from vilfredo.executors.inline import Inline
from vilfredo.loop import Search
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.protocols import Finished, Impossible, Started, Task, Work
from vilfredo.trial import Failure, Key, Trial, Value


@dataclass(frozen=True)
class Together(Slope):
    """Slope, computed many at a time. `sizes` are those of the calls."""

    sizes: list[int] = field(default_factory=list)

    def evaluate_many(
        self, works: Sequence[Work], seeds: Sequence[int]
    ) -> Sequence[Mapping[str, Value] | Failure]:
        self.sizes.append(len(works))
        return [self._one(work, seed) for work, seed in zip(works, seeds, strict=True)]

    def _one(self, work: Work, seed: int) -> Mapping[str, Value] | Failure:
        if work.genome.get("does") == "fail":
            return Failure("exception", "as it was told to")
        if work.genome.get("does") == "raise":
            raise RuntimeError("out of order")
        if work.genome.get("does") == "nan":
            return {"error": Value(float("nan"))}
        training = self.train(work, seed, None, {})
        while True:
            try:
                next(training)
            except StopIteration as end:
                return self.measure(work, end.value, seed)


def task(ticket: int, **genome: Any) -> Task:
    return Task(ticket, Work({"depth": 1 + ticket % 9, "width": 10.0, "rate": 0.2, **genome}), seed=ticket)


def finished(executor: Inline, tasks: Sequence[Task]) -> dict[int, Finished]:
    for each in tasks:
        executor.submit(each)
    found: dict[int, Finished] = {}
    while len(found) < len(tasks):
        events = executor.events(0.1)
        assert events
        found.update({e.ticket: e for e in events if isinstance(e, Finished)})
        assert sum(isinstance(e, Started) for e in events) == sum(isinstance(e, Finished) for e in events)
    return found


def test_quick_candidates_are_computed_in_few_calls(monkeypatch):
    monkeypatch.setattr(inline, "PATIENCE", 1e6)  # quick, even on a machine that pauses
    problem = Together()
    executor = Inline(problem, batch=8)
    assert executor.slots == 8
    found = finished(executor, [task(n) for n in range(24)])
    assert problem.sizes == [1, 4, 8, 8, 3]
    assert all(e.outcome.state == "complete" for e in found.values())


def test_slow_candidates_are_computed_one_by_one(monkeypatch):
    class Slow(Together):
        def _one(self, work: Work, seed: int) -> Mapping[str, Value] | Failure:
            time.sleep(0.03)
            return super()._one(work, seed)

    monkeypatch.setattr(inline, "PATIENCE", 0.05)
    problem = Slow()
    finished(Inline(problem, batch=8), [task(n) for n in range(4)])
    assert problem.sizes == [1, 1, 1, 1], "so that a search can be ended between them"


def test_together_is_what_one_by_one_is():
    tasks = [task(n) for n in range(5)]
    together = finished(Inline(Together()), tasks)
    alone = {}
    for each in tasks:
        alone.update(finished(Inline(Together(), batch=1), [each]))
    values = [{n: e.outcome.values for n, e in found.items()} for found in (together, alone)]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("does", "kind"), [("fail", "exception"), ("raise", "exception"), ("nan", "not finite")]
)
def test_one_candidates_error_is_no_others(does, kind):
    found = finished(Inline(Together()), [task(0), task(1, does=does), task(2)])
    assert [found[n].outcome.state for n in range(3)] == ["complete", "failed", "complete"]
    assert found[1].outcome.failure is not None
    assert found[1].outcome.failure.kind == kind
    assert found[1].attempt.failure == found[1].outcome.failure


def test_what_the_preview_rejects_is_not_computed():
    problem = Together(limit=1e-3)
    found = finished(Inline(problem), [task(0), task(1)])
    assert {e.outcome.state for e in found.values()} == {"rejected"}
    assert problem.sizes == []


def test_what_decodes_to_nothing_is_not_computed():
    class Impossibly(Together):
        def preview(self, work: Work) -> Mapping[str, Value]:
            raise Impossible("it has no neurons")

    problem = Impossibly()
    found = finished(Inline(problem), [task(0)])
    failure = found[0].outcome.failure
    assert failure is not None
    assert (failure.kind, failure.message) == ("impossible", "it has no neurons")
    assert problem.sizes == []


def test_too_few_results_are_a_failure_of_all():
    class Short(Together):
        def evaluate_many(self, works, seeds):
            return []

    found = finished(Inline(Short()), [task(0), task(1), task(2)])
    for number, event in found.items():
        assert event.outcome.failure is not None
        assert f"0 results for {2 if number else 1} candidates" in event.outcome.failure.message


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="batch is 0; it must be at least 1"):
        Inline(Together(), batch=0)


def searched(path: Any, cuts: list[int]) -> list[Any]:
    problem = Together()
    run = new_run(path, problem, seed=3)
    for cut in [*cuts, None]:
        search = Search(
            problem,
            NSGA2(problem.space, problem.goals, population=10),
            Inline(problem, batch=10),
            run,
            budget=Budget(trials=40),
            seed=3,
            confirm=1,
        )
        for _ in itertools.islice(search, cut):
            pass
    return [plain(trial) for trial in run.trials()]


def test_a_search_goes_by_generations_and_resumes_to_the_same(tmp_path):
    whole = searched(tmp_path / "whole.db", [])
    assert len(whole) == 40
    assert searched(tmp_path / "cut.db", [3, 14, 9]) == whole


class Renewing(NSGA2):
    """After each generation the best of it is measured again, with new noise."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.told: list[Trial] = []

    def tell(self, trial: Trial) -> None:
        self.told.append(trial)
        super().tell(trial)

    def ask(self, count: int, rng: np.random.Generator, pending: Sequence[Work] = ()) -> list[Work]:
        known = {t.number for t in self.told}
        noisy = {t.number for t in self.told for k in t.values if k.noise == 1}
        busy = {w.trial for w in pending if w.trial is not None}
        if len(known) == 10 and 4 not in noisy | busy:
            return [Work(self._trials[4].genome, operator="renew", trial=4, noise=1, generation=1)]
        return super().ask(count, rng, [w for w in pending if w.trial is None])


def test_a_renewal_is_measured_with_its_noise_and_is_no_new_candidate(tmp_path):
    problem = Together()
    run = new_run(tmp_path / "run.db", problem, seed=3)
    optimizer = Renewing(problem.space, problem.goals, population=10)
    search = Search(
        problem, optimizer, Inline(problem, batch=10), run, budget=Budget(trials=20), seed=3, confirm=0
    )
    list(search)
    trials = run.trials()
    assert [t.number for t in trials] == list(range(20))
    assert {k.noise for k in trials[4].values if k.goal == "error"} == {0, 1}
    assert trials[4].value("error") == trials[4].values[Key("error", noise=1)]
    assert sum(t.number == 4 for t in optimizer.told) == 2
