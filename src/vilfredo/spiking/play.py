"""The plain loop: a processor plays a task, one step or sample after the other. Slow and clear; the compiled
loops give the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vilfredo.spiking import coding
from vilfredo.spiking.decoders.decoder import Decoder, Reading
from vilfredo.spiking.encoders.encoder import Code, Encoder
from vilfredo.spiking.network import Floats, Ints, NetworkError, SpikingNetwork
from vilfredo.spiking.processors.driver import Driver
from vilfredo.spiking.tasks.task import Classification, Control, kind

WINDOW = 24  # timesteps of the network for one step or sample, where neither task nor caller says


@dataclass(frozen=True, eq=False)
class Episode:
    """What happened in T steps of a control task with f numbers observed and o outputs."""

    observations: Floats  # (T, f) what was encoded
    counts: Ints  # (T, o) spikes of the outputs
    actions: Ints  # (T,)
    rewards: Floats  # (T,)
    spikes: int  # of all neurons
    synops: int  # synaptic deliveries: spikes times fan-out
    window: int  # timesteps of the network in each step

    @property
    def steps(self) -> int:
        return len(self.actions)

    @property
    def reward(self) -> float:
        """The sum of the rewards."""
        return float(self.rewards.sum())


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network said of m samples."""

    predicted: Ints  # (m,)
    labels: Ints  # (m,)
    counts: Ints  # (m, o) spikes of the outputs
    spikes: int  # of all neurons
    synops: int  # synaptic deliveries: spikes times fan-out
    window: int  # timesteps of the network for each sample

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float((self.predicted == self.labels).mean())

    @property
    def error(self) -> float:
        """Share of wrong answers."""
        return float((self.predicted != self.labels).mean())


def play(
    processor: Driver,
    network: SpikingNetwork,
    task: Control,
    encoder: Encoder | Sequence[Encoder],
    decoder: Decoder,
    seed: int = 0,
    *,
    window: int | None = None,
    clear: bool = False,
    steps: int | None = None,
) -> Episode:
    """One episode, the one that begins with `task.reset(seed)`.

    Each step: the observation is encoded, the network runs `window` timesteps (None: the task's `window`, or
    24), the spikes of its outputs are the action. The state of the network goes on from step to step, unless
    `clear`. An episode ends when the task says so, and after `steps` (None: the task's own) at the latest.

    Raises `NetworkError` for a network that the processor cannot hold or that has other inputs or outputs
    than encoder and decoder need, and `ValueError` for a task that is none.
    """
    if kind(task) != "control":
        raise ValueError(f"{type(task).__name__} has samples, not steps: use classify")
    run = _Run(processor, network, task, task.actions, encoder, decoder, window)
    seen, counts, actions, rewards = [], [], [], []
    observation = task.reset(seed)
    for _ in range(task.steps if steps is None else min(steps, task.steps)):
        if clear:
            run.processor.clear_activity()
        charges = coding.charges(run.codes, observation)[0]
        spikes, first = run.once(charges)
        action = int(coding.answers(run.reading, spikes, first)[0])
        seen.append(np.array(observation, dtype=np.float64).ravel())
        counts.append(spikes)
        actions.append(action)
        observation, reward, over = task.step(action)
        rewards.append(float(reward))
        if over:
            break
    return Episode(
        np.array(seen),
        np.array(counts, dtype=np.int64),
        np.array(actions, dtype=np.int64),
        np.array(rewards),
        run.spikes,
        run.synops,
        run.window,
    )


def classify(
    processor: Driver,
    network: SpikingNetwork,
    task: Classification,
    encoder: Encoder | Sequence[Encoder],
    decoder: Decoder,
    split: str = "search",
    *,
    window: int | None = None,
) -> Answers:
    """What the network says of each sample of a split; before each it is silent.

    `window` and errors as in `play`.
    """
    if kind(task) != "classification":
        raise ValueError(f"{type(task).__name__} has steps, not samples: use play")
    run = _Run(processor, network, task, task.classes, encoder, decoder, window)
    x, y = task.samples(split)
    counts, firsts = [], []
    for charges in coding.charges(run.codes, x):
        run.processor.clear_activity()
        spikes, first = run.once(charges)
        counts.append(spikes)
        firsts.append(first)
    predicted = coding.answers(run.reading, counts, firsts)
    labels = np.asarray(y, dtype=np.int64)
    return Answers(predicted, labels, np.array(counts), run.spikes, run.synops, run.window)


class _Run:
    """A network on a processor between codes and a reading; adds up what it costs."""

    def __init__(
        self,
        processor: Driver,
        network: SpikingNetwork,
        task: Control | Classification,
        answers: int,
        encoder: Encoder | Sequence[Encoder],
        decoder: Decoder,
        window: int | None,
    ) -> None:
        self.window = int(getattr(task, "window", WINDOW)) if window is None else window
        if self.window < 1:
            raise ValueError(
                f"the network must run at least 1 timestep for an observation, not {self.window}"
            )
        made = coding.codes(encoder, task.ranges, self.window)
        self.codes = tuple(felt(code, processor) for code in made)
        self.reading = coding.reading(decoder, answers, self.window)
        fits(network, self.codes, self.reading)
        self.processor = processor
        processor.load_network(network)
        processor.track_all_neuron_events(False)
        if self.reading.rule == "first":
            for place in range(self.reading.outputs):
                processor.track_output_events(place)
        self.numbers = network.ids[network.inputs].tolist()
        ascending = np.argsort(network.ids, kind="stable")
        self.fan = np.bincount(network.source, minlength=network.size)[ascending]
        self.spikes = 0
        self.synops = 0

    def once(self, charges: Floats) -> tuple[Ints, Ints]:
        """Spikes of each output, and when the first came (−1: never)."""
        places, times = np.nonzero(charges)
        numbers = self.numbers
        self.processor.apply_spikes(
            [
                (numbers[place], time, float(charges[place, time]))
                for place, time in zip(places.tolist(), times.tolist(), strict=True)
            ]
        )
        self.processor.run(self.window)
        fired = np.array(self.processor.neuron_counts(), dtype=np.int64)
        self.spikes += int(fired.sum())
        self.synops += int(fired @ self.fan)
        counts = np.array(self.processor.output_counts(), dtype=np.int64)
        first = np.full(len(counts), -1, dtype=np.int64)
        if self.reading.rule == "first":
            for place, times_of in enumerate(self.processor.output_vectors()):
                if times_of:
                    first[place] = int(times_of[0])
        return counts, first


def felt(code: Code, processor: Driver) -> Code:
    """The code without spikes whose charge is nothing on this processor: they are none in all loops."""
    values, place = np.unique(code.charge, return_inverse=True)
    kept = [v if v and processor.charge(float(v), True) else 0.0 for v in values]
    return replace(code, charge=np.array(kept)[place.reshape(code.charge.shape)])


def fits(network: SpikingNetwork, codes: Sequence[Code], reading: Reading) -> None:
    """Raise `NetworkError` unless the network has the inputs and outputs that codes and reading need."""
    needed, there = coding.inputs(codes), len(network.inputs)
    if needed != there:
        raise NetworkError(
            f"the network has {there} inputs, the encoder needs {needed} for {len(codes)} numbers observed"
        )
    if reading.outputs != len(network.outputs):
        raise NetworkError(
            f"the network has {len(network.outputs)} outputs, the decoder needs {reading.outputs} for "
            f"{reading.answers} answers"
        )
