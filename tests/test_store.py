"""The store: what goes in comes out, what was told survives, and nothing is written over."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vilfredo.goal import Goal
from vilfredo.protocols import Work
from vilfredo.store import Run, Store, StoreError, database, store
from vilfredo.store.database import Database, migrate
from vilfredo.store.schema import APPLICATION, MIGRATIONS
from vilfredo.trial import Artifact, Attempt, Epoch, Failure, Halt, Key, Trial, Value, to_json

POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX signals, limits and permissions")
GOALS = (Goal("error", max=0.5), Goal("macs", stage="preview", unit="count"))


def new_run(opened: Store, name: str = "test", seed: int = 0) -> Run:
    return opened.create(name=name, seed=seed, spec={"a": [1]}, description={"kind": "none"}, goals=GOALS)


def trial_of(number: int, error: float = 0.1, **changes: Any) -> Trial:
    return replace(
        Trial(
            number,
            {"depth": number, "rate": 0.5},
            "complete",
            epochs=tuple(Epoch(i, {"val_error": error + 1 / i}, 0.25) for i in range(1, 4)),
            values={Key("error"): Value(error), Key("macs"): Value(1000.0 - number)},
            seconds={"train": 0.75},
            attempts=(Attempt(1, 4321, 1.0),),
            halts=(Halt(2, "pause", "half as good", {"error": Value(error, 0.01, 1, "forecast")}),)
            if number % 2
            else (),
        ),
        **changes,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Store]:
    with Store.open(path) as result:
        yield result


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "TIMEOUT", 0.2)
    monkeypatch.setattr(store, "PATIENCE", 0.2)


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def output(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


# -- what goes in comes out ------------------------------------------------------------------------

whole = st.integers(-(2**63), 2**63 - 1)
number = st.floats(allow_nan=False)
name = st.text(max_size=8)
jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
genomes = st.dictionaries(st.text(max_size=6), jsons, max_size=4)
anything = st.text(st.characters(), max_size=12)  # lone surrogates too, as tracebacks may hold
splits = st.sampled_from(["validation", "test"])
failures = st.builds(Failure, name, anything, anything)
keys = st.builds(Key, name, splits, st.none() | whole, whole, whole)
values = st.builds(
    Value,
    number,
    number,
    whole,
    st.sampled_from(["measured", "estimated", "forecast"]),
    st.none() | number,
    st.none() | number,
)
trials = st.builds(
    Trial,
    number=st.integers(0, 5),
    genome=genomes,
    state=st.sampled_from(["complete", "stopped", "paused", "rejected", "failed"]),
    parents=st.lists(whole, max_size=3).map(tuple),
    operator=name,
    seed=st.integers(0, 2**63 - 1),
    generation=st.none() | whole,
    epochs=st.lists(
        st.builds(Epoch, whole, st.dictionaries(name, number, max_size=3), number), max_size=3
    ).map(tuple),
    values=st.dictionaries(keys, values, max_size=3),
    seconds=st.dictionaries(name, number, max_size=3),
    attempts=st.lists(st.builds(Attempt, whole, whole, number, st.none() | failures), max_size=2).map(tuple),
    failure=st.none() | failures,
    artifact=st.none() | st.builds(Artifact, name, whole, whole),
    confirmed=whole,
    told_at=number,
    halts=st.lists(
        st.builds(
            Halt,
            whole,
            st.sampled_from(["pause", "stop"]),
            anything,
            st.dictionaries(name, values, max_size=2),
        ),
        max_size=2,
    ).map(tuple),
)
works = st.builds(
    Work,
    genome=genomes,
    parents=st.lists(whole, max_size=3).map(tuple),
    operator=name,
    trial=st.none() | whole,
    fidelity=st.none() | whole,
    goals=st.none() | st.frozensets(name, max_size=3),
    noise=whole,
    split=splits,
    repeat=whole,
    generation=st.none() | whole,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples of a law: to make one costs more than an example."""
    with Store.open(tmp_path_factory.mktemp("shared") / "x.db") as opened:
        yield opened


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(told=st.lists(trials, min_size=1, max_size=4), asked=st.lists(works, max_size=3))
def test_every_trial_and_work_comes_back_equal(shared: Store, told: list[Trial], asked: list[Work]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "describe", dict)
        run = new_run(shared)
    for ticket, work in enumerate(asked):
        run.append_work(ticket, 7 * ticket, work)
    for ticket, trial in enumerate(told):
        run.append_trial(ticket, trial)
    assert run.works() == [(i, 7 * i, work) for i, work in enumerate(asked)]
    assert run.told() == list(enumerate(told))
    assert [to_json(t) for _, t in run.told()] == [to_json(t) for t in told]
    latest = {trial.number: trial for trial in told}
    assert run.trials() == [latest[n] for n in sorted(latest)]
    assert all(run.trial(n) == trial for n, trial in latest.items())
    assert run.trials(epochs=False) == [replace(latest[n], epochs=()) for n in sorted(latest)]


