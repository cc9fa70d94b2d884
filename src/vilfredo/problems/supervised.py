"""Networks trained on a dataset."""

from __future__ import annotations

import copy
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vilfredo import architecture, topology
from vilfredo import objectives as functions
from vilfredo.architecture import Design
from vilfredo.data import dataset
from vilfredo.data.dataset import Augment, Dataset, Part
from vilfredo.goal import Goal
from vilfredo.goal import goal as known_goal
from vilfredo.nn import own
from vilfredo.nn import train as trainer
from vilfredo.nn.build import Network, build
from vilfredo.nn.deployed import Deployed
from vilfredo.nn.floating import floating
from vilfredo.nn.gains import gains as gains_of
from vilfredo.nn.inherit import settle
from vilfredo.nn.probe import probe
from vilfredo.nn.quantize import Scheme, quantize
from vilfredo.nn.train import Recipe, Teacher
from vilfredo.objectives import macs, parameters
from vilfredo.objectives.candidate import Candidate, Examples
from vilfredo.objectives.damage import UNHARMED
from vilfredo.problems.inheritance import Heritage, examples, pass_on, signed
from vilfredo.protocols import Fault, Impossible, Snapshot, Space, Weights, Work
from vilfredo.seeds import derive, generator
from vilfredo.spaces.chain import Chain
from vilfredo.trial import FEATURE, JSON, Genome, Value

Objective = Callable[[Candidate], Value | float]

CALIBRATED = 256  # training examples that show which ranges activations have
WEIGHED = 48  # validation examples on which gains of trained weights are taken and flips tried
WIDEST = 16  # bits of layers without bits of their own, where others have some
RESILIENT = frozenset({"ccr", "resilience_mean", "resilience_q05", "resilience_worst"})

ELSEWHERE = frozenset({"train_seconds"})  # `evaluation`, which holds the clock, gives these itself


