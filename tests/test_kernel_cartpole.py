"""The compiled loop of pole and cart does what the plain loop does, and Gymnasium's CartPole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs the extra spiking")
pytest.importorskip("gymnasium", reason="needs the extra spiking")

import gymnasium

from vilfredo.spiking import coding, pole
from vilfredo.spiking.decoders.first_to_fire import FirstToFire
from vilfredo.spiking.decoders.population import Population as Votes
from vilfredo.spiking.decoders.rate import Rate as Level
from vilfredo.spiking.decoders.winner_takes_all import WinnerTakesAll
from vilfredo.spiking.encoders.argyle import Argyle
from vilfredo.spiking.encoders.charge_injection import ChargeInjection
from vilfredo.spiking.encoders.encoder import Code
from vilfredo.spiking.encoders.flip_flop import FlipFlop
from vilfredo.spiking.encoders.rate import Rate
from vilfredo.spiking.encoders.temporal import Temporal
from vilfredo.spiking.kernels import cartpole, dense, lanes
from vilfredo.spiking.program import Program

# Balances the pole for 15,000 steps from eight starts that were drawn: (source, target, weight, delay).
THRESHOLDS = [42, 113, 106, 30, 37, 83, 61, 47, 101, 46, 56, 124]
SYNAPSES = [
    (0, 1, 109, 5), (0, 2, 47, 5), (0, 7, 15, 4), (0, 8, 52, 12), (1, 4, 84, 14), (1, 10, 20, 5),
    (2, 2, 58, 7), (2, 10, -78, 12), (3, 0, -86, 2), (3, 1, 54, 12), (3, 5, 9, 5), (3, 11, 17, 10),
    (4, 1, -127, 4), (4, 4, 77, 14), (5, 2, 102, 5), (5, 7, 127, 12), (6, 2, -123, 15), (6, 4, 109, 3),
    (6, 9, -31, 4), (7, 6, 12, 14), (7, 9, 98, 10), (7, 11, -8, 2), (8, 7, -114, 12), (9, 0, 33, 9),
    (9, 2, 77, 9), (10, 2, -29, 14), (10, 8, 32, 13), (10, 9, -100, 9), (10, 11, -5, 13), (11, 11, 127, 13),
]  # fmt: skip


def program(synapses: Any, threshold: Any, inputs: int, outputs: int, **flags: Any) -> Program:
    rows = np.array(synapses)
    n = len(threshold)
    first = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(rows[:, 0], minlength=n), out=first[1:])
    return Program(
        numbers=np.arange(n),
        threshold=np.array(threshold, np.float64),
        leak=flags.pop("leak", np.zeros(n, np.bool_)),
        first=first,
        target=rows[:, 1],
        delay=rows[:, 3],
        weight=rows[:, 2].astype(np.float64),
        origin=np.arange(len(rows)),
        inputs=np.arange(inputs),
        outputs=np.arange(inputs, inputs + outputs),
        floor=-127.0,
        one=127.0,
        **flags,
    )


def random_program(rng: np.random.Generator, n: int, s: int, inputs: int, outputs: int) -> Program:
    pairs = np.sort(rng.choice(n * n, s, replace=False))
    rows = [(pair // n, pair % n, int(rng.integers(-127, 128)), int(rng.integers(1, 16))) for pair in pairs]
    lowest = int(rng.choice([0, 1]))
    return program(
        rows, rng.integers(lowest, 128, n), inputs, outputs,
        leak=rng.random(n) < 0.2,
        soft=bool(rng.random() < 0.2),
        refractory=int(rng.choice([0, 0, 2])),
        halving=rng.integers(-1, 5, n) if rng.random() < 0.2 else np.zeros(0, np.int64),
    )  # fmt: skip


class Plain:
    """A network at work, one timestep run after the other: the loop as anybody would write it."""

    def __init__(self, program: Program, codes: tuple[Code, ...], reading: Any) -> None:
        self.program, self.codes, self.reading = program, codes, reading
        self.state = dense.start(program)
        self.counts = np.zeros(program.size, np.int64)

    def clear(self) -> None:
        self.state = dense.start(self.program)

    def act(self, seen: Any) -> int:
        charges = coding.charges(self.codes, np.asarray(seen, np.float64))[0]
        port, time = np.nonzero(charges)
        events = dense.Events(time, self.program.inputs[port], charges[port, time])
        run = dense.run(self.program, self.state, events, 24)
        self.counts += run.counts
        outputs = self.program.outputs
        return int(coding.answers(self.reading, run.counts[outputs], run.first[outputs])[0])


def real(codes: tuple[Code, ...]) -> tuple[Code, ...]:
    """What RISP-127 makes of normalised charges."""
    return tuple(replace(code, charge=np.floor(code.charge * 127.0)) for code in codes)


def play(
    network: Plain, setting: pole.Setting, start: Any, most: int, clear: bool, rounded: bool
) -> tuple[int, bool]:
    state = tuple(float(v) for v in start)
    for step in range(most):
        if clear:
            network.clear()
        seen = np.array(state)
        action = network.act((seen.astype(np.float32) if rounded else seen)[list(setting.seen)])
        state = pole.advance(*state, setting.forces[action])
        if pole.fallen(state[0], state[2]):
            return step + 1, True
    return most, False


@pytest.mark.parametrize("case", range(20))
def test_equals_the_plain_loop(case: int) -> None:
    rng = np.random.default_rng(case)
    setting = list(pole.SETTINGS.values())[case % 4]
    encoder: Any = [FlipFlop(), Argyle(), Rate(), Temporal(), ChargeInjection(levels=16)][case % 5]
    decoder: Any = [WinnerTakesAll(), FirstToFire(), Votes(2), Level()][case // 2 % 4]
    codes = real(coding.codes(encoder, setting.ranges, 24))
    reading = coding.reading(decoder, setting.actions, 24)
    inputs = coding.inputs(codes)
    size = inputs + reading.outputs
    programs = [
        random_program(rng, int(rng.integers(size, size + 8)), 3 * size, inputs, reading.outputs)
        for _ in range(4)
    ]
    copies, many = int(rng.choice([1, 3])), int(rng.choice([1, 3, 30]))
    clear, rounded = bool(rng.integers(2)), bool(rng.integers(2))
    weights = [
        np.clip(np.round(p.weight + rng.normal(0, 20, (copies, len(p.target)))), -127, 127) for p in programs
    ]
    starts = pole.starts(range(many), pole.SPREADS["gymnasium"])
    population = lanes.pack(programs, weights, repeat=many)
    found = cartpole.episodes(
        population, codes, reading, setting, starts, 40, clear=clear, rounded=rounded
    )  # fmt: skip
    for k, one in enumerate(programs):
        for lane in range(0, copies * many, 1 if copies * many < 10 else 11):
            network = Plain(replace(one, weight=weights[k][lane // many]), codes, reading)
            steps, ended = play(network, setting, starts[lane % many], 40, clear, rounded)
            assert (found.steps[k, lane], found.ended[k, lane]) == (steps, ended), (k, lane)
            assert found.counts[k][lane].tolist() == network.counts.tolist()
    again = cartpole.episodes(
        population, codes, reading, setting, starts, 40, clear=clear, rounded=rounded, restart=True
    )  # fmt: skip
    assert (again.steps == 40).all()
    assert (again.ended[found.steps == 1] == 40).all()
    assert (again.ended >= found.ended).all()


def test_equals_gymnasium_for_15000_steps() -> None:
    setting = pole.SETTINGS["easy"]
    codes = real(coding.codes(FlipFlop(), setting.ranges, 24))
    reading = WinnerTakesAll().reading(2, 24)
    one = program(SYNAPSES, THRESHOLDS, 8, 2)
    environment = gymnasium.make("CartPole-v1", max_episode_steps=15_000)
    seeds = [5, 17]
    starts = np.array([np.random.default_rng(seed).uniform(-0.05, 0.05, 4) for seed in seeds])
    population = lanes.pack([one], repeat=2)
    found = cartpole.episodes(population, codes, reading, setting, starts, 15_000, rounded=True)
    for lane, seed in enumerate(seeds[:1]):
        network = Plain(one, codes, reading)
        seen, _ = environment.reset(seed=seed)
        assert environment.unwrapped.state.tolist() == starts[lane].tolist()
        steps, over = 0, False
        while not over:
            seen, _, fallen, late, _ = environment.step(network.act(seen))
            over = fallen or late
            steps += 1
        assert steps > 10_000
        assert (found.steps[0, lane], found.ended[0, lane]) == (steps, fallen)
        assert found.counts[0][lane].tolist() == network.counts.tolist()


def test_sine_and_cosine_are_those_of_gymnasium() -> None:
    environment = gymnasium.make("CartPole-v1").unwrapped
    rng = np.random.default_rng(0)
    for _ in range(2000):
        state = rng.uniform(-1, 1, 4) * (2.4, 3.0, 0.22, 3.0)
        environment.state, environment.steps_beyond_terminated = state, None
        environment.step(1)
        assert environment.state.tolist() == list(cartpole._advance(*state, 10.0))
        assert environment.state.tolist() == list(pole.advance(*state.tolist(), 10.0))


def test_mistakes() -> None:
    setting = pole.SETTINGS["easy"]
    codes = real(coding.codes(FlipFlop(), setting.ranges, 24))
    reading = WinnerTakesAll().reading(2, 24)
    population = lanes.pack([program(SYNAPSES, THRESHOLDS, 8, 2)])
    start = [[0.0] * 4]
    with pytest.raises(ValueError, match="4 numbers"):
        cartpole.episodes(population, codes[:2], reading, setting, start, 5)
    with pytest.raises(ValueError, match="starts"):
        cartpole.episodes(population, codes, reading, setting, [[0.0, 1.0]], 5)
    with pytest.raises(ValueError, match="3 actions"):
        cartpole.episodes(population, codes, reading, pole.SETTINGS["medium"], start, 5)
    with pytest.raises(ValueError, match="inputs"):
        cartpole.episodes(
            lanes.pack([program(SYNAPSES, THRESHOLDS, 7, 2)]), codes, reading, setting, start, 5
        )
    half = tuple(replace(code, charge=code.charge / 2) for code in codes)
    with pytest.raises(ValueError, match="not whole"):
        cartpole.episodes(population, half, reading, setting, start, 5)
    with pytest.raises(ValueError, match="after the 10 timesteps"):
        cartpole.episodes(population, codes, reading, setting, start, 5, window=10)


def test_blocks_and_single_lanes_agree() -> None:
    rng = np.random.default_rng(2)
    setting = pole.SETTINGS["easy"]
    codes = real(coding.codes(FlipFlop(), setting.ranges, 24))
    reading = WinnerTakesAll().reading(2, 24)
    one = program(SYNAPSES, THRESHOLDS, 8, 2)
    weights = np.clip(np.round(one.weight * rng.normal(1, 0.3, (20, len(one.weight)))), -127, 127)
    starts = pole.starts(range(4), pole.SPREADS["paper"])
    for restart in (False, True):
        whole = cartpole.episodes(
            lanes.pack([one], [weights], repeat=4), codes, reading, setting, starts, 4000, restart=restart
        )
        assert len(np.unique(whole.steps)) > 20 or restart
        for k in range(0, 20, 4):
            part = lanes.pack([one], [weights[k : k + 4]], repeat=4)
            few = cartpole.episodes(part, codes, reading, setting, starts, 4000, restart=restart)
            assert few.steps.tolist() == whole.steps[:, 4 * k : 4 * k + 16].tolist()
            assert few.ended.tolist() == whole.ended[:, 4 * k : 4 * k + 16].tolist()
            assert few.counts[0].tolist() == whole.counts[0][4 * k : 4 * k + 16].tolist()
