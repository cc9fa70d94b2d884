"""`Local` with hostile candidates in real processes, killed workers and killed coordinators."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import UnionType

import psutil
import pytest

from candidates import Ask, Deadly, Empty, Threaded, Unloadable, Walk
from vilfredo.executors.local import Local
from vilfredo.executors.state import Handle, cause
from vilfredo.executors.watch import resident
from vilfredo.protocols import GO, Died, Event, Finished, Progress, Started, Task, Verdict, Work
from vilfredo.trial import Key

TESTS = Path(__file__).parent
MB = 10**6
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def task(ticket: int, judged: bool = False, folder: str = "", attempt: int = 1, **genome) -> Task:
    work = Work({"x": 0.5, **genome})
    return Task(ticket, work, seed=ticket, judged=judged, folder=folder, attempt=attempt)


PATIENCE = 120.0
"""Seconds that a slow and busy machine may take for what a quiet one does at once."""


def until(done: Callable[[], object], what: str = "it") -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, f"{what} did not happen within {PATIENCE} s"
        time.sleep(0.01)


def hear(executor: Local, count: int, kinds: type | UnionType, seen: Iterable[Event] = ()) -> list[Event]:
    """Events, `seen` among them, until `count` are of these kinds."""
    heard = list(seen)
    end = time.monotonic() + PATIENCE
    while sum(isinstance(e, kinds) for e in heard) < count:
        assert time.monotonic() < end, f"only {heard} within {PATIENCE} s"
        heard += executor.events(0.5)
    return heard


def collect(executor: Local, count: int, seen: Iterable[Event] = ()) -> list[Event]:
    """Events until `count` tasks have finished or died."""
    return hear(executor, count, Finished | Died, seen)


def begun(seen: Iterable[Event]) -> dict[int, int]:
    """The workers by the tasks that they have begun."""
    return {e.ticket: e.worker for e in seen if isinstance(e, Started)}


def ends(seen: list[Event]) -> dict[int, Finished | Died]:
    return {e.ticket: e for e in seen if isinstance(e, Finished | Died)}


def settle(executor: Local) -> None:
    """Until all its workers are there and idle."""

    def ready() -> bool:
        executor.events(0.01)
        return all(handle.ready for handle in executor._handles)

    until(ready)


def suspended(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def gone(pid: int) -> bool:
    """Whether the process has ended (one that nobody has reaped yet has)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    """Time enough for whatever ends by itself."""
    with Local(Walk(), workers=2, deadline=600.0) as executor:
        yield executor


@pytest.fixture(scope="module")
def hasty() -> Iterator[Local]:
    """Waits for nobody; what else is submitted needs a small part of this time."""
    with Local(Walk(), workers=2, deadline=DEADLINE) as executor:
        yield executor


@pytest.fixture
def small() -> Iterator[Local]:
    """Little memory, and time enough to fill it on a busy machine."""
    with Local(Walk(), workers=2, deadline=600.0, memory=300 * MB) as executor:
        yield executor


# -- candidates -------------------------------------------------------------------------------------


DEADLINE = 2.5

HOSTILE = [
    ("raise", None, "exception", "RuntimeError: something is wrong"),
    ("raise", "interrupt", "exception", "KeyboardInterrupt: something is wrong"),
    ("exit", 3, "exit", "the candidate called exit with code 3"),
    ("exit at once", 3, "exit", "ended the process with exit code 3"),
    ("exit at once", 0, "exit", "ended the process with exit code 0"),
    ("segfault", None, "signal", "killed by SIGSEGV"),
    ("kill", int(signal.SIGKILL), "signal", "killed by SIGKILL"),
    ("kill", int(signal.SIGTERM), "signal", "killed by SIGTERM"),
    ("hang", None, "timeout", f"took longer than {DEADLINE} s"),
    ("hang deaf", None, "timeout", f"took longer than {DEADLINE} s"),
    ("close pipes", None, "exit", "lost its connection"),
    ("close pipes and hang", None, "exit", "lost its connection"),
]
IN_QUIET = ("exit at once", "segfault", "kill", "hang", "close pipes")


