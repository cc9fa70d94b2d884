"""LEMONADE: who becomes a parent, which children are trained, and searches in which weights are inherited."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs import new_run, plain
from vilfredo import artifacts, pareto
from vilfredo.budget import Budget
from vilfredo.executors.inline import Inline
from vilfredo.goal import Goal
from vilfredo.loop import Search
from vilfredo.optimizers.lemonade import Density, Lemonade, named
from vilfredo.optimizers.nsga2 import NSGA2
from vilfredo.optimizers.steady import Steady
from vilfredo.protocols import Optimizer, Snapshot, Weights, Work
from vilfredo.seeds import generator
from vilfredo.spaces.morph import Morph
from vilfredo.spaces.parameters import Float, Int, Parameters
from vilfredo.trial import Key, Trial, Value

GOALS = (Goal("error"), Goal("macs", stage="preview"), Goal("parameters", stage="preview"))
SPACE = Morph(filters=(2, 3, 4, 6, 8), blocks=(1, 3)).bind((1, 8, 8), 10)


def trial_of(number: int, work: Work, error: float) -> Trial:
    known = SPACE.foresee(work.genome)
    values = {Key("error"): Value(error), **{Key(name): Value(v) for name, v in known.items()}}
    return Trial(number, work.genome, "complete", work.parents, work.operator, values=values)


def searched(count: int = 60, **options: Any) -> tuple[Lemonade, list[Trial]]:
    """A search in which larger networks err less."""
    optimizer = Lemonade(SPACE, GOALS, **options)
    trials: list[Trial] = []
    for number in range(count):
        work = optimizer.ask(1, generator(3, number))[0]
        macs = SPACE.foresee(work.genome)["macs"]
        trials.append(trial_of(number, work, 1 / (1 + macs / 1e4) + 0.01 * (number % 3)))
        optimizer.tell(trials[-1])
    return optimizer, trials


def test_parents_are_the_non_dominated_ones() -> None:
    optimizer, trials = searched()
    for number, trial in enumerate(trials[8:], start=8):
        assert set(trial.parents) <= best(trials[:number])
        assert len(trial.parents) == 1
        assert trial.operator == trial.genome["morphism"]["op"]
    assert all(trial.operator == "sample" for trial in trials[:8])
    assert set(optimizer.breeders()) == best(trials)


def best(trials: Sequence[Trial]) -> set[int]:
    """Numbers of those that nobody dominates, copies of a point as well."""
    table, violations, _ = pareto.points(trials, GOALS)
    return {trials[row].number for row in np.flatnonzero(pareto.ranks(table, violations) == 0)}


def test_a_large_front_is_cut_where_it_is_crowded() -> None:
    optimizer, trials = searched(80, population=6)
    assert len(optimizer.breeders()) == 6
    assert len(pareto.front(trials, GOALS)) > 6


def test_the_sparse_regions_of_the_cheap_goals_are_preferred() -> None:
    crowd = np.array([[1e5 * 1.01**i, 1e3] for i in range(20)])
    density = Density(np.concatenate([crowd, [[1e7, 5e4]]]))
    lonely, crowded = density.inverse(np.array([[1e7, 5e4], [1e5, 1e3]]))
    assert lonely > 3 * crowded
    chances = density.inverse(
        np.array([[1e12, 1e9], [1e7, 5e4], [1e5, 1e3]])
    )  # far out, but no more than that
    assert chances.sum() == pytest.approx(1)
    assert chances[0] < 0.7


def test_children_are_where_others_are_not() -> None:
    """Over many asks: the accepted ones spread more over the cheap goals than the first proposals do."""
    spread = {}
    for proposals in (1, 16):
        optimizer = Lemonade(SPACE, GOALS, proposals=proposals, initial=8)
        for number in range(12):
            work = Work(SPACE.sample(generator(1, number)), operator="sample")
            optimizer.tell(trial_of(number, work, 1 / (1 + SPACE.foresee(work.genome)["macs"])))
        works = [optimizer.ask(1, generator(2, i))[0] for i in range(60)]
        spread[proposals] = np.std([np.log(SPACE.foresee(w.genome)["macs"]) for w in works])
    assert spread[16] > spread[1]


def test_several_changes_at_once() -> None:
    _, trials = searched(40, changes=3)
    assert any("+" in trial.operator for trial in trials)
    assert named(["add"]) == named(["add", "add"]) == "add"
    assert named(["widen", "add"]) == "widen+add"
    assert named(["a", "b", "c", "d"]) == "4 changes"


@pytest.mark.parametrize("options", [{"population": 1}, {"proposals": 0}, {"changes": 1.5}, {"initial": -1}])
def test_mistakes_are_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Lemonade(SPACE, GOALS, **options)


# -- resume is replay, with inherited weights and a quota ----------------------------------------------


@dataclass(frozen=True)
class Lamarck:
    """Training goes on from the parent's state, if its artifact is still there."""

    epochs: int = 3
    inherits: bool = True
    space: Parameters = field(
        default_factory=lambda: Parameters({"width": Int(1, 60), "rate": Float(0.0, 1.0)})
    )
    quiet: frozenset[str] = frozenset()

    @property
    def goals(self) -> Sequence[Goal]:
        return (Goal("error"), Goal("cost", stage="preview"))

    def describe(self) -> Mapping[str, Any]:
        return {"kind": "lamarck"}

    def layers(self, genome: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return []

    def preview(self, work: Work) -> Mapping[str, Value]:
        return {"cost": Value(float(work.genome["width"]))}

    def train(self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]) -> Any:
        start = min((float(p["state"][0]) for p in parents.values()), default=1.0)
        state, done = (start, 0) if resume is None else (float(resume["state"][0]), int(resume["done"]))
        best = 0.1 / work.genome["width"] + abs(work.genome["rate"] - 0.3)
        for index in range(done + 1, (work.fidelity or self.epochs) + 1):
            state = 0.7 * state + 0.3 * best
            arrays = {"state": np.full(1000, state), "done": np.array(index)}
            yield Snapshot(index, {"val_error": state}, lambda arrays=arrays: arrays)
        return state

    def measure(self, work: Work, model: float, seed: int) -> Mapping[str, Value]:
        return {"error": Value(model)}


