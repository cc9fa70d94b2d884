"""What the networks of `benchmarks.resilience_prediction` do under faults, and what is known of them before:
measured once, kept beside their weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.resilience_networks import Trained
from vilfredo import topology
from vilfredo.campaign import sites
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.injection import Injection
from vilfredo.campaign.plain import plain
from vilfredo.data.dataset import Dataset
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.nn.deployed import Deployed
from vilfredo.nn.gains import gains
from vilfredo.nn.probe import probe
from vilfredo.nn.quantize import Scheme, quantize
from vilfredo.seeds import generator

SCHEMES = ("power_of_two", "real")
WHEN = ("start", "first", "last")  # before training, after one epoch, at the end
FAULTS = ("weights_1e-3", "activations_3e-4", "single_activation", "single_weight")
IMAGES = 100
SINGLE_IMAGES = 64  # that a single flip in a weight is tried on
GAIN_IMAGES = 48  # the first of those
HERE, ELSEWHERE = slice(IMAGES), slice(IMAGES, 2 * IMAGES)  # of the validation images
CALIBRATION = 256
COPIES = {"weights_1e-3": 32, "activations_3e-4": 16}
# Of single flips, how many are drawn of each bit, from the highest of 8 down: high bits decide. Of an
# activation each is IMAGES flips, one an inference; of a weight each is one flip, tried on all images.
DRAWS = {"single_activation": (20, 16, 12, 6, 4, 2, 2, 2), "single_weight": (120, 90, 60, 30, 10, 6, 4, 4)}


@dataclass(frozen=True)
class Measured:
    """Of one network in one scheme: `ccr` by fault, from all draws, the even and the odd ones; accuracies on
    the images without faults; `features` by when the weights are from ("topology": none), and what a "probe"
    of the last ones tells; `elsewhere`: gains and probe of the last weights on other images; `again`: the CCR
    measured once more, with other faults on those other images; seconds by part."""

    space: str
    number: int
    scheme: str
    accuracy: float
    float_accuracy: float
    ccr: dict[str, tuple[float, float, float]]
    features: dict[str, dict[str, float]]
    indices: dict[str, float]
    seconds: dict[str, float]
    elsewhere: dict[str, dict[str, float]] = field(default_factory=dict)
    again: dict[str, float] = field(default_factory=dict)


def measured(network: Trained, samples: Dataset, folder: Path) -> list[Measured]:
    """The network in both schemes, from the folder or measured; what features see of it is kept apart."""
    found = []
    rows = kept(folder / f"{network.space}_{network.number}.json", lambda s: measure(network, samples, s))
    known = kept(
        folder / f"{network.space}_{network.number}_features.json", lambda s: described(network, samples, s)
    )
    tried = kept(
        folder / f"{network.space}_{network.number}_probe.json", lambda s: probed(network, samples, s)
    )
    others = kept(
        folder / f"{network.space}_{network.number}_elsewhere.json", lambda s: elsewhere(network, samples, s)
    )
    for row, (features, seconds), flips, other in zip(rows, known, tried, others, strict=True):
        features = {**features, "probe": flips}
        seconds = {**row["seconds"], **seconds}
        found.append(Measured(**{**row, "features": features, "seconds": seconds, **other}))
    return found


def costs(network: Trained, samples: Dataset, scheme: str) -> dict[str, float]:
    """Seconds of processor time of gains, of a probe and of measuring each fault model, taken now."""
    x, deployed = prepared(network, samples, scheme)
    parts: dict[str, Callable[[], object]] = {
        "gains": lambda: gains(deployed, x[:GAIN_IMAGES]),
        "probe": lambda: probe(deployed, x),
    }
    parts |= {fault: partial(shares, network, deployed, x, fault) for fault in FAULTS}
    seconds = {}
    for name, part in parts.items():
        began = time.process_time()
        part()
        seconds[name] = time.process_time() - began
    return seconds


def kept(path: Path, make: Callable[[str], Any]) -> list[Any]:
    """What `make` gives for each scheme, as JSON, from the file or made."""
    if not path.exists():
        path.write_text(json.dumps([make(scheme) for scheme in SCHEMES]))
    found: list[Any] = json.loads(path.read_text())
    return found


def normal(samples: Dataset, images: np.ndarray[Any, Any]) -> Tensor:
    """Images as the networks see them."""
    mean, std = (torch.from_numpy(a).reshape(1, -1, 1, 1) for a in (samples.mean, samples.std))
    return (torch.from_numpy(images).float() - mean) / std


def described(
    network: Trained, samples: Dataset, scheme: str
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """The features by when the weights are from, and the seconds that they take."""
    calibration = normal(samples, samples.train.x[:CALIBRATION])
    images = normal(samples, samples.validation.x[:GAIN_IMAGES])
    began = time.perf_counter()
    settings = {**network.design.training, "scales": scheme}
    features = {"topology": topology.features(network.design.architecture, settings)}
    seconds = {"topology": time.perf_counter() - began}
    for when in WHEN:
        model = network.model(when)
        if when == "start":
            normalised(model, calibration)
        deployed = quantize(model, calibration, Scheme(scales=scheme))  # type: ignore[arg-type]
        began = time.perf_counter()
        features[when] = gains(deployed, deployed.encode(images))
        seconds["gains"] = time.perf_counter() - began
    return features, seconds


def probed(network: Trained, samples: Dataset, scheme: str) -> dict[str, float]:
    """What a probe of the trained network tells."""
    x, deployed = prepared(network, samples, scheme)
    return probe(deployed, x)


def elsewhere(network: Trained, samples: Dataset, scheme: str) -> dict[str, Any]:
    """`Measured.elsewhere` and `Measured.again`."""
    x, deployed = prepared(network, samples, scheme, ELSEWHERE)
    features = {"gains": gains(deployed, x[:GAIN_IMAGES]), "probe": probe(deployed, x)}
    again = {fault: float(shares(network, deployed, x, fault, "again").mean()) for fault in FAULTS}
    return {"elsewhere": features, "again": again}


def prepared(
    network: Trained, samples: Dataset, scheme: str, images: slice = HERE
) -> tuple[Tensor, Deployed]:
    """The codes of images and the trained network deployed."""
    calibration = normal(samples, samples.train.x[:CALIBRATION])
    deployed = quantize(network.model(), calibration, Scheme(scales=scheme))  # type: ignore[arg-type]
    return deployed.encode(normal(samples, samples.validation.x[images])), deployed


def measure(network: Trained, samples: Dataset, scheme: str) -> dict[str, Any]:
    """The other fields of `Measured`."""
    calibration = normal(samples, samples.train.x[:CALIBRATION])
    images = normal(samples, samples.validation.x[:IMAGES])
    seconds: dict[str, float] = {}
    model = network.model()
    with torch.no_grad():
        float_classes = model(images).argmax(dim=1).numpy()
    deployed = quantize(model, calibration, Scheme(scales=scheme))  # type: ignore[arg-type]
    x, answers = deployed.encode(images), samples.validation.y[:IMAGES]
    ccr = {}
    for fault in FAULTS:
        began = time.perf_counter()
        found = shares(network, deployed, x, fault)
        ccr[fault] = (float(found.mean()), float(found[::2].mean()), float(found[1::2].mean()))
        seconds[fault] = time.perf_counter() - began
    golden = classes(deployed, x, Injection(()))
    return {
        "space": network.space,
        "number": network.number,
        "scheme": scheme,
        "accuracy": float((golden == answers).mean()),
        "float_accuracy": float((float_classes == answers).mean()),
        "ccr": ccr,
        "indices": topology.indices(network.design.architecture),
        "seconds": seconds,
    }


def shares(network: Trained, deployed: Deployed, x: Tensor, fault: str, *which: str) -> np.ndarray[Any, Any]:
    """Classification change rates, of draws or of halves of them: an even number. `which`: other draws."""
    rng = generator(network.number, "resilience_prediction", network.space, fault, *which)
    return together(deployed, x, fault, rng) if fault in COPIES else alone(deployed, x, fault, rng)


def normalised(model: nn.Module, x: Tensor) -> None:
    """Give batch norms that were never trained the means and variances of these inputs."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad():
        model(x)
    model.eval()


