"""Energy of one inference, estimated from multiply-accumulates and memory traffic.

Constants: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, figure
1.1.9: 45 nm, 0.9 V. Float32 multiply 3.7 pJ and add 0.9 pJ; float16 1.1 and 0.4; int8 0.2 and 0.03. A cache
access of 64 bits takes 10 pJ in 8 KB, 20 pJ in 32 KB and 100 pJ in 1 MB; one of DRAM 1.3 to 2.6 nJ.
"""

from __future__ import annotations

from collections.abc import Mapping

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate
from vilfredo.objectives.operations import operations
from vilfredo.trial import Value

GOAL = KNOWN["energy"]

MAC: Mapping[int, float] = {32: 4.6e-12, 16: 1.5e-12, 8: 0.23e-12}
"""Joules of one multiply-accumulate, by bits."""

SMALL_SRAM = 10e-12 / 8  # joules per byte in 8 KB
LARGE_SRAM = 100e-12 / 8  # in 1 MB
DRAM = (1.3e-9 / 8, 2.6e-9 / 8)
ON_CHIP = 2**20  # bytes: what is larger lies in DRAM


def objective(candidate: Candidate, bits: int = 32) -> Value:
    """Joules of one inference: each product costs a MAC; every weight is read once; what a product reads
    and writes besides (activations) is moved once each way.

    Weights come from 1 MB of SRAM if all of them fit there, else from DRAM at the middle of its range;
    likewise each product's activations. `low` has everything in 8 KB of SRAM (perfect reuse close to the
    arithmetic), `high` everything in DRAM at the top of its range. Raises `ValueError` for a width
    that has no constants.
    """
    if bits not in MAC:
        raise ValueError(
            f"there are no energy constants for {bits} bits; choose {', '.join(map(str, sorted(MAC)))}"
        )
    done = operations(candidate.model, candidate.sample(1))
    width = bits / 8
    traffic = [width * sum(p.numel() for p in candidate.model.parameters())]
    traffic += [width * (o.reads + o.writes) for o in done]
    arithmetic = MAC[bits] * sum(o.macs for o in done)
    middle = sum(DRAM) / 2
    mean = sum(size * (LARGE_SRAM if size <= ON_CHIP else middle) for size in traffic)
    return Value(
        arithmetic + mean,
        origin="estimated",
        low=arithmetic + sum(traffic) * SMALL_SRAM,
        high=arithmetic + sum(traffic) * DRAM[1],
    )
