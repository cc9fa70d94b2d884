"""The command line as a person uses it: in this process, and some of it in a real one."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from vilfredo.cli import INTERRUPTED, main
from vilfredo.store import Store
from vilfredo.study import Study

WORK = """
import os
import time


def train(params):
    if params["x"] > 0.9:
        raise RuntimeError("x is too large")
    return {"loss": (params["x"] - 0.3) ** 2, "cost": params["x"]}


def epochs(params):
    for epoch in range(5):
        yield {"loss": (params["x"] - 0.3) ** 2 + 0.1 / (1 + epoch), "cost": params["x"]}


def slow(params, epochs=0):
    for epoch in range(200):
        time.sleep(0.02)
        yield {"loss": params["x"], "cost": 1 - params["x"]}
"""

STOPPER = """
from vilfredo.protocols import GO, Verdict
from vilfredo.trial import Value


class Race:
    '''Pauses every second one, stops every third one; revives two.'''

    def __init__(self, goals):
        self.goals = goals

    def __call__(self, trial, peers, epochs):
        last = trial.epochs[-1]
        if last.index != 2 or trial.operator == "revive" or (trial.number % 2 and trial.number % 3):
            return GO
        forecast = {"loss": Value(last.metrics["loss"], 0.1, 1, "forecast")}
        return Verdict("pause" if trial.number % 2 == 0 else "stop", forecast, f"no chance of {trial.number}")

    def revive(self, trials):
        paused = [t.number for t in trials if t.state == "paused"]
        done = sum(t.state == "complete" and bool(t.halts) for t in trials)
        return paused[: 2 - done] if len(paused) > 3 else []
