"""What `vilfredo faults` works with: a trained network, from a search or a user's own, and data for it."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vilfredo.data.dataset import Dataset, Part
from vilfredo.nn import own
from vilfredo.nn.quantize import Scheme
from vilfredo.spec import names

if TYPE_CHECKING:
    from vilfredo.study import Study

Inputs = Literal["standardised", "unit", "raw"]
_PARTS = re.compile(r"""(?:\[[^\]]*\]|'[^']*'|"[^"]*"|[^,])+""")  # between commas, lists and quotes whole
PICKLED = (".pt", ".pth", ".ckpt", ".bin", ".pkl")


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network in evaluation mode on the CPU, with its data and what it is called.

    `mean` and `std` (channels or features) are what its inputs are normalised by, in the units of the stored
    data: `(x - mean) / std`.
    """

    model: nn.Module
    data: Dataset
    title: str
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    scheme: Scheme | None = None  # how the search that it is of deployed it

    def inputs(self, x: NDArray[Any]) -> Tensor:
        """Stored inputs (n, …) as the network takes them: float32, normalised."""
        around = (1, -1, *(1 for _ in x.shape[2:]))
        mean, std = (torch.from_numpy(a).reshape(around) for a in (self.mean, self.std))
        return torch.from_numpy(np.array(x, np.float32)).sub_(mean).div_(std)

    def part(self, split: Literal["train", "validation", "test"], images: int, seed: int) -> Part:
        """`images` samples of a part, drawn with `seed`; all of them where there are no more."""
        whole: Part = getattr(self.data, split)
        if images >= len(whole):
            return whole
        rows = np.sort(np.random.default_rng([seed, images]).choice(len(whole), images, replace=False))
        return Part(whole.x[rows], whole.y[rows])


# -- networks -------------------------------------------------------------------------------------


def of_trial(study: Study, number: int, data: Dataset | None = None) -> Subject:
    """The network of a trial with its weights, as it was trained; `data` None: the run's.

    Raises `ValueError` for runs without such networks, and for a trial that left no weights.
    """
    if study.run.description.get("kind") == "spiking":
        raise ValueError(
            f"trial {number} is a spiking network; its resilience is a goal of its search: resilience_mean"
        )
    trial = study.run.trial(number)
    problem: Any = study.parts.problem
    trained_on: Dataset | None = getattr(problem, "data", None)
    if trained_on is None:
        raise ValueError(f"the candidates of run {study.run.id} are no networks, so faults cannot hit them")
    model = study.load_model(trial)
    if not isinstance(model, nn.Module):
        raise ValueError(f"the candidates of run {study.run.id} are no networks, so faults cannot hit them")
    title = f"trial {number} of {study.run.name or f'run {study.run.id}'}"
    given = trained_on if data is None else data
    _classes(given)
    own.fitting(model.cpu(), given.input_shape, given.outputs, title)
    known = getattr(problem, "scheme_of", None)
    scheme = None if known is None else known(trial.genome)
    return Subject(model.cpu().eval(), given, title, trained_on.mean, trained_on.std, scheme)


def of_module(
    name: str,
    data: Dataset,
    weights: str | Path | None = None,
    inputs: Inputs = "standardised",
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Subject:
    """A user's own network: "package.module:name" or "file.py:name" of a function `()` or `(input_shape,
    outputs)` that returns an `nn.Module`, of the class of one, or of a module itself.

    `weights` is a safetensors file with its state. `inputs` says what it was trained on: "standardised" by
    the data's training part, "unit" (pixels from 0 to 1) or "raw", as stored; `scale` is mean and standard
    deviation of pixels from 0 to 1 instead. Raises `ValueError`, one sentence.
    """
    _classes(data)
    maker = _found(name)
    model = _made(maker, name, data, seed=0)
    if weights is None:
        loose = _random(maker, name, data, model)
        if loose:
            raise ValueError(
                f"{name} makes a network without its trained weights: those of {loose!r} are random; give "
                "the file that holds them with --weights FILE.safetensors"
            )
    else:
        _load(model, weights, name)
    own.fitting(model, data.input_shape, data.outputs, name)
    mean, std = _scale(data, inputs, scale)
    return Subject(model.cpu().eval(), data, name, mean, std)


def _classes(data: Dataset) -> None:
    if data.task != "classification":
        raise ValueError(
            f"{data.name} has no classes but targets to regress, so a fault cannot change a class; give data "
            "with classes"
        )


def _found(name: str) -> Any:
    place, _, thing = name.rpartition(":")
    if not place.endswith(".py"):
        return names.reference(name)
    path = Path(place).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {place}; name the network 'file.py:function'")
    module_name = f"_faults_{path.stem}"
    plan = importlib.util.spec_from_file_location(module_name, path)
    assert plan is not None
    assert plan.loader is not None
    module = importlib.util.module_from_spec(plan)
    sys.modules[module_name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # last, so that nothing there can hide what is installed
        sys.path.append(folder)
    try:
        plan.loader.exec_module(module)
    except Exception as problem:
        first = (str(problem).strip().splitlines() or [""])[0]
        raise ValueError(f"running {place} raised {type(problem).__name__}: {first}") from problem
    if not thing or not hasattr(module, thing):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise ValueError(f"{place} has no {thing!r}; {names.near(thing, public)}")
    return getattr(module, thing)


def _made(maker: Any, name: str, data: Dataset, seed: int) -> nn.Module:
    """The network, called with a generator of its own; one that is there already as it is."""
    if isinstance(maker, nn.Module):
        return maker
    if not callable(maker):
        raise ValueError(
            f"{name} is {type(maker).__name__}; it must be a torch.nn.Module or a function that returns one"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made = maker(data.input_shape, data.outputs) if own.takes_two(maker) else maker()
        except Exception as problem:
            first = (str(problem).strip().splitlines() or [""])[0]
            call = f"{name}{inspect.signature(maker)}" if inspect.isfunction(maker) else name
            raise ValueError(f"calling {call} raised {type(problem).__name__}: {first}") from problem
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name} returned {type(made).__name__}; it must return a torch.nn.Module")
    return made


def _random(maker: Any, name: str, data: Dataset, model: nn.Module) -> str:
    """The name of a parameter that is another one when the network is made again; "" if none is."""
    if isinstance(maker, nn.Module):
        return ""
    state = {key: value.detach().clone() for key, value in model.state_dict().items()}
    again = _made(maker, name, data, seed=1).state_dict()
    return next((k for k in state if k not in again or not torch.equal(state[k], again[k])), "")


def _load(model: nn.Module, weights: str | Path, name: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(weights).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {path} with weights")
    try:
        given = load_file(str(path))
    except (SafetensorError, ValueError, OSError) as problem:
        hint = (
            " is not read, for it may hold pickled objects: write the weights with "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        )
        first = (str(problem).strip().splitlines() or [""])[0]
        text = f"{path} is no safetensors file ({first})" if path.suffix not in PICKLED else f"{path}"
        raise ValueError(text + (hint if path.suffix in PICKLED else "")) from problem
    wanted = model.state_dict()
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    unknown = [k for k in given if k not in wanted]
    if missing:
        rest = _others(missing)
        hint = names.near(missing[0], unknown) if unknown else f"it holds {len(given)} arrays"
        raise ValueError(f"{path} has no {missing[0]!r}{rest} that {name} needs; {_cut(hint)}")
    if unknown:
        rest = _others(unknown)
        raise ValueError(
            f"{path} holds {unknown[0]!r}{rest}, which {name} does not have; are they weights of another "
            "network?"
        )
    for key, value in given.items():
        if value.shape != wanted[key].shape:
            raise ValueError(
                f"{key!r} in {path} has the shape {tuple(value.shape)}, but in {name} "
                f"{tuple(wanted[key].shape)}; are they weights of another network?"
            )
    for key, value in given.items():
        if not torch.isfinite(value.float()).all():
            raise ValueError(f"{key!r} in {path} holds numbers that are not finite; the training diverged")
    model.load_state_dict(given, strict=False)


def _others(names: Sequence[str]) -> str:
    left = len(names) - 1
    return f" and {left} other{'' if left == 1 else 's'}" if left else ""


def _cut(text: str, width: int = 160) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _scale(
    data: Dataset, inputs: Inputs, scale: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    size = len(data.mean)
    top = 255.0 if data.train.x.dtype == np.uint8 else 1.0
    if scale is not None:
        for what, values in zip(("--mean", "--std"), scale, strict=True):
            if len(values) not in (1, size):
                channels = f"{size} channel{'' if size == 1 else 's'}"
                raise ValueError(f"{what} has {len(values)} numbers, but {data.name} has {channels}")
        if min(scale[1]) <= 0:
            raise ValueError("--std must be above 0")
        mean, std = (np.broadcast_to(np.array(v, np.float32) * top, size).copy() for v in scale)
        return mean, std
    if inputs == "standardised":
        return data.mean, data.std
    return np.zeros(size, np.float32), np.full(size, top if inputs == "unit" else 1.0, np.float32)


# -- words of the command line --------------------------------------------------------------------


def dataset(text: str) -> Dataset:
    """The data that `text` names, as a spec does: a name ("digits"), with options ("table,path=a.csv,
    target=line"), a file of arrays ("signals.npz"), a folder of images, or "package.module:function"."""
    path = Path(text).expanduser()
    if "," not in text and "=" not in text and path.suffix == ".npz":
        use, options = "npz", {"path": str(path)}
    elif "," not in text and text not in names.known("data") and path.is_dir():
        use, options = "folder", {"path": str(path)}
    else:
        use, options = words(text)
        if "path" in options:
            options["path"] = str(Path(str(options["path"])).expanduser())
    loader = names.find("data", use)
    made = _called(f"data {use}", loader, options)
    if not isinstance(made, Dataset):
        raise ValueError(f"{use} gave {type(made).__name__}; it must give a vilfredo.data Dataset")
    return made


def words(text: str) -> tuple[str, dict[str, Any]]:
    """ "burst,length=3" is ("burst", {"length": 3}): values as in TOML, or plain text."""
    use, *rest = [part.strip() for part in _PARTS.findall(text)] or [""]
    options: dict[str, Any] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{part!r} in {text!r} is no option; options are NAME=VALUE behind commas")
        options[name.strip()] = _value(value.strip())
    return use, options


def _value(text: str) -> Any:
    with suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"value = {text}")["value"]
    return text


def _called(what: str, target: Any, options: Mapping[str, Any]) -> Any:
    good, wrong = names.check(target, options)
    if wrong:
        raise ValueError(f"{what}: " + "; ".join(f"{option}: {sentence}" for option, sentence in wrong))
    return target(**good)
