"""RISP and VRISP as slow and plain as they can be written, from the rules alone; nothing of Vilfredo's is
used."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np

Neurons = dict[int, tuple[float, bool]]  # threshold and leak by number
Edge = tuple[int, int, float, int]  # from, to, weight (or index of a weight), delay
MASK = 2**64 - 1


class Generator:
    """Normal numbers by the polar method on a Mersenne twister."""

    def __init__(self, seed: int) -> None:
        h = 5381
        for letter in b"noisy_risp":
            h = (h * 33 + letter) & 0xFFFFFFFF
        self.twister = np.random.RandomState(seed ^ h)
        self.second: float | None = None
        for _ in range(19):
            self.draw()

    def draw(self) -> float:
        return int.from_bytes(self.twister.bytes(4), "little") / 4294967295

    def normal(self, mean: float, deviation: float) -> float:
        if self.second is not None:
            second, self.second = self.second, None
            return second * deviation + mean
        while True:
            u, v = self.draw() * 2 - 1, self.draw() * 2 - 1
            s = u * u + v * v
            if 0 < s < 1:
                break
        s = math.sqrt(-2 * math.log(s) / s)
        self.second = v * s
        return u * s * deviation + mean


def hash_order(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs in the order of the buckets of a Robin Hood hash table that doubles when half full."""

    def mixed(h: int) -> int:
        h = (h ^ h >> 16) * 0x85EBCA6B & MASK
        h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
        return h ^ h >> 16

    def home(pair: tuple[int, int]) -> int:
        a, b = map(mixed, pair)
        return a ^ (b + 0x9E3779B9 + (a << 6) + (a >> 2) & MASK)

    table: list[tuple[int, int] | None] = []

    def put(pair: tuple[int, int]) -> None:
        size = len(table)
        place, away = home(pair) % size, 0
        while (there := table[place]) is not None:
            theirs = (place - home(there)) % size
            if away > theirs:
                table[place], pair, away = pair, there, theirs
            place, away = (place + 1) % size, away + 1
        table[place] = pair

    for i, pair in enumerate(pairs):
        if i >= len(table) // 2:
            old = [p for p in table if p is not None]
            table[:] = [None] * max(2, 2 * len(table))
            for p in old:
                put(p)
        put(pair)
    return [p for p in table if p is not None]


