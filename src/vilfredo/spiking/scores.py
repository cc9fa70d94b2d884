"""How well networks and their perturbed copies do at a task: many in as few compiled calls as can be.

What can be lanes (every program whose sums do not depend on their order) runs in `kernels/lanes.py`, cart and
pole in the compiled loop of `kernels/cartpole.py`; other environments, and networks that are more than a
program, are run one by one. The results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vilfredo.protocols import Fault
from vilfredo.spiking import coding
from vilfredo.spiking.copies import copies as perturbed_copies
from vilfredo.spiking.network import Floats, Ints, SpikingNetwork
from vilfredo.spiking.population import Cells
from vilfredo.spiking.portrait import portrait as drawn
from vilfredo.spiking.program import Program
from vilfredo.spiking.tasks.task import Classification, Control, kind
from vilfredo.trial import JSON

if TYPE_CHECKING:
    from vilfredo.spiking.costs import Cost
    from vilfredo.spiking.decoders.decoder import Decoder, Reading
    from vilfredo.spiking.encoders.encoder import Code, Encoder
    from vilfredo.spiking.kernels import dense, lanes
    from vilfredo.spiking.processors.driver import Driver, Engine

SHOWN = 10  # inferences in a drawing


@dataclass(frozen=True, eq=False)
class Setup:
    """A task put to a processor: how observations become charges, and spikes answers."""

    processor: Driver
    task: Control | Classification
    codes: tuple[Code, ...]
    reading: Reading
    window: int  # timesteps of one inference
    clear: bool  # whether each inference begins with a silent network; a sample always does
    steps: int  # of an episode at most; 0 for samples

    @classmethod
    def of(
        cls,
        processor: Driver,
        task: Control | Classification,
        encoder: Encoder | Sequence[Encoder],
        decoder: Decoder,
        window: int | None = None,
        clear: bool = False,
        steps: int | None = None,
    ) -> Setup:
        """Raises `ValueError` for a task that is none, and for coders that do not fit task and window."""
        span = window or int(getattr(task, "window", 24))
        its: Any = task
        if kind(task) == "control":
            answers, bound = its.actions, its.steps if steps is None else min(steps, its.steps)
        else:
            answers, bound = its.classes, 0
        return cls(
            processor,
            task,
            coding.codes(encoder, task.ranges, span),
            coding.reading(decoder, answers, span),
            span,
            clear,
            bound,
        )

    @property
    def control(self) -> bool:
        return self.steps > 0

    @property
    def inputs(self) -> int:
        """How many input neurons a network needs."""
        return coding.inputs(self.codes)

    @property
    def outputs(self) -> int:
        """How many output neurons a network needs."""
        return self.reading.outputs

    def describe(self) -> Mapping[str, JSON]:
        """For a report."""
        task = self.task
        return {
            "task": str(getattr(task, "name", "") or type(task).__name__),
            "processor": self.processor.name,
            "parameters": self.processor.get_params(),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "window": self.window,
            "steps": self.steps,
        }


@dataclass(frozen=True, eq=False)
class Score:
    """What one network did. An inference is one step of an environment, or one sample."""

    clean: Floats  # (E,) reward of each episode, or (m,) 1.0 for each sample with the right answer, else 0.0
    faulty: Floats  # (K,) mean of the same for each perturbed copy; empty without copies
    synops: float  # per inference of the network itself
    spikes: float
    inferences: int
    cost: Cost  # of one inference


def scores(
    setup: Setup,
    networks: Sequence[SpikingNetwork],
    *,
    split: str = "search",
    episodes: Sequence[int] = (0,),
    faults: Sequence[Fault] = (),
    copies: int = 0,
    copy_episodes: int | None = None,
    seed: int = 0,
) -> list[Score]:
    """Each network's score at `setup`. `split` is of samples ("search", "test"); `episodes` are the seeds of
    a control task's episodes. With `copies` > 0 as many perturbed copies of each network do the same, the
    first `copy_episodes` of the episodes each; `faults` act on them after the processor's own imperfection.
    The random numbers follow from `seed` and are the same for all networks.

    Raises `NetworkError` for a network that the processor cannot hold.
    """
    programs = [setup.processor.cells(network) for network in networks]
    clean = _runs(setup, networks, [_itself(setup.processor, p) for p in programs], False, split, episodes)
    faulty: list[Floats] = [np.zeros(0)] * len(networks)
    if copies:
        cells = [_perturbed(setup.processor, p, faults, copies, seed) for p in programs]
        found = _runs(setup, networks, cells, True, split, episodes[:copy_episodes])
        faulty = [run.score.reshape(copies, -1).mean(axis=1) for run in found]
    return [_score(setup, n, run, f) for n, run, f in zip(networks, clean, faulty, strict=True)]


def _itself(processor: Driver, program: Program) -> Cells:
    """As it would be loaded: on the device that the processor's `seed` draws, where it has one."""
    rng = np.random.default_rng(getattr(processor.params, "seed", 0))
    return Cells(program, processor.device_weights(program, 1, rng), program.threshold[None], None)