def classes(network: Deployed, x: Tensor, injection: Injection) -> np.ndarray[Any, Any]:
    return plain(network, x, injection).argmax(dim=1).numpy()


def together(network: Deployed, x: Tensor, fault: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """The classification change rate of each copy (copies,) with faults everywhere at their rate."""
    site, rate = fault.split("_")
    flips = BitFlip(rate=float(rate), site=site)  # type: ignore[arg-type]
    golden = classes(network, x, Injection(()))
    drawn = (sites.drawn(network, [flips], rng, len(x)) for _ in range(COPIES[fault]))
    return np.array([(classes(network, x, injection) != golden).mean() for injection in drawn])


def alone(network: Deployed, x: Tensor, fault: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Classification change rates (2,) of single flips at random places and bits, from the even and the odd
    draws; strata of bits weigh by how many places they have."""
    weights = fault == "single_weight"
    flip = BitFlip(rate=0.0, site="weights" if weights else "activations")
    population = sites.strata(network, flip)
    x = x[:SINGLE_IMAGES] if weights else x
    total = sum(stratum.size for stratum in population)
    injections: list[Injection] = []
    labels: list[int] = []
    shares: list[float] = []
    for group, of_bit in enumerate(by_bit(population, len(DRAWS[fault]))):
        shares.append(sum(stratum.size for stratum in of_bit) / total)
        for _ in range(max(DRAWS[fault][group], 2) if of_bit else 0):
            injections.append(sites.several(of_bit, flip, 1, rng, 0, None if weights else len(x)))
            labels.append(group)
    engine = Engine(network, x)
    changed = (np.stack(list(engine.classes_under(injections))) != np.asarray(engine.classes)).mean(axis=1)
    halves = [0.0, 0.0]
    for group, share in enumerate(shares):
        draws = changed[np.array(labels) == group]
        for half in (0, 1):
            halves[half] += share * float(draws[half::2].mean()) if len(draws) else 0.0
    return np.array(halves)


def by_bit(population: Iterable[sites.Stratum], groups: int) -> list[Sequence[sites.Stratum]]:
    """Strata of the highest of 8 bits first; wider codes (the output's) go with the highest."""
    found: list[list[sites.Stratum]] = [[] for _ in range(groups)]
    for stratum in population:
        found[max(groups - 1 - stratum.bit, 0)].append(stratum)
    return list(found)