def test_a_trial_told_again_replaces_what_is_known_and_the_log_keeps_both(opened: Store) -> None:
    run = new_run(opened)
    first, other, second = trial_of(3), trial_of(1), trial_of(3, error=0.2, confirmed=2, epochs=())
    for ticket, trial in enumerate([first, other, second]):
        run.append_trial(ticket, trial)
    assert run.told() == [(0, first), (1, other), (2, second)]
    assert run.trials() == [other, second]
    assert run.trial(3) == second
    assert opened.runs()[0].trials == 2


def test_genomes_keep_the_order_of_their_keys_and_are_stored_once(opened: Store, path: Path) -> None:
    run = new_run(opened)
    genome = {"z": 1, "a": {"y": 1, "b": 2}}
    for n in range(3):
        run.append_work(n, n, Work(genome))
        run.append_trial(n, Trial(n, genome, "complete"))
    assert json.dumps(run.works()[0][2].genome) == json.dumps(run.trial(0).genome) == json.dumps(genome)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM genomes").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize(
    "genome", [{"a": (1, 2)}, {1: 2}, {"a": math.nan}, {"a": {1, 2}}, {"a": np.zeros(2)}]
)
def test_a_genome_that_json_would_change_is_refused(opened: Store, genome: Any) -> None:
    run = new_run(opened)
    with pytest.raises(StoreError, match="build it of None"):
        run.append_work(0, 0, Work(genome))
    assert run.works() == []


def test_what_is_not_finite_and_what_numpy_made_is_kept(opened: Store) -> None:
    run = new_run(opened)
    epoch = Epoch(1, {"loss": math.nan, "top": math.inf, "error": np.float32(0.5)}, np.float64(2.0))
    value = Value(np.float32(0.25), math.nan, np.int64(3))  # type: ignore[arg-type]
    run.append_trial(0, trial_of(0, epochs=(epoch,), values={Key("error"): value}, genome={"n": np.int64(3)}))
    back = run.trial(0)
    assert math.isnan(back.epochs[0].metrics["loss"])
    assert (back.epochs[0].metrics["top"], back.epochs[0].metrics["error"]) == (math.inf, 0.5)
    assert (back.values[Key("error")].mean, back.values[Key("error")].n) == (0.25, 3)
    assert math.isnan(back.values[Key("error")].sd)
    assert back.genome == {"n": 3}


def test_a_reader_leaves_nothing_behind_and_takes_nothing_from_others(path: Path) -> None:
    def beside() -> set[str]:
        return {p.name for p in path.parent.iterdir() if p.name.endswith(("-wal", "-shm"))}

    with Store.open(path) as writer:
        run = new_run(writer)
        with Store.open(path, readonly=True) as reader:
            assert reader.run().name == "test"
        assert len(beside()) == 2
        run.append_trial(0, trial_of(0))
    assert beside() == set()
    with Store.open(path, readonly=True) as reader:
        assert len(reader.run().trials()) == 1
    assert beside() == set()


def test_a_run_remembers_how_it_was_made(opened: Store, path: Path) -> None:
    spec = {"budget": 10, "nested": {"a": [1, None, "ü"]}}
    run = opened.create(
        name="digits", seed=2**63 - 1, spec=spec, description={"data": "x"}, goals=GOALS, settings={"w": 2}
    )
    run.append_event("note", {"text": "hello"})
    run.append_event("budget", {"trials": 5})
    opened.close()
    with Store.open(path, readonly=True) as again:
        found = again.run("digits")
        assert (found.id, found.name, found.seed, found.created) == (run.id, "digits", 2**63 - 1, run.created)
        assert (found.spec, found.description, found.settings) == (spec, {"data": "x"}, {"w": 2})
        assert tuple(found.goals) == GOALS
        assert found.environment == run.environment
        assert found.environment["python"]
        assert [(kind, data) for _, kind, data in found.events()] == [
            ("note", {"text": "hello"}),
            ("budget", {"trials": 5}),
        ]
        assert [data for _, _, data in found.events("budget")] == [{"trials": 5}]