@pytest.mark.parametrize(
    ("stage", "does", "argument", "kind", "message"),
    [("train", *row) for row in HOSTILE] + [("quiet", *row) for row in HOSTILE if row[0] in IN_QUIET],
)
def test_a_hostile_candidate_costs_its_own_attempt(request, stage, does, argument, kind, message):
    executor = request.getfixturevalue("hasty" if kind == "timeout" else "local")
    executor.submit(task(0, at=stage, does=does, **{"with": argument}))
    executor.submit(task(1, seconds=0.05))
    seen = ends(collect(executor, 2))
    hostile, other = seen[0], seen[1]
    failure = hostile.failure if isinstance(hostile, Died) else hostile.outcome.failure
    assert failure.kind == kind
    assert failure.message.startswith(message)
    assert hostile.attempt.failure == failure
    assert isinstance(other, Finished)
    assert other.outcome.state == "complete"


@pytest.mark.parametrize("stage", ["train", "quiet"])
def test_a_candidate_that_eats_memory(small, stage):
    small.submit(task(0, at=stage, does="eat"))
    small.submit(task(1, seconds=0.05))
    seen = ends(collect(small, 2))
    assert seen[0].failure.kind == "out of memory"
    assert seen[0].failure.message.startswith("used more than 300 MB of memory")
    assert seen[1].outcome.state == "complete"


def test_the_failure_of_a_segfault_says_where(local):
    local.submit(task(0, at="train", does="segfault"))
    (died,) = ends(collect(local, 1)).values()
    assert "about to read address zero" in died.failure.traceback
    assert "in _segfault" in died.failure.traceback


def test_a_flood_of_output_goes_nowhere(local, capfd):
    local.submit(task(0, at="train", does="print"))
    local.submit(task(1, at="train", does="close stdio"))
    assert {e.outcome.state for e in ends(collect(local, 2)).values()} == {"complete"}
    assert capfd.readouterr() == ("", "")


@linux
def test_children_of_a_candidate_end_with_it(local, tmp_path):
    path = tmp_path / "pids"
    local.submit(task(0, at="train", does="fork", **{"with": str(path)}))
    assert ends(collect(local, 1))[0].failure.kind == "exit"
    pids = [int(pid) for pid in path.read_text().split()]
    assert len(pids) == 2
    until(lambda: all(gone(pid) for pid in pids))


def test_a_partial_file_goes_with_its_writer(hasty, tmp_path):
    hasty.submit(task(0, folder=str(tmp_path), at="measure", does="hang"))
    seen = hear(hasty, 1, Started)
    worker = begun(seen)[0]
    (tmp_path / f".model-0.safetensors.{worker}").write_bytes(b"half")
    (tmp_path / ".model-0.safetensors.1").write_bytes(b"of another process")
    assert ends(collect(hasty, 1, seen))[0].failure.kind == "timeout"
    assert not (tmp_path / f".model-0.safetensors.{worker}").exists()
    assert (tmp_path / ".model-0.safetensors.1").exists()


def test_what_is_printed_can_be_logged(tmp_path):
    with Local(Walk(), workers=1, log=str(tmp_path / "logs")) as executor:
        executor.submit(task(0, at="train", does="print"))
        collect(executor, 1)
    assert "la la la" in (tmp_path / "logs" / "worker-0.log").read_text()


# -- workers that are killed ------------------------------------------------------------------------


def test_a_worker_killed_from_outside(local):
    before = local.workers
    local.submit(task(0, seconds=0.3))
    local.submit(task(1, seconds=60.0, attempt=2))
    heard = hear(local, 2, Started)
    started = begun(heard)
    assert set(started.values()) == set(before)
    os.kill(started[1], signal.SIGKILL)
    seen = ends(collect(local, 2, heard))
    assert isinstance(seen[0], Finished)
    assert isinstance(seen[1], Died)
    assert (seen[1].failure.kind, seen[1].attempt.number) == ("signal", 2)
    assert started[0] in local.workers
    assert started[1] not in local.workers


