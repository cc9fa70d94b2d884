"""Spiking networks that evolution designs: a task, a processor, and how numbers become spikes and back."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from vilfredo.goal import Goal
from vilfredo.goal import goal as known_goal
from vilfredo.protocols import Fault, Impossible, Model, Snapshot, Space, Weights, Work
from vilfredo.seeds import derive
from vilfredo.spiking.network import NetworkError, Property, SpikingNetwork
from vilfredo.trial import JSON, Failure, Genome, Split, Value

if TYPE_CHECKING:
    from vilfredo.spiking.decoders.decoder import Decoder
    from vilfredo.spiking.encoders.encoder import Encoder
    from vilfredo.spiking.processors.driver import Driver
    from vilfredo.spiking.scores import Score
    from vilfredo.spiking.tasks.task import Classification, Control

SIZES = ("neurons", "synapses", "timesteps")
ACTIVE = ("synops", "spikes", "energy", "latency")
RESILIENT = ("resilience_mean", "resilience_q05", "resilience_worst")
DELAY = "Delay"  # of synapses, as all processors call it
TRIES = 20  # at a random network that the processor can hold
KEPT = 2_000  # networks that are remembered between preview and simulation


class Spiking:
    """Networks for `task` on `processor`; `encoder` makes spikes of numbers, `decoder` answers of spikes.

    Goals are `reward` of a control task (mean over `episodes`), `error` of a classification (share of wrong
    answers), `neurons` and `synapses` of the network as it is loaded, `timesteps` of one inference, `synops`,
    `spikes`, `energy` (J) and `latency` (s) of one inference, and with `faults` the `resilience_mean`, `_q05`
    and `_worst`: the task's score (reward, or share of right answers) over `copies` perturbed copies. An
    inference is one step of an environment or one sample.

    The network runs `window` timesteps for an inference. In control its state goes on from step to step,
    unless `clear`; a sample always begins with a silent network. A perturbed copy plays `copy_episodes`
    episodes (None: as many as the network itself). `steps` bounds an episode (None: the task's own bound).
    `max_delay` bounds the delays of synapses where the processor's own bound is higher; None: `window` − 1
    for samples, since a later spike comes too late, and the processor's own in control.
    `prune` removes what cannot reach an output before anything is counted or run.

    All networks of a search meet the same episodes and the same perturbations (common random numbers), which
    follow from `seed` and the work's noise; on the test split both are others, which the search never saw.
    Classifications are searched on the training samples and tested on the others.

    Raises `ValueError` for goals that nothing computes, and where space and task do not go together.
    """

    usual: ClassVar[Mapping[str, JSON]] = {
        "space": {"use": "spiking"},
        "optimizer": {"use": "eons", "selection": "pareto", "tournament_size_factor": 0.02},
        "executor": {"use": "inline"},
    }
    """What is used beside this problem where a spec, or who calls `vilfredo.search`, does not say."""

    epochs = 0
    quiet: frozenset[str] = frozenset()

    def __init__(
        self,
        space: Space,
        goals: Sequence[Goal | str],
        task: Control | Classification,
        processor: Driver,
        encoder: Encoder,
        decoder: Decoder,
        faults: Sequence[Fault] = (),
        copies: int = 20,
        episodes: int = 10,
        copy_episodes: int | None = None,
        steps: int | None = None,
        window: int = 24,
        max_delay: int | None = None,
        clear: bool = False,
        prune: bool = True,
        seed: int = 0,
    ) -> None:
        from vilfredo.spiking.scores import Setup

        for name, count in (("copies", copies), ("episodes", episodes), ("window", window)):
            if count < 1:
                raise ValueError(f"{name} is {count}; it must be at least 1")
        if copy_episodes is not None and not 1 <= copy_episodes <= episodes:
            raise ValueError(f"copy_episodes is {copy_episodes}; it must be from 1 to {episodes} (episodes)")
        if steps is not None and steps < 1:
            raise ValueError(f"steps is {steps}; it must be at least 1")
        self.setup = Setup.of(processor, task, encoder, decoder, window, clear=clear, steps=steps)
        if not {"bind", "neurons", "synapses"} <= set(dir(space)):
            raise ValueError("this problem needs a space of spiking networks: use = 'spiking' in [space]")
        properties = processor.properties
        networks: Any = space
        self.space: Any = networks.bind(
            inputs=self.setup.inputs,
            outputs=self.setup.outputs,
            neurons=properties.neurons,
            synapses=self._delayed(properties.synapses, max_delay),
        )
        self.faults = tuple(faults)
        self.copies = copies
        self.episodes = episodes
        self.copy_episodes = copy_episodes or episodes
        self.prune = prune
        self.seed = seed
        self.score = "reward" if self.setup.control else "error"
        self.goals: Sequence[Goal] = tuple(self._goal(g) for g in goals)
        if not self.goals:
            raise ValueError(f"the problem has no goals; name at least one, such as goals=[{self.score!r}]")
        self._built: dict[int, tuple[Genome, SpikingNetwork]] = {}
        self._warm = False

    def _delayed(self, synapses: Sequence[Property], most: int | None) -> tuple[Property, ...]:
        """What synapses have, with delays of `most` timesteps at most."""
        if most is None:
            if self.setup.control:
                return tuple(synapses)
            most = self.setup.window - 1
        low = next((p.low for p in synapses if p.name == DELAY), 0.0)
        if most < low:
            raise ValueError(
                f"max_delay is {most}; delays of {self.setup.processor.name} are {low:g} or more"
            )
        return tuple(replace(p, high=min(p.high, most)) if p.name == DELAY else p for p in synapses)

    def _goal(self, given: Goal | str) -> Goal:
        goal = known_goal(given) if isinstance(given, str) else given
        known = (self.score, *SIZES, *ACTIVE, *RESILIENT)
        if goal.name not in known:
            from difflib import get_close_matches

            near = get_close_matches(goal.name, known, 1, 0.6)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"nothing computes the goal {goal.name!r} here; {hint}known: {', '.join(known)}")
        if goal.name in RESILIENT and not self.faults:
            raise ValueError(f"the goal {goal.name!r} needs faults, such as faults = ['gaussian']")
        share = goal.name in RESILIENT and self.score == "error" and not goal.unit
        return replace(
            goal,
            unit="fraction" if share else goal.unit,
            stage="preview" if goal.name in SIZES else "measure",
        )

    # -- what a network is --------------------------------------------------------------------------

    def network(self, genome: Genome) -> SpikingNetwork:
        """The network that is loaded for this genome. Raises `Impossible` if the processor cannot hold it."""
        kept = self._built.get(id(genome))
        if kept is not None and kept[0] is genome:
            return kept[1]
        try:
            network = SpikingNetwork.from_genome(
                genome, self.setup.processor.properties, self.setup.inputs, self.setup.outputs
            )
            if self.prune:
                from vilfredo.spiking.graph import prune

                network = prune(network)
            self.setup.processor.check(network)
        except NetworkError as problem:
            raise Impossible(str(problem)) from problem
        if len(self._built) >= KEPT:
            self._built.clear()
        self._built[id(genome)] = (genome, network)
        return network

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_built": {}, "_warm": False}

    def describe(self) -> Mapping[str, JSON]:
        return {
            "kind": "spiking",
            **self.setup.describe(),
            "faults": [repr(fault) for fault in self.faults],
            "copies": self.copies if self.faults else 0,
            "episodes": self.episodes if self.setup.control else 0,
            "epochs": 0,
        }

    def layers(self, genome: Genome) -> Sequence[Mapping[str, JSON]]:
        """The network as one entry for the drawing: neurons, synapses, and what it does in one episode."""
        from vilfredo.spiking.scores import portrait

        return [portrait(self.setup, self.network(genome), self.drawing)]

    @property
    def drawing(self) -> int:
        """Seed of the episode that is drawn."""
        return self._seed("drawing", "validation", 0, 0)

    def warm(self) -> None:
        """Compile what simulations are made of, by a little one."""
        from vilfredo.spiking.scores import scores

        if self._warm:
            return
        self._warm = True
        rng = np.random.default_rng(0)
        setup = replace(self.setup, steps=min(self.setup.steps, 1))
        for _ in range(TRIES):
            try:
                network = self.network(self.space.sample(rng))
            except Impossible:
                continue
            scores(
                setup,
                [network],
                episodes=list(range(self.episodes)),
                faults=self.faults,
                copies=self.copies if self.faults else 0,
                copy_episodes=self.copy_episodes,
            )
            return

    # -- what it comes to -----------------------------------------------------------------------------

    def preview(self, work: Work) -> Mapping[str, Value]:
        """Sizes. Raises `Impossible`."""
        network = self.network(work.genome)
        sizes = {
            "neurons": float(network.size),
            "synapses": float(len(network.source)),
            "timesteps": float(self.setup.window),
        }
        return {g.name: Value(sizes[g.name]) for g in self.goals if g.name in sizes}

    def train(
        self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]
    ) -> Generator[Snapshot, None, Model]:
        """Nothing is trained, so there are no epochs: the model is the network."""
        yield from ()
        return self.network(work.genome)

    def measure(self, work: Work, model: Model, seed: int) -> Mapping[str, Value]:
        """What `evaluate_many` says of this one."""
        found = self.evaluate_many([work], [seed])[0]
        if isinstance(found, Failure):
            raise ValueError(found.message)
        return found

    def evaluate_many(
        self, works: Sequence[Work], seeds: Sequence[int]
    ) -> Sequence[Mapping[str, Value] | Failure]:
        """All networks in as few compiled calls as there are different sets of episodes among the works."""
        groups: dict[tuple[Split, int, int, bool], list[int]] = {}
        for place, work in enumerate(works):
            resilient = any(name in RESILIENT for name in self._asked(work))
            groups.setdefault((work.split, work.noise, work.repeat, resilient), []).append(place)
        found: list[Mapping[str, Value] | Failure] = [{}] * len(works)
        for (split, noise, repeat, resilient), places in groups.items():
            networks = [self.network(works[place].genome) for place in places]
            scores = self.scores(networks, split, noise, repeat, resilient)
            for place, score in zip(places, scores, strict=True):
                values = self._values(score)
                found[place] = {name: values[name] for name in self._asked(works[place]) if name in values}
        return found

    def scores(
        self,
        networks: Sequence[SpikingNetwork],
        split: Split = "validation",
        noise: int = 0,
        repeat: int = 0,
        resilient: bool = True,
    ) -> list[Score]:
        """How the networks do, and their perturbed copies if `resilient`."""
        from vilfredo.spiking.scores import scores

        return scores(
            self.setup,
            networks,
            split="search" if split == "validation" else "test",
            episodes=[self._seed("episode", split, noise, repeat, place) for place in range(self.episodes)],
            faults=self.faults if resilient else (),
            copies=self.copies if resilient and self.faults else 0,
            copy_episodes=self.copy_episodes,
            seed=self._seed("faults", split, noise, repeat),
        )

    def _seed(self, what: str, split: str, noise: int, repeat: int, place: int = 0) -> int:
        return derive(self.seed, what, split, noise, repeat, place)

    def _asked(self, work: Work) -> list[str]:
        names = [g.name for g in self.goals if g.stage == "measure"]
        return [name for name in names if work.goals is None or name in work.goals]

    def _values(self, score: Score) -> Mapping[str, Value]:
        from vilfredo.spiking.resilience import resilience, standard_errors

        clean = score.clean if self.score == "reward" else 1.0 - score.clean
        values = {
            self.score: _mean(clean),
            "synops": Value(score.synops),
            "spikes": Value(score.spikes),
            "energy": score.cost.energy,
            "latency": score.cost.seconds,
        }
        if len(score.faulty):
            found, (mean_error, q05_error) = resilience(score.faulty), standard_errors(score.faulty)
            values["resilience_mean"] = Value(float(found.mean), float(mean_error))
            values["resilience_q05"] = Value(float(found.q05), float(q05_error))
            values["resilience_worst"] = Value(float(found.worst))
        return values


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> Value:
    """The mean over episodes or samples, with its standard error."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return Value(float(values.mean()), spread / math.sqrt(len(values)))
