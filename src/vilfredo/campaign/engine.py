"""Fault injection that computes only what faults touch.

The network's run without faults is kept, step by step. A faulty run is a set of *rows*, one for each image of
each injection that differs from it; a row is computed from the step on where its first fault is, and given up
as soon as no step's output differs any more. Rows of many injections go through a step together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo.campaign.hits import ALIVE, check, faulty
from vilfredo.campaign.injection import INPUT, Hit, Injection
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Step, finished, sums
from vilfredo.protocols import Site

_WINDOW = 4096  # injections that are grouped at a time


@dataclass(frozen=True, eq=False)
class Change:
    """Where a step's output differs from the run without faults: `rows` (r,), ascending, each of them
    injection · n + image, and their whole outputs (r, …)."""

    rows: Tensor
    codes: Tensor


class Engine:
    """A deployed network with its answers to input codes x (n, *input_shape), ready to be asked for those of
    faulty copies of it.

    `golden` (n, outputs) are the last step's codes without faults, `classes` (n,) int64 their argmax.
    `memory` is about how many bytes a batch of injections may take. Raises `ValueError` if x has another
    shape than the network's input.
    """

    def __init__(self, network: Deployed, x: Tensor, *, memory: int = 1 << 30) -> None:
        if tuple(x.shape[1:]) != tuple(network.input_shape) or not len(x):
            raise ValueError(
                f"the engine was given inputs of shape {tuple(x.shape)}; this network takes (n, "
                f"{', '.join(map(str, network.input_shape))}) with n ≥ 1"
            )
        self.network = network
        self.memory = memory
        self._x = x
        self._uses = _last_uses(network)
        with torch.no_grad():
            self._sums: list[Tensor] = []
            self._codes: list[Tensor] = []
            for step in network.steps:
                total = sums(step, [self._golden(i) for i in step.inputs])
                out = finished(step, total)
                self._sums.append(total)
                self._codes.append(out)
        self.golden = self._codes[-1]
        self.classes = self.golden.argmax(1)

    @property
    def images(self) -> int:
        return len(self._x)

    def outputs(self, injections: Sequence[Injection]) -> Iterator[Tensor]:
        """The last step's codes (n, outputs) under each injection on its own, in their order.

        Raises `ValueError` if a hit is at a place that is not there.
        """
        for first in range(0, len(injections), _WINDOW):
            part = injections[first : first + _WINDOW]
            changed: list[Tensor | None] = [None] * len(part)
            for places, change in self._changes(part):
                which = torch.div(change.rows, self.images, rounding_mode="floor")
                for local in _distinct(which).tolist():
                    mine = which == local
                    out = self.golden.clone()
                    out[change.rows[mine] % self.images] = change.codes[mine]
                    changed[places[local]] = out
            for out_ in changed:
                yield self.golden.clone() if out_ is None else out_

    def classes_under(self, injections: Sequence[Injection]) -> NDArray[np.int64]:
        """The class (F, n) of each image under each injection on its own: argmax of the last step's codes.

        Raises `ValueError` if a hit is at a place that is not there.
        """
        found = np.tile(self.classes.numpy(), (len(injections), 1))
        for first in range(0, len(injections), _WINDOW):
            for places, change in self._changes(injections[first : first + _WINDOW]):
                local, image = np.divmod(change.rows.numpy(), self.images)
                found[first + np.array(places, np.int64)[local], image] = change.codes.argmax(1).numpy()
        return found

    def _golden(self, step: int) -> Tensor:
        return self._x if step == INPUT else self._codes[step]

    def _changes(self, injections: Sequence[Injection]) -> Iterator[tuple[list[int], Change]]:
        """Batches: which injections, and what they change of the last step's output."""
        for injection in injections:
            check(self.network, injection, self.images)
        first = [min((hit.step for hit in i.hits), default=len(self.network.steps)) for i in injections]
        order = sorted(range(len(injections)), key=lambda i: first[i])
        widest = max((t[0].numel() for t in [self._x, *self._codes]), default=1)
        size = max(1, self.memory // (self.images * widest * 4 * 4))
        for start in range(0, len(order), size):
            places = order[start : start + size]
            with torch.no_grad():
                change = self._spread([injections[i] for i in places])
            if change is not None:
                yield places, change

    def _spread(self, injections: Sequence[Injection]) -> Change | None:
        """What these injections change of the last step's output."""
        hits: dict[tuple[int, Site], list[tuple[int, Hit]]] = {}
        for number, injection in enumerate(injections):
            for hit in injection.hits:
                hits.setdefault((hit.step, hit.site), []).append((number, hit))
        network = self.network
        changes: dict[int, Change | None] = {}
        changes[INPUT] = self._stored(None, INPUT, hits, "inputs", network.input, network.input_zero)
        start = min((step for step, _ in hits), default=len(network.steps))
        for number, step in enumerate(network.steps):
            if number < start:
                changes[number] = None
                continue
            change = self._computed(step, number, changes, hits)
            changes[number] = self._stored(change, number, hits, "activations", step.codes, step.zero)
            for old in self._uses[number]:
                changes[old] = None
        return changes[len(network.steps) - 1]

    def _computed(
        self,
        step: Step,
        number: int,
        changes: dict[int, Change | None],
        hits: dict[tuple[int, Site], list[tuple[int, Hit]]],
    ) -> Change | None:
        """What changes of a step's `finish`ed sums with changed inputs, weights and accumulators."""
        arriving = [changes[i] for i in step.inputs]
        weights = hits.get((number, "weights"), [])
        struck = hits.get((number, "accumulators"), [])
        parts = [c.rows for c in arriving if c is not None]
        own: dict[tuple[int, int], list[Hit]] = {}  # by injection, and image or -1
        for injection, hit in weights:
            images = [-1] if hit.image is None else np.unique(hit.image).tolist()
            for image in images:
                own.setdefault((injection, image), [])
        everywhere = {injection for injection, image in own if image == -1}
        for injection, image in own:
            if image != -1:
                parts.append(torch.tensor([injection * self.images + image]))
        parts += [torch.arange(self.images) + i * self.images for i in sorted(everywhere)]
        if not parts and not struck:
            return None
        rows = _distinct(torch.cat(parts)) if parts else torch.empty(0, dtype=torch.int64)
        inputs = [self._rows(i, rows, changes[i]) for i in step.inputs]
        total = self._sums[number].new_empty((len(rows), *self._sums[number].shape[1:]))
        if weights:
            rest = torch.ones(len(rows), dtype=torch.bool)
            which = torch.div(rows, self.images, rounding_mode="floor")
            for injection in sorted({i for i, _ in own}):
                mine = [hit for i, hit in weights if i == injection]
                passing = [image for i, image in own if i == injection and image != -1]
                here = which == injection
                if injection in everywhere:
                    groups = [(here & ~torch.isin(rows % self.images, torch.tensor(passing or [-1])), -1)]
                else:
                    groups = []
                groups += [(rows == injection * self.images + image, image) for image in passing]
                for mask, image in groups:
                    rest &= ~mask
                    total[mask] = sums(_patched(step, mine, image), [x[mask] for x in inputs])
            if rest.any():
                total[rest] = sums(step, [x[rest] for x in inputs])
        elif len(rows):
            total = sums(step, inputs)
        out = finished(step, total)
        if struck:
            assert step.accumulator is not None
            more = _distinct(torch.cat([rows, *(self._struck_rows(i, hit) for i, hit in struck)]))
            wide = self._sums[number][more % self.images]
            wide[torch.searchsorted(more, rows)] = total
            exact = self._strike(more, wide.double(), struck, step.accumulator)
            exact = exact if self.network.form == "whole" else exact.to(total.dtype)
            rows, out = more, finished(step, exact).to(out.dtype)
        return self._differing(number, rows, out)

    def _stored(
        self,
        change: Change | None,
        number: int,
        hits: dict[tuple[int, Site], list[tuple[int, Hit]]],
        site: Site,
        codes: Codes,
        zero: float,
    ) -> Change | None:
        """With what happens to a step's output in memory, and what dead neurons make of it."""
        struck, dead = hits.get((number, site), []), hits.get((number, "neurons"), [])
        if not struck and not dead:
            return change
        parts = [self._struck_rows(i, hit) for i, hit in struck + dead]
        rows = _distinct(torch.cat(parts if change is None else [change.rows, *parts]))
        out = self._rows(number, rows, change)
        if struck:
            out = self._strike(rows, out.double(), struck, codes).to(out.dtype)
        if dead:
            alive = self._strike(rows, torch.ones(out.shape, dtype=torch.float64), dead, ALIVE)
            out = torch.where(alive == 0, torch.full_like(out, zero), out)
        return self._differing(number, rows, out)

    def _rows(self, number: int, rows: Tensor, change: Change | None) -> Tensor:
        """The outputs of a step at these rows, among which are all that changed."""
        out = self._golden(number)[rows % self.images]
        if change is not None:
            out[torch.searchsorted(rows, change.rows)] = change.codes
        return out

    def _struck_rows(self, injection: int, hit: Hit) -> Tensor:
        images = np.arange(self.images) if hit.image is None else np.unique(hit.image)
        return torch.from_numpy(images.astype(np.int64) + injection * self.images)

    def _strike(self, rows: Tensor, values: Tensor, struck: list[tuple[int, Hit]], codes: Codes) -> Tensor:
        """float64 values (r, …) of these rows after the hits."""
        cells = values.flatten(1).numpy()
        for injection, hit in struck:
            if hit.image is None:
                images = np.repeat(np.arange(self.images), len(hit.index))
                index, detail = np.tile(hit.index, self.images), np.tile(hit.detail, self.images)
            else:
                images, index, detail = hit.image, hit.index, hit.detail
            row = np.searchsorted(rows.numpy(), images + injection * self.images)
            cells[row, index] = faulty(hit.fault, cells[row, index], codes, detail)
        return torch.from_numpy(cells).view(values.shape)

    def _differing(self, number: int, rows: Tensor, out: Tensor) -> Change | None:
        golden = self._golden(number)[rows % self.images]
        same = (out == golden) | (out.isnan() & golden.isnan())
        different = ~same.flatten(1).all(1)
        if not different.any():
            return None
        return Change(rows[different], out[different])


def _distinct(rows: Tensor) -> Tensor:
    return torch.from_numpy(np.unique(rows.numpy()))


def _patched(step: Step, hits: Sequence[Hit], image: int) -> Step:
    """The step with the weight that it has in an image's inference; −1: but for transient hits."""
    assert step.weight is not None
    assert step.weight_codes is not None
    weight = step.weight.clone()
    cells = weight.view(-1).numpy()
    for hit in hits:
        here = slice(None) if hit.image is None else hit.image == image
        index = hit.index[here]
        cells[index] = faulty(hit.fault, cells[index].astype(np.float64), step.weight_codes, hit.detail[here])
    return replace(step, weight=weight)


def _last_uses(network: Deployed) -> list[list[int]]:
    """For each step the earlier ones whose outputs nobody needs after it."""
    last = {i: number for number, step in enumerate(network.steps) for i in step.inputs}
    return [[i for i, number in last.items() if number == n] for n in range(len(network.steps))]
