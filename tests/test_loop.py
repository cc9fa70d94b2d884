"""The search loop: budgets, confirmation, stoppers, retries, baselines, and what it does when things fail."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from runs import Slope, new_run, plain
from vilfredo import pareto
from vilfredo.budget import Budget
from vilfredo.executors.inline import Inline
from vilfredo.forecast.genrace import Genrace
from vilfredo.loop import REJECTIONS_IN_A_ROW, Search, SearchError, failures
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.random import Random
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Died, Event, Task, Verdict, Work
from vilfredo.spaces.parameters import Float, Int, Parameters
from vilfredo.trial import Attempt, Failure, Trial, Value


def searching(path: Path, problem: Any = None, **changes: Any) -> Search:
    problem = problem or Slope()
    run = changes.pop("run", None) or new_run(path, problem)
    options: dict[str, Any] = {"budget": Budget(trials=12), "confirm": 1, **changes}
    optimizer = options.pop("optimizer", None) or Random(problem.space, problem.goals)
    return Search(problem, optimizer, options.pop("executor", None) or Inline(problem), run, **options)


def test_the_budget_counts_what_was_trained(tmp_path: Path) -> None:
    search = searching(tmp_path / "a.db", Slope(limit=100.0))
    told = list(search)
    states = [t.state for t in search.trials.values()]
    assert states.count("complete") == 12
    assert states.count("rejected") > 0
    assert search.phase == "finished"
    assert all(not t.epochs for t in told if t.state == "rejected")


def test_limits_that_nothing_keeps_end_the_search_with_a_sentence(tmp_path: Path) -> None:
    search = searching(tmp_path / "a.db", Slope(limit=0.5))
    with pytest.raises(SearchError, match=f"{REJECTIONS_IN_A_ROW:,} candidates in a row .* cost"):
        list(search)


def test_a_time_budget_ends_and_what_ran_then_goes_on_when_resumed(tmp_path: Path) -> None:
    problem = Slope(pace=0.02)
    run = new_run(tmp_path / "a.db", problem)
    search = searching(tmp_path, problem, run=run, budget=Budget(seconds=0.5), confirm=0)
    list(search)
    assert 0 < len(search.trials) < 100
    longer = searching(tmp_path, problem, run=run, budget=Budget(trials=len(run.works()) + 2), confirm=0)
    list(longer)
    assert [t.number for t in run.trials()] == list(range(len(run.works())))


def test_a_space_that_is_used_up_ends_the_search(tmp_path: Path) -> None:
    problem = Slope(space=Parameters({"depth": Int(1, 3), "width": Float(2.0, 2.0), "rate": Float(0.5, 0.5)}))
    search = searching(tmp_path / "a.db", problem, budget=Budget(trials=50))
    list(search)
    assert len(search.trials) == 3
    assert search.phase == "finished"


def test_stop_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    problem = Slope()
    run = new_run(tmp_path / "a.db", problem)
    search = searching(tmp_path, problem, run=run)
    for number, _ in enumerate(search):
        if number == 4:
            search.stop()
    assert search.phase == "stopped"
    assert len(run.trials()) == 5
    list(searching(tmp_path, problem, run=run))
    whole = searching(tmp_path / "whole.db", problem)
    list(whole)
    assert [plain(t) for t in run.trials()] == [plain(t) for _, t in sorted(whole.trials.items())]


def test_confirmation_measures_the_front_with_every_seed_on_both_splits(tmp_path: Path) -> None:
    search = searching(tmp_path / "a.db", confirm=3)
    list(search)
    front = pareto.front(search.trials.values(), search.goals)
    assert front
    for trial in front:
        assert trial.confirmed == 3
        for split in ("validation", "test"):
            value = trial.value("error", split)  # type: ignore[arg-type]
            assert value is not None
            assert value.n == 3
            assert value.sd > 0


def test_without_confirmation_nothing_sees_the_test_set(tmp_path: Path) -> None:
    search = searching(tmp_path / "a.db", confirm=0)
    list(search)
    assert all(k.split == "validation" for t in search.trials.values() for k in t.values)


def test_confirmation_that_makes_a_member_worse_lets_others_in_and_confirms_them_too(tmp_path: Path) -> None:
    search = searching(tmp_path / "a.db", confirm=4, budget=Budget(trials=30))
    list(search)
    assert all(t.confirmed == 4 for t in pareto.front(search.trials.values(), search.goals))


@dataclass(frozen=True)
class Faulty(Slope):
    """Raises where the rate is above one half."""

    def measure(self, work: Work, model: float, seed: int) -> Any:
        if work.genome["rate"] > 0.5:
            raise RuntimeError("too fast")
        return super().measure(work, model, seed)


@pytest.mark.parametrize("make", [Random, NSGA2, Steady])
def test_candidates_that_fail_are_counted_named_and_never_ranked(tmp_path: Path, make: Any) -> None:
    problem = Faulty()
    search = searching(tmp_path / "a.db", problem, optimizer=make(problem.space, problem.goals))
    list(search)
    failed = failures(list(search.trials.values()))["exception"]
    assert failed
    assert all("RuntimeError: too fast" in f.message and "Traceback" in f.traceback for _, f in failed)
    numbers = {number for number, _ in failed}
    assert not numbers & {t.number for t in pareto.front(search.trials.values(), search.goals)}
    assert not numbers & {p for t in search.trials.values() for p in t.parents}
    assert len(search.trials) == 12


class Killer(Inline):
    """Loses the first `deaths` attempts at each trial, as if the worker had been killed."""

    def __init__(self, problem: Any, deaths: int, kind: str = "signal") -> None:
        super().__init__(problem)
        self.deaths = deaths
        self.kind = kind

    def events(self, timeout: float) -> list[Event]:
        events = super().events(timeout)
        return [self._or_death(e) for e in events]

    def _or_death(self, event: Event) -> Event:
        if type(event).__name__ == "Finished" and self._attempts.get(event.ticket, 1) <= self.deaths:
            attempt = Attempt(self._attempts[event.ticket], 1, 0.1)
            return Died(event.ticket, Failure(self.kind, "killed by SIGKILL"), attempt)
        return event

    def submit(self, task: Task) -> None:
        self._attempts = {**getattr(self, "_attempts", {}), task.ticket: task.attempt}
        super().submit(task)


def test_a_lost_worker_costs_an_attempt_not_the_trial(tmp_path: Path) -> None:
    problem = Slope()
    killed = searching(tmp_path / "a.db", problem, executor=Killer(problem, 2), retries=2)
    list(killed)
    whole = searching(tmp_path / "b.db", problem)
    list(whole)
    assert [plain(t) for t in killed.trials.values()] == [plain(t) for t in whole.trials.values()]
    assert all(len(t.attempts) >= 3 for t in killed.trials.values())


@pytest.mark.parametrize(("deaths", "kind"), [(3, "signal"), (1, "timeout"), (1, "out of memory")])
def test_what_dies_too_often_or_by_itself_fails(tmp_path: Path, deaths: int, kind: str) -> None:
    problem = Slope()
    search = searching(tmp_path / "a.db", problem, executor=Killer(problem, deaths, kind), retries=2)
    list(search)
    assert {t.state for t in search.trials.values()} == {"failed"}
    assert set(failures(list(search.trials.values()))) == {kind}
    assert len(search.trials) == 12


@dataclass(frozen=True)
class Halting:
    """Stops or pauses those whose error after two epochs is above the median of its peers'."""

    action: str
    seen: list[tuple[int, int]]

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        self.seen.append((trial.number, len(peers)))
        if len(trial.epochs) != 2 or trial.number % 2:
            return Verdict()
        forecast = Value(trial.epochs[-1].metrics["val_error"] - 0.05, 0.02, 1, "forecast")
        return Verdict(self.action, {"error": forecast}, "every other")  # type: ignore[arg-type]

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return [t.number for t in trials if t.state == "paused" and t.number % 4 == 0]


