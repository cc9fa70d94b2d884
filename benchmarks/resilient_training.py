"""What `benchmarks.resilient_search` trains: every network on the same data in the same way, each once.

Trained weights are kept in a folder, so that the benchmark goes on where it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import report  # says where the data lies
from benchmarks.resilient_networks import MobileNetV2Like, NASNetALike
from vilfredo import artifacts
from vilfredo.data import cifar10, fashion_mnist
from vilfredo.data.dataset import Dataset, Part
from vilfredo.nn import train as trainer
from vilfredo.nn.build import build
from vilfredo.nn.train import Recipe
from vilfredo.objectives.operations import operations
from vilfredo.seeds import derive
from vilfredo.spaces.chain import Chain
from vilfredo.trial import Epoch, Genome

assert report  # imported for what it does

RECIPE = Recipe("adam", lr=0.003, weight_decay=0.01, batch_size=64, schedule="cosine")


@dataclass(frozen=True)
class Setting:
    """A data set, and how long everything is trained on it. Sizes are counts of images."""

    data: str
    epochs: int
    train_size: int = 9_000
    validation_size: int = 1_000
    test_size: int = 2_000


SETTINGS: Mapping[str, Setting] = {
    "fashion_mnist": Setting("fashion_mnist", epochs=6),
    "cifar10": Setting("cifar10", epochs=10),
}


@dataclass(frozen=True)
class Network:
    """A name, what makes the untrained network from a seed, and the remedies that belong to its design: the
    limit of its weights in training (0: none), and whether activations are clipped."""

    name: str
    make: Callable[[int], nn.Module]
    clips: tuple[float, bool] = (0.0, False)


def references(data: Dataset) -> tuple[Network, ...]:
    kinds: Sequence[tuple[str, Callable[[Sequence[int], int], nn.Module]]] = (
        ("mobilenetv2", MobileNetV2Like),
        ("nasneta", NASNetALike),
    )
    return tuple(Network(name, _seeded(kind, data)) for name, kind in kinds)


def _seeded(kind: Callable[[Sequence[int], int], nn.Module], data: Dataset) -> Callable[[int], nn.Module]:
    def make(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return kind(data.input_shape, data.outputs)

    return make


def member(name: str, space: Chain, genome: Genome) -> Network:
    """A network of the space, which is bound."""
    design = space.decode(genome)
    clips = float(design.training["weight_clip"]), bool(design.training["activation_clip"])
    return Network(name, lambda seed: build(design.architecture, seed), clips)


def macs(network: Network, data: Dataset) -> int:
    """Multiply-accumulates of one inference."""
    return sum(o.macs for o in operations(network.make(0), torch.zeros(1, *data.input_shape)))


@lru_cache(maxsize=4)
def dataset(setting: Setting) -> Dataset:
    """Training and validation images out of the published training set, and a part of the test set."""
    load = {"fashion_mnist": fashion_mnist.load, "cifar10": cifar10.load}[setting.data]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part of CIFAR-10 is what is asked for
        return load(
            train_size=setting.train_size,
            validation_size=setting.validation_size,
            test_size=setting.test_size,
        )


def normalised(data: Dataset, x: Tensor) -> Tensor:
    """Stored images (n, C, H, W) as networks see them."""
    return _scale(data)(x)


def _scale(data: Dataset) -> trainer.Scale:
    mean, std = (torch.from_numpy(a).reshape(1, -1, 1, 1) for a in (data.mean, data.std))
    return trainer.Scale(mean, std, torch.zeros(0))


def tensors(part: Part) -> trainer.Data:
    return trainer.Data(torch.from_numpy(part.x), torch.from_numpy(part.y))


def trained(
    network: Network,
    setting: Setting,
    seed: int,
    weight_clip: float,
    folder: Path,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[nn.Module, float]:
    """The network after `setting.epochs` epochs, and the seconds that its training took.

    All networks see the same images in the same order with the same augmentation, for a seed. Weights that
    are in `folder` are not trained again.
    """
    model = network.make(derive(seed, "weights"))
    path = folder / setting.data / file_name(network, setting, seed, weight_clip)
    if path.is_file():
        weights, epochs = artifacts.read(path)
        trainer.restore(model, weights)
        return model.eval(), epochs[-1].metrics["seconds"]
    data = dataset(setting)
    recipe = replace(RECIPE, weight_clip=weight_clip)
    start = time.process_time()
    metrics: dict[str, float] = {}
    weights = {}
    for snapshot in trainer.train(
        model,
        "classification",
        tensors(data.train),
        tensors(data.validation),
        _scale(data),
        recipe,
        seed=seed,
        epochs=setting.epochs,
        augment=data.augment,
    ):
        metrics = dict(snapshot.metrics)
        if snapshot.index == setting.epochs and snapshot.checkpoint is not None:
            weights = dict(snapshot.checkpoint())
    metrics["seconds"] = time.process_time() - start
    artifacts.write(path, weights, (Epoch(setting.epochs, metrics, metrics["seconds"]),))
    log(
        f"{setting.data} {network.name} seed {seed} weight_clip {weight_clip:g}: "
        f"validation accuracy {metrics['val_accuracy']:.4f}, {metrics['seconds']:.0f} s"
    )
    return model.eval(), metrics["seconds"]


def file_name(network: Network, setting: Setting, seed: int, weight_clip: float) -> str:
    """Of the weights: the same for what is trained in the same way, and for nothing else."""
    how = [RECIPE.optimizer, RECIPE.rate, RECIPE.weight_decay, RECIPE.batch_size, RECIPE.schedule]
    plan = _plan(network.make(derive(seed, "weights")))
    about = json.dumps([asdict(setting), how, weight_clip, plan, seed])
    kind = network.name.split("_")[0]
    return f"{kind}-{seed}-{hashlib.sha256(about.encode()).hexdigest()[:12]}.safetensors"


def _plan(model: nn.Module) -> str:
    """What tells one architecture from another: its modules and, where it has one, its wiring."""
    return f"{model} {getattr(model, 'inputs', '')}"


def main() -> None:
    """Train the references; `python -m benchmarks.resilient_training FOLDER [WEIGHT_CLIP]`."""
    import sys

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    clip = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    for seed in range(3):
        for setting in SETTINGS.values():
            for network in references(dataset(setting)):
                trained(network, setting, seed, clip, Path(sys.argv[1]), lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