"""

RACED = """
name = "raced"
budget = 20
stopper = { use = "mylab_stopper:Race" }
[problem]
use = "function"
function = "mylab_work:epochs"
epochs = 5
[space]
use = "parameters"
x = { float = [0, 1] }
[goals]
loss = {}
cost = {}
[optimizer]
use = "random"
[executor]
use = "inline"
"""

SPEC = """
name = "mine"
budget = 40
[problem]
use = "function"
function = "mylab_work:train"
[space]
use = "parameters"
x = { float = [0, 1] }
[goals]
loss = {}
cost = { max = 0.8 }
[optimizer]
use = "random"
[executor]
use = "inline"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mylab_work.py").write_text(WORK)
    (tmp_path / "mine.toml").write_text(SPEC)
    (tmp_path / "mylab_stopper.py").write_text(STOPPER)
    (tmp_path / "raced.toml").write_text(RACED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("VILFREDO_STORE", raising=False)
    yield tmp_path
    sys.modules.pop("mylab_work", None)
    sys.modules.pop("mylab_stopper", None)


@pytest.fixture
def searched(folder):
    """The folder after a search with 40 trials, some of which failed."""
    done("search", "mine.toml")
    return folder


@pytest.fixture
def raced(folder):
    """The folder after a search in which networks were stopped, paused and revived."""
    done("search", "raced.toml")
    return folder


def vilfredo(*args: str):
    return CliRunner().invoke(main, list(args), prog_name="vilfredo")


def done(*args: str) -> str:
    result = vilfredo(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*args: str) -> str:
    """One message on stderr, exit code 2, no traceback."""
    result = vilfredo(*args)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.stderr


# -- searching ------------------------------------------------------------------------------------


def test_a_search_prints_its_trials_its_front_and_where_the_report_is(folder):
    output = done("search", "mine.toml")
    assert "\x1b" not in output
    assert output.startswith("mine · run 1 · budget 40 trials · store vilfredo.db\n")
    assert len(re.findall(r"  trial +\d+  (?:complete|failed)", output)) == 40
    assert "exception: RuntimeError: x is too large" in output
    assert re.search(r"40 candidates in .*, \d+ failed \(see: vilfredo failures 1\)", output)
    assert re.search(r"The front: \d+ candidates", output)
    assert "See one candidate with: vilfredo show TRIAL" in output
    assert "Report: vilfredo-1.html" in output
    assert "<html" in (folder / "vilfredo-1.html").read_text().lower()


def test_options_change_the_spec(folder):
    done(
        "search", "mine.toml", "--budget", "5", "--seed", "3", "--name", "other", "--goals", "cost",
        "--optimizer", "steady", "--store", "own.db", "--report", "own.html", "--plain", "--workers", "0",
    )  # fmt: skip
    study = Study.open("own.db")
    assert (study.run.name, study.run.seed, len(study.trials())) == ("other", 3, 5)
    assert [(g.name, g.max) for g in study.goals] == [("cost", 0.8)]
    assert study.run.spec["optimizer"]["use"] == "steady"
    assert Path("own.html").exists()
    assert not Path("vilfredo.db").exists()


def test_the_same_seed_finds_the_same(folder):
    done("search", "mine.toml", "--seed", "5")
    done("search", "mine.toml", "--seed", "5")
    first, second = (Study.open("vilfredo.db", run).trials() for run in (1, 2))
    assert [dict(t.genome) for t in first] == [dict(t.genome) for t in second]


def test_a_search_can_start_from_an_earlier_front(searched):
    first = {json.dumps(dict(t.genome)) for t in Study.open("vilfredo.db").front()}
    done("search", "mine.toml", "--budget", str(len(first)), "--start", "vilfredo.db:1")
    assert {json.dumps(dict(t.genome)) for t in Study.open("vilfredo.db").trials()} == first


def test_a_finished_run_gets_more_to_spend(searched):
    result = vilfredo("resume")
    assert result.exit_code == 0
    assert "Run 1 is finished; --budget gives it more" in result.stderr
    assert "The front: " in result.stdout
    assert len(Study.open("vilfredo.db").trials()) == 40
    done("resume", "mine", "--budget", "50")
    assert len(Study.open("vilfredo.db").trials()) == 50


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(folder):
    (folder / "mine.toml").write_text(SPEC.replace(":train", ":slow").replace("40", "1000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "vilfredo", "search", "mine.toml", "--store", "a b.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "trial" in line and "complete" in line:
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in errors
    assert "Stopping" in errors
    assert "Go on with: vilfredo resume 1 --store 'a b.db'" in output
    assert "The front" in output
    assert not litter(folder)
    with Store.open("a b.db") as store:
        assert store.runs()[0].status == "interrupted"
    before = len(Study.open("a b.db").trials())
    done("resume", "1", "--store", "a b.db", "--budget", str(before + 1))
    assert len(Study.open("a b.db").trials()) == before + 1


def test_the_second_ctrl_c_stops_at_once(folder):
    text = WORK.replace("time.sleep(0.02)", "open('begun', 'w').close(); time.sleep(600)")
    (folder / "mylab_work.py").write_text(text)
    (folder / "mine.toml").write_text(SPEC.replace(":train", ":slow"))
    process = subprocess.Popen(
        [sys.executable, "-m", "vilfredo", "search", "mine.toml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert "run 1" in process.stdout.readline()
    while not Path("begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.stderr.readline()
    assert said == "Stopping; Ctrl-C again to stop at once.\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in errors
    assert "Stopped at once. Go on with: vilfredo resume 1" in errors
    assert not litter(folder)


def litter(folder: Path) -> list[str]:
    """Files that the store needs only while it is open."""
    return [p.name for p in folder.iterdir() if p.name.endswith(("-wal", "-shm"))]


def interrupt(*args, **kwargs):
    """Ctrl-C in place of what is replaced by this."""
    signal.raise_signal(signal.SIGINT)


def interrupt_an_import(*args, **kwargs):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as problem:  # as modules written in C may do
        raise ImportError("initialization failed") from problem


@pytest.mark.parametrize("happens", [interrupt, interrupt_an_import])
@pytest.mark.parametrize("command", ["search mine.toml", "resume"])
def test_ctrl_c_before_there_is_a_run_says_so(folder, monkeypatch, command, happens):
    monkeypatch.setattr("vilfredo.study.create", happens)
    monkeypatch.setattr("vilfredo.study.Store.open", happens)
    result = vilfredo(*command.split())
    assert (result.exit_code, result.stdout) == (INTERRUPTED, "")
    assert result.stderr == "Stopped before anything was begun.\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_the_workers_start_says_how_to_go_on(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("vilfredo.executors.inline.Inline.__init__", interrupt)
        result = vilfredo("search", "mine.toml")
    assert result.exit_code == INTERRUPTED
    assert result.stderr == "Stopped at once. Go on with: vilfredo resume 1\n"
    assert not litter(folder)
    assert "40 candidates" in done("resume", "1")


def test_ctrl_c_while_the_report_is_written(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Study, "report", interrupt)
        result = vilfredo("search", "mine.toml")
    assert result.exit_code == INTERRUPTED
    assert result.stderr == "Stopped; the search is finished. Its report: vilfredo report 1\n"
    assert done("report", "1") == "vilfredo-1.html\n"
    shutil.copy("vilfredo.db", "another.db")
    assert done("report", "1", "--store", "another.db") == "another-1.html\n"


def test_ctrl_c_in_a_command_that_reads(searched, monkeypatch):
    monkeypatch.setattr(Study, "trials", interrupt)
    result = vilfredo("front")
    assert (result.exit_code, result.stderr) == (INTERRUPTED, "Stopped.\n")
    assert not litter(searched)


def test_a_network_is_said_to_be_confirmed_once(folder):
    output = done(
        "search", "digits", "--budget", "4", "--epochs", "1", "--confirm", "3", "--goals", "error,parameters",
        "--workers", "0", "--store", "d.db",
    )  # fmt: skip
    told = [int(number) for number in re.findall(r"trial +(\d+)  confirmed", output)]
    assert sorted(told) == sorted(t.number for t in Study.open("d.db").front())
    assert re.search(r"The front: \d+ networks?, tested with 3 training seeds", output)


def test_a_run_of_a_python_object(folder):
    with Study.open(made_in_python()) as study:
        place = str(study.store.path)
    message = refused("resume", "--store", "p.db", "--budget", "9")
    assert message == (
        "vilfredo: run 1 of p.db: it was made from a Python object, which is needed for this; "
        f"in Python: vilfredo.resume({place!r}, 1, problem=…)\n"
    )
    result = vilfredo("resume", "--store", "p.db")
    assert result.stdout == ""
    with Study.open("p.db") as study:
        assert study.run.events("budget") == []  # refused before anything was changed
    sheet = done("show", "0", "--store", "p.db")
    assert re.search(r"^Layers\n  not shown: .*made from a Python object.*problem=…\)$", sheet, re.M)
    assert not litter(folder)


def made_in_python() -> str:
    """A store with a run of networks that no spec describes."""
    import vilfredo
    from vilfredo.spec import build, read

    spec = read("digits", {"goals": ["error", "parameters"], "problem.epochs": 1})
    with vilfredo.search(build(spec).problem, budget=1, workers=0, store="p.db") as study:
        assert len(list(study)) > 0
    return "p.db"


def test_nothing_is_left_beside_the_store(searched):
    assert not litter(searched)
    for command in ("runs", "front", "show 0", "failures", "report", "doctor", "resume"):
        done(*command.split())
        assert not litter(searched), command
    for command in ("show 99", "front 7", "resume nope", "export 0 --onnx x.onnx"):
        refused(*command.split())
        assert not litter(searched), command


# -- reading --------------------------------------------------------------------------------------


def test_runs_are_listed(searched):
    done("search", "mine.toml", "--budget", "3", "--name", "second")
    rows = done("runs").splitlines()
    assert rows[0].split() == ["run", "name", "begun", "status", "trials", "failed"]
    assert "mine" in rows[1]
    assert "finished" in rows[2]
    assert [row["name"] for row in json.loads(done("runs", "--json"))] == ["mine", "second"]


def test_the_front_as_a_table_and_as_json(searched):
    front = Study.open("vilfredo.db").front()
    table = done("front")
    assert table.startswith(f"The front: {len(front)} candidates")
    assert "\x1b" not in table
    assert len(table.splitlines()) == len(front) + 2
    data = json.loads(done("front", "mine", "--json"))
    assert [row["trial"] for row in data] == [t.number for t in front]
    assert set(data[0]["values"]) == {"loss", "cost"}
    assert data[0]["values"]["loss"]["mean"] == front[0].value("loss").mean


def test_a_search_says_who_is_stopped_and_why(folder):
    output = done("search", "raced.toml")
    trials = Study.open("vilfredo.db").trials()
    for state in ("paused", "stopped"):
        lines = [line for line in output.splitlines() if re.search(rf"trial +\d+  {state} ", line)]
        assert len(lines) >= sum(t.state == state for t in trials) > 0
        pattern = r"loss \S+ ± \S+ fc\.  cost \S+  after epoch 2: no chance of \d+$"
        assert all(re.search(pattern, line) for line in lines)
    assert len(re.findall(r"complete   loss \S+ \(forecast \S+ ± 0\.10\)", output)) == 2
    assert re.search(r"^33 epochs saved \(33 %\), .* (net|lost) · engine .* of training\)$", output, re.M)
    assert re.search(r"^forecasts of loss: 2 measured later, off by 0\.0300 on average, 2 of 2", output, re.M)
    assert "Who was halted, and why: vilfredo stopped 1\n" in output


def test_the_front_tells_forecasts_from_what_was_measured(raced):
    study = Study.open("vilfredo.db")
    guessed = [t for t in study.front() if t.value("loss").origin == "forecast"]
    assert guessed
    output = done("front")
    verb = "is" if len(guessed) == 1 else "are"
    assert f"{len(guessed)} of them {verb} there by a forecast (fc.)" in output
    assert len(re.findall(r" ± 0\.10 fc\. .*(?:paused|stopped) \(epoch 2\)$", output, re.M)) == len(guessed)
    assert "33 epochs saved" in output
    rows = {row["trial"]: row for row in json.loads(done("front", "--json"))}
    for trial in guessed:
        row = rows[trial.number]
        assert (row["values"]["loss"]["origin"], row["values"]["loss"]["sd"]) == ("forecast", 0.1)
        assert row["values"]["cost"]["origin"] == "measured"
        assert row["halts"][0]["forecast"]["loss"]["mean"] == row["values"]["loss"]["mean"]


def test_who_was_stopped_is_listed(raced):
    trials = {t.number: t for t in Study.open("vilfredo.db").trials()}
    halted = [n for n, t in trials.items() if t.halts]
    output = done("stopped")
    assert output.startswith("13 candidates halted early: 3 stopped, 8 paused, 2 trained in full later.\n")
    assert "33 epochs saved" in output
    rows = re.findall(
        r"^ +(\d+)  (paused|stopped) +2  +(\S+) ± 0\.10  +(\S+)  (\w+) +no chance", output, re.M
    )
    assert [int(number) for number, *_ in rows] == halted[::-1]
    for number, was, _, measured, now in rows:
        trial = trials[int(number)]
        assert (was[:4], now) == (trial.halts[0].action[:4], trial.state)
        assert (measured == "–") == (trial.state != "complete")
    data = json.loads(done("stopped", "--json"))
    assert data["savings"]["saved"] == 33
    assert data["savings"]["share"] == pytest.approx(33 / 100)
    assert [row["count"] for row in data["calibration"]] == [2]
    assert len(data["checks"]) == 2
    assert [row["trial"] for row in data["halts"]] == halted
    assert data["halts"][0]["reason"] == "no chance of 0"
    sheet = done("show", "0")
    assert "paused after epoch 2: no chance of 0" in sheet
    assert "later trained in full" in sheet


def test_a_long_list_of_the_stopped_is_cut(raced, monkeypatch):
    monkeypatch.setattr("vilfredo.cli.stopped.HALTED", 5)
    output = done("stopped", "--plain")
    assert len(re.findall("no chance of", output)) == 5
    assert output.endswith("and 8 before them (--all)\n")
    assert len(re.findall("no chance of", done("stopped", "--all"))) == 13


def test_where_nobody_was_stopped(searched):
    assert done("stopped") == "No candidate of run 1 was stopped or paused early.\n"
    assert json.loads(done("stopped", "--json"))["halts"] == []
    assert "saved" not in done("front")


def test_a_front_beyond_all_limits_says_so(folder):
    (folder / "mine.toml").write_text(SPEC.replace("max = 0.8", "max = -1"))
    assert "no candidate is within the limits on cost" in done("search", "mine.toml", "--budget", "4")


def test_one_trial_is_shown_with_all_that_is_known(searched):
    study = Study.open("vilfredo.db")
    best = study.front()[0]
    sheet = done("show", str(best.number))
    assert f"Trial {best.number}: complete" in sheet
    assert re.search(r"loss +\S+ +measured", sheet)
    assert "Genome" in sheet
    failed = next(t for t in study.trials() if t.state == "failed")
    sheet = done("show", str(failed.number))
    assert "exception: RuntimeError: x is too large" in sheet
    assert "shown with --traceback" in sheet
    assert 'raise RuntimeError("x is too large")' in done("show", str(failed.number), "--traceback")
    assert json.loads(done("show", str(failed.number), "--json"))["failure"][0] == "exception"


def test_failures_are_counted_by_cause(searched):
    failed = [t for t in Study.open("vilfredo.db").trials() if t.failure]
    output = done("failures")
    assert output.startswith(f"exception: {len(failed)}\n")
    assert f"{len(failed)} × RuntimeError: x is too large (trial {failed[0].number}" in output


def test_the_report_is_written_where_asked(searched):
    assert done("report", "1", "-o", "deep.html") == "deep.html\n"
    assert Path("deep.html").stat().st_size > 10_000


def test_the_doctor_looks_at_everything(folder):
    result = vilfredo("doctor")
    for thing in ("python", "torch", "processor", "memory", "gpu", "workers", "store", "data", "browser"):
        assert re.search(rf"^(ok   |note |WRONG)  {thing}: ", result.stdout, re.M), thing
    assert "a worker process started and computed" in result.stdout
    assert result.exit_code == 0
    assert not Path("vilfredo.db").exists()
    done("search", "mine.toml", "--budget", "2")
    assert re.search(r"store: \S+ holds 1 run and is writable", done("doctor"))


def test_the_doctor_says_what_to_do(folder, monkeypatch):
    monkeypatch.setenv("VILFREDO_DATA", str(folder / "nowhere"))
    (folder / "vilfredo.db").write_text("this is no store" * 100)
    result = vilfredo("doctor")
    assert result.exit_code == 1
    assert re.search(r"WRONG  data: VILFREDO_DATA is .*nowhere", result.stdout)
    assert re.search(r"WRONG  store: ", result.stdout)
    assert "→ Name another place with --store." in result.stdout


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "fragments"),
    [
        (["search"], ["Missing argument 'SPEC'"]),
        (["search", "digts"], ["digts: there is no such file; did you mean 'digits'?"]),
        (["search", "mine.toml", "--goals", "los"], ["goals.los", "mine.toml"]),
        (["search", "mine.toml", "--budget", "soon"], ["budget: cannot read 'soon'"]),
        (["search", "mine.toml", "--optimizer", "stedy"], ["did you mean 'steady'?"]),
        (["search", "mine.toml", "--workers", "many"], ["'many' is not a valid integer range"]),
        (["search", "mine.toml", "--workers", "-1"], ["Invalid value for '--workers'"]),
        (["search", "mine.toml", "--bugdet", "3"], ["--bugdet", "--budget"]),
        (["search", "mine.toml", "--store", "no/where/x.db"], ["no/where"]),
        (["search", "mine.toml", "--start", "none.db"], ["none.db"]),
        (["search", "digits", "--goals", "eror"], ["goals.eror: nothing computes this goal", "'error'?"]),
        (["search", "digits", "--space", "chian"], ["space.use", "did you mean 'chain'?"]),
        (["resume", "--store", "none.db"], ["there is no store at", "none.db"]),
        (["runs", "--store", "none.db"], ["there is no store at", "none.db"]),
        (["front", "--store", "none.db"], ["there is no store at", "none.db"]),
        (["serch", "digits"], ["there is no command 'serch'; did you mean 'search'?"]),
        (["show", "x"], ["'x' is not a valid integer"]),
        (["export", "3"], ["--onnx or --torch FILE; --tennlab or --nir for spiking ones"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message(folder, args, fragments):
    if "los" in args:
        (folder / "mine.toml").write_text(SPEC.replace("[problem]", "[problem]\nepochz = 1"))
        fragments = ["problem.epochz", "did you mean 'epochs'?", "mine.toml"]
    message = refused(*args)
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    ("args", "fragment"),
    [
        (["show", "99"], "there is no trial 99 in run 1"),
        (["front", "7"], "there is no run '7'"),
        (["resume", "nope"], "there is no run 'nope'"),
        (["export", "0", "--onnx", "x.onnx"], "are no networks"),
        (["report", "-o", "no/where.html"], "no"),
        (["resume", "--budget", "soon"], "cannot read 'soon' as a budget"),
    ],
)
def test_a_mistake_about_a_run_is_one_message(searched, args, fragment):
    message = refused(*args)
    assert fragment in message
    assert len(message.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [
        ["search", "mine.toml", "--report"],
        ["resume", "--report"],
        ["report", "-o"],
        ["export", "0", "--torch"],
        ["export", "0", "--onnx"],
        ["export", "0", "--nir"],
        ["export", "0", "--tennlab"],
        ["simulate", "0", "--svg"],
    ],
    ids=" ".join,
)
def test_a_file_that_cannot_be_written_is_said_before_the_work(folder, args):
    """There is no store, so what is said of the file comes before anything is read."""
    (folder / "taken").mkdir()
    for target, fragment in (("no/such", "the folder no does not exist"), ("taken", "taken is a folder")):
        result = vilfredo(*args, target)
        assert result.exit_code == 2
        assert re.fullmatch(rf"vilfredo: --\w+: {fragment}; .*\n", result.stderr)
    assert not (folder / "vilfredo.db").exists()


def test_hints_name_the_run_where_it_is_not_the_newest(searched):
    assert "vilfredo show TRIAL --traceback\n" in done("failures")
    done("search", "mine.toml", "--budget", "5", "--seed", "1")
    assert "vilfredo show TRIAL --traceback --run 1\n" in done("failures", "1")
    assert "vilfredo show TRIAL\n" in done("resume", "2")
    assert "vilfredo show TRIAL --run 1\n" in done("resume", "1", "--budget", "41")


@pytest.mark.parametrize(
    ("number", "fragment"),
    [
        (errno.ENOENT, "x.json: there is no such file or folder; check the path"),
        (errno.EACCES, "x.json: this user may not open it; "),
        (errno.EISDIR, "x.json: this is a folder; name a file"),
        (errno.ENOSPC, "x.json: the disk is full; make room"),
        (errno.EIO, f"x.json: {os.strerror(errno.EIO)}"),
    ],
)
def test_what_the_system_says_of_a_file_becomes_a_sentence(folder, monkeypatch, number, fragment):
    def broken(*args, **kwargs):
        raise OSError(number, os.strerror(number), "x.json")

    monkeypatch.setattr(Study, "open", broken)
    result = vilfredo("front")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"vilfredo: {fragment}")


def test_an_empty_file_holds_no_runs(folder):
    (folder / "vilfredo.db").touch()
    for command in ("runs", "front", "report"):
        result = vilfredo(command)
        assert result.exit_code == 2
        assert result.stderr.endswith(
            "vilfredo.db is empty, it holds no runs; start a search that writes to it\n"
        )


def test_a_file_that_is_no_store(folder):
    (folder / "vilfredo.db").write_text("hello " * 1000)
    assert "vilfredo.db" in refused("runs")
    assert (folder / "vilfredo.db").read_text() == "hello " * 1000


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('budget = "soon"\n' + SPEC.replace("budget = 40", ""), "budget: cannot read 'soon'"),
        ("[problem\n", "this is not TOML"),
        (SPEC.replace("mylab_work:train", "mylab_work:tarin"), "did you mean 'train'?"),
    ],
)
def test_bad_specs_in_a_real_process(folder, text, fragment):
    (folder / "bad.toml").write_text(text)
    result = run("search", "bad.toml")
    assert result.returncode == 2
    assert result.stdout == ""
    assert fragment in result.stderr
    assert "Traceback" not in result.stderr


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vilfredo", *args], capture_output=True, text=True, timeout=300
    )


def test_help_imports_nothing_slow():
    slow = ("torch", "numpy", "rich", "pydantic", "moocore", "sqlite3")
    code = (
        "import sys; from click.testing import CliRunner; from vilfredo.cli import main; "
        "result = CliRunner().invoke(main, ['--help']); assert result.exit_code == 0; "
        f"print([name for name in {slow!r} if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_every_command_has_help():
    for name in main.commands:
        text = done(name, "--help")
        assert text.startswith(f"Usage: vilfredo {name}")


def test_a_command_is_the_file_of_its_name():
    for name, command in main.commands.items():
        assert command.callback.__module__ == f"vilfredo.cli.{name}"


def test_the_list_of_commands_says_what_each_does():
    """On a terminal of 80 columns no sentence of the list is cut."""
    listed = done("--help").partition("Commands:")[2].strip().splitlines()
    assert len(listed) == len(main.commands)
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


def test_a_bug_keeps_its_traceback(searched, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("a bug")

    monkeypatch.setattr(Study, "trials", broken)
    result = vilfredo("front")
    assert isinstance(result.exception, KeyError)
