"""Whole cart-pole episodes out of the reference's conformance suite: cases 42 to 49, of which the comments
tell observations, spikes in and out, and actions."""

from __future__ import annotations

import functools
import json
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vilfredo.spiking import pole
from vilfredo.spiking.encoders.argyle import Argyle
from vilfredo.spiking.encoders.encoder import Encoder
from vilfredo.spiking.encoders.flip_flop import FlipFlop
from vilfredo.spiking.network import SpikingNetwork

ARCHIVE = Path(os.environ.get("VILFREDO_DATA", "")) / "risp" / "conformance.tar.xz"
CASES = [f"testing/{n}" for n in range(42, 50)] + [f"vrisp_testing/{n}" for n in range(43, 49)]
SETTINGS = {
    42: "easy",
    43: "easy",
    44: "medium",
    45: "medium",
    46: "hard",
    47: "hard",
    48: "hardest",
    49: "hardest",
}
KINDS = ("Observations", "I-Spike-C", "O-Spike-C", "Action")


@dataclass(frozen=True)
class Case:
    name: str
    observations: NDArray[np.float64]  # (T, f)
    given: NDArray[np.int64]  # (T, inputs) spikes in
    spikes: list[set[tuple[int, int]]]  # of each step: (input, time)
    counts: NDArray[np.int64]  # (T, outputs) spikes out
    actions: NDArray[np.int64]  # (T,)
    window: int
    params: dict[str, Any]
    commands: str  # that build the network

    @property
    def setting(self) -> pole.Setting:
        return pole.SETTINGS[SETTINGS[int(self.name[-2:])]]

    @property
    def encoder(self) -> Encoder:
        return (
            Argyle(interval=self.interval)
            if self.setting.name == "hardest"
            else FlipFlop(interval=self.interval)
        )

    @property
    def interval(self) -> float:
        """Timesteps between spikes: those of VRISP are an eighth of its 25, or 1."""
        if self.window == 24:
            return 3
        return 1 if self.setting.name.startswith("hard") else 25 / 8

    def network(self) -> SpikingNetwork:
        """As `network_tool` builds it; what is not set is 1."""
        neurons: dict[int, dict[str, float]] = {}
        synapses: dict[tuple[int, int], dict[str, float]] = {}
        sides: dict[str, list[int]] = {}
        for line in self.commands.splitlines():
            word, *rest = line.split() or [""]
            if word == "AN":
                neurons |= {int(n): {"Threshold": 1.0} for n in rest}
            elif word in ("AI", "AO"):
                sides[word] = [int(n) for n in rest]
            elif word == "AE":
                for a, b in zip(rest[::2], rest[1::2], strict=True):
                    synapses[int(a), int(b)] = {"Weight": 1.0, "Delay": 1.0}
            elif word == "SNP":
                *ids, name, value = rest
                for n in ids:
                    neurons[int(n)][name] = float(value)
            elif word == "SEP":
                *ends, name, value = rest
                for a, b in zip(ends[::2], ends[1::2], strict=True):
                    synapses[int(a), int(b)][name] = float(value)
        rows = [(a, b, values) for (a, b), values in synapses.items()]
        return SpikingNetwork.build(list(neurons.items()), rows, sides["AI"], sides["AO"])


@functools.cache
def _texts() -> dict[str, str]:
    """All files of the cases, and of `txt`, by their names below the archive's folder."""
    texts = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            name = member.name.removeprefix("./").partition("/")[2]
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None and (name.startswith("txt/") or name.rpartition("/")[0] in CASES):
                texts[name] = file.read().decode()
    return texts


def texts() -> dict[str, str]:
    if not ARCHIVE.is_file():
        pytest.skip("the conformance suite is not in $VILFREDO_DATA")
    return _texts()


@functools.cache
def case(name: str) -> Case:
    text = texts()[f"{name}/processor_tool.txt"]
    rows: dict[str, dict[int, list[float]]] = {kind: {} for kind in KINDS}
    for match in re.finditer(r"^#\s*(?:Step)?\s*(\d+)\. ([\w-]+): (.*)$", text, re.M):
        if match[2] in rows:
            rows[match[2]][int(match[1])] = [float(number) for number in match[3].split()]
    steps = len(rows["Action"])
    assert steps > 1_500
    table = {kind: np.array([row[step] for step in range(steps)]) for kind, row in rows.items()}
    blocks = re.split(r"^RUN \d+$", text, flags=re.M)[:-1]
    spikes = [
        {(int(a), int(t)) for a, t in re.findall(r"^AS (\d+) (\d+) 1$", block, re.M)} for block in blocks
    ]
    window = re.search(r"^RUN (\d+)$", text, re.M)
    assert window is not None
    assert len(spikes) == steps
    return Case(
        name,
        table["Observations"],
        table["I-Spike-C"].astype(np.int64),
        spikes,
        table["O-Spike-C"].astype(np.int64),
        table["Action"].astype(np.int64)[:, 0],
        int(window[1]),
        json.loads(texts()[f"{name}/params.json"]),
        texts()[f"{name}/network_tool.txt"],
    )
