"""The networks of `benchmarks.resilience_prediction`: drawn from two spaces, trained once, kept in a folder.

Everything follows from the number of a network: its genome, its first weights, the order of its training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vilfredo import architecture, artifacts
from vilfredo.architecture import Design
from vilfredo.data import fashion_mnist
from vilfredo.data.dataset import Dataset
from vilfredo.nn.build import build
from vilfredo.nn.train import restore
from vilfredo.problems.supervised import Supervised
from vilfredo.protocols import Weights, Work
from vilfredo.seeds import derive, generator
from vilfredo.spaces.chain import Chain
from vilfredo.spaces.macro import Macro
from vilfredo.trial import Epoch, Genome

SPACES = ("chain", "macro")
EPOCHS = 4
MACS = 2_000_000
PARAMETERS = 400_000
WIDTHS = (4, 6, 8, 12, 16)  # of the first phase; each further phase doubles it
RECIPE: dict[str, Any] = {
    "optimizers": ("adam",),
    "lr": (1e-3, 4e-3),
    "weight_decay": (1e-6, 1e-3),
    "batch_sizes": (32, 64, 128),
    "schedules": ("cosine",),
}
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Trained:
    """A network with its weights before training, after its first epoch and after the last."""

    space: str
    number: int
    genome: Genome
    design: Design
    seed: int
    error: float  # on validation images
    seconds: tuple[float, ...]  # of each epoch
    first: Arrays
    last: Arrays

    def model(self, when: str = "last") -> nn.Module:
        """`when`: "start" (not trained), "first" (after one epoch) or "last"."""
        network = build(self.design.architecture, derive(self.seed, "weights"))
        if when != "start":
            restore(network, self.first if when == "first" else self.last)
        return network.eval()


def data() -> Dataset:
    """6,000 images of Fashion-MNIST, of which 1,000 are for validation; 2,000 test images."""
    return fashion_mnist.load(train_size=6000, validation_size=1000, test_size=2000)


def space(name: str, number: int) -> Chain | Macro:
    """The space of network `number`: `Macro` fixes its filters and nodes, so these are drawn here."""
    if name == "chain":
        return Chain(min_layers=4, max_layers=14, max_macs=MACS, max_parameters=PARAMETERS, **RECIPE)
    rng = generator(number, "resilience_prediction", "filters")
    width = int(rng.choice(WIDTHS))
    nodes = tuple(int(n) for n in rng.integers(2, 5, size=3))
    return Macro(nodes=nodes, filters=(width, 2 * width, 4 * width), **RECIPE)


def genomes(name: str, count: int, shape: tuple[int, ...], outputs: int) -> Iterator[tuple[int, Any, Genome]]:
    """`count` different networks of a space within the limits: their number, their space and their genome."""
    seen: set[str] = set()
    number = 0
    while count:
        drawn = space(name, number).bind(shape, outputs)
        genome = drawn.sample(generator(number, "resilience_prediction", name))
        design = drawn.decode(genome)
        key = architecture.canonical(Design(design.architecture))
        size = architecture.macs(design.architecture)
        if key not in seen and size <= MACS and architecture.parameters(design.architecture) <= PARAMETERS:
            seen.add(key)
            count -= 1
            yield number, drawn, genome
        number += 1


def networks(count: int, folder: Path, samples: Dataset) -> Iterator[Trained]:
    """`count` networks of each space, alternately; those that are not in `folder` are trained first."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [genomes(name, count, samples.input_shape, samples.outputs) for name in SPACES]
    for pair in zip(*drawn, strict=True):
        for name, (number, place, genome) in zip(SPACES, pair, strict=True):
            yield network(name, number, place, genome, folder, samples)


def network(
    name: str, number: int, place: Chain | Macro, genome: Genome, folder: Path, samples: Dataset
) -> Trained:
    """One network, from the folder or trained."""
    seed = derive(number, "resilience_prediction", name)
    design = place.decode(genome)
    path = folder / f"{name}_{number}.safetensors"
    label = np.frombuffer(json.dumps(dict(genome), sort_keys=True).encode(), dtype=np.uint8)
    if not path.exists():
        problem = Supervised(samples, place, goals=("error",), epochs=EPOCHS)
        kept: list[Arrays] = []
        epochs: list[Epoch] = []
        began = time.perf_counter()
        for snapshot in problem.train(Work(genome), seed, None, {}):
            epochs.append(Epoch(snapshot.index, snapshot.metrics, time.perf_counter() - began))
            assert snapshot.checkpoint is not None
            kept.append(weights(snapshot.checkpoint()))
            began = time.perf_counter()
        pairs = (("first", kept[0]), ("last", kept[-1]))
        arrays = {f"{when}/{key}": array for when, state in pairs for key, array in state.items()}
        artifacts.write(path, {**arrays, "genome": label}, epochs)
    known, records = artifacts.read(path)
    if known["genome"].tobytes() != label.tobytes():
        raise ValueError(f"{path} holds another network: give a folder of its own")
    first, last = (
        {key.split("/", 1)[1]: array for key, array in known.items() if key.startswith(f"{when}/")}
        for when in ("first", "last")
    )
    seconds = tuple(epoch.seconds for epoch in records)
    error = records[-1].metrics["val_error"]
    return Trained(name, number, genome, design, seed, error, seconds, first, last)


def weights(state: Weights) -> Arrays:
    """A checkpoint without what only training needs."""
    return {name: array for name, array in state.items() if not name.startswith(("optimizer/", "training/"))}
