"""Specs: what is read, what is refused and how, and that a stored spec builds the same search."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilfredo import budget as budgets
from vilfredo.budget import Budget
from vilfredo.spec import Spec, SpecError, build, packaged, read
from vilfredo.spec import names as spec_names

FUNCTION = """
def train(params, seed=0):
    return {"loss": params["lr"], "cost": 1.0}


def other(params):
    return {"loss": 1.0}


number = 3
"""

GOOD = """
budget = 5
[problem]
use = "function"
function = "mylab.work:train"
[space]
use = "parameters"
lr = { float = [1e-4, 1e-1], log = true }
n = { int = [1, 10] }
act = { choice = ["relu", "tanh"] }
momentum = { float = [0, 0.99], when = { act = "relu" } }
[goals]
loss = {}
cost = { max = "2 ms", unit = "s" }
[optimizer]
use = "random"
[executor]
use = "inline"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a user's package `mylab`, in which the tests stand."""
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").write_text("")
    (tmp_path / "mylab" / "work.py").write_text(FUNCTION)
    (tmp_path / "mylab" / "broken.py").write_text("import no_such_thing\n")
    (tmp_path / "mylab" / "raises.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in [m for m in sys.modules if m.split(".")[0] == "mylab"]:
        del sys.modules[name]


def spec_file(folder: Path, text: str) -> Path:
    path = folder / "try.toml"
    path.write_text(text)
    return path


def supervised(**tables):
    return {"problem": {"data": "digits"}, "goals": ["error", "parameters"], **tables}


def swapped(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def with_problem(text: str) -> str:
    return f"[problem]\n{text}\n[goals]\nerror = {{}}\nparameters = {{}}\n"


BAD = {
    # the file
    "no TOML": ("budget = = 3", ["this is not TOML", "line 1"]),
    "unclosed table": ("[problem\n", ["this is not TOML"]),
    "entry twice": ("seed = 1\nseed = 2\n", ["this is not TOML"]),
    "empty": ("", ["problem: the table is missing", "data = 'digits'"]),
    "no problem": ("budget = 3\n", ["problem: the table is missing"]),
    "unknown top level": (
        swapped("budget = 5", "budgett = 5"),
        ["budgett: unknown entry", "did you mean 'budget'?"],
    ),
    "problem is a number": ("problem = 3\n", ["problem: must be a table, not 3"]),
    "name is a number": ("name = 3\n" + GOOD, ["name: must be text, not 3"]),
    # numbers and budgets
    "seed is text": ('seed = "x"\n' + GOOD, ["seed: must be a whole number, not 'x'"]),
    "seed below 0": ("seed = -1\n" + GOOD, ["seed: must be at least 0, not -1"]),
    "seed is a float": ("seed = 1.5\n" + GOOD, ["seed: must be a whole number, not 1.5"]),
    "seed is true": ("seed = true\n" + GOOD, ["seed: must be a whole number, not True"]),
    "budget of words": (swapped("budget = 5", 'budget = "soon"'), ["budget: cannot read 'soon'", "'10min'"]),
    "budget of 0": (swapped("budget = 5", "budget = 0"), ["budget: a budget of 0 trials is none"]),
    "budget in parsecs": (swapped("budget = 5", 'budget = "3 parsec"'), ["budget: cannot read '3 parsec'"]),
    "budget table": (
        swapped("budget = 5", "budget = { trails = 3 }"),
        ["budget: cannot read {'trails': 3}", "{ trials = 200, time = '10min' }"],
    ),
    "budget time": (
        swapped("budget = 5", "budget = { trials = 3, time = 'x' }"),
        ["budget: cannot read 'x' as a time", "'1h 30min'"],
    ),
    "confirm below 0": ("confirm = -1\n" + GOOD, ["confirm: must be at least 0"]),
    # names
    "problem unknown": (
        swapped('"function"', '"functoin"'),
        ["problem.use: there is no problem 'functoin'", "did you mean 'function'?"],
    ),
    "space unknown": (
        swapped('"parameters"', '"chian"'),
        ["space.use: there is no space 'chian'", "did you mean 'chain'?"],
    ),
    "optimizer unknown": (
        swapped('"random"', '"stedy"'),
        ["optimizer.use: there is no optimizer 'stedy'", "did you mean 'steady'?", "nsga2, random, steady"],
    ),
    "executor unknown": (
        swapped('"inline"', '"inlnie"'),
        ["executor.use: there is no executor 'inlnie'", "did you mean 'inline'?"],
    ),
    "stopper unknown": (GOOD + '[stopper]\nuse = "magic"\n', ["stopper.use: there is no stopper 'magic'"]),
    "stopper unnamed": (GOOD + "[stopper]\n", ["stopper.use: is missing"]),
    "use is a number": (swapped('use = "random"', "use = 3"), ["optimizer.use: must be text, not 3"]),
    "use is empty": (swapped('use = "random"', 'use = ""'), ["optimizer.use: must not be empty"]),
    # the user's own
    "no such module": (
        swapped("mylab.work:train", "mylab.wrok:train"),
        ["problem.function: there is no module 'mylab.wrok'", "beside the spec"],
    ),
    "no such function": (
        swapped("mylab.work:train", "mylab.work:trian"),
        ["problem.function: mylab.work has no 'trian'", "did you mean 'train'?"],
    ),
    "module needs another": (
        swapped("mylab.work:train", "mylab.broken:f"),
        ["problem.function: mylab.broken needs the module 'no_such_thing'"],
    ),
    "module raises": (
        swapped("mylab.work:train", "mylab.raises:f"),
        ["problem.function: importing mylab.raises raised ZeroDivisionError", "line 1"],
    ),
    "optimizer is a number": (
        swapped('"random"', '"mylab.work:number"'),
        ["optimizer.use: 'mylab.work:number' is no class or function but int"],
    ),
    "half a reference": (
        swapped('"random"', '"mylab:"'),
        ["optimizer.use: 'mylab:' names nothing", "package.module:Name"],
    ),
    "function missing": (swapped('function = "mylab.work:train"', ""), ["problem.function: is missing"]),
    # options
    "option unknown": (
        GOOD.replace('use = "function"', 'use = "function"\nepohcs = 3'),
        ["problem.epohcs: unknown option", "did you mean 'epochs'?"],
    ),
    "option of the wrong type": (
        GOOD.replace('use = "function"', 'use = "function"\nepochs = "many"'),
        ["problem.epochs: must be a whole number, not 'many'"],
    ),
    "optimizer's option": (GOOD + "", ["unused"]),
    # parameters
    "no parameters": (
        GOOD.split("[space]")[0] + '[space]\nuse = "parameters"\n[goals]\nloss = {}\n',
        ["space: has no parameters", "[space.lr]"],
    ),
    "no kind": (
        swapped("float = [1e-4, 1e-1]", "flaot = [1e-4, 1e-1]"),
        ["space.lr: the parameter 'lr' must be", "float = [low, high]"],
    ),
    "one bound": (
        swapped("float = [1e-4, 1e-1]", "float = [1e-4]"),
        ["space.lr: the parameter 'lr'", "[low, high]"],
    ),
    "bounds reversed": (swapped("int = [1, 10]", "int = [10, 1]"), ["space.n: the parameter 'n'", "[10, 1]"]),
    "log of 0": (
        swapped("float = [1e-4, 1e-1]", "float = [0, 1e-1]"),
        ["space.lr: the parameter 'lr'", "log"],
    ),
    "no options": (swapped('choice = ["relu", "tanh"]', "choice = []"), ["space.act: the parameter 'act'"]),
    "condition of nothing": (
        swapped('when = { act = "relu" }', 'when = { ast = "relu" }'),
        ["space: ", "'ast'"],
    ),
    "space's option": (
        GOOD.replace('use = "parameters"', 'use = "parameters"\nmutatoin = 3.0'),
        ["space.mutatoin: unknown option", "did you mean 'mutation'?"],
    ),
    # goals
    "limit without unit": (
        swapped('max = "2 ms"', 'max = "2 parsec"'),
        ["goals.cost.max: cannot read '2 parsec'", "ms"],
    ),
    "limit is a list": (
        swapped('max = "2 ms"', "max = [2]"),
        ["goals.cost.max: a limit is a number or text"],
    ),
    "sense unknown": (
        swapped("loss = {}", 'loss = { sense = "up" }'),
        ["goals.loss.sense: must be one of 'min', 'max', not 'up'"],
    ),
    "ranked is text": (
        swapped("loss = {}", 'loss = { ranked = "no" }'),
        ["goals.loss.ranked: must be true or false, not 'no'"],
    ),
    "none ranked": (
        GOOD.replace("loss = {}", "loss = { ranked = false }").replace('max = "2 ms"', "ranked = false"),
        ["goals: none is ranked"],
    ),
    "limits cross": (
        swapped('max = "2 ms"', 'max = "2 ms", min = "3 ms"'),
        ["goals.cost: no value is at least 3 ms and at most 2 ms"],
    ),
    "goal is a number": (swapped("loss = {}", "loss = 3"), ["goals.loss: must be a table, not 3"]),
    "goals are text": (
        GOOD.split("[goals]")[0].replace("budget = 5", 'budget = 5\ngoals = "loss"'),
        ["goals: goals are a list of names", "not 'loss'"],
    ),
    "goals are empty": (
        GOOD.split("[goals]")[0].replace("budget = 5", "budget = 5\ngoals = []"),
        ["goals: "],
    ),
    "goal twice": (
        GOOD.split("[goals]")[0].replace("budget = 5", 'budget = 5\ngoals = ["loss", "loss"]'),
        ["goals: 'loss' is there twice"],
    ),
    "goal with options": (
        swapped("loss = {}", "loss = { bits = 8 }"),
        ["goals.loss.bits: unknown entry", "computes its goals itself"],
    ),
    "no goals": (GOOD.split("[goals]")[0], ["goals: is missing"]),
    # supervised
    "nothing computes it": (
        with_problem('data = "digits"') + "speed = {}\n",
        ["goals.speed: nothing computes this goal", "latency", "package.module:function"],
    ),
    "objective's option": (
        with_problem('data = "digits"') + "weight_bytes = { bit = 8 }\n",
        ["goals.weight_bytes.bit: unknown entry", "did you mean 'bits'?"],
    ),
    "objective's type": (
        with_problem('data = "digits"') + 'weight_bytes = { bits = "8" }\n',
        ["goals.weight_bytes.bits: must be a whole number, not '8'"],
    ),
    "data unknown": (
        with_problem('data = "digit"'),
        ["problem.data.use: there is no data 'digit'", "did you mean 'digits'?"],
    ),
    "data missing": (with_problem("epochs = 3"), ["problem.data: is missing", "digits"]),
    "data is a number": (with_problem("data = 3"), ["problem.data: must be a name or a table"]),
    "data's option": (
        with_problem('data = { use = "npz", pth = "x.npz" }'),
        ["problem.data.pth: unknown option", "did you mean 'path'?", "problem.data.path: is missing"],
    ),
    "data's type": (
        with_problem('data = "digits"\ntrain_size = "all"'),
        ["problem.data.train_size: must be a whole number, not 'all'"],
    ),
    "one of a few": (
        with_problem('data = "digits"\nschedule = "linear"'),
        ["problem.schedule: must be one of 'cosine', 'constant', not 'linear'"],
    ),
    # executor and store
    "workers of 0": (
        GOOD.replace('"inline"', '"local"\nworkers = 0'),
        ["executor.workers: must be at least 1, not 0"],
    ),
    "workers inline": (GOOD + "workers = 2\n", ["executor.workers: 'inline' has no such option"]),
    "deadline": (
        GOOD.replace('"inline"', '"local"\ndeadline = "later"'),
        ["executor.deadline: cannot read 'later' as a time"],
    ),
    "deadline of 0": (
        GOOD.replace('"inline"', '"local"\ndeadline = 0'),
        ["executor.deadline: a time of 0 is none"],
    ),
    "memory": (
        GOOD.replace('"inline"', '"local"\nmemory = "4 elephants"'),
        ["executor.memory: cannot read '4 elephants'", "GiB"],
    ),
    "memory below 0": (
        GOOD.replace('"inline"', '"local"\nmemory = -4'),
        ["executor.memory: a size of -4 is none"],
    ),
    "executor's option": (
        GOOD.replace('"inline"', '"local"\nwokers = 2'),
        ["executor.wokers: unknown option", "did you mean 'workers'?"],
    ),
    "store's option": (
        GOOD + '[store]\npaht = "x.db"\n',
        ["store.paht: unknown entry", "did you mean 'path'?"],
    ),
    "store's quota": (GOOD + '[store]\nquota = "lots"\n', ["store.quota: cannot read 'lots'"]),
    "store is a number": (
        GOOD.replace("budget = 5", "budget = 5\nstore = 3"),
        ["store: must be a table, not 3"],
    ),
}
del BAD["optimizer's option"]


def test_the_table_of_bad_specs_is_long_enough():
    assert len(BAD) >= 50


@pytest.mark.parametrize("case", BAD)
def test_a_bad_spec_is_refused_with_what_where_and_what_would_do(case, folder):
    text, fragments = BAD[case]
    with pytest.raises(SpecError) as caught:
        read(spec_file(folder, text))
    message = str(caught.value)
    assert message.startswith("try.toml")
    for fragment in fragments:
        assert fragment in message
    assert "Traceback" not in message
    assert "pydantic" not in message


def test_every_mistake_is_in_one_message(folder):
    text = (
        GOOD.replace("budget = 5", 'budget = "soon"\nseed = -1\nstroe = 3')
        .replace('"random"', '"randm"')
        .replace("[1, 10]", "[10, 1]")
        .replace("2 ms", "2 parsec")
        .replace("mylab.work:train", "mylab.work:trian")
    )
    with pytest.raises(SpecError) as caught:
        read(spec_file(folder, text))
    paths = {path for path, _ in caught.value.mistakes}
    assert paths >= {"budget", "seed", "stroe", "optimizer.use", "problem.function", "space.n"}
    message = str(caught.value)
    assert f"has {len(caught.value.mistakes)} mistakes" in message
    assert len(message.splitlines()) == 1 + len(caught.value.mistakes)


def test_a_malformed_entry_does_not_hide_the_others_of_its_table(folder):
    text = GOOD.replace("loss = {}", 'loss = { sense = "up" }').replace("2 ms", "2 parsec")
    with pytest.raises(SpecError) as caught:
        read(spec_file(folder, text))
    assert {path for path, _ in caught.value.mistakes} == {"goals.loss.sense", "goals.cost.max"}


def test_a_good_spec_is_read_and_built(folder):
    spec = read(spec_file(folder, GOOD))
    assert (spec.name, spec.folder, spec.budget) == ("try", str(folder), Budget(trials=5))
    parts = build(spec)
    assert [g.name for g in parts.problem.goals] == ["loss", "cost"]
    assert parts.problem.goals[1].max == pytest.approx(0.002)
    assert set(parts.problem.space.items) == {"lr", "n", "act", "momentum"}
    assert type(parts.optimizer()).__name__ == "Random"
    assert parts.optimizer() is not parts.optimizer()
    assert parts.executor().slots == 1
    assert (parts.stopper, parts.confirm, parts.retries) == (None, 0, 2)


def test_a_stored_spec_is_equal_and_builds_the_same(folder):
    spec = read(spec_file(folder, GOOD + '[store]\nquota = "2 GiB"\n'))

    again = Spec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.store.quota == 2 * 2**30
    parts, others = build(spec), build(again)
    assert parts.problem.goals == others.problem.goals
    assert parts.problem.space == others.problem.space


def test_modules_beside_the_spec_are_found_from_elsewhere(folder, tmp_path_factory, monkeypatch):
    monkeypatch.setattr("sys.path", [p for p in sys.path if p != str(folder)])
    path = spec_file(folder, GOOD)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert build(read(path)).problem.function.__name__ == "train"


@pytest.mark.parametrize("name", packaged())
def test_packaged_specs_are_right(name):
    spec = read(name)
    assert spec.name == name
    assert read(spec) == spec


def test_digits_builds_a_network_search():
    parts = build(read("digits"))
    assert [g.name for g in parts.problem.goals] == ["error", "latency", "parameters"]
    assert parts.problem.goals[2].max == 100_000
    genome = parts.optimizer().ask(1, np.random.default_rng(0))[0].genome
    parts.problem.space.check(genome)
    assert parts.confirm == 1


def test_supervised_has_defaults_for_all_but_the_data():
    spec = read({"problem": {"data": "digits"}})
    parts = build(spec)
    assert [g.name for g in parts.problem.goals] == ["error", "latency", "parameters"]


def test_options_of_an_objective_reach_it():
    spec = read(
        supervised(goals={"error": {}, "weight_bytes": {"bits": 8, "max": "64 KiB", "ranked": False}})
    )
    parts = build(spec)
    goal = parts.problem.goals[1]
    assert (goal.max, goal.ranked, goal.unit) == (65536.0, False, "B")
    assert parts.problem.objectives["weight_bytes"].keywords == {"bits": 8}


def test_the_sizes_of_data_may_stand_in_the_problem():
    assert (
        len(build(read(supervised(problem={"data": "digits", "train_size": 100}))).problem.data.train) == 100
    )


def test_paths_of_data_start_at_the_spec(folder, monkeypatch, tmp_path_factory):

    rng = np.random.default_rng(0)
    np.savez(folder / "mine.npz", x=rng.normal(size=(60, 4)).astype(np.float32), y=np.arange(60) % 3)
    path = spec_file(folder, with_problem('data = { use = "npz", path = "mine.npz" }'))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert build(read(path)).problem.data.outputs == 3


def test_missing_data_is_one_sentence_with_its_path(folder):
    path = spec_file(folder, with_problem('data = { use = "npz", path = "none.npz" }'))
    with pytest.raises(SpecError, match=r"problem\.data: .*none\.npz"):
        build(read(path))


def test_changes_are_made_before_the_spec_is_checked(folder):
    path = spec_file(folder, GOOD)
    spec = read(path, {"budget": "10min", "goals": ["cost"], "seed": 7, "optimizer.use": None})
    assert (spec.seed, spec.budget, spec.optimizer.use) == (7, Budget(seconds=600), "random")
    assert spec.goals is not None
    assert spec.goals["cost"].max == "2 ms"
    with pytest.raises(SpecError, match=r"optimizer\.use: .*'stedy'.*'steady'"):
        read(path, {"optimizer.use": "stedy"})


def test_another_use_drops_the_options_of_the_one_before():
    source = supervised(optimizer={"use": "nsga2", "population": 8}, executor={"deadline": "1min"})
    before = copy.deepcopy(source)
    spec = read(source, {"optimizer.use": "steady", "executor.use": "local", "executor.workers": 3})
    assert spec.optimizer.options == {}
    assert (spec.executor.deadline, spec.executor.workers) == (60.0, 3)
    assert read(source, {"executor.use": "inline"}).executor.deadline is None
    assert source == before


def test_short_forms():
    spec = read(supervised(optimizer="nsga2", space="macro", store="mine.db", budget={"time": "1h 30min"}))
    assert (spec.optimizer.use, spec.store.path, spec.budget) == ("nsga2", "mine.db", Budget(seconds=5400))
    assert spec.space is not None
    assert spec.space.use == "macro"


def test_a_run_of_a_python_object_wants_it_again(folder):
    spec = read({"budget": 3}, bare=True)
    with pytest.raises(SpecError, match="problem="):
        build(spec)
    problem = build(read(spec_file(folder, GOOD))).problem
    assert build(spec, problem).problem is problem


def test_a_file_that_is_not_there():
    with pytest.raises(SpecError, match=r"digts: there is no such file; did you mean 'digits'\?"):
        read("digts")


def test_a_folder_and_a_picture_are_no_specs(folder):
    with pytest.raises(SpecError, match="is a folder"):
        read(folder)
    (folder / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not a text file"):
        read(folder / "x.toml")


@pytest.mark.parametrize("kind", spec_names.FOLDERS)
def test_every_name_that_is_listed_is_found(kind):
    for name in spec_names.known(kind):
        assert callable(spec_names.find(kind, name))


# -- budgets --------------------------------------------------------------------------------------


@given(st.one_of(st.none(), st.integers(1, 10**9)), st.one_of(st.none(), st.floats(1e-3, 1e9)))
def test_budgets_survive_json(trials, seconds):
    if trials is None and seconds is None:
        return
    budget = Budget(trials, seconds)
    assert budgets.parse(budgets.to_json(budget)) == budget
    assert str(budget)


@given(st.integers(0, 10**7).map(lambda n: n / 10))
def test_durations_are_read_as_they_are_written(seconds):
    assert budgets.duration(budgets.duration_text(seconds)) == pytest.approx(seconds, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10min", 600), ("2h", 7200), ("1h 30min", 5400), ("1h30min", 5400), (90, 90), ("0.5s", 0.5)],
)
def test_durations(text, seconds):
    assert budgets.duration(text) == seconds


def test_what_is_spent_of_a_budget():
    assert Budget(trials=10).spent(5, 1e9) == 0.5
    assert Budget(trials=10, seconds=100).spent(5, 80) == 0.8
    assert str(Budget(trials=10, seconds=5400)) == "10 trials or 1h 30min"
    assert str(Budget(seconds=90)) == "1min 30s"
