"""Training by gradients: a generator of epochs that resumes bit for bit.

All random numbers of an epoch (order, augmentation, dropout) follow from the training's seed and the
epoch's number, so the state after an epoch is that of the network and of the optimizer, nothing else.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vilfredo.protocols import Snapshot, Weights
from vilfredo.seeds import derive
from vilfredo.trial import JSON

Task = Literal["classification", "regression"]
Augment = Literal["none", "shift", "flip_shift"]

BATCH = 128  # for evaluation: large enough that overhead does not count, small enough for caches
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)  # what `weight_clip` is about
SHIFT = 16  # images are shifted by up to a size / SHIFT: 1 pixel of 28, 2 of 32; more slows short trainings
STATE = "optimizer/"  # before the names of the optimizer's arrays in a checkpoint
OTHERS = "vilfredo/"  # before what others put into a checkpoint
EPOCH = "training/epoch"
GOES_ON = "training/goes_on"  # there if the optimizer's state is, which may be empty


@dataclass(frozen=True)
class Data:
    """Inputs (n, ...) as stored and answers: int64 classes (n,), or float32 standardised targets (n, k)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Scale:
    """What turns stored inputs into what a network sees, `(x - mean) / std`, and tells errors in the
    targets' own unit. All float32, broadcastable; `target_std` is (k,), empty for classes."""

    mean: Tensor
    std: Tensor
    target_std: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.to(self.mean.dtype).sub(self.mean).div_(self.std)