def _perturbed(processor: Driver, program: Program, faults: Sequence[Fault], count: int, seed: int) -> Cells:
    rng = np.random.default_rng(seed)
    made = perturbed_copies(program, faults, count, rng, processor.device_weights(program, count, rng))
    return Cells(program, made.weights, made.thresholds, made.delays)


@dataclass(frozen=True, eq=False)
class _Run:
    """Rows × episodes, or rows × samples, of one network: flat, rows outside."""

    score: Floats
    counts: Ints  # (n,) spikes of each neuron in all, in the order of the program
    inferences: int


def _runs(
    setup: Setup,
    networks: Sequence[SpikingNetwork],
    cells: Sequence[Cells],
    perturbed: bool,
    split: str,
    episodes: Sequence[int],
) -> list[_Run]:
    from vilfredo.spiking.tasks.cartpole import Cartpole

    task: Any = setup.task
    together: Callable[..., list[_Run]] | None = None if setup.control else _samples
    if isinstance(task, Cartpole):
        together = _poles
    if together is not None and setup.processor.lanes and cells:
        return together(setup, cells, split, episodes)
    return [
        _alone(setup, network, _engines(setup.processor, network, cell, perturbed), split, episodes)
        for network, cell in zip(networks, cells, strict=True)
    ]


def _score(setup: Setup, network: SpikingNetwork, run: _Run, faulty: Floats) -> Score:
    from vilfredo.spiking.costs import chip, cost

    order = np.argsort(network.ids, kind="stable")
    fan = np.bincount(network.source, minlength=network.size)[order]
    each = max(1, run.inferences)
    synops = float(run.counts @ fan) / each
    what = cost(chip(setup.processor.chip), synops, float(setup.window * network.size), float(setup.window))
    return Score(run.score, faulty, synops, float(run.counts.sum()) / each, run.inferences, what)


# -- many at once ---------------------------------------------------------------------------------


def _pack(cells: Sequence[Cells], **options: Any) -> lanes.Population:
    from vilfredo.spiking.kernels import lanes

    delays = None
    if any(cell.delays is not None for cell in cells):
        delays = [
            np.broadcast_to(cell.program.delay, cell.weights.shape) if cell.delays is None else cell.delays
            for cell in cells
        ]
    return lanes.pack(
        [cell.program for cell in cells],
        weights=[cell.weights for cell in cells],
        thresholds=[cell.thresholds for cell in cells],
        delays=delays,
        **options,
    )


def _samples(setup: Setup, cells: Sequence[Cells], split: str, episodes: Sequence[int]) -> list[_Run]:
    from vilfredo.spiking.kernels import lanes

    assert isinstance(setup.task, Classification)
    x, y = setup.task.samples(split)
    charges = _charges(setup, x)
    population = _pack(cells, repeat=len(x), charge=_most(charges), steps=setup.window)
    found = []
    for cell, activity in zip(cells, lanes.run(population, charges, setup.window), strict=True):
        counts = activity.counts[:, cell.program.outputs]
        answers = coding.answers(setup.reading, counts, activity.first)
        right = (answers.reshape(-1, len(y)) == y).astype(np.float64).ravel()
        found.append(_Run(right, activity.counts.sum(axis=0), len(right)))
    return found


def _poles(setup: Setup, cells: Sequence[Cells], split: str, episodes: Sequence[int]) -> list[_Run]:
    from vilfredo.spiking.kernels import cartpole

    task: Any = setup.task
    codes = [replace(code, charge=_given(setup.processor, code.charge)) for code in setup.codes]
    population = _pack(
        cells,
        repeat=len(episodes),
        charge=max(_most(code.charge) for code in codes),
        steps=setup.steps * setup.window,
    )
    done = cartpole.episodes(
        population,
        codes,
        setup.reading,
        task.setting,
        task.starts(episodes),
        setup.steps,
        setup.window,
        clear=setup.clear,
    )
    return [
        _Run(reward, counts.sum(axis=0), int(steps.sum()))
        for reward, counts, steps in zip(done.reward, done.counts, done.steps, strict=True)
    ]


def _charges(setup: Setup, values: Floats) -> Floats:
    """(m, inputs, window) charges as the processor makes them of what the encoders give."""
    return _given(setup.processor, coding.charges(setup.codes, values))


def _given(processor: Driver, values: Floats) -> Floats:
    """Normalised input values as charges, each different one asked for once; one of no charge is no spike."""
    some, place = np.unique(values, return_inverse=True)
    charge = np.array([processor.charge(float(v), True) if v else 0.0 for v in some])
    return charge[place.reshape(values.shape)]