def test_runs_are_found_by_id_name_or_age(opened: Store) -> None:
    with pytest.raises(StoreError, match="holds no runs yet"):
        opened.run()
    first, second, third = new_run(opened, "a"), new_run(opened, "b"), new_run(opened, "a")
    assert opened.run().id == third.id
    assert opened.run(first.id).id == opened.run(str(first.id)).id == first.id
    assert opened.run("a").id == third.id
    assert opened.run("b").id == second.id
    for missing in (99, "99", "c"):
        with pytest.raises(StoreError, match=r"there is no run .*there are 3 \(a\), 2 \(b\), 1 \(a\)"):
            opened.run(missing)
    with pytest.raises(StoreError, match="it has none yet"):
        first.trial(0)
    first.append_trial(0, trial_of(4))
    with pytest.raises(StoreError, match="numbered 4 to 4"):
        first.trial(5)


def test_runs_do_not_mix(opened: Store) -> None:
    runs = [new_run(opened, str(i)) for i in range(3)]
    for ticket in range(4):
        for run in runs:
            run.append_work(ticket, ticket, Work({"run": run.id}))
            run.append_trial(ticket, trial_of(ticket, seed=run.id))
    for run in runs:
        assert {w.genome["run"] for _, _, w in run.works()} == {run.id}
        assert {t.seed for t in run.trials()} == {run.id}
        assert len(run.trials()) == len(run.told()) == 4
    assert [info.trials for info in opened.runs()] == [4, 4, 4]