@dataclass(frozen=True)
class Recipe:
    """How to train.

    `adam` decouples the weight decay (I. Loshchilov and F. Hutter, "Decoupled weight decay
    regularization", ICLR 2019), without one it is Adam (D. Kingma and J. Ba, ICLR 2015); `sgd` uses
    Nesterov's momentum where there is any. `lr` None is 0.002 for Adam and 0.05 for SGD. `cosine` brings the
    learning rate from `lr` to 0 over all epochs, step by step (SGDR's without restarts, ICLR 2017).
    `weight_clip` above 0 keeps the weights of convolutions and dense layers within ± that, after each step of
    the optimizer (D. Stutz et al., "Bit error robustness for energy-efficient DNN accelerators", MLSys 2021).
    Raises `ValueError`, one sentence, for values out of range.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 64
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_clip: float = 0.0

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, ("adam", "sgd"))
        _one_of("schedule", self.schedule, ("cosine", "constant"))
        if self.lr is not None:
            _number("lr", self.lr, self.lr > 0, "a number above 0")
        _number("momentum", self.momentum, 0 <= self.momentum < 1, "a number from 0 to below 1")
        _number("weight_decay", self.weight_decay, self.weight_decay >= 0, "a number from 0")
        _number("weight_clip", self.weight_clip, self.weight_clip >= 0, "a number from 0, which means none")
        whole = isinstance(self.batch_size, int | np.integer) and self.batch_size >= 1
        if not whole or isinstance(self.batch_size, bool):
            raise ValueError(f"batch_size is {self.batch_size!r}; it must be a whole number from 1")

    def changed(self, settings: Mapping[str, JSON]) -> Recipe:
        """The recipe with those of `settings` that are its own; others are not looked at."""
        names = {f.name for f in fields(self)}
        return replace(self, **{k: v for k, v in settings.items() if k in names and v is not None})

    @property
    def rate(self) -> float:
        return self.lr if self.lr is not None else {"adam": 0.002, "sgd": 0.05}[self.optimizer]


@dataclass(frozen=True)
class Teacher:
    """A trained network whose answers are learned along with the right ones.

    Of classes: `weight` · `temperature`² · KL(teacher ‖ network), both softened by `temperature`, and
    (1 − `weight`) · cross entropy (G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural
    network", arXiv 1503.02531). Of other targets: the teacher's answers count `weight`, the right ones the
    rest. The teacher sees the same augmented batches and does not learn.
    """

    model: nn.Module
    weight: float = 0.5
    temperature: float = 4.0

    def __post_init__(self) -> None:
        _number("distil", self.weight, 0 <= self.weight <= 1, "a number from 0 to 1")
        _number("temperature", self.temperature, self.temperature > 0, "a number above 0")

    def __call__(self, task: Task, x: Tensor, outputs: Tensor, loss: Tensor) -> Tensor:
        """The loss to descend, where `loss` is that of the right answers."""
        self.model.eval()
        with torch.no_grad():
            answers = self.model(x)
        if task == "regression":
            return (1 - self.weight) * loss + self.weight * F.mse_loss(outputs, answers)
        soft = F.log_softmax(outputs / self.temperature, dim=1)
        aim = F.log_softmax(answers / self.temperature, dim=1)
        apart = F.kl_div(soft, aim, reduction="batchmean", log_target=True)
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * apart


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it must be {' or '.join(allowed)}")


def _number(name: str, value: object, fits: bool, wanted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not fits:
        raise ValueError(f"{name} is {value!r}; it must be {wanted}")


def train(
    model: nn.Module,
    task: Task,
    data: Data,
    validation: Data,
    scale: Scale,
    recipe: Recipe,
    *,
    seed: int,
    epochs: int,
    until: int | None = None,
    augment: Augment = "none",
    resume: Weights | None = None,
    teacher: Teacher | None = None,
) -> Generator[Snapshot, None, None]:
    """Train `model` in place, to epoch `until` of `epochs` (None: all); yields after each epoch.

    Metrics are `train_loss` and `val_loss` (cross entropy, or the mean square over standardised targets),
    `val_error` (fraction of wrong answers, or the root mean square over standardised targets), and
    `train_accuracy` and `val_accuracy`, or `val_rmse` (in the unit of a single target). Those on
    training data are means over the epoch, with augmentation and dropout, of the right answers' loss, also
    where a `teacher` has its share in what is descended. If the loss ceases to be
    finite, all of the epoch's are NaN and training ends.

    `resume` is a checkpoint of an earlier call with the same arguments: training goes on exactly as if it
    had not stopped, and yields nothing if it had come as far already. A batch of one example that is
    left over at an epoch's end is left out, since batch norm cannot take it. Everything is on the
    device of the data. Raises `ValueError` for a checkpoint of another network.
    """
    last = epochs if until is None else min(until, epochs)
    optimizer = _optimizer(model, recipe)
    done = 0 if resume is None else restore(model, resume, optimizer if GOES_ON in resume else None)
    if done < last and resume is not None and GOES_ON not in resume:
        raise ValueError(
            f"the checkpoint after epoch {done} has no state of the optimizer, so epoch {done + 1} "
            "cannot follow on it"
        )
    reached = [done]  # what the model's weights are those of; a checkpoint called late must not lie

    if done < last:
        _keep_memory()
    try:
        for epoch in range(done + 1, last + 1):
            with _seeded(derive(seed, "epoch", epoch), data.x.device):
                trained = _epoch(
                    model, task, data, scale, recipe, optimizer, epoch - 1, epochs, augment, teacher
                )
            reached[0] = epoch
            if not math.isfinite(trained["train_loss"]):
                names = metrics_of(task, scale)
                yield Snapshot(epoch, dict.fromkeys(names, math.nan))
                return
            metrics = trained | evaluate(model, task, validation, scale)

            def snapshot(epoch: int = epoch) -> Weights:
                if reached[0] != epoch:
                    raise RuntimeError(
                        f"the checkpoint of epoch {epoch} was asked for after epoch {reached[0]}"
                    )
                return checkpoint(model, epoch, optimizer, final=epoch == epochs)

            yield Snapshot(epoch, metrics, snapshot)
    finally:
        _give_back_memory()


def metrics_of(task: Task, scale: Scale) -> tuple[str, ...]:
    """The names of an epoch's metrics."""
    if task == "classification":
        return ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_error")
    return ("train_loss", "val_loss", "val_error", *(("val_rmse",) if len(scale.target_std) == 1 else ()))


def _epoch(
    model: nn.Module,
    task: Task,
    data: Data,
    scale: Scale,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer | None,
    before: int,
    epochs: int,
    augment: Augment,
    teacher: Teacher | None,
) -> dict[str, float]:
    """One pass over the training data, `before` epochs having gone before."""
    model.train()
    clipped = [m.weight for m in model.modules() if isinstance(m, WEIGHTED)] if recipe.weight_clip else []
    order = torch.randperm(len(data)).to(data.x.device)
    batches = list(order.split(recipe.batch_size))  # type: ignore[no-untyped-call]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches.pop()
    total = torch.zeros((), device=data.x.device, dtype=torch.float64)
    right = torch.zeros((), device=data.x.device, dtype=torch.int64)
    seen = 0
    for number, rows in enumerate(batches):
        x, y = data.x[rows], data.y[rows]
        inputs = scale(augmented(x, augment))
        outputs = model(inputs)
        loss = _loss(task, outputs, y)
        if optimizer is not None:
            descended = loss if teacher is None else teacher(task, inputs, outputs, loss)
            _set_rate(optimizer, recipe, before * len(batches) + number, epochs * len(batches))
            optimizer.zero_grad(set_to_none=True)
            descended.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                for weight in clipped:
                    weight.clamp_(-recipe.weight_clip, recipe.weight_clip)
        total += loss.detach() * len(rows)
        if task == "classification":
            right += (outputs.detach().argmax(dim=1) == y).sum()
        seen += len(rows)
    metrics = {"train_loss": float(total) / seen}
    if task == "classification":
        metrics["train_accuracy"] = int(right) / seen
    return metrics


def _loss(task: Task, outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y) if task == "classification" else F.mse_loss(outputs, y)


def evaluate(model: nn.Module, task: Task, data: Data, scale: Scale) -> dict[str, float]:
    """`val_loss` and the other metrics on `data`, in evaluation mode."""
    model.eval()
    total = torch.zeros((), device=data.x.device, dtype=torch.float64)
    right = torch.zeros((), device=data.x.device, dtype=torch.int64)
    with torch.inference_mode():
        for x, y in zip(torch.split(data.x, BATCH), torch.split(data.y, BATCH), strict=True):
            outputs = model(scale(x))
            total += _loss(task, outputs, y) * len(x)
            if task == "classification":
                right += (outputs.argmax(dim=1) == y).sum()
    loss = float(total) / len(data)
    if task == "classification":
        accuracy = int(right) / len(data)
        return {"val_loss": loss, "val_accuracy": accuracy, "val_error": 1 - accuracy}
    error = math.sqrt(loss)
    metrics = {"val_loss": loss, "val_error": error}
    if len(scale.target_std) == 1:
        metrics["val_rmse"] = error * float(scale.target_std)
    return metrics


def augmented(x: Tensor, augment: Augment) -> Tensor:
    """Images (n, C, H, W) shifted by up to 1/SHIFT of their size, each on its own, zeros moving in;
    with `flip_shift` half of them mirrored first. Tables (n, F) are left alone."""
    if augment == "none" or x.dim() != 4:
        return x
    count, _, height, width = x.shape
    if augment == "flip_shift":
        flip = torch.rand(count, device=x.device) < 0.5
        x = torch.where(flip[:, None, None, None], x.flip(3), x)
    reach = (height // SHIFT, width // SHIFT)
    padded = F.pad(x, (reach[1], reach[1], reach[0], reach[0]))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right = (torch.randint(0, 2 * r + 1, (count,), device=x.device) for r in reach)
    return windows[torch.arange(count, device=x.device), :, down, right]


# -- the optimizer --------------------------------------------------------------------------------


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer | None:
    """None for a network that has nothing to learn."""
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        return None
    fused = all(p.is_floating_point() for p in weights)  # one kernel for all weights
    if recipe.optimizer == "adam":
        return torch.optim.AdamW(weights, recipe.rate, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        weights,
        recipe.rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
        fused=fused,
    )


def _set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> None:
    factor = 1.0 if recipe.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate * factor


# -- checkpoints ----------------------------------------------------------------------------------


def checkpoint(
    model: nn.Module, epoch: int, optimizer: torch.optim.Optimizer | None = None, final: bool = True
) -> dict[str, NDArray[Any]]:
    """Copies of the network's arrays under the names of its `state_dict`, of the optimizer's under
    `optimizer/<number of the weight>/<name>` (not if `final`), and the epoch under `training/epoch`.

    Types that NumPy does not have (bfloat16) are kept as float32, which holds them exactly.
    """
    arrays = {name: _array(t) for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    slots = {} if final or optimizer is None else optimizer.state_dict()["state"]
    for number, values in slots.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                arrays[f"{STATE}{number}/{name}"] = _array(value)
    if not final:
        arrays[GOES_ON] = np.array([1], dtype=np.int64)
    arrays[EPOCH] = np.array([epoch], dtype=np.int64)
    return arrays


def restore(model: nn.Module, weights: Weights, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Put a checkpoint's arrays into the network (and the optimizer); the epoch that it was made after.

    What is called `vilfredo/...` is not looked at. Raises `ValueError`, one sentence, if the arrays are not
    those of this network.
    """
    own = {name: t for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    given = {n: a for n, a in weights.items() if not n.startswith((STATE, "training/", OTHERS))}
    if missing := sorted(set(own) - set(given)):
        raise ValueError(f"the checkpoint is of another network: it has no {missing[0]!r}")
    if unknown := sorted(set(given) - set(own)):
        raise ValueError(f"the checkpoint is of another network: it has {unknown[0]!r}, which this one lacks")
    with torch.no_grad():
        for name, tensor in own.items():
            array = np.asarray(given[name])
            if array.size != tensor.numel():
                raise ValueError(
                    f"the checkpoint is of another network: its {name!r} has shape {array.shape}, "
                    f"this one's {tuple(tensor.shape)}"
                )
            tensor.copy_(_tensor(array, tensor))
    if optimizer is not None:
        _restore_optimizer(optimizer, weights)
    return epoch_of(weights)


def epoch_of(weights: Weights) -> int:
    """After which epoch a checkpoint was made; 0 if it does not say."""
    return int(np.asarray(weights[EPOCH]).reshape(-1)[0]) if EPOCH in weights else 0


def _restore_optimizer(optimizer: torch.optim.Optimizer, weights: Weights) -> None:
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, array in weights.items():
        if name.startswith(STATE):
            number, slot = name.removeprefix(STATE).split("/", 1)
            weight = ordered[int(number)]
            array = np.array(array)  # a copy: the caller's may be read-only, and is the caller's
            shape = () if slot == "step" else weight.shape
            value = torch.from_numpy(array).reshape(shape)
            slots.setdefault(int(number), {})[slot] = value
    state = optimizer.state_dict()
    state["state"] = slots
    optimizer.load_state_dict(state)  # moves each to its weight's device and type


def _array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.array(tensor.numpy())


def _tensor(array: NDArray[Any], like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(array)).reshape(like.shape)


# -- the process ------------------------------------------------------------------------------------


@functools.cache
def _keep_memory() -> None:
    """Ask the C library (glibc; others go without) to keep freed memory of any size for the next batch.

    By default it hands large pieces back to the system and takes them anew for every layer of every batch:
    a quarter of the time of training small convolutional networks went into page faults.
    """
    with suppress(AttributeError, OSError, TypeError):
        options = ctypes.CDLL(None).mallopt
        options(-3, 1 << 30)  # M_MMAP_THRESHOLD
        options(-1, 1 << 30)  # M_TRIM_THRESHOLD


def _give_back_memory() -> None:
    """Hand freed memory back to the system, so that the next candidate starts with little."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """PyTorch's random streams seeded, its kernels deterministic; both as they were afterwards."""
    cuda = device.type == "cuda"
    with (
        torch.random.fork_rng(devices=[device] if cuda else []),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