def test_an_idle_worker_killed_from_outside_costs_nothing(local):
    for pid in local.workers:
        os.kill(pid, signal.SIGKILL)
    for ticket in range(4):
        local.submit(task(ticket))
    assert all(isinstance(e, Finished) for e in ends(collect(local, 4)).values())


@linux
def test_the_fork_server_killed_from_outside(local):
    local.submit(task(0, seconds=60.0))
    server = psutil.Process(local.workers[0]).ppid()
    seen = hear(local, 1, Started)
    os.kill(server, signal.SIGKILL)
    died = ends(collect(local, 1, seen))[0]
    assert died.failure.kind == "signal"
    local.submit(task(1))
    assert isinstance(ends(collect(local, 1))[1], Finished)


def test_interrupts_are_for_the_coordinator(local):
    before = local.workers
    local.submit(task(0, seconds=0.1))
    seen = hear(local, 1, Started)
    for pid in before:
        os.kill(pid, signal.SIGINT)
    assert ends(collect(local, 1, seen))[0].outcome.state == "complete"
    assert local.workers == before


def test_what_waits_behind_a_killed_task_costs_no_attempt():
    with Local(Empty(), workers=2) as executor:
        for ticket in range(50):
            executor.submit(task(ticket))
        collect(executor, 50)  # so quick that tasks are sent ahead from now on
        for ticket in range(100, 130):
            executor.submit(task(ticket, sleep=600.0 if ticket < 102 else 0.0))
        heard = hear(executor, 2, Started)
        assert set(begun(heard)) == {100, 101}
        for pid in executor.workers:
            os.kill(pid, signal.SIGKILL)
        seen = ends(collect(executor, 30, heard))
        assert {t for t, e in seen.items() if isinstance(e, Died)} == {100, 101}
        assert all(seen[t].attempt.number == 1 for t in range(102, 130))


def test_what_waits_behind_a_long_task_is_taken_back():
    with Local(Empty(), workers=2) as executor:
        for ticket in range(50):
            executor.submit(task(ticket))
        collect(executor, 50)
        for ticket in range(100, 112):
            executor.submit(task(ticket, sleep=600.0 if ticket == 100 else 0.001))
        assert set(ends(collect(executor, 11))) == set(range(101, 112))


def test_stop_takes_less_than_a_second(local):
    """Of the processor's time, which is what a candidate that computes for ever would go on using."""
    local.submit(task(0, at="train", does="hang deaf"))
    local.submit(task(1, seconds=0.1))
    heard = hear(local, 2, Started)
    stopped = psutil.Process(begun(heard)[0])

    def used() -> float:
        try:
            return sum(stopped.cpu_times()[:2])
        except psutil.Error:  # it is gone
            return 0.0

    before, last = used(), 0.0
    local.stop(0)
    assert stopped.pid not in local.workers

    def ended() -> bool:
        nonlocal last
        last = max(last, used())
        return gone(stopped.pid)

    until(ended)
    assert last - before < 1.0
    assert set(ends(collect(local, 1, (e for e in heard if e.ticket == 1)))) == {1}


def test_limits_hold_while_the_coordinator_is_busy(hasty):
    hasty.submit(task(0, at="train", does="hang"))
    hasty.submit(task(1, at="quiet", does="hang deaf"))
    pids = hasty.workers
    until(lambda: all(gone(pid) for pid in pids))  # nobody has asked for events
    assert [e.failure.kind for e in ends(collect(hasty, 2)).values()] == ["timeout"] * 2


def test_waiting_for_a_verdict_is_not_the_candidates_time(hasty):
    hasty.submit(task(0, judged=True))
    seen = hear(hasty, 1, Progress)
    wait = DEADLINE + 0.5
    time.sleep(wait)
    hasty.reply(0, Verdict("pause"))
    finished = ends(collect(hasty, 1, seen))[0]
    assert finished.outcome.state == "paused"
    assert finished.attempt.seconds < wait


# -- quiet ------------------------------------------------------------------------------------------


