"""What the goals of resilience share: a deployed network under faults, measured once for all of them."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vilfredo.campaign.bit_error_rates import Damage, under
from vilfredo.campaign.engine import Engine
from vilfredo.nn.floating import floating
from vilfredo.objectives.candidate import Candidate
from vilfredo.protocols import Fault

IMAGES = 512  # how many examples are looked at, unless the user says otherwise
UNHARMED = (
    "needs faults: give them to the problem or to the goal, such as "
    "faults = [{ use = 'bit_flip', rate = 1e-4 }]"
)

_Kept = dict[tuple[tuple[Fault, ...], int, int], Damage]
_KEPT: weakref.WeakKeyDictionary[Candidate, _Kept] = weakref.WeakKeyDictionary()
_ENGINES: weakref.WeakKeyDictionary[Candidate, dict[int, Engine]] = weakref.WeakKeyDictionary()


def damage(
    goal: str,
    candidate: Candidate,
    faults: Sequence[Fault] = (),
    copies: int | None = None,
    images: int = IMAGES,
) -> Damage:
    """Accuracies and classification change rates of `copies` copies of the network, each with its own draw of
    all `faults`, on the first `images` examples. `faults` () and `copies` None are the candidate's.

    A network that is not quantised is run in float32. Draws follow from `candidate.noise` alone, so
    candidates that share it meet the same ones, as far as their sizes allow. Raises `ValueError`, one
    sentence, without faults, examples or classes.
    """
    faults = tuple(faults) or tuple(candidate.faults)
    copies = candidate.copies if copies is None else copies
    if not faults:
        raise ValueError(f"the goal {goal!r} {UNHARMED}")
    if candidate.task != "classification":
        raise ValueError(f"the goal {goal!r} counts classes, and this is a regression; leave it out")
    if copies < 1 or images < 1:
        raise ValueError(
            f"the goal {goal!r} needs copies and images of at least 1, not {copies} and {images}"
        )
    if candidate.examples is None:
        raise ValueError(f"{goal} needs examples to be measured on; the candidate has none")
    known = _KEPT.setdefault(candidate, {})
    key = (faults, copies, images)
    if key not in known:
        engines = _ENGINES.setdefault(candidate, {})
        if images not in engines:
            engines[images] = _engine(candidate, images)
        answers = candidate.examples.y[:images].cpu().numpy()
        known[key] = under(engines[images], faults, answers, copies, candidate.noise)
    return known[key]


def standard_error(found: NDArray[np.float64]) -> float:
    """Of the mean over copies (K,); 0 of one copy, of which nothing is known."""
    return float(found.std(ddof=1)) / len(found) ** 0.5 if len(found) > 1 else 0.0


def _engine(candidate: Candidate, images: int) -> Engine:
    examples = candidate.examples
    assert examples is not None
    network = candidate.deployed or floating(
        copy.deepcopy(candidate.model).cpu().eval(), shape=candidate.input_shape
    )
    return Engine(network, network.encode(examples.normalise(examples.x[:images]).cpu()))
