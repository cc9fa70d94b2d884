"""The memory that a network's weights take."""

from __future__ import annotations

from vilfredo.goal import KNOWN
from vilfredo.nn.quantize import Scheme
from vilfredo.objectives.candidate import Candidate
from vilfredo.trial import Value

GOAL = KNOWN["weight_bytes"]

WIDE = 32  # bits of what is not quantised, and of biases


def objective(candidate: Candidate, bits: int | None = None) -> Value:
    """Bytes of all parameters, packed: ceil(sum of bits / 8).

    Each parameter takes `bits` bits. Without that: 32 or, if the candidate is quantised, what its scheme says
    for the weights of the layer, and 32 for the one number a filter or unit that stays beside them: its bias,
    into which a batch norm folds, too.

    Raises `ValueError` for `bits` below 1.
    """
    if bits is not None:
        if bits < 1:
            raise ValueError(f"weights of {bits} bits hold nothing; give 1 or more")
        total = bits * sum(p.numel() for p in candidate.model.parameters())
    elif candidate.scheme is None:
        total = WIDE * sum(p.numel() for p in candidate.model.parameters())
    else:
        total = quantised(candidate, candidate.scheme)
    return Value(float(-(-total // 8)))


def quantised(candidate: Candidate, scheme: Scheme) -> int:
    """Bits of all weights, as many as the scheme gives their layer, and of a bias for each filter."""
    total = 0
    for name, parameter in candidate.model.named_parameters():
        if parameter.dim() > 1:
            layer = name.rpartition(".")[0]
            total += scheme.layers.get(layer, scheme.weights) * parameter.numel() + WIDE * len(parameter)
    return total
