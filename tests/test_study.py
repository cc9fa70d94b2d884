"""The Python face: search, resume, front, best, load_model, report."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vilfredo
from vilfredo.goal import Goal
from vilfredo.store import Store, StoreError

SPACE = {"width": {"int": [1, 64], "log": True}, "rate": {"float": [0.001, 1], "log": True}}


def train(parameters: dict[str, Any]) -> dict[str, float]:
    error = 1 / parameters["width"] + abs(parameters["rate"] - 0.1)
    return {"error": error, "macs": parameters["width"] ** 2}


def lone(parameters: dict[str, Any]) -> dict[str, float]:
    return {"error": parameters["rate"]}


def functions(path: Path, **changes: Any) -> vilfredo.Study:
    options: dict[str, Any] = {"budget": 20, "store": path, "goals": ["error", "macs"], **changes}
    return vilfredo.search(train, space=SPACE, **options)


def networks(path: Path, **changes: Any) -> vilfredo.Study:
    options: dict[str, Any] = {
        "budget": 4,
        "epochs": 1,
        "workers": 0,
        "goals": ["error", "parameters"],
        "store": path,
        **changes,
    }
    return vilfredo.search("digits", **options)


def run(study: vilfredo.Study) -> list[vilfredo.Trial]:
    return list(study)


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    study = functions(tmp_path / "a.db")
    assert len(run(study)) == 20
    front = study.front()
    assert front == vilfredo.front(study) == vilfredo.front(tmp_path / "a.db")
    assert vilfredo.front(study.trials(), study.goals) == front
    errors = [t.value("error").mean for t in front]  # type: ignore[union-attr]
    assert errors == sorted(errors)
    assert study.best("error").trial == front[0]
    assert study.best("macs").trial == front[-1]
    assert study.best().trial in front
    with pytest.raises(ValueError, match=r"no ranked goal 'speed'.*error, macs"):
        study.best("speed")


def test_an_empty_front_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is empty"):
        functions(tmp_path / "a.db").best()


def test_a_run_of_a_python_object_wants_the_object_again(tmp_path: Path) -> None:
    study = functions(tmp_path / "a.db")
    problem = study.parts.problem
    run(study)
    again = vilfredo.resume(tmp_path / "a.db")
    assert len(again.front()) == len(study.front())
    with pytest.raises(vilfredo.SpecError, match="Python object"):
        run(again)
    longer = vilfredo.resume(tmp_path / "a.db", problem=problem, budget=25)
    assert [t.number for t in longer] == [20, 21, 22, 23, 24]


def test_one_driver_a_run(tmp_path: Path) -> None:
    study = functions(tmp_path / "a.db")
    trials = iter(study)
    next(trials)
    second = vilfredo.resume(tmp_path / "a.db", problem=study.parts.problem)
    with pytest.raises(StoreError):
        next(iter(second))
    trials.close()  # type: ignore[attr-defined]
    assert study.run.status == "interrupted"
    assert len(list(second)) == 19
    assert second.run.status == "finished"


SCRIPT = """
import vilfredo

def square(params):
    return {"loss": params["x"] ** 2}

