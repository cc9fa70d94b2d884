"""Accumulated data–computation ratio: how much data is moved, and so exposed, for each multiplication."""

from __future__ import annotations

from vilfredo import topology
from vilfredo.goal import KNOWN
from vilfredo.nn.graph import trace
from vilfredo.objectives.candidate import Candidate
from vilfredo.trial import Value

GOAL = KNOWN["adcr"]


def objective(candidate: Candidate) -> Value:
    """`topology.adcr` of the network as it is traced: Σ_l (input + output + weight bytes)_l / MACs_l.

    Numbers are taken to have 8 bits, so that networks compare by topology alone. Raises `Untraceable` (a
    `ValueError`) for a network whose structure cannot be read.
    """
    return Value(topology.adcr(trace(candidate.model, candidate.input_shape).architecture))
