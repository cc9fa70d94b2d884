"""One spiking network at work, as `vilfredo simulate` shows it: what goes in, who fires when, what it
costs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vilfredo.spec import names
from vilfredo.spiking.costs import Cost, chip, cost
from vilfredo.spiking.network import NetworkError, SpikingNetwork
from vilfredo.spiking.raster import Raster, raster

if TYPE_CHECKING:
    from vilfredo.spiking.processors.driver import Driver
    from vilfredo.spiking.scores import Setup

STEPS = 50  # where neither the caller nor the file says how many
SEEDS = ("noisy_seed", "seed")  # parameters of processors that draw random numbers
Spikes = list[tuple[int, int, float]]  # neuron's number, timestep, normalised value


@dataclass(frozen=True, eq=False)
class Simulation:
    """A network that ran for `steps` timesteps from rest."""

    network: SpikingNetwork
    processor: str
    params: Mapping[str, Any]
    given: Spikes
    spikes: Mapping[int, list[int]]  # by neuron number, all neurons
    steps: int
    synops: int  # synaptic deliveries: spikes times fan-out
    chip: str
    cost: Cost
    task: str = ""  # what gave the spikes, if not the caller
    scores: Sequence[float] = ()  # reward of each step of the task, or whether each answer was right
    rewarded: bool = False  # whether they are rewards

    def counts(self, numbers: Sequence[int] | None = None) -> int:
        """Spikes of these neurons, or of all."""
        chosen = self.spikes if numbers is None else numbers
        return sum(len(self.spikes[number]) for number in chosen)

    @property
    def inputs(self) -> list[int]:
        """Numbers of the input neurons."""
        found: list[int] = self.network.ids[self.network.inputs].tolist()
        return found

    @property
    def outputs(self) -> list[int]:
        """Numbers of the output neurons."""
        found: list[int] = self.network.ids[self.network.outputs].tolist()
        return found

    def raster(self, most: int | None = None) -> Raster:
        return raster(self.network, self.spikes, self.steps, most)

    def as_json(self) -> dict[str, Any]:
        def value(which: Any) -> dict[str, float]:
            return {"typical": which.mean, "low": which.low, "high": which.high}

        return {
            "neurons": self.network.size,
            "synapses": len(self.network.source),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "names": {str(number): name for number, name in self.network.names.items()},
            "processor": self.processor,
            "params": dict(self.params),
            "steps": self.steps,
            "given": [list(spike) for spike in self.given],
            "task": self.task,
            "scores": list(self.scores),
            "spikes": {str(number): times for number, times in self.spikes.items()},
            "counts": {str(number): len(times) for number, times in self.spikes.items()},
            "synops": self.synops,
            "chip": self.chip,
            "energy_joules": value(self.cost.energy),
            "seconds": value(self.cost.seconds),
        }


def simulate(network: SpikingNetwork, processor: Driver, spikes: Spikes, steps: int) -> Simulation:
    """Run a network from rest. Raises `NetworkError` and `ValueError` for what a processor does not take."""
    processor.load_network(network)
    processor.apply_spikes(spikes)
    processor.run(steps)
    vectors = zip(sorted(network.ids.tolist()), processor.neuron_vectors(), strict=True)
    fired = {number: [int(t) for t in times] for number, times in vectors}
    return _done(network, processor, spikes, fired, int(processor.get_time()))


def play(
    network: SpikingNetwork, processor: Driver, setup: Setup, seed: int, steps: int | None = None
) -> Simulation:
    """Run a network on `processor` at the task of `setup`: the first `steps` timesteps (in whole inferences;
    None: ten of them) of the episode of `seed`, or as many samples of the search."""
    from vilfredo.spiking.scores import SHOWN, activity

    setup = replace(setup, processor=processor)
    most = SHOWN if steps is None else -(-steps // setup.window)
    fired, scores = activity(setup, network, seed, most)
    done = _done(network, processor, [], fired, len(scores) * setup.window)
    return replace(done, task=str(setup.describe()["task"]), scores=scores, rewarded=setup.control)


def _done(
    network: SpikingNetwork, processor: Driver, given: Spikes, fired: Mapping[int, list[int]], steps: int
) -> Simulation:
    fan_out = np.bincount(network.source, minlength=network.size).tolist()
    synops = sum(len(fired[number]) * out for number, out in zip(network.ids.tolist(), fan_out, strict=True))
    costs = cost(chip(processor.chip), synops, network.size * steps, steps)
    title = chip(processor.chip).title
    return Simulation(
        network, processor.name, processor.get_params(), given, fired, steps, synops, title, costs
    )


def read(path: str) -> tuple[SpikingNetwork, tuple[str, ...]]:
    """The network of a file, TENNLab JSON or a NIR graph (`.nir`), and notes on what got lost on the way."""
    if Path(path).suffix == ".nir":
        from vilfredo.spiking import nir

        network, losses = nir.read(path)
        return network, tuple(map(str, losses))
    return SpikingNetwork.from_tennlab(path), ()


def processor(network: SpikingNetwork, use: str | None = None, seed: int | None = None) -> Driver:
    """The processor `use` ("risp", or "package.module:Class"), or the one that the network's file names.

    Its parameters are the file's where it is the file's processor, else its defaults. `seed` is that of its
    random numbers. Raises `ValueError` where nobody says which processor, or for a seed that means nothing.
    """
    said = _said(network, "other").get("proc_name")
    if use is None and not isinstance(said, str):
        raise ValueError(
            "the network does not say which processor it is for (Associated_Data.other.proc_name); "
            f"give --processor, one of {', '.join(names.known('processor'))}"
        )
    made = names.find("processor", use if use is not None else str(said).lower())
    its_own = use is None or use == str(said).lower()
    params = dict(_said(network, "proc_params")) if its_own else {}
    found: Driver = made(params or None)
    if seed is None:
        return found
    known = [f.name for f in fields(found.params)] if hasattr(found.params, "__dataclass_fields__") else []
    name = next((name for name in SEEDS if name in known), None)
    if name is None:
        raise ValueError(f"{found.name} draws no random numbers, so a seed means nothing to it")
    seeded: Driver = made(found.get_params() | {name: seed})
    return seeded


def steps_of(network: SpikingNetwork) -> int:
    """How long the file says a run lasts (sim_time), or 50 timesteps."""
    said = _said(network, "other").get("sim_time")
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said):
        return STEPS
    return int(said) if said == int(said) and said > 0 else STEPS


def _said(network: SpikingNetwork, key: str) -> Mapping[str, Any]:
    found = network.data.get(key)
    return found if isinstance(found, Mapping) else {}


# -- spikes that go in ----------------------------------------------------------------------------


def parse(text: str | None, network: SpikingNetwork) -> Spikes:
    """Spikes from "0@0,1@3=0.5" (neuron @ timestep, = value from 0 to 1, else 1), or from a file of them.

    In a file they may stand in lines, with remarks behind `#`, or it is JSON: [[neuron, timestep, value], …].
    A neuron goes by its number or its name. None: one spike into each input at timestep 0. Raises
    `ValueError`.
    """
    if text is None:
        return [(number, 0, 1.0) for number in network.ids[network.inputs].tolist()]
    if "@" not in text or _is_file(text):
        return _of_file(text, network)
    return _of_text(text, network, "")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # many spikes are too long for a file's name
        return False


def _of_file(path: str, network: SpikingNetwork) -> Spikes:
    try:
        content = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(
            f"--spikes: {path!r} is neither spikes such as 0@0,1@3=0.5 nor a file that is there"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: it is no text") from None
    if not content.lstrip().startswith("["):
        bare = "\n".join(line.partition("#")[0] for line in content.splitlines())
        return _of_text(bare, network, f"{path}: ")
    try:
        rows = json.loads(content)
        return [_spike(str(row[0]), row[1], row[2] if len(row) > 2 else 1.0, network) for row in rows]
    except json.JSONDecodeError as problem:
        raise ValueError(f"{path}: it is not JSON: {problem.msg} in line {problem.lineno}") from None
    except (IndexError, KeyError, TypeError):
        raise ValueError(f"{path}: spikes in JSON are [[neuron, timestep, value], …]") from None
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None


def _of_text(text: str, network: SpikingNetwork, where: str) -> Spikes:
    spikes = []
    for token in text.replace(",", " ").split():
        neuron, at, rest = token.rpartition("@")
        time, _, value = rest.partition("=")
        try:
            if not at or not neuron:
                raise ValueError("no @")
            given = _whole(time), float(value) if "=" in rest else 1.0
        except ValueError:
            raise ValueError(
                f"{where}{token!r} is no spike; one is NEURON@TIMESTEP=VALUE, such as 1@3=0.5, or 1@3 for =1"
            ) from None
        try:
            spikes.append(_spike(neuron, *given, network))
        except NetworkError as problem:
            raise NetworkError(f"{where}{problem}") from None
    return spikes


def _whole(text: str) -> int:
    number = float(text)
    if not math.isfinite(number) or number != int(number):
        raise ValueError(f"{text} is no whole timestep")
    return int(number)


def _spike(neuron: str, time: Any, value: Any, network: SpikingNetwork) -> tuple[int, int, float]:
    if isinstance(time, bool) or not isinstance(time, int | float) or time != int(time):
        raise ValueError(f"spike to neuron {neuron} at time {time!r}, which is no whole timestep")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"spike to neuron {neuron} at time {time}: its value {value!r} is no number")
    return _neuron(neuron, network), int(time), float(value)


def _neuron(name: str, network: SpikingNetwork) -> int:
    """Its number, by number or name."""
    if name.isdecimal():
        return int(name)
    found = [number for number, called in network.names.items() if called == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise NetworkError(f"the neurons {', '.join(map(str, found))} are all called {name!r}; use a number")
    raise NetworkError(f"no neuron is called {name!r}")
