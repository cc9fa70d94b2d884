"""The compiled cart and pole does what the plain loop does with Gymnasium, step for step, spike for spike."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import cartpole_cases
from vilfredo.spiking import SpikingNetwork, coding, pole
from vilfredo.spiking.decoders.first_to_fire import FirstToFire
from vilfredo.spiking.decoders.population import Population
from vilfredo.spiking.decoders.rate import Rate as Level
from vilfredo.spiking.decoders.winner_takes_all import WinnerTakesAll
from vilfredo.spiking.encoders.argyle import Argyle
from vilfredo.spiking.encoders.binning import Binning
from vilfredo.spiking.encoders.charge_injection import ChargeInjection
from vilfredo.spiking.encoders.flip_flop import FlipFlop
from vilfredo.spiking.encoders.rate import Rate
from vilfredo.spiking.encoders.spike_count import SpikeCount
from vilfredo.spiking.encoders.temporal import Temporal
from vilfredo.spiking.play import Episode, play

pytest.importorskip("gymnasium")
loop = pytest.importorskip("vilfredo.spiking.kernels.cartpole")

from vilfredo.spiking.kernels import lanes  # noqa: E402
from vilfredo.spiking.processors import risp  # noqa: E402
from vilfredo.spiking.tasks.cartpole import Cartpole  # noqa: E402

PARAMS = {
    "discrete": True,
    "min_weight": -127,
    "max_weight": 127,
    "min_threshold": 1,
    "max_threshold": 127,
    "min_potential": -127,
    "max_delay": 15,
    "leak_mode": "configurable",
}


def compiled(
    processor: Any,
    networks: list[SpikingNetwork],
    task: Cartpole,
    encoder: Any,
    decoder: Any,
    seeds: list[int],
    steps: int,
    clear: bool,
) -> Any:
    codes = [
        dataclasses.replace(
            code, charge=np.vectorize(lambda v: processor.charge(v, True) if v else 0.0)(code.charge)
        )
        for code in coding.codes(encoder, task.ranges, task.window)
    ]
    reading = coding.reading(decoder, task.actions, task.window)
    most = max(float(np.abs(code.charge).max()) for code in codes)
    population = lanes.pack(
        [processor.program(network) for network in networks], repeat=len(seeds), charge=most
    )
    return loop.episodes(
        population, codes, reading, task.setting, task.starts(seeds), steps, task.window, clear=clear
    )


def compare(
    processor: Any,
    networks: list[SpikingNetwork],
    task: Cartpole,
    encoder: Any,
    decoder: Any,
    seeds: list[int],
    steps: int = 500,
    clear: bool = False,
) -> list[Episode]:
    found = compiled(processor, networks, task, encoder, decoder, seeds, steps, clear)
    told = []
    for place, network in enumerate(networks):
        for lane, seed in enumerate(seeds):
            episode = play(processor, network, task, encoder, decoder, seed, steps=steps, clear=clear)
            assert found.steps[place, lane] == episode.steps
            assert found.reward[place, lane] == episode.reward
            assert found.counts[place][lane].sum() == episode.spikes
            program = processor.program(network)
            assert np.array_equal(found.counts[place][lane][program.outputs], episode.counts.sum(axis=0))
            told.append(episode)
    return told


def drawn(rng: np.random.Generator, inputs: int, outputs: int) -> SpikingNetwork:
    """A network of some hidden neurons and random synapses, that acts."""
    size = inputs + outputs + int(rng.integers(0, 6))
    neurons = [
        (n, {"Threshold": float(rng.integers(1, 100)), "Leak": float(rng.random() < 0.3)})
        for n in range(size)
    ]
    pairs = {(int(a), int(b)) for a, b in rng.integers(size, size=(4 * size, 2))}
    pairs |= {(n, inputs + int(rng.integers(outputs))) for n in range(inputs)}
    synapses = [
        (a, b, {"Weight": float(rng.integers(-60, 128)), "Delay": float(rng.integers(1, 16))})
        for a, b in sorted(pairs)
    ]
    return SpikingNetwork.build(neurons, synapses, range(inputs), range(inputs, inputs + outputs))


@pytest.mark.parametrize("name", [name for name in cartpole_cases.CASES if name.startswith("testing")])
@pytest.mark.parametrize("clear", [False, True])
def test_published_networks(name: str, clear: bool) -> None:
    case = cartpole_cases.case(name)
    task = Cartpole(case.setting.name)
    processor = risp.Processor(case.params)
    episodes = compare(
        processor, [case.network()], task, case.encoder, WinnerTakesAll(), [0, 1], steps=300, clear=clear
    )
    if not clear:
        assert all(episode.steps == 300 for episode in episodes)


@pytest.mark.long
@pytest.mark.parametrize("name", ["testing/42", "testing/44", "testing/47", "testing/49"])
def test_published_networks_for_five_minutes(name: str) -> None:
    case = cartpole_cases.case(name)
    task = Cartpole(case.setting.name)
    compare(
        risp.Processor(case.params), [case.network()], task, case.encoder, WinnerTakesAll(), [7], task.steps
    )


CODERS = [
    ("easy", FlipFlop(), WinnerTakesAll()),
    ("medium", Argyle(3, 5, 2), WinnerTakesAll()),
    ("hard", Binning(3, 2), Population(3)),
    ("hardest", SpikeCount(6, 25 / 8), FirstToFire()),
    ("easy", ChargeInjection(128), Population(2)),
    ("medium", Temporal(12), FirstToFire()),
    ("hard", Rate(12, 24, seed=3), Level(9)),
    ("easy", Rate(8), Level()),
    ("hardest", [FlipFlop(4), Binning(4, 3, flip_flop=True)], WinnerTakesAll()),
    ("medium", ChargeInjection(9), Level(4)),
]


@pytest.mark.parametrize(("setting", "encoder", "decoder"), CODERS)
@pytest.mark.parametrize("clear", [False, True])
def test_random_networks(setting: str, encoder: Any, decoder: Any, clear: bool) -> None:
    task = Cartpole(setting)
    processor = risp.Processor(PARAMS)
    inputs = coding.inputs(coding.codes(encoder, task.ranges, task.window))
    outputs = coding.reading(decoder, task.actions, task.window).outputs
    rng = np.random.default_rng([len(setting), inputs, outputs])
    networks = [drawn(rng, inputs, outputs) for _ in range(6)]
    episodes = compare(processor, networks, task, encoder, decoder, [0, 5, 9], clear=clear)
    assert len({tuple(episode.actions) for episode in episodes}) > 1


def test_a_spike_whose_charge_is_nothing_is_none() -> None:
    """A neuron with threshold 0 would fire by its arrival."""
    processor = risp.Processor(
        {**PARAMS, "min_threshold": 0, "max_weight": 7, "min_weight": -7, "max_threshold": 7}
    )
    neurons = [(n, {"Threshold": 0.0 if n < 4 else 7.0, "Leak": 0.0}) for n in range(6)]
    synapses = [(n, 4 + n % 2, {"Weight": 7.0, "Delay": 1.0 + n}) for n in range(4)]
    network = SpikingNetwork.build(neurons, synapses, range(4), (4, 5))
    task = Cartpole("easy")
    compare(processor, [network], task, ChargeInjection(128), WinnerTakesAll(), [0, 1, 2, 3])


def test_all_starts_and_settings_of_the_table() -> None:
    rng = np.random.default_rng(1)
    for setting in pole.SETTINGS:
        for starts in pole.SPREADS:
            task = Cartpole(setting, starts=starts)
            networks = [drawn(rng, 2 * len(task.ranges), task.actions) for _ in range(2)]
            compare(risp.Processor(PARAMS), networks, task, FlipFlop(), WinnerTakesAll(), [3, 2**40])