def test_the_file_and_its_artifacts_can_be_moved_together(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    with Store.open(before / "x.db") as opened:
        run = new_run(opened)
        inside = f"{run.artifacts()}{os.sep}0{os.sep}model-0.safetensors"
        outside = str(tmp_path / "elsewhere.safetensors")
        run.append_trial(0, trial_of(0, artifact=Artifact(inside, 3, 10)))
        run.append_trial(1, trial_of(1, artifact=Artifact(outside, 3, 10)))
        assert Path(run.artifacts()) == before / "x.artifacts" / "run-1"
    before.rename(after)
    with Store.open(after / "x.db") as opened:
        run = opened.run()
        assert run.artifacts() == str(after / "x.artifacts" / "run-1")
        artifact = run.trial(0).artifact
        assert artifact is not None
        assert artifact.path == inside.replace(str(before), str(after))
        assert run.trial(1).artifact == Artifact(outside, 3, 10)


def test_artifacts_of_a_deleted_store_are_not_taken_over(path: Path) -> None:
    with Store.open(path) as opened:
        left = Path(new_run(opened).artifacts()) / "0"
    left.mkdir()
    (left / "model-0.safetensors").write_bytes(b"old")
    path.unlink()
    with Store.open(path) as opened:
        run = new_run(opened)
        assert not Path(run.artifacts()).joinpath("0").exists()
        assert (left / "model-0.safetensors").read_bytes() == b"old"


def test_a_path_relative_to_the_working_folder_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    with Store.open("odd name? #1%20.db") as opened:
        run = new_run(opened)
        monkeypatch.chdir(other)
        run.append_trial(0, trial_of(0))
        assert Path(run.artifacts()).parent.parent == tmp_path
    assert (tmp_path / "odd name? #1%20.db").exists()
    with Store.open(tmp_path / "odd name? #1%20.db", readonly=True) as opened:
        assert len(opened.run().trials()) == 1


# -- what was told survives, and nobody waits ------------------------------------------------------

WRITER = """
    import sys
    from vilfredo.goal import Goal
    from vilfredo.protocols import Work
    from vilfredo.store import Store
    from vilfredo.trial import Epoch, Trial
    path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    run = Store.open(path).create(name=name, seed=0, spec={}, description={}, goals=[Goal("error")])
    for n in range(count):
        run.append_work(n, n, Work({"n": n, "by": name}))
        run.append_trial(n, Trial(n, {"n": n, "by": name}, "complete", epochs=(Epoch(1, {"a": 1.0}),)))
        print(n, flush=True)
"""


@POSIX
def test_what_was_told_survives_a_kill(path: Path) -> None:
    process = python(WRITER, path, "killed", 10**9)
    assert process.stdout is not None
    for _ in range(200):
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    last = max([last, *(int(line) for line in rest.split() if line.isdigit())][:-1] or [last])
    with Store.open(path) as opened:
        run = opened.run()
        told, works = run.told(), run.works()
        assert [t for t, _ in told] == list(range(len(told)))
        assert len(told) > last
        assert len(works) - len(told) in (0, 1)
        assert all(trial.epochs and trial.genome["n"] == n for n, trial in told)
        run.append_trial(len(told), trial_of(len(told)))


def test_two_searches_write_at_once_and_readers_never_wait(path: Path) -> None:
    """Three processes race to make the file, too."""
    processes = [python(WRITER, path, name, 300) for name in "abc"]
    seen = 0
    while any(process.poll() is None for process in processes):
        try:
            with Store.open(path, readonly=True) as opened:
                seen = max(seen, sum(info.trials for info in opened.runs()))
                assert all(len(opened.run(info.id).trials()) >= info.trials for info in opened.runs())
        except StoreError as problem:
            early = any(words in str(problem) for words in ("there is no store", "is empty", "no runs"))
            if seen or not early:
                raise
        for process in processes:
            if process.poll() is None and process.stdout is not None:
                process.stdout.readline()
    for process in processes:
        output(process)
    with Store.open(path) as opened:
        assert sorted(info.name for info in opened.runs()) == ["a", "b", "c"]
        for info in opened.runs():
            told = opened.run(info.id).told()
            assert [t for t, _ in told] == list(range(300))
            assert all(trial.genome["by"] == info.name for _, trial in told)


def test_a_reader_does_not_wait_for_a_writer_and_a_writer_says_who_is_in_the_way(
    path: Path, opened: Store, impatient: None
) -> None:
    run = new_run(opened)
    run.append_trial(0, trial_of(0))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE runs SET name = 'half done'")
    with Store.open(path, readonly=True) as reader:
        assert reader.run().name == "test"
        assert len(reader.run().trials()) == 1
    with pytest.raises(StoreError, match="locked by another program"), Store.open(path) as second:
        second.run().append_trial(1, trial_of(1))
    other.execute("ROLLBACK")
    other.close()
    run.append_trial(1, trial_of(1))
    assert len(run.trials()) == 2


def test_a_work_is_logged_once(opened: Store) -> None:
    run = new_run(opened)
    run.append_work(5, 5, Work({"a": 1}))
    with pytest.raises(StoreError, match=r"work 5 of run 1 is already in .*must not drive one run"):
        run.append_work(5, 5, Work({"a": 2}))
    assert [w.genome for _, _, w in run.works()] == [{"a": 1}]


def test_half_a_trial_is_never_there(opened: Store) -> None:
    run = new_run(opened)
    bad = trial_of(1, attempts=(Attempt(2**80, 1, 1.0),))
    with pytest.raises(StoreError, match="beyond 64 bits"):
        run.append_trial(1, bad)
    with pytest.raises(StoreError, match="the metrics of an epoch cannot be stored"):
        run.append_trial(1, trial_of(1, epochs=(Epoch(1, {"x": object()}),)))  # type: ignore[dict-item]
    assert run.told() == []
    run.append_trial(1, trial_of(1))
    assert run.trials() == [trial_of(1)]


def test_ten_thousand_trials(opened: Store) -> None:
    run = new_run(opened)
    for n in range(10_000):
        run.append_trial(n, trial_of(n, state="failed" if n % 100 == 0 else "complete"))
    found = run.trials()
    assert [t.number for t in found] == list(range(10_000))
    assert all(len(t.epochs) == 3 and len(t.values) == 2 for t in found)
    (info,) = opened.runs()
    assert (info.trials, info.failures, info.states) == (10_000, 100, {"complete": 9_900, "failed": 100})


def _child_says(action: Callable[[], object]) -> str:
    """What `action` raises, or "fine", in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
            answer = "fine"
        except BaseException as problem:
            answer = f"{type(problem).__name__}: {problem}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


@POSIX
def test_a_forked_child_cannot_harm_the_store(opened: Store, path: Path) -> None:
    run = new_run(opened)
    assert "open it again" in _child_says(lambda: run.append_trial(0, trial_of(0)))
    assert _child_says(opened.close) == "fine"
    run.append_trial(0, trial_of(0))
    with Store.open(path, readonly=True) as reader:
        assert len(reader.run().trials()) == 1


# -- nothing is written over -----------------------------------------------------------------------


def filled(path: Path) -> bytes:
    with Store.open(path) as opened:
        run = new_run(opened)
        for n in range(100):
            run.append_work(n, n, Work({"n": n}))
            run.append_trial(n, trial_of(n))
    return path.read_bytes()


def use(path: Path, **options: Any) -> None:
    """What a search and a report would do."""
    with Store.open(path, **options) as opened:
        for info in opened.runs():
            run = opened.run(info.id)
            assert len(run.works()) == len(run.told()) == len(run.trials()) == 100


@pytest.mark.parametrize("keep", [1, 15, 16, 99, 100, 4095, 4096, 8192, 0.3, 0.9, -4096, -1])
@pytest.mark.parametrize("options", [{}, {"readonly": True}, {"create": False}])
def test_a_truncated_store_is_left_as_it_is(path: Path, keep: float, options: dict[str, bool]) -> None:
    whole = filled(path)
    length = int(keep * len(whole)) if 0 < keep < 1 else int(keep) if keep > 0 else len(whole) + int(keep)
    path.write_bytes(whole[:length])
    with pytest.raises(StoreError, match=r"damaged|is no store|is empty"):
        use(path, **options)
    assert path.read_bytes() == whole[:length]


def test_a_store_truncated_to_nothing_is_not_taken_for_a_new_one(path: Path) -> None:
    filled(path)
    path.write_bytes(b"")
    for options in ({}, {"readonly": True}, {"create": False}):
        with pytest.raises(StoreError, match="is empty"):
            use(path, **options)
        assert path.read_bytes() == b""


def test_an_empty_file_is_as_good_as_none(path: Path) -> None:
    path.touch()
    filled(path)
    use(path)


@pytest.mark.parametrize("seed", range(8))
def test_a_store_with_garbage_in_it_gives_a_clear_error_or_works(path: Path, seed: int) -> None:
    whole = filled(path)
    dice = np.random.default_rng(seed)
    broken = bytearray(whole)
    for _ in range(20):
        at = int(dice.integers(100, len(whole) - 64))
        broken[at : at + 64] = dice.bytes(64)
    path.write_bytes(broken)
    with contextlib.suppress(StoreError, AssertionError):  # or rows are missing that no checksum guards
        use(path, readonly=True)
    assert path.read_bytes() == bytes(broken)


@pytest.mark.parametrize(
    "contents", [b"number,error\n1,0.5\n" * 100, b"SQLite format 3\0" + b"\xff" * 5000, os.urandom(5000)]
)
def test_another_kind_of_file_is_left_as_it_is(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)
    for options in ({}, {"readonly": True}):
        with pytest.raises(StoreError, match=r"is no store|damaged|another program|could not be opened"):
            use(path, **options)
        assert path.read_bytes() == contents
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("application", [0, 12345])
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_another_program_is_left_as_it_is(path: Path, application: int, mode: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute(f"PRAGMA application_id = {application}")
    connection.execute("CREATE TABLE trials (id)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for options in ({}, {"readonly": True}):
        with pytest.raises(StoreError, match="a database of another program"):
            use(path, **options)
        assert path.read_bytes() == before


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    for options in ({}, {"readonly": True}, {"create": False}):
        with pytest.raises(StoreError, match="is a folder; name the file"):
            Store.open(tmp_path, **options)
        with pytest.raises(StoreError, match=r"the folder .*none does not exist"):
            Store.open(tmp_path / "none" / "x.db", **options)
    for options in ({"readonly": True}, {"create": False}):
        with pytest.raises(StoreError, match="there is no store at"):
            Store.open(tmp_path / "x.db", **options)
    assert os.listdir(tmp_path) == []


def test_who_opened_to_read_cannot_write(path: Path) -> None:
    filled(path)
    with Store.open(path, readonly=True) as opened:
        with pytest.raises(StoreError, match="opened to read only"):
            opened.run().append_event("note", {})
        with pytest.raises(StoreError, match="opened to read only"):
            new_run(opened)


def _as_nobody(action: Callable[[], object]) -> str:
    def fall() -> None:
        if os.geteuid() == 0:  # to whom no permission applies
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        action()

    return _child_says(fall)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach: pytest's own is private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for each in [folder, *folder.rglob("*")]:
        each.chmod(0o755)
    shutil.rmtree(folder)


@POSIX
def test_a_read_only_store_is_read_and_not_written(open_folder: Path) -> None:
    path = open_folder / "runs.db"
    before = filled(path)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    assert _as_nobody(lambda: use(path, readonly=True)) == "fine"
    assert "is read-only" in _as_nobody(lambda: use(path))
    assert "is read-only" in _as_nobody(lambda: Store.open(open_folder / "new.db"))
    path.chmod(0o666)
    assert f"the folder {open_folder} is read-only" in _as_nobody(lambda: use(path))
    path.chmod(0o000)
    assert "may not be read" in _as_nobody(lambda: use(path, readonly=True))
    assert path.read_bytes() == before


@POSIX
def test_a_log_that_is_not_folded_in_is_not_overlooked_in_a_read_only_folder(open_folder: Path) -> None:
    path = open_folder / "runs.db"
    filled(path)
    with Store.open(path) as opened:
        opened.run().append_trial(100, trial_of(100))

        def count() -> None:
            with Store.open(path, readonly=True) as reader:
                assert len(reader.run().trials()) == 101, "the newest trial is not seen"

        for file in open_folder.glob("runs.db*"):
            file.chmod(0o444)
        open_folder.chmod(0o555)
        assert _as_nobody(count) == "fine"  # the writer is at work: its shared memory is there to read

        # A copy of what a killed writer leaves, without the shared memory.
        open_folder.chmod(0o755)
        left = open_folder / "left"
        left.mkdir()
        for file in (path, path.with_name("runs.db-wal")):
            shutil.copy(file, left / file.name)
            (left / file.name).chmod(0o444)
    left.chmod(0o555)
    path = left / "runs.db"
    answer = _as_nobody(count)
    assert answer == "fine" or "has a log that is not yet folded into it" in answer


@POSIX
def test_a_full_disk_loses_nothing(path: Path) -> None:
    filled(path)
    code = """
        import resource, signal, sys, os
        from vilfredo.store import Store, StoreError
        from vilfredo.trial import Trial
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Store.open(sys.argv[1]) as opened:
            run = opened.run()
            size = os.path.getsize(sys.argv[1]) + 100_000
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            n = 100
            try:
                while True:
                    run.append_trial(n, Trial(n, {"n": n, "padding": "x" * 1000}, "complete"))
                    n += 1
            except StoreError as problem:
                print(n)
                print(problem)
            assert len(run.told()) == n
        """
    answer = output(python(code, path))
    count, sentence = answer.strip().split("\n")
    assert "what was recorded before is safe" in sentence
    with Store.open(path) as opened:
        run = opened.run()
        assert [t for t, _ in run.told()] == list(range(int(count)))
        run.append_trial(int(count), trial_of(int(count)))


def test_a_full_database_loses_nothing(opened: Store) -> None:
    run = new_run(opened)
    connection = opened._database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")

    def fill() -> None:
        for n in range(1000):
            run.append_trial(n, trial_of(n))

    with pytest.raises(StoreError, match="is full; free some space"):
        fill()
    n = len(run.told())
    assert [t for t, _ in run.told()] == list(range(n))
    connection.execute(f"PRAGMA max_page_count = {pages + 500}")
    run.append_trial(n, trial_of(n))
    assert len(run.told()) == n + 1


# -- migrations ------------------------------------------------------------------------------------


def test_a_newer_schema_is_left_as_it_is(path: Path) -> None:
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for options in ({}, {"readonly": True}):
        with pytest.raises(StoreError, match=r"written by a newer Vilfredo .*update Vilfredo"):
            use(path, **options)
    assert path.read_bytes() == before


NEXT = "ALTER TABLE runs ADD COLUMN colour TEXT;\nCREATE TABLE more (id INTEGER PRIMARY KEY)"
BROKEN = (
    "ALTER TABLE runs ADD COLUMN colour TEXT;\nCREATE TABLE more (id INTEGER PRIMARY KEY);\nSELECT nonsense"
)


def test_an_older_store_is_brought_up_to_date(path: Path) -> None:
    filled(path)
    later = (*MIGRATIONS, NEXT)
    with pytest.raises(StoreError, match=rf"written by an older Vilfredo \(schema {len(MIGRATIONS)}\)"):
        Database(path, readonly=True, migrations=later)
    upgraded = Database(path, migrations=later)
    with upgraded.reading() as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(later),)
        assert connection.execute("SELECT count(*), colour FROM runs").fetchone() == (1, None)
        assert connection.execute("SELECT count(*) FROM trials").fetchone() == (100,)
    upgraded.close()
    with pytest.raises(StoreError, match="newer Vilfredo"):
        Store.open(path)
    Database(path, readonly=True, migrations=later).close()


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    filled(path)
    with pytest.raises(StoreError, match="nonsense"):
        Database(path, migrations=(*MIGRATIONS, BROKEN))
    use(path)
    connection = sqlite3.connect(path)
    assert "colour" not in [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchone() is None
    connection.close()


@POSIX
def test_a_migration_that_is_killed_changes_nothing(path: Path) -> None:
    filled(path)
    code = """
        import os, signal, sqlite3, sys
        from vilfredo.store import database
        from vilfredo.store.schema import MIGRATIONS
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
        database.migrate(connection, (*MIGRATIONS, sys.argv[2] + ";\\nSELECT die()"))
        """
    process = python(code, path, NEXT)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    use(path)
    Database(path, migrations=(*MIGRATIONS, NEXT)).close()


def test_migrations_from_the_very_first_and_the_mark_of_the_program(tmp_path: Path) -> None:
    """Whatever number a file has, the rest brings it to the same tables as a new one."""

    def tables(connection: sqlite3.Connection) -> list[Any]:
        return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()

    fresh = sqlite3.connect(tmp_path / "fresh.db", isolation_level=None)
    migrate(fresh)
    for version in range(len(MIGRATIONS)):
        old = sqlite3.connect(tmp_path / f"{version}.db", isolation_level=None)
        migrate(old, MIGRATIONS[:version])
        assert old.execute("PRAGMA user_version").fetchone() == (version,)
        migrate(old)
        assert tables(old) == tables(fresh)
        assert old.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        old.close()
    fresh.close()


def test_the_file_is_checked_and_durable(opened: Store) -> None:
    new_run(opened)
    connection = opened._database._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_the_view_for_people_gives_the_latest(opened: Store) -> None:
    run = new_run(opened)
    for ticket, state in enumerate(["paused", "complete"]):
        run.append_trial(ticket, trial_of(0, state=state))
    found = opened._database._connection.execute("SELECT number, state FROM latest").fetchall()
    assert found == [(0, "complete")]


# -- one driver ------------------------------------------------------------------------------------

HOLDER = """
    import sys, time
    from vilfredo.store import Store
    run = Store.open(sys.argv[1]).run()
    with run.lock():
        run.set_status("running")
        print("locked", flush=True)
        time.sleep(600)
"""


@POSIX
def test_a_run_has_one_driver_and_a_killed_one_lets_go(path: Path, opened: Store, impatient: None) -> None:
    run, other = new_run(opened), new_run(opened)
    run, other = other, run  # the newest is the one that the holder takes
    assert run.status == "interrupted"  # made, and not driven
    process = python(HOLDER, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    assert run.status == "running"
    assert [info.status for info in opened.runs()] == ["interrupted", "running"]
    with pytest.raises(StoreError, match=rf"is being driven by process {process.pid} on "), run.lock():
        pass
    with other.lock():
        assert other.status == "running"
    process.kill()
    process.communicate()
    assert run.status == "interrupted"
    with run.lock():
        run.set_status("finished")
    assert run.status == "finished"
    with Store.open(path, readonly=True) as reader:
        assert reader.run().status == "finished"


@POSIX
def test_children_of_a_killed_driver_do_not_hold_its_lock(path: Path, opened: Store, impatient: None) -> None:
    run = new_run(opened)
    code = """
        import os, sys, time
        from vilfredo.store import Store
        run = Store.open(sys.argv[1]).run()
        with run.lock():
            child = os.fork()
            if child == 0:
                time.sleep(600)
                os._exit(0)
            print(child, flush=True)
            time.sleep(600)
        """
    process = python(code, path)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with run.lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


def test_one_process_does_not_drive_a_run_twice(path: Path, opened: Store, impatient: None) -> None:
    run = new_run(opened)
    with run.lock(), Store.open(path) as second:
        with pytest.raises(StoreError, match=f"process {os.getpid()}"), second.run().lock():
            pass
        assert second.run().status == "running"
    with run.lock():
        pass


def test_the_lock_is_released_whatever_happens(opened: Store) -> None:
    run = new_run(opened)
    with pytest.raises(RuntimeError, match="boom"), run.lock():
        raise RuntimeError("boom")
    with run.lock():
        pass


# -- artifacts -------------------------------------------------------------------------------------


def leave(run: Run, number: int, name: str, size: int = 100) -> Path:
    file = Path(run.artifacts()) / str(number) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    return file


def told_with(run: Run, number: int, error: float, macs: float, state: str = "complete", **more: Any) -> Path:
    file = leave(run, number, "model-0.safetensors")
    run.append_work(number, number, Work({"n": number}))
    values = {Key("error"): Value(error), Key("macs"): Value(macs)}
    artifact = Artifact(str(file), 3, 100)
    run.append_trial(number, trial_of(number, state=state, values=values, artifact=artifact, **more))
    return file


def test_trim_removes_what_is_worth_least_first(opened: Store) -> None:
    run = new_run(opened)
    front = told_with(run, 0, 0.1, 10)
    second = told_with(run, 1, 0.2, 20)
    third_old = told_with(run, 2, 0.3, 30)
    third_new = told_with(run, 3, 0.3, 30)
    stopped = told_with(run, 4, 0.05, 1, state="stopped")
    paused = told_with(run, 5, 0.05, 1, state="paused")
    failed = told_with(run, 6, 0.05, 1, state="failed")
    kept = told_with(run, 7, 0.4, 40)
    redundant = leave(run, 0, "checkpoint-0.safetensors")
    pending = leave(run, 8, "checkpoint-0.safetensors")
    run.append_work(8, 8, Work({"n": 8}, parents=(2,)))
    unknown = leave(run, 99, "model-0.safetensors")

    order = [redundant, stopped, failed, third_new, second, paused, front]
    everything = [*order, third_old, kept, pending, unknown]
    assert run.trim(len(everything) * 100, keep=()) == 0
    for gone in range(1, len(order) + 1):
        assert run.trim((len(everything) - gone) * 100, keep={7}) == 100
        assert [f.exists() for f in order] == [False] * gone + [True] * (len(order) - gone)
    assert run.trim(0, keep={7}) == 0  # a parent of what runs, what runs, what is kept, what is not known
    assert [f for f in everything if f.exists()] == [third_old, kept, pending, unknown]
    assert not stopped.parent.exists()
    assert [data["trials"] for _, _, data in run.events("trimmed")][1] == [4]


def test_clean_removes_stale_checkpoints_and_unfinished_files(opened: Store) -> None:
    run = new_run(opened)
    model = told_with(run, 0, 0.1, 10)
    stale = leave(run, 0, "checkpoint-0.safetensors")
    partial = leave(run, 0, ".model-1.safetensors.4321")
    paused = leave(run, 1, "checkpoint-0.safetensors")
    run.append_trial(1, trial_of(1, state="paused"))
    stopped = leave(run, 2, "checkpoint-0.safetensors")
    run.append_trial(2, trial_of(2, state="stopped", artifact=Artifact(str(stopped), 1, 100)))
    failed = leave(run, 3, "checkpoint-0.safetensors")
    run.append_trial(3, trial_of(3, state="failed"))
    run.append_work(9, 9, Work({"n": 9}))
    running = [leave(run, 9, "checkpoint-0.safetensors"), leave(run, 9, ".checkpoint-0.safetensors.1")]
    confirming = told_with(run, 10, 0.1, 10)
    run.append_work(11, 10, Work({"n": 10}, trial=10, repeat=1))
    second = leave(run, 10, "checkpoint-1.safetensors")

    with run.lock():
        assert run.clean() == 300
        assert run.clean() == 0
    for file in (model, paused, stopped, *running, confirming, second):
        assert file.exists(), file
    for file in (stale, partial, failed):
        assert not file.exists(), file


def test_trim_and_clean_of_a_run_without_artifacts(opened: Store) -> None:
    run = new_run(opened)
    shutil.rmtree(run.artifacts())
    assert run.trim(0, keep=()) == run.clean() == 0
    assert run.events() == []


def test_an_open_store_cannot_be_sent_to_another_process(opened: Store) -> None:
    """Workers get data, never the store."""
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(opened)
