"""Multiply-accumulates for one input."""

from __future__ import annotations

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.objectives.operations import operations
from vilfredo.trial import Value

GOAL = KNOWN["macs"]


def objective(candidate: Candidate) -> Value:
    """Multiply-accumulates of all convolutions and matrix products of one forward pass, exactly.

    fvcore's `FlopCountAnalysis` gives the same for its operators conv, linear, addmm, matmul, bmm and einsum;
    its total further counts batch and layer norm, adaptive pooling and upsampling, and leaves out recurrent
    layers and fused attention. Biases, norms, pooling and activations count nothing here: a norm folds into
    the layer before it, and the rest does not multiply.
    """
    return Value(float(sum(o.macs for o in operations(candidate.model, candidate.sample(1)))))