def _most(charges: Floats) -> float:
    return float(np.abs(charges).max(initial=0.0))


# -- one by one -----------------------------------------------------------------------------------


def _engines(processor: Driver, network: SpikingNetwork, cells: Cells, perturbed: bool) -> list[Engine]:
    """The network itself, or its copies, at work."""
    if not perturbed:
        return [processor.engine(network)]
    delays = [cells.program.delay] * len(cells.weights) if cells.delays is None else cells.delays
    rows = zip(cells.weights, cells.thresholds, delays, strict=True)
    return [processor.copy(network, cells.program, *row) for row in rows]


def _alone(
    setup: Setup, network: SpikingNetwork, engines: Sequence[Engine], split: str, episodes: Sequence[int]
) -> _Run:
    counts, score, inferences = np.zeros(network.size, np.int64), [], 0
    for engine in engines:
        one = _Alone.of(setup, network, engine)
        if setup.control:
            for seed in episodes:
                rewards = list(one.steps(seed))
                score.append(sum(rewards))
                inferences += len(rewards)
        else:
            right = list(one.samples(split))
            score += right
            inferences += len(right)
        counts += one.counts
    return _Run(np.array(score), counts, inferences)


@dataclass(eq=False)
class _Alone:
    """One engine at the task. `counts` are the spikes of all inferences, `run` is the last one."""

    setup: Setup
    engine: Engine
    inputs: Ints
    outputs: Ints
    counts: Ints
    run: dense.Run | None = None

    @classmethod
    def of(cls, setup: Setup, network: SpikingNetwork, engine: Engine) -> _Alone:
        numbers = np.sort(network.ids)
        inputs = np.searchsorted(numbers, network.ids[network.inputs])
        outputs = np.searchsorted(numbers, network.ids[network.outputs])
        return cls(setup, engine, inputs, outputs, np.zeros(network.size, np.int64))

    def answer(self, values: Floats) -> int:
        """What the network answers to normalised input values (inputs, window)."""
        processor = self.setup.processor
        place, time = np.nonzero(_given(processor, values))
        if len(place):
            entries = [processor.entry(value, True) for value in values[place, time].tolist()]
            self.engine.give(self.inputs[place].tolist(), time.tolist(), entries)
        run = self.run = self.engine.run(self.setup.window, True)
        self.counts += run.counts
        first = run.first[self.outputs]
        return int(coding.answers(self.setup.reading, run.counts[self.outputs][None], first[None])[0])

    def samples(self, split: str = "search", most: int | None = None) -> Iterator[float]:
        """For each sample, or for `most` of them spread evenly, 1.0 if the answer was right, else 0.0."""
        task: Any = self.setup.task
        x, y = task.samples(split)
        if most is not None and most < len(y):  # of all classes, also where they come one after the other
            some = np.linspace(0, len(y) - 1, most).astype(int)
            x, y = x[some], y[some]
        for row, label in zip(coding.charges(self.setup.codes, x), y, strict=True):
            self.engine.reset()
            yield float(self.answer(row) == label)

    def steps(self, seed: int) -> Iterator[float]:
        """The reward of each step of an episode."""
        task: Any = self.setup.task
        seen, over = task.reset(seed), False
        for step in range(self.setup.steps):
            if self.setup.clear or step == 0:
                self.engine.reset()
            seen, reward, over = task.step(
                self.answer(coding.charges(self.setup.codes, np.asarray(seen)[None])[0])
            )
            yield float(reward)
            if over:
                break


# -- a picture ------------------------------------------------------------------------------------


def activity(
    setup: Setup, network: SpikingNetwork, seed: int, most: int = SHOWN
) -> tuple[dict[int, list[int]], list[float]]:
    """What the network does in the first inferences of the episode of `seed`, or with samples of the search
    from first to last: by neuron number, the timesteps in which it fires; and of each inference its reward,
    or 1.0 for a right answer, else 0.0. An inference is `setup.window` timesteps."""
    numbers = np.sort(network.ids)
    one = _Alone.of(setup, network, setup.processor.engine(network))
    spikes: dict[int, list[int]] = {int(number): [] for number in numbers}
    done: list[float] = []
    for score in one.samples(most=most) if not setup.control else one.steps(seed):
        run = one.run
        assert run is not None
        for time, neuron in zip(run.times.tolist(), run.neurons.tolist(), strict=True):
            spikes[int(numbers[neuron])].append(time + len(done) * setup.window)
        done.append(score)
        if len(done) >= most:
            break
    return spikes, done


def portrait(setup: Setup, network: SpikingNetwork, seed: int) -> Mapping[str, JSON]:
    """The network with its activity in the first inferences of one episode, or with some samples of the
    search; see `vilfredo.spiking.portrait`."""
    spikes, done = activity(setup, network, seed, SHOWN)
    return drawn(network, spikes, len(done) * setup.window, setup.window)
