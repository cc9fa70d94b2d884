"""Networks in lanes do what the text of `Program` says, and what the kernel for one network does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="needs the extra spiking")

from vilfredo.spiking.kernels import dense, lanes, threads
from vilfredo.spiking.program import HALVES, Program


def interpret(
    program: Program,
    weight: np.ndarray[Any, Any],
    threshold: np.ndarray[Any, Any],
    delay: np.ndarray[Any, Any],
    charges: np.ndarray[Any, Any],
    steps: int,
) -> tuple[list[int], list[int]]:
    """Spikes of each neuron and the first firing of each output; slowly, word for word."""
    n = program.size
    arriving: list[dict[int, list[float]]] = [{} for _ in range(n)]
    charge, last, heard = [0.0] * n, [-(10**9)] * n, [0] * n
    counts, first = [0] * n, [-1] * n
    for t in range(steps):
        fired = []
        for i in range(n):
            got = arriving[i].pop(t, [])
            for port, neuron in enumerate(program.inputs):
                if neuron == i and t < charges.shape[1] and charges[port, t]:
                    got.append(float(charges[port, t]))
            x = 0.0
            for one in got:
                x += one
            rest = int(program.rests[i]) if len(program.rests) else program.refractory
            resting = rest > 0 and t - last[i] < rest + 1
            if resting:
                x = 0.0
            if got and len(program.halving) and program.halving[i] >= 0:
                whole, part = divmod(t - heard[i], 2 ** int(program.halving[i]))
                half = int(HALVES[part * 2 ** (4 - int(program.halving[i]))])
                left = ((abs(int(charge[i])) * half) >> 10) >> whole
                charge[i] = float(left if charge[i] > 0 else -left)
                heard[i] = t
            c = charge[i] + x
            if program.wrap:
                c = (c + 128) % 256 - 128
            if not resting and c >= threshold[i] and (got or not program.lazy):
                fired.append(i)
                counts[i] += 1
                last[i] = t
                if first[i] < 0:
                    first[i] = t
                c = c - (threshold[i] - program.above) if program.soft else 0.0
            elif program.leak[i]:
                c = 0.0
            if len(program.decay):
                c *= program.decay[i]
            charge[i] = max(c, program.floor)
        for i in fired:
            for k in range(program.first[i], program.first[i + 1]):
                arriving[program.target[k]].setdefault(t + int(delay[k]), []).append(float(weight[k]))
    return counts, [first[i] for i in program.outputs]


def random_program(
    rng: np.random.Generator, n: int, s: int, exact: bool, reach: float, **flags: Any
) -> Program:
    pairs = np.sort(rng.choice(n * n, s, replace=False))
    source, target = pairs // n, pairs % n
    first = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(source, minlength=n), out=first[1:])
    weight, threshold = rng.uniform(-reach, reach, s), rng.uniform(-0.1 * reach, reach, n)
    if exact:
        weight, threshold = np.round(weight), np.ceil(threshold)
    decay = rng.uniform(0.5, 1.0, n) if not exact and rng.random() < 0.5 else np.ones(0)
    rests = rng.integers(0, 3, n) if rng.random() < 0.2 else np.zeros(0, np.int64)
    halving = rng.integers(-1, 5, n) if exact and rng.random() < 0.3 else np.zeros(0, np.int64)
    return Program(
        numbers=np.arange(n),
        threshold=threshold,
        leak=rng.random(n) < 0.3,
        first=first,
        target=target,
        delay=rng.integers(1, 8, s),
        weight=weight,
        origin=np.arange(s),
        inputs=rng.permutation(n)[: rng.integers(1, n + 1)],
        outputs=rng.permutation(n)[: rng.integers(1, n + 1)],
        exact=exact,
        decay=decay,
        rests=rests,
        halving=halving,
        above=float(rng.integers(0, 2)),
        one=float(reach),
        **flags,
    )


def compare(
    programs: list[Program],
    rng: np.random.Generator,
    copies: int,
    samples: int,
    window: int,
    steps: int,
    faults: tuple[bool, bool, bool],
) -> None:
    def perturbed(which: bool, name: str) -> list[Any] | None:
        if not which:
            return None
        out = []
        for program in programs:
            rows = np.repeat(getattr(program, name)[None], copies, axis=0)
            if name == "delay":
                rows = rows + rng.integers(0, 3, rows.shape)
            else:
                rows = rows + np.round(rng.normal(0, 2, rows.shape))
                if name == "threshold":
                    rows[rng.random(rows.shape) < 0.1] = np.inf
            out.append(rows)
        return out

    weights, thresholds, delays = (
        perturbed(which, name) for which, name in zip(faults, ("weight", "threshold", "delay"), strict=True)
    )
    copies = copies if any(faults) else 1
    charges = []
    for program in programs:
        given = rng.uniform(-1, 1, (samples, len(program.inputs), window)) * program.one
        if program.exact:
            given = np.round(given)
        given[rng.random(given.shape) < 0.6] = 0
        charges.append(given)
    population = lanes.pack(programs, weights, thresholds, delays, repeat=samples)
    assert population.lanes == copies * samples
    found = lanes.run(population, charges, steps)
    for k, program in enumerate(programs):
        assert found[k].counts.shape == (copies * samples, program.size)
        for lane in range(copies * samples):
            copy, sample = divmod(lane, samples)
            weight = program.weight if weights is None else weights[k][copy]
            threshold = program.threshold if thresholds is None else thresholds[k][copy]
            delay = program.delay if delays is None else delays[k][copy]
            counts, first = interpret(program, weight, threshold, delay, charges[k][sample], steps)
            assert found[k].counts[lane].tolist() == counts, (k, lane)
            assert found[k].first[lane].tolist() == first
            assert found[k].synops[lane] == np.dot(counts, np.diff(program.first))
            assert found[k].steps[lane] == steps
            if lane < 3:
                one = replace(program, weight=weight, threshold=threshold, delay=delay)
                port, time = np.nonzero(charges[k][sample])
                events = dense.Events(time, program.inputs[port], charges[k][sample][port, time])
                alone = dense.run(
                    one,
                    dense.start(one),
                    dense.Events(*(part[events.time < steps] for part in events)),
                    steps,
                )
                assert alone.counts.tolist() == counts
                assert alone.first[program.outputs].tolist() == first


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    exact=st.booleans(),
    lazy=st.booleans(),
    soft=st.booleans(),
    refractory=st.sampled_from([0, 0, 1, 3]),
    floor=st.sampled_from([-np.inf, -7.0, -1.0, 0.0]),
    wrap=st.booleans(),
    reach=st.sampled_from([7.0, 127.0, 1023.0]),
    copies=st.sampled_from([1, 2, 5]),
    samples=st.sampled_from([1, 3, 30]),
    faults=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_random_programs(
    seed: int,
    exact: bool,
    lazy: bool,
    soft: bool,
    refractory: int,
    floor: float,
    wrap: bool,
    reach: float,
    copies: int,
    samples: int,
    faults: tuple[bool, bool, bool],
) -> None:
    rng = np.random.default_rng(seed)
    programs = []
    for _ in range(2):
        n = int(rng.integers(1, 7))
        s = int(rng.integers(0, n * n + 1))
        programs.append(
            random_program(
                rng,
                n,
                s,
                exact,
                reach,
                lazy=lazy,
                soft=soft,
                refractory=refractory,
                floor=floor,
                wrap=wrap and exact,
            )
        )
    window = int(rng.integers(0, 12))
    compare(programs, rng, copies, samples, window, int(rng.integers(0, 20)), faults)


def test_integers_are_as_narrow_as_sums_allow() -> None:
    rng = np.random.default_rng(0)
    kinds = []
    for reach, floor in ((7.0, -7.0), (127.0, -127.0), (1e6, -1e6), (7.0, -np.inf)):
        program = random_program(rng, 6, 20, True, reach, floor=floor)
        kinds.append(lanes.pack([replace(program, soft=False)]).kind)
    assert kinds == [np.int8, np.int16, np.int32, np.float64]
    assert lanes.pack([program], steps=2**20).kind == np.int32
    assert lanes.pack([random_program(rng, 6, 20, False, 1.0)]).kind == np.float64


def test_mistakes() -> None:
    program = random_program(np.random.default_rng(0), 5, 9, True, 7.0, floor=-7.0)
    inputs = len(program.inputs)
    with pytest.raises(ValueError, match="at least one network"):
        lanes.pack([])
    with pytest.raises(ValueError, match="weights of shape"):
        lanes.pack([program], [np.zeros((2, 8))])
    with pytest.raises(ValueError, match="not numbers"):
        lanes.pack([program], [np.full((2, 9), np.nan)])
    with pytest.raises(ValueError, match="3 rows of thresholds, but 2"):
        lanes.pack([program], [np.zeros((2, 9))], [np.zeros((3, 5))])
    with pytest.raises(ValueError, match="delay is less than one"):
        lanes.pack([program], delays=[np.zeros((1, 9), np.int64)])
    population = lanes.pack([program])
    with pytest.raises(ValueError, match="inputs, but network 0 has"):
        lanes.run(population, np.zeros((1, inputs + 1, 3)), 5)
    with pytest.raises(ValueError, match="not whole"):
        lanes.run(population, np.full((1, inputs, 3), 0.5), 5)
    with pytest.raises(ValueError, match="for such charges"):
        lanes.run(population, np.full((1, inputs, 3), 1e9), 5)


ALONE = """
import torch
before = torch.get_num_threads()
import numpy as np
from test_kernel_lanes import random_program
from vilfredo.spiking.kernels import lanes, threads
program = random_program(np.random.default_rng(0), 6, 20, True, 7.0, floor=-7.0)
lanes.run(lanes.pack([program]), [np.ones((1, len(program.inputs), 5))], 9)
print(before, torch.get_num_threads(), threads.count())
"""


def test_what_pytorch_is_held_to_holds() -> None:
    """Numba's threads are nobody else's."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout == "1 1 3\n", done.stderr


def test_threads_say_what_went_wrong() -> None:
    def work(number: int) -> None:
        raise ValueError(f"not {number}")

    with pytest.raises(ValueError, match="not 7"):
        threads.share(work, 3, 7)