class Supervised:
    """Candidates are networks, trained on `data.train`; the search sees `data.validation` only.

    `space` is a network space (`Chain`, `Macro`), or `Parameters` together with `module`, a function
    `module(params, input_shape, outputs)` that returns a `torch.nn.Module` from `(batch, *input_shape)` to
    `(batch, outputs)`: logits of classes, or standardised targets. Parameters named like fields of
    `vilfredo.nn.train.Recipe` (`lr`, `batch_size`, …) train it; a network space has its own. `optimizer` to
    `schedule`, and `weight_clip`, are for what the genome leaves open. Where the space has networks inherit
    (`Morph`), children begin with their parents' weights; those that do not compute what their parent does
    learn from its answers, too, which have the share `distil` in the loss.

    `goals` are `Goal`s or names. `objectives` are functions `Candidate -> Value` (or a number) by goal; a
    goal that is not among them is computed by `vilfredo.objectives.<goal>`. `augment` None is what the data
    suggests. `device` is "cpu" or "cuda" (also "cuda:1", "mps").

    `baseline` is a network to compare with: a function `(input_shape, outputs) -> nn.Module`, the class of a
    module that is made without arguments, a module, the name of one of these as "package.module:name", or a
    genome of the space. It is trained and measured like all others.

    With `bits` (4 to 16), or a gene of that name, networks are quantised after training: weights and
    activations to that many bits, with `scales` "power_of_two" or "real", one for each `per` "channel" or
    "tensor" of weights, calibrated on training data (`vilfredo.nn.quantize.Scheme`). Then `error` and all
    goals of resilience are those of the quantised network, in whole numbers. `faults` befall the hardware,
    all of them together, drawn for each of `copies` copies of it; `seed` says which. With `gains` the
    metrics of the last epoch have features of the trained weights (`vilfredo.nn.gains`) and of some bit flips
    tried in them (`vilfredo.nn.probe`), for engines that forecast resilience.

    Networks see `(x - data.mean) / data.std`. Raises `ValueError`, one sentence, for what cannot work.
    """

    def __init__(
        self,
        data: Dataset,
        space: Space | None = None,
        goals: Iterable[Goal | str] = ("error", "latency", "parameters"),
        objectives: Mapping[str, Objective] | None = None,
        epochs: int = 10,
        module: Callable[..., Any] | None = None,
        baseline: Any = None,
        device: str = "cpu",
        optimizer: Literal["adam", "sgd"] = "adam",
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        batch_size: int = 64,
        schedule: Literal["cosine", "constant"] = "cosine",
        augment: Augment | None = None,
        weight_clip: float = 0.0,
        distil: float = 0.5,
        bits: int | None = None,
        scales: Literal["power_of_two", "real"] = "power_of_two",
        per: Literal["channel", "tensor"] = "channel",
        calibration: Literal["max", "percentile", "mse"] = "max",
        faults: Sequence[Fault] = (),
        copies: int = 20,
        gains: bool = False,
        seed: int = 0,
    ) -> None:
        if not isinstance(data, Dataset):
            raise ValueError(f"data is {type(data).__name__}, not a Dataset; load one with vilfredo.data")
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs is {epochs!r}; it must be a whole number from 1")
        self.data = data
        self.epochs = epochs
        self.device = _device(device)
        self.recipe = Recipe(optimizer, lr, momentum, weight_decay, batch_size, schedule, weight_clip)
        self.distil = _share(distil)
        self.augment: Augment = _augment(augment, data)
        self.module = module
        if bits is not None and (isinstance(bits, bool) or not isinstance(bits, int) or not 4 <= bits <= 16):
            raise ValueError(f"bits is {bits!r}; it must be a whole number from 4 to 16")
        # Without bits the scheme still has what genes leave open.
        self.scheme = Scheme(bits or WIDEST, bits or WIDEST, scales, per, calibration)
        self.bits = bits
        self.faults = tuple(faults)
        if isinstance(copies, bool) or not isinstance(copies, int) or copies < 1:
            raise ValueError(f"copies is {copies!r}; it must be a whole number from 1")
        self.copies = copies
        self.gains = gains
        self.seed = seed
        self.space: Any = Chain() if space is None else space
        if hasattr(self.space, "bind"):
            if module is not None:
                raise ValueError(
                    f"module builds networks from parameters, but {type(self.space).__name__} describes "
                    "networks itself; use a Parameters space, or leave module out"
                )
            self.space = self.space.bind(data.input_shape, data.outputs)
        elif module is None:
            raise ValueError(
                f"{type(self.space).__name__} describes no networks; give module, a function "
                "module(params, input_shape, outputs) that returns a torch.nn.Module"
            )
        self.goals: Sequence[Goal] = tuple(_unit(g if isinstance(g, Goal) else known_goal(g)) for g in goals)
        if not self.goals:
            raise ValueError("the problem has no goals; name at least one, such as goals=['error']")
        given = objectives or {}
        self.objectives = {g.name: given.get(g.name) or _known_objective(g.name) for g in self.goals}
        resilient = self._resilient
        self.goals = tuple(replace(g, under_faults=g.under_faults or g.name in resilient) for g in self.goals)
        for name in resilient:
            if not self.faults and "faults" not in getattr(self.objectives[name], "keywords", {}):
                raise ValueError(f"the goal {name!r} {UNHARMED}")
        self._tensors: dict[str, Any] = {}
        self._baseline: Any = None  # what makes the user's own network
        self.baseline: Genome | None = None if baseline is None else self._adopt(baseline)
        if module is not None:
            self._try_module()

    # -- what the search asks for -----------------------------------------------------------------

    @property
    def quiet(self) -> frozenset[str]:
        """The goals whose objective's module says `QUIET = True`."""
        return frozenset(
            name
            for name, function in self.objectives.items()
            if getattr(sys.modules.get(own.plain(function).__module__), "QUIET", False)
        )

    @property
    def inherits(self) -> bool:
        """Whether the weights of parents are of use to `train`."""
        return bool(getattr(self.space, "inherits", False))

    @property
    def _resilient(self) -> tuple[str, ...]:
        """The goals of resilience, by whatever name."""
        modules = {f"{functions.__name__}.{name}" for name in RESILIENT}
        return tuple(
            n for n, function in self.objectives.items() if own.plain(function).__module__ in modules
        )

    def describe(self) -> Mapping[str, JSON]:
        target = {"mean": self.data.target_mean.tolist(), "std": self.data.target_std.tolist()}
        return {
            "kind": "supervised",
            "data": dict(dataset.describe(self.data)),
            "space": {"use": type(self.space).__name__, **_settings(self.space)},
            "module": None if self.module is None else own.origin(self.module),
            "baseline": None if self.baseline is None else dict(self.baseline),
            "epochs": self.epochs,
            "training": {**asdict(self.recipe), "lr": self.recipe.rate},
            "augment": self.augment,
            "distil": self.distil if self.inherits else None,
            "device": self.device,
            "normalisation": {"mean": self.data.mean.tolist(), "std": self.data.std.tolist()},
            "targets": target if self.data.task == "regression" else None,
            "quantisation": None if self.bits is None else _settings(self.scheme),
            "faults": [repr(fault) for fault in self.faults],
            "copies": self.copies,
        }

    def layers(self, genome: Genome) -> Sequence[Mapping[str, JSON]]:
        """As `architecture.layers` gives them; of a user's module, its leaf modules in the order in which
        they run, with `op` their type and `args` their name and settings. [] for an impossible genome."""
        try:
            design = self._design(genome)
        except Impossible:
            return []
        if design is not None:
            return architecture.layers(design.architecture)
        return own.leaves(self._network(genome, 0), self.data.input_shape)

    def preview(self, work: Work) -> Mapping[str, Value]:
        """The goals of the preview stage. Raises `Impossible` for a genome that gives no network,
        `ValueError` for a user's module that does not fit the data."""
        design = self._design(work.genome)
        self._recipe(work.genome, design)
        candidate = self._untrained(work.genome, design)
        wanted = [g.name for g in self.goals if g.stage == "preview" and _asked(g.name, work)]
        values = {name: self._value(name, candidate) for name in wanted}
        if design is not None and self._resilient:
            found = topology.features(design.architecture, design.training)
            values |= {f"{FEATURE}{name}": Value(number) for name, number in found.items()}
        return values

    def sizes(self, genome: Genome) -> Mapping[str, float]:
        """Parameters and multiply-accumulates of a network, whatever the goals are. Raises like `preview`."""
        candidate = self._untrained(genome, self._design(genome))
        return {"parameters": parameters.objective(candidate).mean, "macs": macs.objective(candidate).mean}

    def _untrained(self, genome: Genome, design: Design | None) -> Candidate:
        """The candidate as far as it is known before training."""
        if design is not None:
            model: nn.Module = build(design.architecture, device="meta")
        else:
            model = self._network(genome, derive(0, "preview"))
        shape, outputs = self.data.input_shape, self.data.outputs
        return Candidate(model, shape, outputs, self.data.task, scheme=self._scheme(genome, design))

    def train(
        self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]
    ) -> Generator[Snapshot, None, nn.Module]:
        """Epochs of `vilfredo.nn.train.train`, then the network. It begins with weights of its parents where
        the space has networks inherit."""
        design = self._design(work.genome)
        model = self._network(work.genome, derive(seed, "weights"), design)
        heritage = self._heritage(work, model, design, resume, parents)
        model.to(self.device)
        scale, data = self._scale(), self._part("train")
        if heritage.inheritance is not None and resume is None:
            settle(model, heritage.inheritance.norms, examples(data.x, scale))
        teacher = None
        if heritage.teacher is not None and self.distil > 0:
            teacher = Teacher(heritage.teacher.to(self.device), self.distil)
        epochs = trainer.train(
            model,
            self.data.task,
            data,
            self._part("validation"),
            scale,
            self._recipe(work.genome, design),
            seed=seed,
            epochs=self.epochs,
            until=work.fidelity,
            augment=self.augment,
            resume=resume,
            teacher=teacher,
        )
        if self.gains and work.repeat == 0:
            epochs = self._weighed(epochs, model, work.genome, design)
        notes = heritage.notes if resume is None else ()
        yield from signed(epochs, work.genome, notes) if self.inherits else epochs
        return model.eval()

    def _weighed(
        self, epochs: Iterator[Snapshot], model: nn.Module, genome: Genome, design: Design | None
    ) -> Generator[Snapshot, None, None]:
        """The same epochs, the last one with features of the trained weights among its metrics."""
        for snapshot in epochs:
            scheme = self._scheme(genome, design)
            if snapshot.index == self.epochs and scheme is not None:
                network = self._deployed(model, scheme, genome, design)
                assert network is not None
                # Of those that faults will be measured on: which images are near to a change of class
                # decides, and no labels are looked at.
                samples = self._scale()(self._part("validation").x[:WEIGHED]).cpu()
                x = network.encode(samples)
                features = {
                    f"{FEATURE}{family}.{name}": value
                    for family, found in (("gains", gains_of(network, x)), ("probe", probe(network, x)))
                    for name, value in found.items()
                }
                snapshot = replace(snapshot, metrics={**snapshot.metrics, **features})
            yield snapshot

    def _heritage(
        self,
        work: Work,
        model: nn.Module,
        design: Design | None,
        resume: Weights | None,
        parents: Mapping[int, Weights],
    ) -> Heritage:
        """What the network has from its parents, already put into it. Of a training that goes on only the
        teacher matters, of one that is over nothing."""
        until = min(work.fidelity or self.epochs, self.epochs)
        over = resume is not None and trainer.epoch_of(resume) >= until
        if over or not parents or not self.inherits or design is None or not isinstance(model, Network):
            return Heritage()
        return pass_on(model, design, self.space, parents)

    def measure(self, work: Work, model: Any, seed: int) -> Mapping[str, Value]:
        """The goals asked for; if `work` names none, all of the measure stage but `train_seconds`."""
        scale, part = self._scale(), self._part(work.split)
        examples = Examples(
            part.x,
            self._answers(work.split),
            scale.mean,
            scale.std,
            self._tensor(self.data.target_mean),
            self._tensor(self.data.target_std),
        )
        design = self._design(work.genome)
        scheme = self._scheme(work.genome, design)
        candidate = Candidate(
            model,
            self.data.input_shape,
            self.data.outputs,
            self.data.task,
            examples,
            self.device,
            seed,
            scheme=scheme,
            deployed=self._deployed(model, scheme, work.genome, design),
            faults=self.faults,
            copies=self.copies,
            noise=derive(self.seed, "faults", work.split, work.noise, work.repeat),
        )
        wanted = [
            g.name
            for g in self.goals
            if _asked(g.name, work)
            and g.name not in ELSEWHERE
            and (g.stage == "measure" or work.goals is not None)
        ]
        return {name: self._value(name, candidate) for name in wanted}

    def scheme_of(self, genome: Genome) -> Scheme | None:
        """How the network of a genome is quantised; None if it is not. Raises `Impossible`."""
        return self._scheme(genome, self._design(genome))

    def _scheme(self, genome: Genome, design: Design | None) -> Scheme | None:
        """How this candidate is quantised; None if it is not. Genes say what the problem leaves open."""
        genes = self._genes(genome, design)
        bits = genes.get("bits", self.bits)
        layers = _layer_bits(design)
        if bits is None and not layers:
            return None
        bits = bits or WIDEST
        return replace(
            self.scheme,
            weights=bits,
            activations=bits,
            scales=genes.get("scales", self.scheme.scales),
            clip=bool(genes.get("activation_clip", False)),
            layers=layers,
        )

    def _genes(self, genome: Genome, design: Design | None) -> Mapping[str, JSON]:
        if design is not None:
            return design.training
        return {} if self._own(genome) else self._parameters(genome)

    def _deployed(
        self, model: nn.Module, scheme: Scheme | None, genome: Genome, design: Design | None
    ) -> Deployed | None:
        """The network as the hardware runs it, if that differs from the trained one."""
        clip = bool(self._genes(genome, design).get("activation_clip", False))
        if scheme is None and not clip:
            return None
        images = self._part("train").x[:CALIBRATED]
        samples = self._scale()(images).cpu()
        network = copy.deepcopy(model).cpu().eval()
        if scheme is None:
            return floating(network, samples=samples, clip=True)
        return quantize(network, samples, scheme)

    def _value(self, goal: str, candidate: Candidate) -> Value:
        value: Any = self.objectives[goal](candidate)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return Value(float(value))
        if not isinstance(value, Value):
            raise ValueError(
                f"the objective of {goal!r} gave {type(value).__name__}; it must give a Value or a number"
            )
        return value

    # -- networks ---------------------------------------------------------------------------------

    def _own(self, genome: Genome) -> bool:
        """Whether this is the genome of the user's own network."""
        return self._baseline is not None and dict(genome) == dict(self.baseline or {})

    def _design(self, genome: Genome) -> Design | None:
        """What a network space decodes the genome to; None where a user's code makes the network."""
        if self._own(genome):
            return None
        if self.module is None:
            return self.space.decode(genome)  # type: ignore[no-any-return]
        self.space.check(genome)
        return None

    def _recipe(self, genome: Genome, design: Design | None) -> Recipe:
        if design is not None:
            return self.recipe.changed(design.training)
        return self.recipe if self._own(genome) else self.recipe.changed(self._parameters(genome))

    def _parameters(self, genome: Genome) -> dict[str, JSON]:
        active = getattr(self.space, "active", dict)  # without those whose condition is not met
        return dict(active(genome))

    def _network(self, genome: Genome, seed: int, design: Design | None = None) -> nn.Module:
        """The untrained network on the CPU. Raises `ValueError` if a user's code gives none that fits."""
        design = design or self._design(genome)
        if design is not None:
            return build(design.architecture, seed)
        shape, outputs = self.data.input_shape, self.data.outputs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if not self._own(genome):
                assert self.module is not None
                maker, model = self.module, self.module(self._parameters(genome), shape, outputs)
            elif isinstance(self._baseline, nn.Module):
                maker, model = self._baseline, copy.deepcopy(self._baseline)
            else:
                maker = self._baseline
                model = maker(shape, outputs) if own.takes_two(maker) else maker()
        return own.fitting(model, shape, outputs, own.origin(maker))

    def _adopt(self, baseline: Any) -> Genome:
        """The baseline's genome; that it makes a network which fits is tried at once."""
        if isinstance(baseline, Mapping):
            try:
                self.space.check(baseline)
            except Impossible as problem:
                raise ValueError(f"the baseline is no genome of the space: {problem}") from problem
            return dict(baseline)
        found = own.imported(baseline) if isinstance(baseline, str) else baseline
        if not callable(found):
            raise ValueError(
                f"the baseline {baseline!r} is {type(found).__name__}; it must be a torch.nn.Module, a "
                "function (input_shape, outputs) that returns one, or a genome of the space"
            )
        self._baseline = found
        self.baseline = {"module": baseline if isinstance(baseline, str) else own.origin(found)}
        self._network(self.baseline, 0)
        return self.baseline

    def _try_module(self) -> None:
        """A first network of the user's `module`: what is wrong with all is found before the search."""
        genome = self.space.sample(generator(0, "try"))
        try:
            self._network(genome, 0)
        except own.Misfit:
            raise
        except Exception:
            return  # this one may be wrong by itself; it will be a trial with its cause

    # -- data on the device -----------------------------------------------------------------------

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        """A tensor on the device, its strides those of C order even where a dimension is 1: PyTorch chooses
        its kernels, and so the last bits of its results, by the strides."""
        flat = np.ascontiguousarray(array).reshape(-1)
        tensor = torch.from_numpy(flat if flat.flags.writeable else flat.copy())
        return tensor.reshape(array.shape).to(self.device)

    def _kept(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._tensors:
            self._tensors[key] = make()
        return self._tensors[key]

    def _answers(self, name: str) -> Tensor:
        part: Part = getattr(self.data, name)
        answers: Tensor = self._kept(f"{name} answers", lambda: self._tensor(part.y))
        return answers

    def _part(self, name: str) -> trainer.Data:
        """A part of the data on the device, moved there once."""

        def make() -> trainer.Data:
            part: Part = getattr(self.data, name)
            y = self._answers(name)
            if self.data.task == "regression":
                y = (y - self._tensor(self.data.target_mean)) / self._tensor(self.data.target_std)
            return trainer.Data(self._tensor(part.x), y)

        part: trainer.Data = self._kept(name, make)
        return part

    def _scale(self) -> trainer.Scale:
        def make() -> trainer.Scale:
            shape = (1, -1, *[1] * (len(self.data.input_shape) - 1))
            mean, std = (self._tensor(a).reshape(shape) for a in (self.data.mean, self.data.std))
            return trainer.Scale(mean, std, torch.from_numpy(self.data.target_std))

        scale: trainer.Scale = self._kept("scale", make)
        return scale

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tensors": {}}


def _layer_bits(design: Design | None) -> dict[str, int]:
    """Bits of the weights of those layers that have a gene for them, by the names of their modules."""
    layers = design.architecture.layers if design is not None else ()
    return {f"layers.{i}": layer.args["bits"] for i, layer in enumerate(layers) if "bits" in layer.args}


def _unit(goal: Goal) -> Goal:
    """Resilience is accuracy here, a share; of other problems it has the score's unit."""
    share = goal.name in ("resilience_mean", "resilience_q05", "resilience_worst") and not goal.unit
    return replace(goal, unit="fraction") if share else goal


def _asked(goal: str, work: Work) -> bool:
    return work.goals is None or goal in work.goals


def _device(device: str) -> str:
    kinds = "choose 'cpu', 'cuda', 'cuda:<number>' or 'mps'"
    try:
        kind = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"there is no device {device!r}; {kinds}") from None
    if kind.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise ValueError(f"device is {device!r}, but PyTorch finds no CUDA GPU here; use device = 'cpu'")
        if (kind.index or 0) >= count:
            raise ValueError(f"device is {device!r}, but there are only {count} GPUs here, numbered from 0")
    elif kind.type == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("device is 'mps', but PyTorch finds no Apple GPU here; use device = 'cpu'")
    elif kind.type != "cpu":
        raise ValueError(f"cannot train on device {device!r}; {kinds}")
    return device


