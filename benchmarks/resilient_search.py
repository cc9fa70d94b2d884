"""How resilient the networks are that a search finds, beside a MobileNetV2 and a NASNet-A drawn small.

Fashion-MNIST and CIFAR-10, 9,000 training and 1,000 validation images each (of CIFAR-10 that is what the part
at hand has), 2,000 test images. All networks are trained the same way (`resilient_training.RECIPE`, as many
epochs for all on a data set, the data's augmentation) with the same seeds, and quantised the same way to 8
bits with both schemes. Faults are bit flips: in the weights at a rate of 1e-3 (permanent), in the activations
at 3e-4 (transient). CCR, the classification change rate, is the share of test images whose class faults
change; rates, copies of the hardware and images are the same for all networks.

The search (`steady`, the space `chain`, half of the epochs and less) begins with a plain network of two
convolutions and a dense layer (`START`) beside random ones. It knows the validation images only; its goals
are the error and both CCRs of the quantised network, its limits the smaller reference's MACs and an error
that a longer training may bring down to the references'. Remedies are genes: `weight_clip`, a limit that
weights keep to in training, and `activation_clip`, activations clamped to the range seen in calibration.
Then the most resilient ones are trained in full, once each, with a seed that is not used again; of those as
accurate as a reference on validation images, also with one more seed, the one with the smallest product of
both CCRs is the network found. What is reported of it is of other seeds and of the test images.

* `ccr_ratio.<data>.<reference>.<fault>.<scheme>`: CCR of the reference over CCR of the network found, means
  over seeds, the latter as it was designed, with the remedies that its genes say, the reference as it was
  published, without; `.low` and `.high` are the bounds of the 95 % interval (Student's t on the logarithm,
  paired by seed), `.least` the smallest ratio of a seed. `_least`, `_median` and `_share_of_3` (how many are
  at least 3) sum them up.
* `ccr_ratio_<remedy>...`: the same with the same remedies on both sides, whatever genes say: `none`;
  `activation_clip`; `both` (that, and a limit of weights by one rule for all networks: the smallest of
  `WEIGHT_CLIPS` that costs at most a point on validation images with the first seed, else the largest).
  `ccr_ratio_remedied...`: the network found as it was designed, the reference with `both`.
* `accuracy_gap[_<remedy>].<data>.<reference>.<scheme>`: clean accuracy of the reference, without or with
  the remedies, whichever is higher, less that of the network found.
* `schemes.<fault>`: CCR with power-of-two scales over CCR with real ones, geometric mean of all networks
  without remedies, with its 95 % interval; `schemes.<fault>.<data>.<network>` for each alone, over its seeds.
* `clean`, `ccr`, `accuracy` (under faults), each `.<data>.<network>[.<fault>].<scheme>.<remedy>`, where the
  remedies of a network found may be those of its `design`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import report
from benchmarks.resilient_figures import REMEDIES, SCHEMES, Row, comparisons, schemes, summaries
from benchmarks.resilient_training import (
    RECIPE,
    SETTINGS,
    Network,
    Setting,
    dataset,
    file_name,
    macs,
    member,
    normalised,
    references,
    trained,
)
from vilfredo import study as studies
from vilfredo.campaign.bit_error_rates import under
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.injection import Injection, Runs
from vilfredo.campaign.plain import plain
from vilfredo.data.dataset import Dataset
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.nn.deployed import Deployed, run
from vilfredo.nn.quantize import Scheme, quantize
from vilfredo.objectives.candidate import answers
from vilfredo.spaces.chain import Chain
from vilfredo.trial import JSON, Genome, Key, Trial

FAULTS = {"weights": BitFlip(1e-3, "weights"), "activations": BitFlip(3e-4, "activations")}
GOALS = ("error", *FAULTS)
WEIGHT_CLIPS = (0.03, 0.1)  # limits of weights that are tried
CHOOSING = 100  # the seed that finalists are trained with; the next one where that is done again
COST = 0.01  # of accuracy that a limit of weights may have
UNTRAINED = 0.05  # of error that a longer training is thought to take away
SIZES = ("epochs", "train_size", "validation_size", "test_size")
CALIBRATION = 256  # training images that ranges are taken from

SPACE: Mapping[str, JSON] = {
    "use": "chain",
    "min_layers": 3,
    "max_layers": 14,
    "ops": ["conv", "max_pool", "avg_pool", "dense", "batch_norm", "dropout", "relu", "tanh"],
    "filters": [16, 20, 24, 32, 40, 48, 64],
    "kernels": [3, 5],
    "units": [64, 128, 256, 512, 1024, 2048],
    "rates": [0.1, 0.3, 0.5],
    "max_parameters": 3_000_000,
    "optimizers": [RECIPE.optimizer],
    "lr": [RECIPE.rate, RECIPE.rate],
    "weight_decay": [RECIPE.weight_decay, RECIPE.weight_decay],
    "batch_sizes": [RECIPE.batch_size],
    "schedules": [RECIPE.schedule],
    "activation_clip": [False, True],
    "weight_clip": [0, *WEIGHT_CLIPS],
}
TRAINING: Mapping[str, JSON] = {
    "optimizer": RECIPE.optimizer,
    "lr": RECIPE.rate,
    "weight_decay": RECIPE.weight_decay,
    "batch_size": RECIPE.batch_size,
    "schedule": RECIPE.schedule,
    "activation_clip": True,
    "weight_clip": 0.03,
}


def convolution(filters: int, kernel: int) -> dict[str, JSON]:
    pad = [kernel // 2, kernel // 2]
    return {"op": "conv", "filters": filters, "kernel": [kernel, kernel], "stride": [2, 2], "padding": pad}


START: Mapping[str, JSON] = {
    "layers": [
        *(convolution(20, 5), {"op": "batch_norm"}, {"op": "relu"}),
        *(convolution(48, 3), {"op": "batch_norm"}, {"op": "relu"}),
        *({"op": "dense", "units": 256}, {"op": "batch_norm"}, {"op": "relu"}),
    ],
    "training": TRAINING,
}


@dataclass(frozen=True)
class Plan:
    """How much is measured. Copies and images are counts by fault."""

    seeds: int = 3
    trials: int = 26
    search_epochs: int = 3
    finalists: int = 8
    weight_copies: int = 24
    weight_images: int = 250
    activation_copies: int = 2
    activation_images: int = 1_000

    def copies(self, fault: str) -> int:
        return self.weight_copies if fault == "weights" else self.activation_copies

    def images(self, fault: str) -> int:
        return self.weight_images if fault == "weights" else self.activation_images


def main(arguments: Sequence[str] | None = None) -> dict[str, float | str]:
    options = parse(arguments)
    torch.set_num_threads(1)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="resilient_search"))
    plan = Plan(**{n: getattr(options, n) for n in asdict(Plan())})
    settings = [replace(SETTINGS[name], **sizes(options)) for name in options.data]
    figures: dict[str, float | str] = {f"plan.{name}": value for name, value in asdict(plan).items()}
    rows: dict[tuple[str, str, str, str], list[Row]] = {}  # data, network, scheme, remedy -> a row a seed
    for setting in settings:
        found, facts = one_data(setting, plan, folder)
        figures |= facts
        rows |= found
    figures |= summaries(rows)
    figures |= comparisons(rows, figures)
    figures |= schemes(rows)
    report.write(options.json, figures)
    return figures


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = report.arguments(__doc__)
    parser.add_argument("--folder", metavar="CACHE", help="keeps what is trained and measured; goes on there")
    parser.add_argument("--data", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    for name, value in asdict(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    for name in SIZES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help="of all networks' training")
    return parser.parse_args(arguments)


def sizes(options: argparse.Namespace) -> dict[str, Any]:
    """Sizes that differ from the usual ones, for a quick look."""
    return {n: getattr(options, n) for n in SIZES if getattr(options, n) is not None}


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- one data set ---------------------------------------------------------------------------------------


def one_data(
    setting: Setting, plan: Plan, folder: Path
) -> tuple[dict[tuple[str, str, str, str], list[Row]], dict[str, float | str]]:
    """Rows of the references and of the networks found, and what there is to say of them."""
    data = dataset(setting)
    known = references(data)
    sizes = {network.name: macs(network, data) for network in known}
    facts: dict[str, float | str] = {}
    measure = Measure(setting, plan, folder)
    goals = {n.name: measure.accuracy_on_validation(n) for n in known}
    limits = Limits(min(sizes.values()), round(1 - min(goals.values()) + UNTRAINED, 3))
    trials, cost = searched(setting, plan, folder, limits)
    facts |= {f"{name}.{setting.data}": value for name, value in cost.items()}
    facts[f"most_error.{setting.data}"] = limits.error
    space = chain(limits.macs).bind(data.input_shape, data.outputs)
    chosen = finalists(measure, space, trials)
    networks = list(known)
    for reference in known:
        genome = best(chosen, goals[reference.name], partial(again, measure))
        network = member(f"found_{reference.name}", space, genome)
        networks.append(network)
        facts[f"found.{setting.data}.{reference.name}"] = json.dumps(genome["layers"])
        facts[f"design_clips.{setting.data}.{reference.name}"] = json.dumps(network.clips)
        facts[f"validation.{setting.data}.{reference.name}"] = goals[reference.name]
    facts[f"finalists.{setting.data}"] = len(chosen)
    rows: dict[tuple[str, str, str, str], list[Row]] = {}
    for network in networks:
        facts[f"macs.{setting.data}.{network.name}"] = macs(network, data)
        parameters = sum(p.numel() for p in network.make(0).parameters())
        facts[f"parameters.{setting.data}.{network.name}"] = parameters
        seconds = [measure.seconds(network, seed) for seed in range(plan.seeds)]
        facts[f"train_seconds.{setting.data}.{network.name}"] = statistics.mean(seconds)
        facts[f"weight_clip.{setting.data}.{network.name}"] = measure.clips(network, "both")[0]
        for scheme in SCHEMES:
            for remedy in (*REMEDIES, "design") if network not in known else REMEDIES:
                rows[setting.data, network.name, scheme, remedy] = [
                    measure.row(network, seed, scheme, remedy) for seed in range(plan.seeds)
                ]
    return rows, facts


@dataclass(frozen=True)
class Limits:
    """Of what is searched: multiply-accumulates, and the share of wrong answers on validation images."""

    macs: int
    error: float


def chain(most_macs: int) -> Chain:
    entries = {n: tuple(v) if isinstance(v, list) else v for n, v in SPACE.items() if n != "use"}
    return Chain(**entries, max_macs=most_macs)  # type: ignore[arg-type]


def searched(
    setting: Setting, plan: Plan, folder: Path, limits: Limits
) -> tuple[list[Trial], dict[str, float]]:
    """All trials of the search, which goes on where it was interrupted, and what it cost."""
    store = folder / f"search-{setting.data}.db"
    folder.mkdir(parents=True, exist_ok=True)
    if store.exists():
        study = studies.resume(store, budget=plan.trials)
    else:
        study = studies.search(specification(setting, plan, limits, store), workers=1)
    with study:
        for trial in study:
            if trial.state != "rejected":
                values = {g: trial.values[Key(g)].mean for g in GOALS if Key(g) in trial.values}
                log(f"{setting.data} search {trial.number} {trial.state} {values}")
        told = [t for t in study.trials() if t.state != "rejected"]
        seconds = [sum(t.seconds.values()) for t in told]
        epochs = sum(len(t.epochs) for t in told)
    cost = {"search_trials": len(told), "search_seconds": sum(seconds), "search_epochs": epochs}
    return [t for t in told if t.state == "complete"], {k: float(v) for k, v in cost.items()}


def specification(setting: Setting, plan: Plan, limits: Limits, store: Path) -> dict[str, JSON]:
    flips: dict[str, JSON] = {
        name: {"use": "bit_flip", "rate": fault.rate, "site": name} for name, fault in FAULTS.items()
    }
    return {
        "name": f"resilient {setting.data}",
        "budget": plan.trials,
        "confirm": 0,
        "problem": {
            "use": "supervised",
            "data": setting.data,
            "train_size": setting.train_size,
            "validation_size": setting.validation_size,
            "test_size": setting.test_size,
            "epochs": plan.search_epochs,
            "bits": 8,
            "baseline": START,
        },
        "space": {**SPACE, "max_macs": limits.macs},
        "goals": {
            "error": {"max": limits.error},
            **{
                name: {"use": "ccr", "faults": flip, "copies": 10 if name == "weights" else 2, "images": 250}
                for name, flip in flips.items()
            },
        },
        "optimizer": {"use": "steady", "population": 6},
        "store": {"path": str(store)},
    }


def value(trial: Trial, goal: str) -> float:
    return trial.values[Key(goal)].mean


def harm(weights: float, activations: float) -> float:
    """What networks are chosen by: the product of both CCRs, each at least one image of a thousand."""
    return max(weights, 1e-3) * max(activations, 1e-3)


@dataclass(frozen=True)
class Finalist:
    """What was measured of a network of the search on validation images, trained in full."""

    network: Network
    genome: Genome
    accuracy: float
    harm: float


def finalists(measure: Measure, space: Chain, trials: Sequence[Trial]) -> list[Finalist]:
    """The most resilient of the search that are not far from its most accurate, trained in full.

    "Not far" is wide at first and becomes narrower: of the first half of the finalists up to 6 points of
    error more than the best, of the others 2.
    """
    least = min(value(t, "error") for t in trials)
    taken: dict[int, Trial] = {}
    half = (measure.plan.finalists + 1) // 2
    for room, upto in ((0.06, half), (0.02, measure.plan.finalists)):
        near = [t for t in trials if value(t, "error") <= least + room and t.number not in taken]
        near.sort(key=lambda t: harm(value(t, "weights"), value(t, "activations")))
        taken |= {t.number: t for t in near[: upto - len(taken)]}
    made: list[Finalist] = []
    for number, trial in taken.items():
        network = member(f"finalist{number}", space, trial.genome)
        row = measure.row(network, CHOOSING, "power_of_two", "design", "validation")
        damage = harm(row["ccr.weights"], row["ccr.activations"])
        made.append(Finalist(network, trial.genome, row["clean"], damage))
        log(f"{measure.setting.data} finalist {number}: {dict(row)}")
    return made


def again(measure: Measure, finalist: Finalist) -> float:
    """Its validation accuracy, the mean of what is known and one more training."""
    row = measure.row(finalist.network, CHOOSING + 1, "power_of_two", "design", "validation", ())
    log(f"{measure.setting.data} {finalist.network.name} again: {row['clean']}")
    return (finalist.accuracy + row["clean"]) / 2


def best(chosen: Sequence[Finalist], accuracy: float, again: Callable[[Finalist], float]) -> Genome:
    """The least harmed of those as accurate as a reference on validation images, also with another seed, so
    that on other images they are hardly a point behind; the most accurate if there is none."""
    for finalist in sorted(chosen, key=lambda f: f.harm):
        if finalist.accuracy >= accuracy and again(finalist) >= accuracy:
            return finalist.genome
    return max(chosen, key=lambda f: f.accuracy).genome


# -- measuring ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """Runs whole networks: where all images differ from the first layer on, there is nothing to save."""

    network: Deployed
    x: Tensor
    golden: Tensor

    @classmethod
    def of(cls, network: Deployed, x: Tensor) -> Plain:
        return cls(network, x, run(network, x)[-1])

    @property
    def classes(self) -> Tensor:
        return self.golden.argmax(1)

    def classes_under(self, injections: Sequence[Injection]) -> NDArray[np.int64]:
        return np.stack([plain(self.network, self.x, i).argmax(1).numpy() for i in injections])


@dataclass(frozen=True)
class Measure:
    """Trains and measures networks of one data set, each once."""

    setting: Setting
    plan: Plan
    folder: Path

    @property
    def data(self) -> Dataset:
        return dataset(self.setting)

    def clips(self, network: Network, remedy: str) -> tuple[float, bool]:
        """The limit of its weights (0: none), and whether activations are clipped.

        Where both are, the limit is the smallest that costs little accuracy, else the largest.
        """
        if remedy == "design":
            return network.clips
        if remedy != "both":
            return 0.0, remedy == "activation_clip"
        bare = self.row(network, 0, "power_of_two", "none", "validation", ())["clean"]
        for clip in WEIGHT_CLIPS[:-1]:
            if self._row(network, 0, clip, Scheme(), "validation", ())["clean"] >= bare - COST:
                return clip, True
        return WEIGHT_CLIPS[-1], True

    def seconds(self, network: Network, seed: int) -> float:
        """What training took, without remedies."""
        return trained(network, self.setting, seed, 0.0, self.folder, log)[1]

    def accuracy_on_validation(self, network: Network) -> float:
        """Mean over seeds, quantised to powers of two."""
        rows = [
            self.row(network, seed, "power_of_two", "none", "validation", ())
            for seed in range(self.plan.seeds)
        ]
        return statistics.mean(row["clean"] for row in rows)

    def row(
        self,
        network: Network,
        seed: int,
        scheme: str,
        remedy: str,
        split: str = "test",
        faults: Iterable[str] = tuple(FAULTS),
    ) -> Row:
        """`clean` accuracy, and under each fault `ccr` and `accuracy`, trained and quantised."""
        weights, activations = self.clips(network, remedy)
        how = Scheme(scales=scheme, clip=activations)  # type: ignore[arg-type]
        return self._row(network, seed, weights, how, split, faults)

    def _row(
        self, network: Network, seed: int, clip: float, scheme: Scheme, split: str, faults: Iterable[str]
    ) -> Row:
        file = file_name(network, self.setting, seed, clip).removesuffix(".safetensors")
        path = self.folder / self.setting.data / f"{file}.json"
        known: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        start = f"{split}.{scheme.scales}.{scheme.clip}"
        wanted = {f"{start}.{name}": name for name in ("clean", *faults)}
        missing = [n for key, n in wanted.items() if not self._known(known, key, n)]
        if missing:
            found = self._measured(network, seed, clip, scheme, split, missing)
            known |= {f"{start}.{n}": v for n, v in found.items()}
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(known, indent=1))
            partial.replace(path)
        result = {"clean": known[f"{start}.clean"]}
        for fault in faults:
            for what in ("ccr", "accuracy"):
                result[f"{what}.{fault}"] = known[self._key(f"{start}.{fault}", fault, what)]
        return result

    def _key(self, start: str, fault: str, what: str) -> str:
        return f"{start}.{self.plan.copies(fault)}x{self.plan.images(fault)}.{what}"

    def _known(self, known: Mapping[str, float], key: str, name: str) -> bool:
        return key in known if name == "clean" else self._key(key, name, "ccr") in known

    def _measured(
        self, network: Network, seed: int, clip: float, scheme: Scheme, split: str, names: Sequence[str]
    ) -> dict[str, float]:
        start = time.process_time()
        model, _ = trained(network, self.setting, seed, clip, self.folder, log)
        data = self.data
        part = data.test if split == "test" else data.validation
        samples = normalised(data, torch.from_numpy(data.train.x[:CALIBRATION]))
        deployed = quantize(model, samples, scheme)
        x, y = normalised(data, torch.from_numpy(part.x)), part.y
        found: dict[str, float] = {}
        for name in names:
            if name == "clean":
                found["clean"] = float((answers(deployed, x).argmax(1).numpy() == y).mean())
                continue
            images = self.plan.images(name)
            codes = deployed.encode(x[:images])
            with torch.inference_mode():
                runs: Runs = Plain.of(deployed, codes) if name == "weights" else Engine(deployed, codes)
                damage = under(runs, [FAULTS[name]], y[:images], self.plan.copies(name), seed)
            found[self._key(name, name, "ccr")] = damage.mean_ccr
            found[self._key(name, name, "accuracy")] = damage.mean
        log(
            f"{data.name} {network.name} seed {seed} weight_clip {clip:g} {scheme.scales} clip {scheme.clip} "
            f"{split}: {found}, {time.process_time() - start:.1f} s"
        )
        return found


if __name__ == "__main__":
    main()
