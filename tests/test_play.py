"""The plain loop: recorded episodes, truth tables, what is kept from step to step, and errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cartpole_cases
from vilfredo.spiking import SpikingNetwork, pole
from vilfredo.spiking.decoders.first_to_fire import FirstToFire
from vilfredo.spiking.decoders.rate import Rate
from vilfredo.spiking.decoders.winner_takes_all import WinnerTakesAll
from vilfredo.spiking.encoders.flip_flop import FlipFlop
from vilfredo.spiking.encoders.spike_count import SpikeCount
from vilfredo.spiking.network import NetworkError
from vilfredo.spiking.play import classify, play
from vilfredo.spiking.tasks.classification import Samples
from vilfredo.spiking.tasks.logic import Logic
from vilfredo.spiking.tasks.xor import Xor

risp = pytest.importorskip("vilfredo.spiking.processors.risp")
NETWORKS = Path(os.environ.get("VILFREDO_DATA", "")) / "tennlab_networks"
PARAMS = {
    "discrete": True,
    "min_weight": -7,
    "max_weight": 7,
    "min_threshold": 0,
    "max_threshold": 7,
    "min_potential": -7,
    "max_delay": 15,
}


class Recorded:
    """A recorded episode as a task: its observations, whatever the network does."""

    def __init__(self, case: cartpole_cases.Case) -> None:
        self.case = case
        self.ranges = case.setting.ranges
        self.actions = case.setting.actions
        self.steps = len(case.actions)

    def reset(self, seed: int) -> np.ndarray:
        self.at = 0
        return self.case.observations[0]

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        self.at += 1
        over = self.at == self.steps
        return self.case.observations[0 if over else self.at], 1.0, over


@pytest.mark.parametrize("name", [name for name in cartpole_cases.CASES if name.startswith("testing")])
def test_published_networks_do_what_the_reference_recorded(name: str) -> None:
    case = cartpole_cases.case(name)
    episode = play(
        risp.Processor(case.params),
        case.network(),
        Recorded(case),
        case.encoder,
        WinnerTakesAll(),
        window=case.window,
    )
    assert np.array_equal(episode.counts, case.counts)
    assert np.array_equal(episode.actions, case.actions)
    assert np.array_equal(episode.observations, case.observations)
    assert episode.reward == episode.steps == len(case.actions)


@pytest.mark.parametrize("name", ["testing/42", "testing/45", "testing/47", "testing/48"])
def test_published_networks_balance_the_pole(name: str) -> None:
    pytest.importorskip("gymnasium")
    from vilfredo.spiking.tasks.cartpole import Cartpole

    case = cartpole_cases.case(name)
    task = Cartpole(case.setting.name)
    network = case.network()
    episode = play(
        risp.Processor(case.params), network, task, case.encoder, WinnerTakesAll(), seed=3, steps=1000
    )
    assert episode.reward == episode.steps == 1000
    assert episode.synops > episode.steps
    assert set(episode.actions.tolist()) == set(range(task.actions))


def follower() -> SpikingNetwork:
    """Input i to output i, as often as it is given a spike; for two answers."""
    neurons = [(n, {"Threshold": 7.0}) for n in range(4)]
    synapses = [(n, n + 2, {"Weight": 7.0, "Delay": 1.0}) for n in range(2)]
    return SpikingNetwork.build(neurons, synapses, [0, 1], [2, 3])


class Line:
    """Go where the number says; its observations are given."""

    ranges = ((-1.0, 1.0),)
    actions = 2
    steps = 4
    window = 24

    def reset(self, seed: int) -> list[float]:
        self.rest = [0.25, -0.5, 0.75, 0.9]
        return [self.rest[0]]

    def step(self, action: int) -> tuple[list[float], float, bool]:
        now = self.rest.pop(0)
        return [self.rest[0] if self.rest else 0.0], float(action == (now > 0)), False


def test_an_episode_is_told_in_full() -> None:
    episode = play(risp.Processor(PARAMS), follower(), Line(), FlipFlop(8, 3), WinnerTakesAll())
    assert episode.observations.tolist() == [[0.25], [-0.5], [0.75], [0.9]]
    assert episode.counts.tolist() == [[0, 2], [4, 0], [0, 6], [0, 8]]
    assert episode.actions.tolist() == [1, 0, 1, 1]
    assert episode.rewards.tolist() == [1.0] * 4
    assert (episode.synops, episode.spikes, episode.window) == (20, 40, 24)
    shorter = play(risp.Processor(PARAMS), follower(), Line(), FlipFlop(8, 3), WinnerTakesAll(), steps=2)
    assert shorter.steps == 2


@pytest.mark.parametrize("clear", [False, True])
def test_state_goes_on_unless_it_is_cleared(clear: bool) -> None:
    # A second way with a delay of a whole window: what one step gave arrives at the end of the next.
    network = SpikingNetwork.build(
        [(n, {"Threshold": 7.0}) for n in range(4)],
        [(n, n + 2, {"Weight": 7.0, "Delay": 12.0}) for n in range(2)],
        [0, 1],
        [2, 3],
    )
    episode = play(
        risp.Processor(PARAMS), network, Line(), FlipFlop(8, 1), WinnerTakesAll(), window=12, clear=clear
    )
    expected = [[0, 0]] * 4 if clear else [[0, 0], [0, 2], [4, 0], [0, 6]]
    assert episode.counts.tolist() == expected


def test_first_to_fire_needs_times() -> None:
    slow = SpikingNetwork.build(
        [(n, {"Threshold": 7.0}) for n in range(4)],
        [(a, b, {"Weight": 7.0, "Delay": d}) for a, b, d in ((0, 2, 9.0), (1, 2, 9.0), (1, 3, 2.0))],
        [0, 1],
        [2, 3],
    )
    episode = play(risp.Processor(PARAMS), slow, Line(), FlipFlop(8, 1), FirstToFire(), clear=True)
    assert episode.actions.tolist() == [1, 0, 1, 1]


def test_a_published_network_is_xor() -> None:
    file = NETWORKS / "framework-embedder-open" / "xor.json"
    if not file.is_file():
        pytest.skip("the published networks are not in $VILFREDO_DATA")
    network = SpikingNetwork.from_tennlab(file)
    processor = risp.Processor(network.data["proc_params"])
    answers = classify(processor, network, Xor(), SpikeCount(1), Rate(full=1), window=10)
    assert answers.predicted.tolist() == answers.labels.tolist() == [0, 1, 1, 0]
    assert (answers.accuracy, answers.error) == (1.0, 0.0)
    assert answers.window == 10


def test_samples_do_not_see_each_other() -> None:
    """A neuron that remembers would turn the second of two equal samples into another."""
    network = SpikingNetwork.build(
        [(0, {"Threshold": 7.0}), (1, {"Threshold": 7.0})], [(0, 1, {"Weight": 4.0, "Delay": 1.0})], [0], [1]
    )
    task = Samples.of(([[0.0], [1.0], [1.0], [1.0]], [0, 1, 1, 1]), ([[1.0]], [1]))
    answers = classify(risp.Processor(PARAMS), network, task, SpikeCount(1), Rate(full=1), window=4)
    assert answers.counts.tolist() == [[0]] * 4
    assert answers.accuracy == 0.25
    test = classify(risp.Processor(PARAMS), network, task, SpikeCount(1), Rate(full=1), "test", window=4)
    assert test.labels.tolist() == [1]


def test_what_does_not_fit_is_refused() -> None:
    processor = risp.Processor(PARAMS)
    with pytest.raises(
        NetworkError, match="the network has 2 inputs, the encoder needs 4 for 2 numbers observed"
    ):
        classify(processor, follower(), Xor(), FlipFlop(), WinnerTakesAll())
    with pytest.raises(NetworkError, match="the network has 2 outputs, the decoder needs 1 for 2 answers"):
        classify(processor, follower(), Xor(), SpikeCount(), Rate())
    with pytest.raises(ValueError, match="Line has steps, not samples: use play"):
        classify(processor, follower(), Line(), FlipFlop(), WinnerTakesAll())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Logic has samples, not steps: use classify"):
        play(processor, follower(), Logic(), FlipFlop(), WinnerTakesAll())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs 22 timesteps, the network runs only 20"):
        play(processor, follower(), Line(), FlipFlop(), WinnerTakesAll(), window=20)
    with pytest.raises(ValueError, match="at least 1 timestep"):
        play(processor, follower(), Line(), FlipFlop(), WinnerTakesAll(), window=0)
    with pytest.raises(NetworkError):
        play(risp.Processor({**PARAMS, "max_weight": 3}), follower(), Line(), FlipFlop(), WinnerTakesAll())


def test_an_observation_that_is_no_number_is_refused() -> None:
    class Broken(Line):
        def reset(self, seed: int) -> Any:
            return [float("nan")]

    with pytest.raises(ValueError, match="number 0 of observation 0 is NaN"):
        play(risp.Processor(PARAMS), follower(), Broken(), FlipFlop(), WinnerTakesAll())


def test_the_table_of_settings_is_the_tasks() -> None:
    pytest.importorskip("gymnasium")
    from vilfredo.spiking.tasks.cartpole import Cartpole

    for name, setting in pole.SETTINGS.items():
        task = Cartpole(name)
        assert (task.ranges, task.actions) == (setting.ranges, setting.actions)
        assert task.success == setting.goal
        assert Cartpole(name, steps=1500).success == setting.goal / 10