def test_stopped_networks_carry_a_forecast_and_the_front_is_trained_in_full(tmp_path: Path) -> None:
    search = searching(tmp_path / "a.db", stopper=Halting("stop", []), budget=Budget(trials=20))
    told = list(search)
    first = {t.number: t for t in reversed(told)}
    stopped = [t for t in first.values() if t.number % 2 == 0]
    assert all(t.state == "stopped" and len(t.epochs) == 2 for t in stopped)
    assert all(t.value("error").origin == "forecast" for t in stopped)  # type: ignore[union-attr]
    assert all(t.halts[0].forecast["error"] == t.value("error") for t in stopped)
    assert {(h.epoch, h.action, h.reason) for t in stopped for h in t.halts} == {(2, "stop", "every other")}
    front = pareto.front(search.trials.values(), search.goals)
    assert all(t.state == "complete" and t.value("error").origin == "measured" for t in front)  # type: ignore[union-attr]
    assert all(len(t.epochs) == 4 and t.confirmed == 1 for t in front)
    assert any(t.halts for t in front)  # what was forecast stays there beside what was measured
    assert search.store.events("verdict")  # type: ignore[attr-defined]


def test_paused_networks_that_deserve_it_go_on_where_they_were(tmp_path: Path) -> None:
    problem = Slope()
    search = searching(tmp_path / "a.db", problem, stopper=Halting("pause", []), confirm=0)

    list(search)
    whole = searching(tmp_path / "b.db", problem, confirm=0)
    list(whole)
    revived = [t for t in search.trials.values() if t.number % 4 == 0]
    assert revived
    for trial in revived:
        assert trial.state == "complete"
        assert trial.value("error") == whole.trials[trial.number].value("error")
        assert [h.action for h in trial.halts] == ["pause"]
    waiting = [t for t in search.trials.values() if t.number % 4 == 2]
    assert {t.state for t in waiting} == {"paused"}
    assert all(t.value("error").origin == "forecast" for t in waiting)  # type: ignore[union-attr]


