"""Architecture sensitivity index: what a flip in a random activation takes of the output's relevance."""

from __future__ import annotations

from vilfredo import topology
from vilfredo.goal import KNOWN
from vilfredo.nn.graph import trace
from vilfredo.objectives.candidate import Candidate
from vilfredo.trial import Value

GOAL = KNOWN["asi"]


def objective(candidate: Candidate) -> Value:
    """`topology.asi` of the network as it is traced: Σ_l R_l / N, in a chain layers by neurons.

    Raises `Untraceable` (a `ValueError`) for a network whose structure cannot be read.
    """
    return Value(topology.asi(trace(candidate.model, candidate.input_shape).architecture))
