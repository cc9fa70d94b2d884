"""What every executor must do. A new one needs an entry in `MAKE`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from candidates import Walk
from vilfredo.evaluation import evaluate
from vilfredo.executors.inline import Inline
from vilfredo.executors.local import Local
from vilfredo.protocols import (
    GO,
    Event,
    Executor,
    Finished,
    Outcome,
    Problem,
    Progress,
    Started,
    Task,
    Verdict,
    Work,
)
from vilfredo.spec import names
from vilfredo.trial import Value

PATIENCE = 300.0  # seconds, for slow and busy machines

MAKE: dict[str, Callable[[Problem], Executor]] = {
    "inline": Inline,
    "local": lambda problem: Local(problem, workers=2, deadline=600.0),
}


def test_every_executor_has_an_example():
    assert set(MAKE) == set(names.known("executor"))


@pytest.fixture(params=sorted(MAKE), scope="module")
def executor(request) -> Iterator[Executor]:
    made = MAKE[request.param](Walk())
    yield made
    made.close()
    made.close()  # again: nothing happens


def task(ticket: int, judged: bool = False, **genome) -> Task:
    return Task(ticket, Work({"x": ticket / 10, **genome}), seed=ticket, judged=judged)


def run(executor: Executor, tasks: list[Task], judge=lambda progress: GO) -> list[Event]:
    """Submit all and collect events until each is finished; replies to those that are judged."""
    judged = {t.ticket for t in tasks if t.judged}
    for each in tasks:
        executor.submit(each)
    seen: list[Event] = []
    until = time.monotonic() + PATIENCE
    while sum(isinstance(e, Finished) for e in seen) < len(tasks):
        assert time.monotonic() < until
        for event in executor.events(1.0):
            seen.append(event)
            if isinstance(event, Progress) and event.ticket in judged:
                executor.reply(event.ticket, judge(event))
    return seen


def plain(outcome: Outcome) -> Outcome:
    epochs = tuple(replace(e, seconds=0.0) for e in outcome.epochs)
    return replace(outcome, epochs=epochs, seconds={}, failure=None)


def test_it_has_slots(executor):
    assert executor.slots >= 1


def test_each_task_starts_progresses_and_finishes_once(executor):
    seen = run(executor, [task(n) for n in range(7)])
    for ticket in range(7):
        kinds = [type(e) for e in seen if e.ticket == ticket]
        assert kinds == [Started, Progress, Progress, Progress, Finished]
        indices = [e.epoch.index for e in seen if e.ticket == ticket and isinstance(e, Progress)]
        assert indices == [1, 2, 3]


def test_the_outcome_is_that_of_evaluate(executor):
    tasks = [task(n) for n in range(5)] + [task(5, size=101.0), task(6, at="train", does="raise")]
    seen = run(executor, tasks)
    for each in tasks:
        (finished,) = (e for e in seen if isinstance(e, Finished) and e.ticket == each.ticket)
        assert plain(finished.outcome) == plain(evaluate(Walk(), each))
        assert finished.attempt.failure == finished.outcome.failure
        assert finished.attempt.number == 1
        assert finished.attempt.seconds >= 0


def test_a_judged_task_waits_for_its_verdict(executor):
    executor.submit(task(1, judged=True))
    seen: list[Event] = []
    until = time.monotonic() + PATIENCE
    while len(seen) < 2 and time.monotonic() < until:
        seen += executor.events(1.0)
    assert [type(e) for e in seen] == [Started, Progress]
    assert executor.events(0.1) == []
    executor.reply(1, Verdict("stop", {"error": Value(0.5)}))
    while len(seen) < 3 and time.monotonic() < until:
        seen += executor.events(1.0)
    assert seen[-1].outcome.state == "stopped"


def test_verdicts_reach_their_own_task(executor):
    stops = {1: 1, 2: 2}

    def judge(progress: Progress) -> Verdict:
        return Verdict("stop") if progress.epoch.index == stops.get(progress.ticket) else GO

    seen = run(executor, [task(n, judged=n < 4) for n in range(6)], judge)
    epochs = {e.ticket: len(e.outcome.epochs) for e in seen if isinstance(e, Finished)}
    assert epochs == {0: 3, 1: 1, 2: 2, 3: 3, 4: 3, 5: 3}


EPOCH = 60.0


def test_of_a_stopped_task_nothing_more_is_heard(executor):
    long = [task(n, seconds=EPOCH) for n in range(3)]
    for each in long:
        executor.submit(each)
    until = time.monotonic() + PATIENCE
    while not any(e.ticket == 0 for e in executor.events(1.0)):
        assert time.monotonic() < until
    began = time.monotonic()
    executor.stop(0)
    assert time.monotonic() - began < EPOCH  # it waits for no epoch to end
    for each in long:
        executor.stop(each.ticket)
    seen = run(executor, [task(n) for n in range(10, 14)])
    assert {e.ticket for e in seen} == {10, 11, 12, 13}


def test_tickets_that_it_does_not_know_are_ignored(executor):
    executor.reply(999, GO)
    executor.stop(999)
    assert executor.events(0.05) == []
    assert len(run(executor, [task(3)])) == 5
