"""How trained weights pass from parents to children: what a checkpoint says of its network, who of the
parents it is, and whom the child learns from."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from vilfredo.architecture import Design
from vilfredo.nn import train as trainer
from vilfredo.nn.build import Network, build
from vilfredo.nn.inherit import Inheritance, inherit
from vilfredo.protocols import Impossible, Snapshot, Weights
from vilfredo.trial import Genome

GENOME = trainer.OTHERS + "genome"  # of the network in a checkpoint: JSON as bytes
SEEN = 256  # training examples on which inserted batch norms settle


@dataclass(frozen=True, slots=True)
class Heritage:
    """What a child begins with: from whom, how, and the trained parent if the child is not yet its equal."""

    parent: int | None = None
    inheritance: Inheritance | None = None
    teacher: nn.Module | None = None
    notes: tuple[str, ...] = ()


def signed(
    snapshots: Iterable[Snapshot], genome: Genome, notes: tuple[str, ...] = ()
) -> Generator[Snapshot, None, None]:
    """The same snapshots, whose checkpoints say what network they are of; `notes` go with the first."""
    said = np.frombuffer(json.dumps(dict(genome), sort_keys=True).encode(), dtype=np.uint8)
    for snapshot in snapshots:
        if snapshot.checkpoint is not None:
            snapshot = replace(snapshot, checkpoint=partial(_sign, snapshot.checkpoint, said))
        yield replace(snapshot, notes=(*snapshot.notes, *notes))
        notes = ()


def _sign(checkpoint: Callable[[], Weights], genome: NDArray[np.uint8]) -> Weights:
    return {**checkpoint(), GENOME: genome}


def pass_on(model: Network, child: Design, space: Any, parents: Mapping[int, Weights]) -> Heritage:
    """Give `model`, which is built from `child`, the weights of the parent with which it shares most layers,
    in place; that parent, trained, is the teacher where the child does not compute what it does.

    Parents whose weights are of no use are passed over, and said in the notes.
    """
    found: list[tuple[int, int, Design]] = []
    notes: list[str] = []
    for number, weights in parents.items():
        try:
            design = _design(space, weights)
        except ValueError as problem:
            notes.append(_note(number, problem))
        else:
            found.append((len(set(design.names) & set(child.names)), number, design))
    for _, number, design in sorted(found, key=lambda row: -row[0]):
        try:
            inheritance = inherit(model, child, design, parents[number])
            teacher = None if inheritance.exact else _trained(design, parents[number])
        except ValueError as problem:
            notes.append(_note(number, problem))
        else:
            return Heritage(number, inheritance, teacher, tuple(notes))
    return Heritage(notes=tuple(notes))


def examples(x: Tensor, scale: trainer.Scale) -> Tensor:
    """What inserted batch norms see first."""
    return scale(x[:SEEN])


def _design(space: Any, weights: Weights) -> Design:
    """Raises `ValueError` if the checkpoint does not say what network it is of, or of none of the space."""
    if GENOME not in weights:
        raise ValueError("they do not say of which network they are")
    genome = json.loads(np.asarray(weights[GENOME], dtype=np.uint8).tobytes().decode())
    if not isinstance(genome, Mapping):
        raise ValueError("they do not say of which network they are")
    try:
        design: Design = space.decode(genome)
    except Impossible as problem:
        raise ValueError(f"their network is none of this space: {problem}") from problem
    return design


def _trained(design: Design, weights: Weights) -> nn.Module:
    model = build(design.architecture)
    trainer.restore(model, weights)
    return model.eval()


def _note(number: int, problem: ValueError) -> str:
    return f"the weights of trial {number} cannot be inherited ({problem}); trained without them"
