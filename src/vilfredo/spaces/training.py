"""The training hyperparameters that network spaces evolve along with the network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vilfredo.spaces.parameters import Choice, Float, Parameters
from vilfredo.trial import JSON, Genome


def hyperparameters(
    optimizers: tuple[str, ...],
    lr: tuple[float, float],
    sgd_lr: tuple[float, float],
    momentum: tuple[float, float],
    weight_decay: tuple[float, float],
    batch_sizes: tuple[int, ...],
    schedules: tuple[str, ...],
    bits: tuple[int, ...] = (),
    scales: tuple[str, ...] = (),
    activation_clip: tuple[bool, ...] = (),
    weight_clip: tuple[float, ...] = (),
) -> Parameters:
    """The genes `optimizer`, `lr` (of Adam), `sgd_lr` and `momentum` (of SGD), `weight_decay`,
    `batch_size` and `schedule`. Rates and decay are on a log scale.

    Adam and SGD have a learning rate each because good ones lie a factor of ten apart: with one range
    for both, a third of all random networks would hardly train.

    And, where there is something to choose from, how the network is deployed: `bits` of weights and
    activations, `scales` of the codes ("power_of_two" or "real"), `activation_clip` (whether activations
    are restricted to the range seen in calibration), and `weight_clip`, the limit of weights in training (0:
    none). Raises `ValueError`, one sentence.
    """
    for name, given, known in (
        ("optimizers", optimizers, ("adam", "sgd")),
        ("schedules", schedules, ("cosine", "constant")),
    ):
        if not given or not set(given) <= set(known):
            raise ValueError(f"{name} must be some of {', '.join(known)}, not {list(given)!r}")
    if not batch_sizes or not all(type(b) is int and b > 0 for b in batch_sizes):
        raise ValueError(f"batch_sizes must be whole numbers above 0, not {list(batch_sizes)!r}")
    ranges = {"lr": lr, "sgd_lr": sgd_lr, "momentum": momentum, "weight_decay": weight_decay}
    for name, pair in ranges.items():
        if len(pair) != 2:
            raise ValueError(f"{name} must be a range [low, high], not {pair!r}")
    if not 0 <= momentum[0] <= momentum[1] < 1:
        raise ValueError(f"momentum must be a range within [0, 1), not {list(momentum)!r}")
    items: dict[str, Choice | Float] = {"optimizer": Choice(tuple(optimizers))}
    if "adam" in optimizers:
        items["lr"] = _float("lr", lr, {"optimizer": "adam"}, log=True)
    if "sgd" in optimizers:
        items["sgd_lr"] = _float("sgd_lr", sgd_lr, {"optimizer": "sgd"}, log=True)
        items["momentum"] = _float("momentum", momentum, {"optimizer": "sgd"}, log=False)
    items["weight_decay"] = _float("weight_decay", weight_decay, {}, log=True)
    items["batch_size"] = Choice(tuple(batch_sizes))
    items["schedule"] = Choice(tuple(schedules))
    items |= _deployment(bits, scales, activation_clip, weight_clip)
    return Parameters(items, crossover="uniform")


def check_bits(name: str, bits: Sequence[int]) -> None:
    """Raises `ValueError`, one sentence, unless these are word lengths that networks can be quantised to."""
    if not all(is_bits(b) for b in bits):
        raise ValueError(f"{name} must be whole numbers from 4 to 16, not {list(bits)!r}")


def is_bits(value: JSON) -> bool:
    return type(value) is int and 4 <= value <= 16


def _deployment(
    bits: tuple[int, ...],
    scales: tuple[str, ...],
    activation_clip: tuple[bool, ...],
    weight_clip: tuple[float, ...],
) -> dict[str, Choice | Float]:
    check_bits("bits", bits)
    if not set(scales) <= {"power_of_two", "real"}:
        raise ValueError(f"scales must be some of power_of_two, real, not {list(scales)!r}")
    if not all(type(b) is bool for b in activation_clip):
        raise ValueError(f"activation_clip must be some of false, true, not {list(activation_clip)!r}")
    if not all(type(c) in (int, float) and 0 <= c < math.inf for c in weight_clip):
        raise ValueError(
            f"weight_clip must be numbers from 0, which means no limit, not {list(weight_clip)!r}"
        )
    genes: dict[str, tuple[JSON, ...]] = {
        "bits": tuple(bits),
        "scales": tuple(scales),
        "activation_clip": tuple(activation_clip),
        "weight_clip": tuple(weight_clip),
    }
    items: dict[str, Choice | Float] = {}
    for name, options in genes.items():
        if options:
            try:
                items[name] = Choice(options)
            except ValueError as problem:
                raise ValueError(f"{name}: {problem}") from problem
    return items


def design(space: Parameters, genome: Genome) -> dict[str, JSON]:
    """What `architecture.Design.training` holds: the active genes, `sgd_lr` under its plain name `lr`."""
    return {("lr" if name == "sgd_lr" else name): value for name, value in space.active(genome).items()}


def _float(name: str, pair: tuple[float, float], when: dict[str, JSON], log: bool) -> Float:
    try:
        return Float(pair[0], pair[1], log=log, when=when)
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from problem
