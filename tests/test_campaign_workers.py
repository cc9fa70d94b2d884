"""Campaigns in several processes: what comes out is the same for any number of them, whoever dies."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from campaign_cases import Slow, answers, images, small
from vilfredo.campaign import bit_error_rates, critical
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.injection import INPUT, Hit, Injection
from vilfredo.campaign.run import Campaign, finish, run
from vilfredo.campaign.workers import Lost, shared
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.faults.gaussian import Gaussian
from vilfredo.nn.floating import floating
from vilfredo.nn.graph import trace
from vilfredo.protocols import Fault

NETWORK = small(2)
X = images(NETWORK)


def in_floats() -> tuple[Any, torch.Tensor]:
    torch.manual_seed(3)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 40),
        torch.nn.ReLU(), torch.nn.Linear(40, 10),
    )  # fmt: skip
    x = torch.randn(30, 1, 8, 8)
    network = floating(trace(net, (1, 8, 8)), "float32", x)
    return network, network.encode(x)


class Deadly(Slow):
    """Whoever computes it is killed, but for the process that made it."""

    maker = -1

    def classes_under(self, injections: Sequence[Injection]) -> NDArray[np.int64]:
        if os.getppid() == self.maker:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().classes_under(injections)


@pytest.fixture(scope="module")
def engines() -> list[Any]:
    return [Engine(NETWORK, X), Engine(*in_floats()), Slow(NETWORK, X)]


@pytest.fixture(scope="module")
def crew(engines: list[Any]) -> Iterator[tuple[Any, ...]]:
    with shared(engines, 2) as there:
        yield there


def everything(engine: Any, fault: Fault, labels: Any) -> list[Any]:
    """What campaigns of all kinds come to."""
    settings = Campaign(fault, budget=300, error=0.0, batch=64)
    found: list[Any] = [finish(engine, labels, settings).records.tolist()]
    damage = bit_error_rates.under(engine, [fault], labels, copies=7, seed=3)
    found += [damage.accuracy.tolist(), damage.ccr.tolist()]
    return found


FAULTS = [BitFlip(0.01), BitFlip(0.01, "activations"), BitFlip(0.01, "inputs"), Gaussian(0.5)]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{type(f).__name__}-{f.site}")
def test_what_comes_out_is_the_same(
    engines: list[Any], crew: tuple[Any, ...], fault: Fault, place: int
) -> None:
    labels = engines[place].classes.numpy()
    with shared(engines, 1) as here:
        assert everything(crew[place], fault, labels) == everything(here[place], fault, labels)


@pytest.mark.long
@pytest.mark.parametrize("workers", [3, 4])
def test_for_any_number_of_workers(engines: list[Any], workers: int) -> None:
    labels = engines[0].classes.numpy()
    with shared(engines, 1) as here, shared(engines, workers) as there:
        for place, fault in ((0, FAULTS[0]), (1, FAULTS[1])):
            labels = engines[place].classes.numpy()
            assert everything(here[place], fault, labels) == everything(there[place], fault, labels)


def test_the_worst_and_borders_are_the_same(engines: list[Any], crew: tuple[Any, ...]) -> None:
    flips = BitFlip(0.1)
    labels = answers(engines[0])
    one, other = (critical.worst(e, X, labels, flips, 5, 200) for e in (engines[0], crew[0]))
    assert (one.faults, one.injections) == (other.faults, other.injections)
    among = critical.elements(NETWORK, flips, 30)
    one_border, other_border = (critical.boundaries(e, X, flips, among) for e in (engines[0], crew[0]))
    assert one_border.critical == other_border.critical


def at_work() -> set[int]:
    """Processes that we have started and that have not ended."""
    found = set()
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has, even if nobody has taken note
            if "resource_tracker" not in " ".join(process.cmdline()):
                found.add(process.pid)
    return found


def test_a_killed_worker_is_replaced(engines: list[Any], crew: tuple[Any, ...]) -> None:
    settings = Campaign(BitFlip(0.1), budget=400, error=0.0, batch=50)
    whole = finish(engines[2], answers(engines[2]), settings)
    killed: set[int] = set()
    records = None
    for progress in run(crew[2], answers(engines[2]), settings):
        records = progress.results.records
        if len(killed) < 2:
            killed.add(victim := min(at_work()))
            os.kill(victim, signal.SIGKILL)
    assert len(killed) == 2
    assert records is not None
    assert (records == whole.records).all()


def test_a_mistake_is_told_and_the_next_call_answered(engines: list[Any], crew: tuple[Any, ...]) -> None:
    flips = BitFlip(0.1)
    nowhere = Injection((Hit(flips, 0, "weights", np.array([10**6]), np.array([1])),))
    good = [Injection((Hit(flips, INPUT, "inputs", np.array([i]), np.array([1])),)) for i in range(30)]
    with pytest.raises(ValueError, match="there is no weights number 1000000"):
        crew[0].classes_under([nowhere, *good])
    assert (crew[0].classes_under(good) == engines[0].classes_under(good)).all()


@pytest.mark.long
def test_faults_that_kill_whoever_computes_them() -> None:
    deadly = Deadly(NETWORK, X)
    deadly.maker = os.getpid()
    with (
        shared([deadly], 2) as (engine,),
        pytest.raises(Lost, match="3 workers died one after the other at the same faults"),
    ):
        finish(engine, answers(deadly), Campaign(BitFlip(0.1), budget=20))


@pytest.mark.long
def test_nobody_is_left_and_nobody_started_without_work(engines: list[Any]) -> None:
    before = at_work()
    with shared(engines, 2) as (engine, *_):
        assert not at_work() - before
        one = Injection((Hit(BitFlip(0.1), INPUT, "inputs", np.array([3]), np.array([1])),))
        engine.classes_under([one])
        started = at_work() - before
        assert started
    assert not started & at_work()  # it has waited for their ends


def test_a_log_serves_any_number(engines: list[Any], crew: tuple[Any, ...], tmp_path: Any) -> None:
    settings = Campaign(BitFlip(0.1), budget=200, error=0.0, batch=20)
    labels = answers(engines[0])
    whole = finish(engines[0], labels, settings)
    finish(engines[0], labels, replace(settings, budget=90), tmp_path / "log")
    assert (finish(crew[0], labels, settings, tmp_path / "log").records == whole.records).all()


def test_less_than_one_worker(engines: list[Any]) -> None:
    with pytest.raises(ValueError, match="1 worker or more"), shared(engines, 0):
        pass