space = {"x": {"float": [0, 1]}}
list(vilfredo.search(square, space=space, goals=["loss"], budget=3, workers=2, store="a.db"))
"""


def test_a_script_without_a_guard_is_told_so_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    result = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    said = result.stderr.splitlines()[-1]
    assert re.fullmatch(
        r'[\w.]+: the script starts its search [^:]*: put .* `if __name__ == "__main__":`', said
    )
    with Store.open(tmp_path / "a.db") as store:  # and none by the script that the workers imported
        assert len(store.runs()) == 1


def test_a_study_is_closed(tmp_path: Path) -> None:
    with functions(tmp_path / "a.db") as study:
        run(study)
    with vilfredo.Study.open(tmp_path / "a.db", readonly=True) as again:
        assert again.trials() == study.trials()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["a.db"]


def test_stop_ends_the_iteration_and_resume_goes_on(tmp_path: Path) -> None:
    study = functions(tmp_path / "a.db")
    seen = []
    for trial in study:
        seen.append(trial.number)
        if len(seen) == 5:
            study.stop()
    assert len(seen) == 5
    again = vilfredo.resume(tmp_path / "a.db", problem=study.parts.problem)
    assert [t.number for t in again] == list(range(5, 20))


def test_stop_is_heard_while_the_workers_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = functions(tmp_path / "a.db")
    slow = study.parts

    def starting() -> Any:
        study.stop()
        return slow.executor()

    monkeypatch.setattr(study, "_parts", replace(slow, executor=starting))
    assert list(study) == []
    assert study.run.status == "interrupted"


def test_progress_adds_up(tmp_path: Path) -> None:
    study = functions(tmp_path / "a.db")
    before = study.progress()
    assert (before.told, before.eta, before.running) == (0, None, ())
    run(study)
    after = study.progress()
    assert after.told == 20
    assert after.phase == "finished"
    assert vilfredo.Study.open(tmp_path / "a.db").progress().told == 20


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"goals": None}, "space=.* and goals="),
        ({"budget": "soon"}, "budget"),
        ({"optimizer": "stedy"}, "did you mean 'steady'"),
        ({"workers": -1}, "workers"),
    ],
)
def test_bad_arguments_get_a_sentence(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        functions(tmp_path / "a.db", **given)


def test_a_problem_object_has_its_own_goals(tmp_path: Path) -> None:
    problem = vilfredo.Function(lone, vilfredo.Function(train, _space(), ["error"]).space, ["error"])
    with pytest.raises(ValueError, match="has its own space, goals"):
        vilfredo.search(problem, goals=["error"])


def _space() -> Any:
    from vilfredo.spaces.parameters import from_mapping

    return from_mapping(SPACE)


def test_a_limit_that_does_not_rank(tmp_path: Path) -> None:
    goals = [Goal("error"), Goal("macs", max=100, ranked=False)]
    study = functions(tmp_path / "a.db", goals=goals)
    run(study)
    (best,) = study.front()
    assert best.value("macs").mean <= 100  # type: ignore[union-attr]


def test_networks_from_the_embedded_digits_to_a_model_and_a_page(tmp_path: Path) -> None:
    import torch

    study = networks(tmp_path / "a.db", confirm=2)
    run(study)
    front = study.front()
    assert all(t.confirmed == 2 and t.value("error", "test").n >= 2 for t in front)  # type: ignore[union-attr]
    pick = study.best("error")
    model = pick.load_model()
    assert isinstance(model, torch.nn.Module)
    problem = study.parts.problem
    from vilfredo.protocols import Work

    measured = problem.measure(Work(pick.trial.genome), model, pick.trial.seed)["error"].mean
    first = next(v.mean for k, v in pick.trial.values.items() if k.goal == "error" and k.repeat == 0)
    assert measured == pytest.approx(first)
    page = study.report()
    assert page.lower().startswith("<!doctype html")
    assert "digits" in page
    reopened = vilfredo.Study.open(tmp_path / "a.db")
    assert reopened.layers(front)[front[0].number]
    Path(front[0].artifact.path).unlink()  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="no stored weights"):
        reopened.load_model(front[0])


def test_a_search_starts_from_the_front_of_an_earlier_run(tmp_path: Path) -> None:
    first = networks(tmp_path / "a.db")
    run(first)
    front = {str(t.genome) for t in first.front()}
    second = networks(tmp_path / "b.db", start=f"{tmp_path / 'a.db'}:1", budget=len(front) + 1)
    run(second)
    begun = second.trials()[: len(front)]
    assert {str(t.genome) for t in begun} == front
    assert all(t.operator == "earlier run" for t in begun)


def test_a_baseline_is_measured_first_and_like_all_others(tmp_path: Path) -> None:
    study = networks(tmp_path / "a.db", changes={"problem.baseline": "baselines:small"})
    run(study)
    baseline = study.trials()[0]
    assert baseline.operator == "baseline"
    assert baseline.state == "complete"
    assert {"error", "parameters"} <= {k.goal for k in baseline.values}
    assert study.load_model(0) is not None
    assert study.layers([baseline])[0]


def test_an_unknown_file_and_an_empty_store_are_named(tmp_path: Path) -> None:
    with pytest.raises(vilfredo.SpecError, match="no such file"):
        vilfredo.search("nowhere.toml")
    with pytest.raises(StoreError):
        vilfredo.Study.open(tmp_path / "none.db")


def test_the_spec_in_the_report_makes_the_same_search(tmp_path: Path) -> None:
    from vilfredo.spec import Spec, read
    from vilfredo.spec.text import toml

    spec = read("digits", {"executor.memory": "1 GiB", "seed": 5, "goals": ["error", "macs"]})
    (tmp_path / "digits.toml").write_text(toml(spec), encoding="utf-8")
    again = read(tmp_path / "digits.toml")
    assert {**again.to_json(), "folder": ""} == {**spec.to_json(), "folder": ""}
    assert isinstance(again, Spec)