def _share(distil: float) -> float:
    if isinstance(distil, bool) or not isinstance(distil, int | float) or not 0 <= distil <= 1:
        raise ValueError(f"distil is {distil!r}; it must be a number from 0 to 1")
    return float(distil)


def _augment(augment: Augment | None, data: Dataset) -> Augment:
    if augment is None:
        return data.augment
    if augment not in ("none", "shift", "flip_shift"):
        raise ValueError(f"augment is {augment!r}; it must be none, shift or flip_shift")
    if augment != "none" and len(data.input_shape) != 3:
        raise ValueError(f"augment is {augment!r}, but {data.name} holds no images; use augment = 'none'")
    return augment


def _known_objective(name: str) -> Objective:
    """`objective` of the module `vilfredo.objectives.<name>`."""
    found = [m.name for m in pkgutil.iter_modules(functions.__path__)]
    if name in found:
        function = getattr(importlib.import_module(f"vilfredo.objectives.{name}"), "objective", None)
        if function is not None:
            return function  # type: ignore[no-any-return]
    modules = {n: importlib.import_module(f"vilfredo.objectives.{n}") for n in found}
    known = sorted(n for n, m in modules.items() if hasattr(m, "objective"))
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"nothing computes the goal {name!r}; {hint}known are {', '.join(known)}; your own function goes "
        "into objectives"
    )


def _settings(space: Any) -> dict[str, JSON]:
    """The public fields of a space as JSON."""
    if not is_dataclass(space):
        return {}
    return {f.name: _json(getattr(space, f.name)) for f in fields(space) if f.init and f.repr}


def _json(value: Any) -> JSON:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json(v) for v in value]
    if is_dataclass(value):
        return {"is": type(value).__name__, **_settings(value)}
    return repr(value)