class Risp:
    def __init__(
        self,
        neurons: dict[int, tuple[float, bool]],
        edges: list[Edge],
        inputs: list[int],
        params: dict[str, Any],
    ) -> None:
        p = self.p = {
            "leak_mode": "none", "run_time_inclusive": False, "threshold_inclusive": True,
            "fire_like_ravens": False, "noisy_stddev": 0, "noisy_seed": 0,
            "weights": None, "stds": None, **params,
        }  # fmt: skip
        above = 0.0 if p["threshold_inclusive"] else 1.0 if p["discrete"] else 1e-7
        self.numbers, self.inputs = sorted(neurons), inputs
        self.threshold = {i: neurons[i][0] + above for i in neurons}
        self.leaks = {
            i: p["leak_mode"] == "all" or (p["leak_mode"] == "configurable" and neurons[i][1])
            for i in neurons
        }
        by_pair = {edge[:2]: edge for edge in edges}
        self.out = defaultdict(list)
        for pair in hash_order([edge[:2] for edge in edges]):
            self.out[pair[0]].append(by_pair[pair])
        self.noise = Generator(p["noisy_seed"])
        self.fired_in_all = self.arrived_in_all = 0
        self.clear()

    def clear(self) -> None:
        self.charge = dict.fromkeys(self.numbers, 0.0)
        self.queue: dict[int, list[tuple[int, float]]] = defaultdict(list)
        self.late: list[int] = []
        self.times: dict[int, list[int]] = {i: [] for i in self.numbers}

    def _charge(self, index: float) -> float:
        p = self.p
        value = index if p["weights"] is None else p["weights"][int(index)]
        if p["stds"] is not None:
            value = self.noise.normal(value, p["stds"][int(index)])
        return self.noise.normal(value, p["noisy_stddev"]) if p["noisy_stddev"] else value

    def apply(self, number: int, time: int, value: float, normalized: bool = True) -> None:
        p = self.p
        if p.get("inputs_from_weights"):
            size = len(p["weights"])
            charge = self._charge(min(int(value * size), size - 1) if normalized else int(value))
        else:
            charge = value
            if normalized:
                charge = value * p.get("spike_value_factor", p.get("max_weight"))
                charge = math.floor(charge) if p["discrete"] else charge
            if p["noisy_stddev"]:
                charge = self.noise.normal(charge, p["noisy_stddev"])
        self.queue[time].append((number, charge))

    def _fire(self, number: int, time: int) -> None:
        self.times[number].append(time)
        self.charge[number] = 0.0
        self.fired_in_all += 1

    def run(self, duration: int) -> None:
        duration += self.p["run_time_inclusive"]
        self.times = {i: [] for i in self.numbers}
        for time in range(duration):
            events = self.queue.pop(time, [])
            for number in self.late:
                self._fire(number, time)
            self.late = []
            for number, _ in events:
                self._settle(number)
            for number, charge in events:
                self.charge[number] += charge
                self.arrived_in_all += 1
            for number in dict(events):
                if self.charge[number] >= self.threshold[number]:
                    for _, target, weight, delay in self.out[number]:
                        self.queue[time + delay].append((target, self._charge(weight)))
                    if self.p["fire_like_ravens"]:
                        self.late.append(number)
                    else:
                        self._fire(number, time)
        self.queue = defaultdict(list, {time - duration: events for time, events in self.queue.items()})
        for number in self.numbers:
            self._settle(number)

    def _settle(self, number: int) -> None:
        if self.leaks[number]:
            self.charge[number] = 0.0
        self.charge[number] = max(self.charge[number], self.p["min_potential"])


class Vrisp:
    """Everything is in `ring`: what arrives at a neuron, and its charge where the next timestep begins."""

    def __init__(
        self,
        neurons: dict[int, tuple[float, bool]],
        edges: list[Edge],
        inputs: list[int],
        params: dict[str, Any],
    ) -> None:
        p = self.p = {"leak_mode": "none", **params}
        self.numbers = sorted(neurons)
        self.threshold = {i: neurons[i][0] for i in neurons}
        self.leaks = {
            i: p["leak_mode"] == "all" or (p["leak_mode"] == "configurable" and neurons[i][1])
            for i in neurons
        }
        self.out = defaultdict(list)
        for edge in edges:
            self.out[edge[0]].append(edge)
        self.clear()

    def clear(self) -> None:
        self.ring = [dict.fromkeys(self.numbers, 0) for _ in range(self.p["tracked_timesteps"])]
        self.time = 0
        self.times: dict[int, list[int]] = {i: [] for i in self.numbers}

    def _add(self, time: int, number: int, charge: float) -> None:
        row = self.ring[time % len(self.ring)]
        row[number] = (row[number] + int(charge) + 128) % 256 - 128

    def apply(self, number: int, time: int, value: float, normalized: bool = True) -> None:
        factor = self.p.get("spike_value_factor", self.p["max_weight"])
        self._add(self.time + time, number, int(value * factor) if normalized else value)

    def run(self, duration: int) -> None:
        self.times = {i: [] for i in self.numbers}
        for time in range(duration):
            row = self.ring[self.time % len(self.ring)]
            for number in self.numbers:
                row[number] = max(row[number], self.p["min_potential"])
                if row[number] >= self.threshold[number]:
                    for _, target, weight, delay in self.out[number]:
                        self._add(self.time + delay, target, weight)
                    self.times[number].append(time)
                elif not self.leaks[number]:
                    self._add(self.time + 1, number, row[number])
            row.update(dict.fromkeys(self.numbers, 0))
            self.time += 1
        row = self.ring[self.time % len(self.ring)]
        for number in self.numbers:
            row[number] = max(row[number], self.p["min_potential"])

    @property
    def charge(self) -> dict[int, int]:
        return self.ring[self.time % len(self.ring)]