def run_with_cuts(
    path: Path, make: Callable[..., Optimizer], cuts: list[int], confirm: int = 2
) -> tuple[list[Any], Any]:
    """The trials of a search whose quota holds a dozen artifacts, cut after each of `cuts` told trials."""
    problem = Lamarck()
    run = new_run(path, problem, seed=5)
    for cut in [*cuts, None]:
        search = Search(
            problem,
            make(problem.space, problem.goals),
            Inline(problem),
            run,
            budget=Budget(trials=70),
            seed=5,
            confirm=confirm,
            quota=12 * 8500,
        )
        for _ in itertools.islice(search, cut):
            pass
    return [plain(trial) for trial in run.trials()], run


@pytest.mark.parametrize("make", [Lemonade, Steady, NSGA2])
def test_resume_is_replay_with_inherited_weights_and_a_quota(make: Any, tmp_path: Path) -> None:
    whole, run = run_with_cuts(tmp_path / "whole.db", make, [])
    trimmed = run.events("trimmed")
    assert trimmed
    files = sorted(p.parent.name for p in Path(run.artifacts()).rglob("*.safetensors"))
    for number, cuts in enumerate([[20], [19, 0, 1], [40, 5], [63]]):
        cut, again = run_with_cuts(tmp_path / f"cut{number}.db", make, cuts)
        assert cut == whole
        gone = [data["trials"] for _, _, data in again.events("trimmed")]
        assert gone == [data["trials"] for _, _, data in trimmed]
        assert sorted(p.parent.name for p in Path(again.artifacts()).rglob("*.safetensors")) == files


def test_who_may_become_a_parent_keeps_its_artifact(tmp_path: Path) -> None:
    _, run = run_with_cuts(tmp_path / "run.db", Lemonade, [], confirm=0)
    notes = [data["note"] for _, _, data in run.events("note")]
    assert not notes
    trials = {t.number: t for t in run.trials()}
    inherited = [t for t in trials.values() if t.parents]
    assert len(inherited) > 40
    for trial in inherited:
        before = min(trials[p].epochs[-1].metrics["val_error"] for p in trial.parents)
        best = 0.1 / trial.genome["width"] + abs(trial.genome["rate"] - 0.3)
        assert trial.epochs[0].metrics["val_error"] == pytest.approx(0.7 * before + 0.3 * best)


def test_a_kill_between_telling_and_trimming_is_made_good(tmp_path: Path, monkeypatch: Any) -> None:
    whole, run = run_with_cuts(tmp_path / "whole.db", Lemonade, [])

    problem = Lamarck()
    other = new_run(tmp_path / "killed.db", problem, seed=5)

    def search() -> Search:
        return Search(
            problem, Lemonade(problem.space, problem.goals), Inline(problem), other,
            budget=Budget(trials=70), seed=5, confirm=2, quota=12 * 8500,
        )  # fmt: skip

    with monkeypatch.context() as patch:
        patch.setattr(Search, "_trim", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            for _ in search():
                pass
    for _ in search():
        pass
    assert [plain(trial) for trial in other.trials()] == whole
    gone = [data["trials"] for _, _, data in other.events("trimmed")]
    assert gone == [data["trials"] for _, _, data in run.events("trimmed")]


def test_a_lost_artifact_is_said_and_does_no_harm(tmp_path: Path) -> None:
    problem = Lamarck()
    run = new_run(tmp_path / "run.db", problem, seed=5)
    search = Search(
        problem,
        Lemonade(problem.space, problem.goals, initial=3),
        Inline(problem),
        run,
        budget=Budget(trials=8),
        confirm=0,
    )
    for trial in search:
        assert trial.artifact is not None
        Path(trial.artifact.path).write_bytes(b"damaged")
    assert all(trial.state == "complete" for trial in run.trials())
    notes = [data["note"] for _, _, data in run.events("note")]
    assert len(notes) == 5
    assert all("trained without the weights of trial" in note for note in notes)


def test_files_of_equal_trainings_are_of_equal_size(tmp_path: Path) -> None:
    from vilfredo.trial import Epoch

    sizes = set()
    for number, seconds in enumerate([0.1, 1 / 3, 1e-5, 12345.678901234567]):
        epochs = [Epoch(1, {"x": 0.5}, seconds), Epoch(2, {"x": 0.25}, seconds * seconds)]
        sizes.add(artifacts.write(tmp_path / f"{number}.safetensors", {"x": np.ones(3)}, epochs).bytes)
    assert len(sizes) == 1
