"""TENNLab's `network_tool` and `processor_tool`, as far as the conformance suite uses them, on our
processors.

What they print is the reference's, letter for letter. `cases(folder)` reads the suite, `steps(case)` what the
comments of the closed-loop cases tell of every step of their cart-pole episodes.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vilfredo.spiking import SpikingNetwork
from vilfredo.spiking.kernels import events
from vilfredo.spiking.processors import risp, vrisp
from vilfredo.spiking.processors.driver import Driver

SUITE = "risp/conformance.tar.xz"
FILES = ("network_tool.txt", "processor_tool.txt", "params.json", "correct_output.txt", "label.txt")
PROCESSORS = {"testing": risp.Processor, "vrisp_testing": vrisp.Processor}


def archive() -> Path | None:
    """The suite, or None where the data is missing."""
    path = Path(os.environ.get("VILFREDO_DATA", "")) / SUITE
    return path if os.environ.get("VILFREDO_DATA") and path.is_file() else None


@dataclass(frozen=True)
class Case:
    name: str
    network: str
    commands: str
    params: dict[str, Any]
    expected: str
    label: str


@cache
def cases(folder: str) -> tuple[Case, ...]:
    """The complete cases of "testing" (RISP) or "vrisp_testing"; none where the data is missing."""
    path = archive()
    if path is None:
        return ()
    texts: dict[str, dict[str, str]] = {}
    for member, text in _texts(path):
        parts = member.split("/")
        if parts[-3] == folder and parts[-1] in FILES:
            texts.setdefault(parts[-2], {})[parts[-1]] = text
    return tuple(
        Case(
            name,
            found[FILES[0]],
            found[FILES[1]],
            json.loads(found[FILES[2]]),
            found[FILES[3]],
            found[FILES[4]],
        )
        for name, found in sorted(texts.items())
        if set(FILES) <= set(found)
    )


@cache
def _texts(path: Path) -> tuple[tuple[str, str], ...]:
    with tarfile.open(path) as tar:
        members = [m for m in tar.getmembers() if m.isfile() and m.name.count("/") >= 3]
        return tuple((m.name, tar.extractfile(m).read().decode()) for m in members)  # type: ignore[union-attr]


@dataclass(frozen=True)
class Step:
    """One step of a recorded episode."""

    observation: tuple[float, ...]
    inputs: tuple[int, ...]  # spikes into each input
    outputs: tuple[int, ...]  # spikes of each output
    action: int
    spikes: tuple[tuple[int, int, float], ...]  # number of the neuron, time, value


def steps(case: Case) -> Iterator[Step]:
    """The steps that the comments of a closed-loop case tell of, with the spikes that were applied."""
    found: dict[str, Any] = {}
    spikes: list[tuple[int, int, float]] = []
    for line in case.commands.splitlines():
        told = re.match(r"#\s*Step \d+\. (Observations|I-Spike-C|O-Spike-C|Action): (.*)", line)
        if told:
            found[told[1]] = tuple(float(word) for word in told[2].split())
            if told[1] == "Action":
                yield Step(
                    found["Observations"],
                    tuple(int(x) for x in found["I-Spike-C"]),
                    tuple(int(x) for x in found["O-Spike-C"]),
                    int(found["Action"][0]),
                    tuple(spikes),
                )
                spikes = []
        elif line.startswith("AS "):
            spikes += _triples(line.split()[1:])


def network(case: Case, processor: Driver) -> dict[str, Any]:
    """What `network_tool` writes for the case, on an empty network of the processor."""
    properties = processor.get_network_properties()
    node = _Side(properties["node_properties"])
    edge = _Side(properties["edge_properties"])
    names: dict[int, str] = {}
    inputs: list[int] = []
    outputs: list[int] = []
    for line in case.network.splitlines():
        words = line.split()
        command = words[0].upper() if words else "#"
        numbers = [int(word) for word in words[1:] if re.fullmatch(r"\d+", word)]
        if command[0] == "#" or command in ("FJ", "SORT", "TJ"):
            continue
        if command == "AN":
            node.add((n,) for n in numbers)
        elif command == "AI":
            inputs += numbers
        elif command == "AO":
            outputs += numbers
        elif command == "AE":
            edge.add(_pairs(numbers))
        elif command == "SETNAME":
            names[int(words[1])] = words[2]
        elif command in ("SNP", "SNP_ALL"):
            where = node.rows if command == "SNP_ALL" else [(int(word),) for word in words[1:-2]]
            node.set(where, words[-2], float(words[-1]))
        elif command in ("SEP", "SEP_ALL"):
            where = edge.rows if command == "SEP_ALL" else _pairs([int(word) for word in words[1:-2]])
            edge.set(where, words[-2], float(words[-1]))
        else:
            raise ValueError(f"network_tool command {command} is not known here")
    rows = list(edge.rows.items())
    order = events.order([pair[0] for pair, _ in rows], [pair[1] for pair, _ in rows])
    return {
        "Properties": properties,
        "Nodes": [
            {"id": key[0], "values": values, **({"name": names[key[0]]} if key[0] in names else {})}
            for key, values in node.rows.items()
        ],
        "Edges": [{"from": rows[i][0][0], "to": rows[i][0][1], "values": rows[i][1]} for i in order.tolist()],
        "Inputs": inputs,
        "Outputs": outputs,
        "Network_Values": [],
        "Associated_Data": {
            "proc_params": processor.get_params(),
            "other": {"proc_name": processor.get_name()},
        },
    }


class _Side:
    """Nodes or edges, with values by the property pack; new ones have the highest value of everything."""

    def __init__(self, properties: Any) -> None:
        self.index = {p["name"]: p["index"] for p in properties}
        self.highest = [p["max_value"] for p in sorted(properties, key=lambda p: p["index"])]
        self.rows: dict[tuple[int, ...], list[float]] = {}

    def add(self, keys: Any) -> None:
        for key in keys:
            assert key not in self.rows
            self.rows[key] = list(self.highest)

    def set(self, keys: Any, name: str, value: float) -> None:
        for key in keys:
            self.rows[key][self.index[name]] = value


def _pairs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _triples(words: Sequence[str]) -> list[tuple[int, int, float]]:
    return [(int(words[i]), int(float(words[i + 1])), float(words[i + 2])) for i in range(0, len(words), 3)]


def output(case: Case, make: type[Driver]) -> str:
    """What `processor_tool` prints for the case."""
    tool = _Tool(make, case)
    for line in case.commands.splitlines():
        words = line.split()
        if words and words[0][0] != "#":
            if words[0].upper() == "Q":
                break
            tool.do(words[0].upper(), words[1:])
    return tool.printed.getvalue()


class _Tool:
    def __init__(self, make: type[Driver], case: Case) -> None:
        self.make, self.case, self.printed = make, case, io.StringIO()

    def do(self, command: str, words: list[str]) -> None:
        if command in ("AS", "ASV"):
            self.p.apply_spikes(_triples(words), normalized=command == "AS")
        elif command == "RUN":
            self.p.run(float(words[0]))
        else:
            getattr(self, f"_{command.replace('-', '_').lower()}")(*words)

    def say(self, text: str) -> None:
        self.printed.write(text + "\n")

    def _ml(self, _: str) -> None:
        self.p = self.make(self.case.params)  # type: ignore[call-arg]
        self.net = SpikingNetwork.from_tennlab(network(self.case, self.p))
        self.p.load_network(self.net)
        self.ids = sorted(self.net.ids.tolist())
        self.outputs = self.net.ids[self.net.outputs].tolist()
        self.inputs = set(self.net.ids[self.net.inputs].tolist())
        self.names = {i: f"{i}({self.net.names[i]})" if i in self.net.names else str(i) for i in self.ids}
        self.width = max(len(name) for name in self.names.values())

    def _asr(self, number: str, raster: str) -> None:
        self.p.apply_spikes([(int(number), t, 1.0) for t, bit in enumerate(raster) if bit == "1"])

    def _oc(self) -> None:
        for number, count in zip(self.outputs, self.p.output_counts(), strict=True):
            self.say(f"node {self.names[number]} spike counts: {count}")

    def _ot(self) -> None:
        for number, times in zip(self.outputs, self.p.output_vectors(), strict=True):
            self.say(f"node {self.names[number]} spike times:" + "".join(f" {t:.1f}" for t in times))

    def _olf(self) -> None:
        for number, time in zip(self.outputs, self.p.output_last_fires(), strict=True):
            self.say(f"node {self.names[number]} last fire time: {time:.1f}")

    def _gt(self) -> None:
        self.say(f"time: {self.p.get_time():.1f}")

    def _nch(self, *numbers: str) -> None:
        for number, charge in zip(self.ids, self.p.neuron_charges(), strict=True):
            if not numbers or str(number) in numbers:
                self.say(f"Node {self.names[number]:>{self.width}} charge: {charge:g}")

    def _nc(self, all_of_them: str) -> None:
        for number, count in zip(self.ids, self.p.neuron_counts(), strict=True):
            if count or all_of_them == "T":
                self.say(f"Node {self.names[number]:>{self.width}} fire count: {count}")

    def _gsr(self) -> None:
        vectors = self.p.neuron_vectors()
        length = max((int(times[-1]) + 1 for times in vectors if times), default=0)
        for number, times in zip(self.ids, vectors, strict=True):
            kind = "INPUT " if number in self.inputs else "OUTPUT" if number in self.outputs else "HIDDEN"
            bits = bytearray(b"0" * length)
            for time in times:
                bits[int(time)] = ord("1")
            self.say(f"{self.names[number]:<{self.width}} {kind} : {bits.decode()}")

    def _ca(self) -> None:
        self.p.clear_activity()

    _clear_a = _ca

    def _c(self) -> None:
        self.p.clear()
