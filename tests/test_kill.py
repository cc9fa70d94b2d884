"""Real processes, killed for real: no finished trial is lost, none is doubled, and in synchronous mode
the trials equal those of a search that nobody touched, value for value."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from runs import plain
from vilfredo.store import Store

HERE = Path(__file__).parent


def start(store: Path, optimizer: str, trials: int, pace: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "kill_driver.py", str(store), optimizer, str(trials), str(pace)]
    return subprocess.Popen(
        command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()


def known(store: Path) -> list[Any]:
    with Store.open(store, readonly=True, create=False) as opened:
        return [plain(trial) for trial in opened.run().trials()]


def told(store: Path) -> dict[int, Any]:
    """What has been told so far, as a reader beside the search sees it."""
    try:
        return {trial["number"]: trial for trial in known(store)}
    except ValueError:  # the driver has not got that far
        return {}


def kill_something(process: subprocess.Popen[bytes], dice: random.Random) -> str:
    """SIGKILL the driver or one of the workers; what was hit."""
    try:
        # The driver's child is the server that workers are forked from.
        workers = [w for server in psutil.Process(process.pid).children() for w in server.children()]
    except psutil.NoSuchProcess:
        return "nothing"
    if workers and dice.random() < 0.5:
        victim = dice.choice(workers)
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            return "nothing"
        return "worker"
    process.kill()
    process.wait()
    return "driver"


def survives(tmp_path: Path, kills: int, optimizer: str, seed: int) -> None:
    dice = random.Random(seed)
    trials, pace = 24, 0.01
    store = tmp_path / "killed.db"
    process = start(store, optimizer, trials, pace)
    hits = {"driver": 0, "worker": 0, "nothing": 0}
    for _ in range(kills):
        time.sleep(0.9 + dice.random() * 1.2)
        before = told(store)
        hit = kill_something(process, dice)
        hits[hit] += 1
        after = told(store)
        for number, trial in before.items():
            assert number in after, f"trial {number} was lost when {hit} was killed"
            if (
                trial["state"] in ("complete", "rejected")
                and trial["confirmed"] == after[number]["confirmed"]
            ):
                # In the meantime a confirmation may have added what it measured first.
                values = after[number]["values"]
                assert all(value in values for value in trial["values"])
                assert {**after[number], "values": trial["values"]} == trial
        if process.poll() is not None:
            process.communicate()
            process = start(store, optimizer, trials, pace)
    finish(process)
    result = known(store)
    assert [t["number"] for t in result] == list(range(trials)), hits
    with Store.open(store, create=False) as opened:
        run = opened.run()
        tickets = [ticket for ticket, _ in run.told()]
        assert len(tickets) == len(set(tickets)), "a work was told twice"
        run.clean()
        stale = [p.name for p in Path(run.artifacts()).rglob("*.safetensors*") if "model-" not in p.name]
        assert not stale, "checkpoints and partial files of finished trials stayed behind"
    if optimizer == "nsga2":
        untouched = tmp_path / "untouched.db"
        finish(start(untouched, optimizer, trials, 0.0))
        assert result == known(untouched)


@pytest.mark.skipif(os.name == "nt", reason="kills with SIGKILL")
def test_three_kills(tmp_path: Path) -> None:
    survives(tmp_path, 3, "nsga2", seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name == "nt", reason="kills with SIGKILL")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("optimizer", ["nsga2", "steady"])
def test_fifty_kills(tmp_path: Path, optimizer: str, seed: int) -> None:
    """Ten searches of five kills each."""
    survives(tmp_path, 5, optimizer, seed=100 + seed)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_the_workers_of_a_killed_driver_go_with_it(tmp_path: Path) -> None:
    process = start(tmp_path / "run.db", "steady", 1000, 0.2)
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 300
    while len(told(tmp_path / "run.db")) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
        workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert not alive