def test_paused_members_of_the_front_are_trained_in_full(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Hopeful(Halting):
        def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
            return []

    search = searching(tmp_path / "a.db", stopper=Hopeful("pause", []), budget=Budget(trials=20))
    list(search)
    front = pareto.front(search.trials.values(), search.goals)
    assert any(t.halts for t in front)
    assert all(t.state == "complete" and t.confirmed == 1 for t in front)
    assert "paused" in {t.state for t in search.trials.values()}


def test_without_checkpoints_the_revived_come_further_than_last_time(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Forgetful(Slope):
        epochs: int = 8

        def train(self, work: Work, seed: int, resume: Any, parents: Any) -> Any:
            training = super().train(work, seed, None, parents)
            try:
                while True:
                    yield replace(next(training), checkpoint=None)
            except StopIteration as end:
                return end.value

    problem = Forgetful()
    search = searching(
        tmp_path / "a.db", problem, stopper=Genrace(problem.goals), budget=Budget(trials=30), confirm=0
    )
    list(search)
    assert any(t.state == "paused" for t in search.trials.values())
    assert all(
        earlier.epoch < later.epoch
        for t in search.trials.values()
        for earlier, later in itertools.pairwise(t.halts)
    )
    revived = [t for t in search.trials.values() if t.halts and t.state == "complete"]
    assert revived
    assert all(len(t.epochs) == 8 for t in revived)


@dataclass(frozen=True)
class Sparing(Halting):
    """Spares every other network the measurement of its error."""

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        if trial.epochs[-1].index < epochs or trial.number % 2:
            return Verdict()
        forecast = Value(trial.epochs[-1].metrics["val_error"] - 0.2, 0.02, 1, "forecast")
        return Verdict(forecast={"error": forecast}, spared=frozenset({"error"}))


def test_what_is_spared_a_measurement_has_a_forecast_and_the_front_is_measured(tmp_path: Path) -> None:
    problem = Slope()
    run = new_run(tmp_path / "a.db", problem)
    search = searching(tmp_path, problem, run=run, stopper=Sparing("", []), budget=Budget(trials=20))
    first: dict[int, Trial] = {}
    for number, trial in enumerate(search):
        first.setdefault(trial.number, trial)
        if number == 23:  # amid the confirmation
            search.stop()
    assert {t.state for t in first.values()} == {"complete"}
    origins = {n: t.value("error").origin for n, t in first.items()}  # type: ignore[union-attr]
    assert origins == {n: "measured" if n % 2 else "forecast" for n in range(20)}
    again = searching(tmp_path, problem, run=run, stopper=Sparing("", []), budget=Budget(trials=20))
    list(again)
    whole = searching(tmp_path / "b.db", problem, stopper=Sparing("", []), budget=Budget(trials=20))
    list(whole)
    assert [plain(t) for t in run.trials()] == [plain(t) for _, t in sorted(whole.trials.items())]
    unspared = searching(tmp_path / "c.db", problem, budget=Budget(trials=20), confirm=0)
    list(unspared)
    front = pareto.front(whole.trials.values(), whole.goals)
    assert any(t.number % 2 == 0 for t in front)
    for trial in front:
        assert trial.value("error") == unspared.trials[trial.number].value("error")
        assert trial.confirmed == 1
    assert {data["trial"] for _, _, data in run.events("spared")} == set(range(0, 20, 2))


def test_what_a_stopper_remarks_is_kept_once(tmp_path: Path) -> None:
    class Blind(Halting):
        def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
            return Verdict(reason="no metric of a goal")

    search = searching(tmp_path / "a.db", stopper=Blind("stop", []))
    list(search)
    events = search.store.events("note")
    assert [data for _, _, data in events] == [{"trial": 0, "note": "no metric of a goal"}]


def test_nobody_is_revived_when_time_is_over(tmp_path: Path) -> None:
    class Stubborn(Halting):
        def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
            return Verdict("pause", {"error": Value(9.0)})

        def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
            return [t.number for t in trials if t.state == "paused"]

    problem = Slope(pace=0.02, epochs=1000)
    search = searching(
        tmp_path / "a.db", problem, stopper=Stubborn("pause", []), budget=Budget(seconds=0.5), confirm=0
    )
    list(search)
    assert search.phase == "finished"


@dataclass(frozen=True)
class Patient(Halting):
    """Pauses the worse half of what it knows after every epoch, and revives the better half of the paused."""

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        self.seen.append((trial.number, len(peers)))
        own = trial.epochs[-1].metrics["val_error"]
        known = sorted(p.epochs[-1].metrics["val_error"] for p in peers if p.epochs)
        if not known or own <= known[len(known) // 2] or len(trial.epochs) == epochs:
            return Verdict()
        return Verdict("pause", {"error": Value(own, 0.1, 1, "forecast")}, "the worse half")

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        paused = [t for t in trials if t.state == "paused"]
        paused.sort(key=lambda t: t.epochs[-1].metrics["val_error"])
        return [t.number for t in paused[: len(paused) // 2]]


@pytest.mark.parametrize("cuts", [[1], [5, 9], [13], [20, 4, 7], [31], [3] * 12])
def test_a_synchronous_search_with_revivals_is_the_same_however_it_is_cut(
    tmp_path: Path, cuts: list[int]
) -> None:
    def run(path: Path, cuts: list[int]) -> list[Any]:
        problem = Slope()
        log = new_run(path, problem)
        for cut in [*cuts, None]:
            optimizer = NSGA2(problem.space, problem.goals, population=6)
            search = searching(
                path,
                problem,
                run=log,
                optimizer=optimizer,
                stopper=Patient("pause", []),
                budget=Budget(trials=24),
            )
            list(itertools.islice(search, cut))
        return [plain(trial) for trial in log.trials()]

    whole = run(tmp_path / "whole.db", [])
    assert sum(len(t["halts"]) > 1 for t in whole) > 0
    assert sum(t["state"] == "complete" and bool(t["halts"]) for t in whole) > 0
    assert run(tmp_path / "cut.db", cuts) == whole


def test_in_synchronous_mode_a_stopper_sees_finished_generations_only(tmp_path: Path) -> None:
    problem, seen = Slope(), []
    halt = Halting("stop", seen)
    optimizer = NSGA2(problem.space, problem.goals, population=6)
    list(searching(tmp_path / "a.db", problem, optimizer=optimizer, stopper=halt, budget=Budget(trials=18)))
    assert all(peers == number // 6 * 6 for number, peers in seen)


def test_a_baseline_outside_the_space_is_measured_and_is_no_parent(tmp_path: Path) -> None:
    problem = Slope()
    baseline = Work({"depth": 50, "width": 1.0, "rate": 0.3}, operator="baseline")
    optimizer = Steady(problem.space, problem.goals)
    search = searching(tmp_path / "a.db", problem, optimizer=optimizer, initial=[baseline])
    list(search)
    assert search.trials[0].operator == "baseline"
    assert search.trials[0].state == "complete"
    assert not any(0 in t.parents for t in search.trials.values())
    assert len(search.trials) == 12


def test_a_baseline_is_confirmed_even_if_it_is_beaten(tmp_path: Path) -> None:
    baseline = Work({"depth": 9, "width": 100.0, "rate": 1.0}, operator="baseline")
    search = searching(tmp_path / "a.db", initial=[baseline], confirm=2)
    list(search)
    front = pareto.front(search.trials.values(), search.goals)
    assert search.trials[0] not in front
    assert search.trials[0].confirmed == 2


def test_a_confirmation_that_fails_takes_nothing_away(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Untestable(Slope):
        def measure(self, work: Work, model: float, seed: int) -> Any:
            if work.split == "test":
                raise OSError("the test set is gone")
            return super().measure(work, model, seed)

    search = searching(tmp_path / "a.db", Untestable())
    list(search)
    front = pareto.front(search.trials.values(), search.goals)
    assert front
    assert all(t.state == "complete" and t.confirmed == 0 for t in front)
    assert search.phase == "finished"


def test_what_is_read_back_is_what_was_told(tmp_path: Path) -> None:
    problem = Slope()
    run = new_run(tmp_path / "a.db", problem)
    search = searching(tmp_path, problem, run=run, confirm=2)
    list(search)
    assert run.trials() == [t for _, t in sorted(search.trials.items())]


def test_leaving_the_loop_closes_the_executor(tmp_path: Path) -> None:
    closed: list[bool] = []

    class Watched(Inline):
        def close(self) -> None:
            closed.append(True)
            super().close()

    problem = Slope()
    search = iter(searching(tmp_path / "a.db", problem, executor=Watched(problem)))
    for _ in itertools.islice(search, 2):
        pass
    search.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_works_of_a_later_repeat_have_other_seeds(tmp_path: Path) -> None:
    problem = Slope()
    search = searching(tmp_path / "a.db", problem, confirm=3)
    seeds: dict[tuple[int, int], set[int]] = {}
    original = search._task

    def watched(running: Any) -> Task:
        task = original(running)
        seeds.setdefault((running.number, running.work.repeat), set()).add(task.seed)
        return replace(task)

    search._task = watched  # type: ignore[method-assign]
    list(search)
    assert all(len(found) == 1 for found in seeds.values())
    assert len({next(iter(s)) for s in seeds.values()}) == len(seeds)
