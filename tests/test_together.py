"""Stoppers that work together: whose word counts, and searches in which one ends trainings and the other
spares measurements."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runs import Slope, new_run, plain
from vilfredo import pareto
from vilfredo.budget import Budget
from vilfredo.executors.inline import Inline
from vilfredo.forecast.genrace import Genrace
from vilfredo.forecast.resilience import Resilience
from vilfredo.forecast.together import Together
from vilfredo.goal import KNOWN, Goal
from vilfredo.interop.watch import Watch
from vilfredo.loop import Search
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import GO, Reviser, Verdict, Work
from vilfredo.spec.build import build
from vilfredo.spec.read import SpecError, read
from vilfredo.trial import FEATURE, Epoch, Halt, Trial, Value

GOALS = (Goal("error"), KNOWN["ccr"])
TRIAL = Trial(7, {}, "paused", epochs=(Epoch(1, {"val_error": 0.5}), Epoch(2, {"val_error": 0.4})))


def value(mean: float) -> Value:
    return Value(mean, 0.1, 1, "forecast")


@dataclass
class First:
    """Says what it was told to say; `ended` when it is asked as if training ended here."""

    said: Verdict = GO
    ended: Verdict = GO
    wanted: Sequence[int] = ()
    revised: Mapping[int, Mapping[str, Value]] = field(default_factory=dict)

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict:
        return self.ended if trial.epochs[-1].index >= epochs else self.said

    def revive(self, trials: Sequence[Trial]) -> Sequence[int]:
        return self.wanted

    def revise(self, trials: Sequence[Trial]) -> Mapping[int, Mapping[str, Value]]:
        return self.revised


class Second(First):
    pass


def said(*stoppers: Any, trial: Trial = TRIAL, epochs: int = 5) -> Verdict:
    return Together(GOALS, stoppers=stoppers)(trial, [], epochs)


def test_one_that_halts_is_enough_and_is_named() -> None:
    halting = Verdict("pause", {"error": value(0.3)}, "no chance")
    for pair in ((First(halting), Second()), (Second(), First(halting))):
        verdict = said(*pair)
        assert (verdict.action, verdict.reason) == ("pause", "first: no chance")
        assert verdict.forecast == {"error": value(0.3)}
    final = said(First(halting), Second(Verdict("stop", {}, "hopeless")))
    assert (final.action, final.reason) == ("stop", "second: hopeless")


def test_the_first_forecast_counts() -> None:
    one, two = {"error": value(0.3)}, {"error": value(0.9), "ccr": value(0.1)}
    assert said(First(Verdict("go", one)), Second(Verdict("go", two))).forecast == {**two, **one}
    assert said(Second(Verdict("go", two)), First(Verdict("go", one))).forecast == two


def test_of_what_is_spared_the_forecast_is_that_of_who_spares_it() -> None:
    guess = First(ended=Verdict("go", {"ccr": value(0.9)}))
    sparing = Second(ended=Verdict("go", {"ccr": value(0.1)}, spared=frozenset({"ccr"})))
    verdict = said(guess, sparing, epochs=2)
    assert verdict.spared == {"ccr"}
    assert verdict.forecast == {"ccr": value(0.1)}


def test_of_who_is_halted_the_others_say_what_they_would_at_the_end() -> None:
    halting = First(Verdict("stop", {"error": value(0.3)}, "no chance"))
    foreseeing = Second(ended=Verdict("go", {"ccr": value(0.1), "error": value(0.8)}))
    verdict = said(halting, foreseeing)
    assert verdict.forecast == {"error": value(0.3), "ccr": value(0.1)}
    assert not verdict.spared


def test_who_was_revived_is_halted_again_by_who_had_paused_it_alone() -> None:
    halting = Verdict("stop", {}, "hopeless")
    for who, action in (("first", "stop"), ("second", "go"), ("somebody else", "stop")):
        trial = replace(TRIAL, halts=(Halt(1, "pause", f"{who}: no chance"),))
        assert said(First(halting), Second(), trial=trial).action == action


def test_remarks_say_whose_they_are() -> None:
    verdict = said(First(Verdict(reason="no metric")), Second(), Second(Verdict(reason="no feature")))
    assert verdict == Verdict(reason="first: no metric; second 2: no feature")
    assert said() == GO


def test_revivals_and_revisions_pass_through() -> None:
    one = First(wanted=[3, 1], revised={1: {"error": value(0.3)}})
    two = Second(wanted=[1, 2], revised={1: {"error": value(0.9), "ccr": value(0.1)}, 2: {"ccr": value(0.2)}})
    both = Together(GOALS, stoppers=[one, two, Resilience(GOALS)])
    assert isinstance(both, Reviser)
    assert both.revive([]) == [3, 1, 2]
    assert both.revise([]) == {1: {"error": value(0.3), "ccr": value(0.1)}, 2: {"ccr": value(0.2)}}


# -- in the loop ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fragile(Slope):
    """The walk of `Slope`, and a share of answers that faults change, which follows from the genome."""

    epochs: int = 6

    @property
    def goals(self) -> Sequence[Goal]:
        return (Goal("error"), KNOWN["ccr"])

    def preview(self, work: Work) -> Mapping[str, Value]:
        return {f"{FEATURE}{name}": Value(float(x)) for name, x in work.genome.items()}

    def measure(self, work: Work, model: float, seed: int) -> Mapping[str, Value]:
        found = {"error": Value(model), "ccr": Value(1 / (1 + work.genome["depth"]))}
        return {name: found[name] for name in work.goals or found}


def searched(path: Path, cuts: Sequence[int] = (), make: Any = NSGA2, **resilience: Any) -> Any:
    problem = Fragile()
    run = new_run(path, problem, seed=7)
    for cut in [*cuts, None]:
        stoppers = (Genrace(problem.goals), Resilience(problem.goals, full=6, **resilience))
        search = Search(
            problem, make(problem.space, problem.goals, population=8), Inline(problem), run,
            budget=Budget(trials=48), seed=7, stopper=Together(problem.goals, stoppers=stoppers), confirm=1,
        )  # fmt: skip
        for _ in itertools.islice(search, cut):
            pass
    return run


def test_one_ends_trainings_and_the_other_spares_measurements(tmp_path: Path) -> None:
    run = searched(tmp_path / "run.db", unsure=10.0, cut=0.6)
    trials = run.trials()
    halted = [t for t in trials if t.halts]
    assert halted
    assert all(t.halts[0].reason.startswith("genrace: ") for t in halted)
    assert run.events("spared")
    foretold = [t for t in halted if t.value("ccr") is not None and t.value("ccr").origin == "forecast"]
    assert foretold  # nothing was measured under faults on a half-trained network
    for trial in pareto.front(trials, Fragile().goals):
        assert trial.state == "complete"
        assert all(trial.value(name).origin == "measured" for name in ("error", "ccr"))


@pytest.mark.parametrize("cuts", [[1], [9, 0, 13], [30, 5]])
def test_a_resumed_search_equals_an_uninterrupted_one(cuts: list[int], tmp_path: Path) -> None:
    whole = [plain(t) for t in searched(tmp_path / "whole.db").trials()]
    assert [plain(t) for t in searched(tmp_path / "cut.db", cuts).trials()] == whole


def test_asynchronous_searches_end(tmp_path: Path) -> None:
    trials = searched(tmp_path / "run.db", make=Steady).trials()
    assert len(trials) == 48
    assert {t.state for t in trials} <= {"complete", "paused", "stopped"}
    assert any(t.halts for t in trials)


def test_in_somebody_elses_loop() -> None:
    """Of bad networks after good ones some are ended, and the reason says by whom."""
    watch = Watch("median, asha", epochs=9, goal="error")
    reasons = set()
    for number in range(12):
        with watch.network() as network:
            for epoch in range(9):
                said = network.update(val=0.1 + 0.05 * number + 0.1 / (1 + epoch))
                if said.stop:
                    reasons.add(said.reason.split(":")[0])
                    break
    assert reasons <= {"median", "asha"}
    assert reasons
    with pytest.raises(ValueError, match="cut: engines that work together take no options"):
        Watch("genrace,resilience", epochs=9, cut=0.2)


# -- in a spec --------------------------------------------------------------------------------------------

SPEC = """
budget = 4
goals = ["error", "ccr"]
problem = { data = "digits", epochs = 2, bits = 8, faults = [{ use = "bit_flip", rate = 0.001 }] }
"""


def spec_of(path: Path, stopper: str) -> Path:
    file = path / "both.toml"
    file.write_text(f"{stopper}\n{SPEC}" if stopper.startswith("stopper") else f"{SPEC}\n{stopper}")
    return file


@pytest.mark.parametrize(
    "stopper",
    [
        'stopper = [{ use = "genrace", cut = 0.2 }, "resilience"]',
        '[[stopper]]\nuse = "genrace"\ncut = 0.2\n[[stopper]]\nuse = "resilience"',
    ],
)
def test_a_list_in_a_spec(stopper: str, tmp_path: Path) -> None:
    spec = read(spec_of(tmp_path, stopper))
    for one in (spec, type(spec).from_json(spec.to_json())):
        parts = build(one)
        assert parts.stopper is not None
        made = parts.stopper()
        assert isinstance(made, Together)
        genrace, resilience = made.stoppers.values()
        assert isinstance(genrace, Genrace)
        assert isinstance(resilience, Resilience)
        assert genrace.cut == 0.2
        assert resilience.names == ("ccr",)


def test_names_with_commas_and_changes(tmp_path: Path) -> None:
    file = spec_of(tmp_path, 'stopper = ["median", "genrace"]')
    for change in ("genrace,resilience", ["genrace", "resilience"]):
        for path in ("stopper.use", "stopper"):
            parts = build(read(file, {path: change}))
            assert parts.stopper is not None
            made = parts.stopper()
            assert isinstance(made, Together)
            assert list(made.stoppers) == ["genrace", "resilience"]
    alone = build(read(file, {"stopper.use": "never"})).stopper
    assert alone is not None
    assert type(alone()).__name__ == "Never"


@pytest.mark.parametrize(
    ("stopper", "message"),
    [
        ('stopper = ["genrace", "resiliense"]', r"stopper\[1\].use: .*did you mean 'resilience'"),
        ('stopper = [{ use = "genrace", cuts = 0.2 }, "median"]', r"stopper\[0\].cuts: unknown option"),
        ('stopper = ["genrace", 3]', r"stopper\[1\]: must be a name or a table with a name to use"),
        ("stopper = []", r"stopper: several are a list of names and tables"),
        ('[stopper]\nuse = "together"', r"stopper: several are a list of names and tables"),
    ],
)
def test_mistakes_say_which_of_them(stopper: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        read(spec_of(tmp_path, stopper))


def test_options_out_of_range_say_whose(tmp_path: Path) -> None:
    parts = build(read(spec_of(tmp_path, 'stopper = [{ use = "genrace", cut = 2.0 }, "resilience"]')))
    assert parts.stopper is not None
    with pytest.raises(SpecError, match=r"stopper\[0\]: genrace: cut is 2.0"):
        parts.stopper()