def test_others_are_suspended_while_one_measures():
    """For 3 s in all, which with the second of its own would exceed the third one's deadline."""
    with Local(Walk(epochs=20), workers=3, deadline=3.5) as executor:
        settle(executor)
        executor.submit(task(2, seconds=0.05))
        heard = hear(executor, 1, Started)
        executor.submit(task(0, latency=1.5))
        executor.submit(task(1, latency=1.5))
        stopped: set[int] = set()

        def look() -> None:
            for pid in executor.workers:
                with contextlib.suppress(psutil.Error):
                    if suspended(pid):
                        stopped.add(pid)

        def busy() -> bool:  # the coordinator does not ask for events
            look()
            return len(stopped) == 3

        until(busy)
        seen = collect(executor, 3, heard)
        workers = begun(seen)
        outcomes = {t: e.outcome for t, e in ends(seen).items()}
        assert {o.state for o in outcomes.values()} == {"complete"}
        assert workers[2] in stopped
        assert outcomes[2].seconds["suspended"] >= 1.5
        assert outcomes[2].seconds["train"] < 3.5
        assert max(outcomes[t].seconds.get("suspended", 0.0) for t in (0, 1)) >= 1.2
        pids = executor.workers
        until(lambda: not any(suspended(pid) for pid in pids))


@pytest.mark.parametrize("does", ["segfault", "hang", "close pipes and hang"])
def test_whoever_dies_in_quiet_wakes_the_others(request, does):
    executor = request.getfixturevalue("hasty" if does == "hang" else "local")
    executor.submit(task(0, at="quiet", does=does))
    executor.submit(task(1, seconds=0.2))
    seen = ends(collect(executor, 2))
    assert isinstance(seen[0], Died)
    assert seen[1].outcome.state == "complete"


def test_stopping_who_measures_wakes_the_others(local):
    local.submit(task(1, seconds=1.0))
    heard = hear(local, 1, Started)
    local.submit(task(0, at="quiet", does="hang"))
    until(lambda: suspended(begun(heard)[1]))
    local.stop(0)
    assert ends(collect(local, 1, heard))[1].outcome.state == "complete"


# -- nothing is left --------------------------------------------------------------------------------


@linux
def test_close_leaves_neither_processes_nor_files(local, hasty):
    settle(local)
    settle(hasty)

    def count() -> tuple[int, set[int], set[threading.Thread]]:
        processes = {process.pid for process in psutil.Process().children(True)}
        return len(os.listdir("/proc/self/fd")), processes, set(threading.enumerate())

    files, processes, threads = count()
    executor = Local(Walk(), workers=3)
    pids = executor.workers
    for ticket in range(3):
        executor.submit(task(ticket, at="quiet", does="hang deaf"))
    until(lambda: any(suspended(pid) for pid in pids))  # so that one measures
    executor.stop(1)
    executor.close()
    now = count()
    assert now[0] == files
    assert not now[1] - processes
    assert not now[2] - threads
    until(lambda: all(gone(pid) for pid in pids))


@linux
@pytest.mark.parametrize("stage", ["train", "quiet"])
def test_nothing_outlives_a_killed_coordinator(stage):
    driver = subprocess.Popen(
        [sys.executable, "executor_driver.py", stage], cwd=TESTS, stdout=subprocess.PIPE
    )
    assert driver.stdout is not None
    with driver.stdout:
        try:
            pids = [int(pid) for pid in driver.stdout.readline().split()]
        finally:
            driver.kill()
            driver.wait()
    assert len(pids) == 3  # two workers and the server
    until(lambda: all(gone(pid) for pid in pids))


# -- what a worker is like --------------------------------------------------------------------------


def answers(executor: Local, *questions: str) -> list[float]:
    for ticket, question in enumerate(questions):
        executor.submit(task(ticket, ask=question))
    seen = ends(collect(executor, len(questions)))
    return [seen[t].outcome.values[Key("y")].mean for t in range(len(questions))]


def test_threads_devices_and_signals(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Local(Ask(), workers=1, threads=2, gpus=[3]) as executor:
        assert answers(
            executor,
            "os.environ['OMP_NUM_THREADS']",
            "os.environ['CUDA_VISIBLE_DEVICES']",
            "signal.getsignal(signal.SIGINT) == signal.SIG_IGN",
            "os.getpid() == os.getpgid(0)",
        ) == [2.0, 3.0, 1.0, 1.0]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_more_workers_than_devices_share_them():
    with Local(Ask(), workers=3, gpus=2) as executor:
        devices = {}
        for handle in executor._handles:
            devices[handle.slot] = executor._gpus[handle.slot]
        assert devices == {0: "0", 1: "1", 2: "0"}
        assert set(answers(executor, *["os.environ['CUDA_VISIBLE_DEVICES']"] * 20)) <= {0.0, 1.0}


def test_torch_is_loaded_once_and_held_to_its_threads():
    with Local(Ask(), workers=1, threads=2, preload=["torch"]) as executor:
        product = "float((lambda t: (t.ones(400, 400) @ t.ones(400, 400))[0, 0])(sys.modules['torch']))"
        assert answers(executor, "sys.modules['torch'].get_num_threads()", product) == [2.0, 400.0]


def test_random_numbers_nobody_seeded_follow_from_the_seed():
    with Local(Ask(), workers=2) as executor:
        questions = ["random.random()", "np.random.random()"] * 4
        first, second = answers(executor, *questions), answers(executor, *questions)
    assert first == second
    assert len(set(first)) == len(first)


# -- problems that cannot go there ------------------------------------------------------------------


def test_a_problem_that_cannot_be_pickled():
    class Hidden(Empty):
        pass

    with pytest.raises(ValueError, match=r"cannot be sent to worker processes.*top level of a module"):
        Local(Hidden())


def test_a_problem_that_cannot_be_loaded():
    with pytest.raises(ValueError, match=r"cannot be loaded in a worker process.*the data are gone"):
        Local(Unloadable())


@linux
def test_a_problem_that_starts_threads_is_loaded_in_each_worker():
    with Local(Threaded(), workers=1) as executor:
        executor.submit(task(0))
        assert ends(collect(executor, 1))[0].outcome.state == "complete"


@linux
def test_workers_that_end_at_once_are_not_started_for_ever():
    with pytest.raises(ValueError, match=r"workers end before they can work.*exit code 5"):
        Local(Deadly(), workers=2, threads=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"deadline": 0.0}, "deadline must be more than 0"),
        ({"memory": -1}, "memory must be more than 0"),
        ({"memory": 1000}, "a memory limit of 0 MB is too low: a worker uses"),
        ({"gpus": []}, "gpus must name at least one device"),
        ({"gpus": 0}, "gpus must name at least one device"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Local(Empty(), **options)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from candidates import Empty
from vilfredo.executors.local import Local
from vilfredo.protocols import Finished, Task, Work

class Mine(Empty):
    pass

def main():
    with Local(Mine(), workers=1) as executor:
        executor.submit(Task(0, Work({{}}), seed=0))
        while True:
            for event in executor.events(1.0):
                if isinstance(event, Finished):
                    print(event.outcome.state)
                    return
"""


def script(tmp_path: Path, end: str, stdin: bool = False) -> subprocess.CompletedProcess[str]:
    text = SCRIPT.format(tests=str(TESTS)) + textwrap.dedent(end)
    path = tmp_path / "mine.py"
    path.write_text(text)
    return subprocess.run(
        [sys.executable, "-" if stdin else str(path)],
        input=text if stdin else None,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_problem_of_the_script_itself(tmp_path):
    result = script(tmp_path, 'if __name__ == "__main__":\n    main()\n')
    assert (result.stdout, result.stderr) == ("complete\n", "")


def test_a_script_without_a_guard(tmp_path):
    result = script(tmp_path, "main()\n")
    said = result.stderr.splitlines()[-1]
    assert "Broken: the script starts its search while" in said
    assert said.endswith('put what starts it under `if __name__ == "__main__":`')


def test_a_problem_of_an_interactive_session(tmp_path):
    result = script(tmp_path, "main()\n", stdin=True)
    assert "interactive session" in result.stderr.splitlines()[-1]


# -- spawned workers (macOS, Windows) ---------------------------------------------------------------


def test_spawned_workers_do_the_same():
    with Local(Walk(), workers=2, deadline=10.0, memory=300 * MB, start="spawn") as executor:
        executor.submit(task(0, latency=0.2))
        executor.submit(task(1, at="train", does="segfault"))
        executor.submit(task(2, at="quiet", does="hang"))
        executor.submit(task(3, at="train", does="eat"))
        executor.submit(task(4, seconds=0.1))
        seen = ends(collect(executor, 5))
        assert {t: e.failure.kind for t, e in seen.items() if isinstance(e, Died)} == {
            1: "signal",
            2: "timeout",
            3: "out of memory",
        }
        assert "in _segfault" in seen[1].failure.traceback
        executor.submit(task(5, at="train", does="hang"))
        hear(executor, 1, Started)
        executor.stop(5)
        pids = executor.workers
    until(lambda: all(gone(pid) for pid in pids))


# -- why a worker ended -----------------------------------------------------------------------------


def test_killed_by_a_kernel_that_had_run_out_of_memory(local):
    handle: Handle = local._handles[0]
    dead = Handle(0, 1, handle.tasks, handle.control, handle.cells, handle.log, code=-int(signal.SIGKILL))
    assert cause(dead, out_of_memory=True).kind == "out of memory"
    assert cause(dead, out_of_memory=False).kind == "signal"


def test_resident_memory_is_that_of_the_process():
    mine = psutil.Process().memory_info().rss
    assert abs(resident(os.getpid()) - mine) < 0.2 * mine
    assert resident(2**22 + 1) == 0


# -- by the dozen -----------------------------------------------------------------------------------


@pytest.mark.long
def test_workers_killed_at_random_moments_lose_no_task(tmp_path):
    import random

    rng = random.Random(0)
    with Local(Walk(), workers=2, deadline=600.0) as executor:
        attempts: dict[int, int] = {}

        def submit(ticket: int) -> None:
            attempts[ticket] = attempts.get(ticket, 0) + 1
            folder = str(tmp_path / str(ticket))
            executor.submit(task(ticket, seconds=0.002, attempt=attempts[ticket], folder=folder))

        for ticket in range(400):
            submit(ticket)
        finished: list[int] = []
        died = 0
        end = time.monotonic() + 600
        while len(finished) < len(attempts):
            assert time.monotonic() < end
            if died <= 20 and len(attempts) - len(finished) < 16:  # too few were hit so far
                submit(len(attempts))
            if rng.random() < 0.2:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(executor.workers), signal.SIGKILL)
            for event in executor.events(0.05):
                if isinstance(event, Finished):
                    assert event.outcome.state == "complete"
                    finished.append(event.ticket)
                elif isinstance(event, Died):
                    died += 1
                    assert event.attempt.number == attempts[event.ticket]
                    submit(event.ticket)
        assert sorted(finished) == sorted(attempts)
        assert died > 20


@pytest.mark.long
@linux
@pytest.mark.parametrize("wait", [0.05 * n for n in range(12)])
def test_a_coordinator_killed_at_any_moment_leaves_nothing(wait):
    tag = f"{os.getpid()}-{wait}"
    driver = subprocess.Popen(
        [sys.executable, "executor_driver.py", "quiet"],
        cwd=TESTS,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "VILFREDO_TEST_TAG": tag},
    )
    time.sleep(wait)
    driver.kill()
    driver.wait()

    def left() -> list[int]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("VILFREDO_TEST_TAG") == tag:
                    found.append(process.pid)
        return found

    until(lambda: not left())


def test_a_reply_to_a_task_whose_worker_has_died_is_ignored(local):
    local.submit(task(0, judged=True))
    seen = hear(local, 1, Progress)
    worker = begun(seen)[0]
    os.kill(worker, signal.SIGKILL)
    until(lambda: gone(worker))
    local.reply(0, GO)
    assert ends(collect(local, 1, seen))[0].failure.kind == "signal"
