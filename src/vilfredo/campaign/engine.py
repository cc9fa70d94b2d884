"""Fault injection that computes only what faults touch.

The run without faults is kept, with the sums of every layer. A faulty run is a set of *rows*, one for each
image of each injection. A row begins where its first fault is, holds only what differs (`changes`), and ends
as soon as no code differs any more: most faults change a few codes, of which rounding and pooling hide many.
A faulty weight adds its difference, times one shifted channel of the input, to the sums of one channel; a
changed code adds its difference, times a few weights, to the few sums that it reaches (`kernels`). All that
is exact in whole numbers. Where much has changed, and in floating point, whole layers are computed anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo.campaign import spread
from vilfredo.campaign.biases import added, as_weight, with_bias
from vilfredo.campaign.changes import (
    TOGETHER,
    Change,
    Entries,
    Ints,
    at_rows,
    from_entries,
    in_floats,
    joined,
    whole,
)
from vilfredo.campaign.golden import Golden
from vilfredo.campaign.hits import ALIVE, Blow, check, place, struck
from vilfredo.campaign.injection import INPUT, Hit, Injection
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Step, finished, sums
from vilfredo.protocols import Site

_WINDOW = 4096  # injections that are sorted at a time
_MANY = 64  # faulty weights
_STAY = 1 << 23  # codes that stay in the caches

Struck = dict[tuple[int, Site], list[tuple[int, Hit]]]  # by step and site: hits and whose they are


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
                f"{', '.join(map(str, network.input_shape))}) with n of 1 or more"
            )
        self.network = network
        self.memory = memory
        self._golden = Golden(network, x)
        self._last = len(network.steps) - 1
        self.golden = self._golden.codes(self._last)
        self.classes = self.golden.argmax(1)
        sizes = [self._golden.codes(i)[0].numel() for i in range(-1, len(network.steps))]
        self._widest = [max(sizes[i:]) for i in range(len(sizes))]  # from the input on, from step 0 on, …
        last = {i: number for number, step in enumerate(network.steps) for i in step.inputs}
        self._done: list[list[int]] = [[] for _ in network.steps]  # whose output nobody needs afterwards
        for i, number in last.items():
            self._done[number].append(i)

    @property
    def images(self) -> int:
        return self._golden.images

    def outputs(self, injections: Sequence[Injection]) -> Iterator[Tensor]:
        """The last step's codes (n, outputs) under each injection on its own, in their order.

        Raises `ValueError` if a hit is at a place that is not there.
        """
        for first in range(0, len(injections), _WINDOW):
            part = injections[first : first + _WINDOW]
            found: list[Tensor | None] = [None] * len(part)
            for places, rows, codes in self._answers(part):
                image, local = np.divmod(rows, TOGETHER)
                order = np.argsort(local, kind="stable")
                each, first_row = np.unique(local[order], return_index=True)
                for one, mine in zip(each.tolist(), np.split(order, first_row[1:]), strict=True):
                    out = self.golden.clone()
                    out[torch.from_numpy(image[mine])] = codes[torch.from_numpy(mine)]
                    found[places[one]] = out
            for answer in found:
                yield self.golden.clone() if answer is None else answer

    def classes_under(self, injections: Sequence[Injection]) -> NDArray[np.int64]:
        """The class (F, n) of each image under each injection on its own: argmax of the last step's codes.

        Raises `ValueError` if a hit is at a place that is not there.
        """
        found = np.tile(self.classes.numpy(), (len(injections), 1))
        for first in range(0, len(injections), _WINDOW):
            for places, rows, codes in self._answers(injections[first : first + _WINDOW]):
                image, local = np.divmod(rows, TOGETHER)
                found[first + places[local], image] = codes.argmax(1).numpy()
        return found

    def _answers(self, injections: Sequence[Injection]) -> Iterator[tuple[Ints, Ints, Tensor]]:
        """Batches: which injections, which rows of them come to another output, and these outputs (r, …)."""
        for step, site in {(hit.step, hit.site) for injection in injections for hit in injection.hits}:
            place(self.network, step, site)
        first = [min([hit.step for hit in i.hits], default=self._last) for i in injections]
        # Whole layers are no faster together: floats, and where many weights are faulty. Where those of
        # several steps are, rows cannot go through the network some at a time (`_onward`).
        whole_numbers = self._golden.whole
        kind = [2 if not whole_numbers or _many(i) else int(_spread_out(i)) for i in injections]
        order = sorted(range(len(injections)), key=lambda i: (kind[i], first[i]))
        start = 0
        while start < len(order):
            each = self.images * self._widest[max(first[order[start]], INPUT) + 1] * 4
            room = (self.memory // 4, min(self.memory // 4, _STAY * 4), 0)[kind[order[start]]]
            places = order[start : start + min(max(room // each, 1), TOGETHER)]
            # Rows that start together differ alike; else whole ones and entries would have to be joined.
            places = [i for i in places if (kind[i], first[i]) == (kind[places[0]], first[places[0]])]
            with torch.no_grad():
                change = self._changed([injections[i] for i in places])
                if change is not None:
                    codes = whole(change, change.rows, self.golden)
                    yield np.array(places), change.rows, codes
            start += len(places)

    def _changed(self, injections: Sequence[Injection]) -> Change | None:
        """What these injections change of the last step's output."""
        hits: Struck = {}
        for number, injection in enumerate(injections):
            for hit in injection.hits:
                hits.setdefault((hit.step, hit.site), []).append((number, hit))
        network = self.network
        changes: dict[int, Change | None] = {}
        changes[INPUT] = self._stored(None, INPUT, hits, "inputs", network.input)
        start = max(min((where for where, _ in hits), default=len(network.steps)), 0)
        changes |= dict.fromkeys(range(start))
        return in_floats(self._onward(start, changes, hits))

    def _onward(self, start: int, changes: dict[int, Change | None], hits: Struck) -> Change | None:
        """What comes of these changes, and the hits from a step on. So many rows go through the rest of the
        network together as stay in the caches while they are whole."""
        last_hit = max((where for where, _ in hits), default=INPUT)
        for number in range(start, len(self.network.steps)):
            step = self.network.steps[number]
            parts = spread.streams(self._golden, number, changes) if number > last_hit else []
            if parts:
                found = [self._onward(number, part, {}) for part in parts]
                return spread.together(self._golden, self._last, [part for part in found if part is not None])
            change = self._computed(number, changes, hits)
            changes[number] = self._stored(change, number, hits, "activations", step.codes)
            for old in self._done[number]:
                changes[old] = None
        return changes[self._last]

    def _computed(self, number: int, changes: dict[int, Change | None], hits: Struck) -> Change | None:
        """What changes of a step's output: its inputs change, weights, biases and accumulators are faulty."""
        weights = biases = None
        if (number, "weights") in hits:
            weights = self._weights(self.network.steps[number], hits[number, "weights"])
        if (number, "biases") in hits:
            place(self.network, number, "biases")
            biases = self._weights(as_weight(self.network.steps[number]), hits[number, "biases"])
        blows = self._blows(number, "accumulators", hits)
        if not blows and biases is None:
            return spread.computed(self._golden, number, changes, weights)
        golden, step = self._golden, self.network.steps[number]
        assert step.accumulator is not None
        size = golden.sums[number][0].numel()
        change = changes[step.inputs[0]]
        reached = [w.rows for w in (change, weights) if w is not None]
        busy = np.unique(np.concatenate(reached)) if reached else np.empty(0, np.int64)
        # Rows whose sums have changed before the accumulators are hit: whole.
        hit = np.concatenate([np.empty(0, np.int64), *(blow.cell // size for blow in blows)])
        both = np.intersect1d(busy, hit)
        parts: list[Change | None] = []
        if biases is not None:
            apart = np.full(len(biases.rows), golden.whole)
            apart &= ~np.isin(biases.rows, busy) & ~np.isin(biases.rows, hit)
            alone = _without_rows(biases, biases.rows[~apart])
            if alone is not None:
                parts.append(added(golden, number, alone))
            both = np.union1d(both, biases.rows[~apart])
        if len(both):
            total = self._sums(number, both, change, weights, biases)
            flat = total.double().view(len(both), -1).numpy()
            mine = [_part(blow, np.isin(blow.cell // size, both)) for blow in blows]

            def there(cell: Ints) -> NDArray[np.float64]:
                return flat[np.searchsorted(both, cell // size), cell % size]

            if mine:
                cell, value = struck(mine, there, step.accumulator)
                flat[np.searchsorted(both, cell // size), cell % size] = value
            exact = torch.from_numpy(flat).view(total.shape)
            out = finished(step, exact if golden.whole else exact.to(golden.sums[number].dtype))
            parts.append(spread.difference(golden, number, both, out.to(golden.codes(number).dtype)))
            blows = [_part(blow, ~np.isin(blow.cell // size, both)) for blow in blows]
            others = {i: _without(c, both) for i, c in ((step.inputs[0], change),)}
            parts.append(spread.computed(golden, number, others, _without_rows(weights, both)))
        else:
            parts.append(spread.computed(golden, number, changes, weights))
        if not blows:
            return spread.together(golden, number, [part for part in parts if part is not None])
        sums_ = golden.sums[number].view(self.images, -1).numpy()

        def golden_sums(cell: Ints) -> NDArray[np.float64]:
            return sums_[cell // size // TOGETHER, cell % size].astype(np.float64)

        cell, value = struck(blows, golden_sums, step.accumulator)
        total = torch.from_numpy(value)
        total = total if golden.whole else total.to(golden.sums[number].dtype)
        channel = torch.from_numpy(cell % size // math.prod(step.shape[1:]))
        out = total if step.finish is None else step.finish(total, channel, 0)
        out = out.to(golden.codes(number).dtype)
        parts.append(spread.kept(golden, number, cell // size, cell % size, out.numpy()))
        return spread.together(golden, number, [part for part in parts if part is not None])

    def _sums(
        self,
        number: int,
        rows: Ints,
        change: Change | None,
        weights: spread.FaultyWeights | None,
        biases: spread.FaultyWeights | None,
    ) -> Tensor:
        """Sums of whole rows, before `finish`."""
        golden, step = self._golden, self.network.steps[number]
        known = None if change is None else at_rows(change, np.isin(change.rows, rows))
        x = whole(
            known if known is not None and len(known.rows) else None,
            rows,
            golden.codes(step.inputs[0]),
        )
        if weights is None and biases is None:
            return sums(step, [x])
        sets = np.full((2, len(rows)), -1)
        for own, faulty in zip(sets, (weights, biases), strict=True):
            if faulty is not None:
                mine = np.isin(faulty.rows, rows)
                own[np.searchsorted(rows, faulty.rows[mine])] = faulty.chosen[mine]
        shape, kind = golden.sums[number].shape[1:], golden.sums[number].dtype
        total = torch.empty((len(rows), *shape), dtype=kind if biases is None else torch.float64)
        for pair in np.unique(sets, axis=1).T:
            mask = torch.from_numpy((sets == pair[:, None]).all(0))
            used = step
            if weights is not None and pair[0] >= 0:
                used = spread.with_weight(used, weights, int(pair[0]))
            if biases is not None and pair[1] >= 0:
                used = with_bias(used, biases, int(pair[1]))
            total[mask] = sums(used, [x[mask]]).to(total.dtype)
        return total

    def _stored(
        self, change: Change | None, number: int, hits: Struck, site: Site, codes: Codes
    ) -> Change | None:
        """With what happens to a step's output in memory, and what dead neurons make of it."""
        for where, what in ((site, codes), ("neurons", ALIVE)):
            blows = self._blows(number, where, hits)
            if not blows:
                continue
            change = in_floats(change)
            size = self._golden.codes(number)[0].numel()
            if where == "neurons":
                cell, alive = struck(blows, lambda cell: np.ones(len(cell)), what)
                cell = cell[alive == 0]
                value = np.full(len(cell), float(self._golden.zero(number)))
            else:
                there = partial(self._codes, number, change, size)
                cell, value = struck(blows, there, what)
            with np.errstate(invalid="ignore"):  # NaNs that signal
                code = value.astype(np.float32)
            change = self._overwritten(number, change, cell // size, cell % size, code)
        return change

    def _codes(self, number: int, change: Change | None, size: int, cell: Ints) -> NDArray[np.float64]:
        """The codes in these cells (m,), which are row · size + index."""
        row, index = np.divmod(cell, size)
        found: NDArray[np.float64] = self._golden.flat(number)[row // TOGETHER, index].astype(np.float64)
        if change is None:
            return found
        at = np.searchsorted(change.rows, row)
        at[at == len(change.rows)] = 0
        mine = np.flatnonzero(change.rows[at] == row)
        if isinstance(change.codes, Tensor):
            found[mine] = change.codes.flatten(1).numpy()[at[mine], index[mine]]
            return found
        assert isinstance(change.codes, Entries)
        keys = change.rows[change.codes.row] * size + change.codes.index
        order = np.argsort(keys)
        at = np.searchsorted(keys[order], cell)
        at[at == len(keys)] = 0
        there = keys[order][at] == cell
        found[there] = change.codes.code[order][at[there]]
        return found

    def _overwritten(
        self, number: int, change: Change | None, row: Ints, index: Ints, code: NDArray[np.float32]
    ) -> Change | None:
        """The change with these codes at these places (m,), sorted by row and index."""
        golden = self._golden
        if change is None:
            return spread.kept(golden, number, row, index, code)
        if isinstance(change.codes, Tensor):
            rows = np.union1d(change.rows, row)
            out = whole(change, rows, golden.codes(number)).clone()
            out.view(len(rows), -1).numpy()[np.searchsorted(rows, row), index] = code
            return spread.difference(golden, number, rows, out)
        size = golden.flat(number).shape[1]
        entries = change.codes
        assert isinstance(entries, Entries)
        row_before = change.rows[entries.row]
        stays = ~np.isin(row_before * size + entries.index, row * size + index)
        before = from_entries(row_before[stays], entries.index[stays].astype(np.int64), entries.code[stays])
        parts = [before, spread.kept(golden, number, row, index, code)]
        return joined([part for part in parts if part is not None])

    def _blows(self, number: int, site: Site, hits: Struck) -> list[Blow]:
        """The hits at a site of a step; cells are row · size + index. Raises `ValueError` if one is not
        there."""
        mine = hits.get((number, site))
        if not mine:
            return []
        shape, _ = place(self.network, number, site)
        size = math.prod(shape)
        blows = []
        order = 0
        for k, (injection, hit) in enumerate(mine):
            order = order + 1 if k and mine[k - 1][0] == injection else 0
            self._checked(injection, hit, size)
            if not len(hit.index):
                continue
            detail = np.asarray(hit.detail)
            if hit.image is None:
                rows = np.arange(self.images) * TOGETHER + injection
                cell = (rows[:, None] * size + hit.index).reshape(-1)
                detail = np.tile(detail, self.images)
            else:
                cell = (hit.image * TOGETHER + injection) * size + hit.index
            if (np.diff(cell) < 0).any():
                by = np.argsort(cell, kind="stable")
                cell, detail = cell[by], detail[by]
            blows.append(Blow(order, hit.fault, cell, detail))
        return blows

    def _checked(self, injection: int, hit: Hit, size: int) -> None:
        k = len(hit.index)
        if len(hit.detail) != k or (hit.image is not None and len(hit.image) != k):
            check(self.network, Injection((hit,)), self.images)
        if not k:
            return
        if k == 1:
            inside = 0 <= hit.index[0] < size
            inside &= hit.image is None or 0 <= hit.image[0] < self.images
        else:
            inside = hit.index.min() >= 0 and hit.index.max() < size
            if hit.image is not None:
                inside &= hit.image.min() >= 0 and hit.image.max() < self.images
        if not inside:
            check(self.network, Injection((hit,)), self.images)

    def _weights(self, step: Step, mine: list[tuple[int, Hit]]) -> spread.FaultyWeights | None:
        """The faulty weights of a step: a set for each injection and, of transient hits, for each image
        hit."""
        assert step.weight is not None
        assert step.weight_codes is not None
        size = step.weight.numel()
        alike = len({id(hit.fault) for _, hit in mine}) == 1 and all(hit.image is None for _, hit in mine)
        if alike and len({injection for injection, _ in mine}) == len(mine):
            return self._permanent(step, mine, size)
        by_injection: dict[int, list[Hit]] = {}
        for injection, hit in mine:
            self._checked(injection, hit, size)
            by_injection.setdefault(injection, []).append(hit)
        blows: list[Blow] = []
        chosen = np.full((self.images, len(by_injection)), -1)
        sets = 0
        for own, hits in zip(chosen.T, by_injection.values(), strict=True):
            if any(hit.image is None and len(hit.index) for hit in hits):
                own[:] = sets
                blows += [_blow(k, hit, sets * size, None) for k, hit in enumerate(hits) if hit.image is None]
                sets += 1
            passing = [hit.image for hit in hits if hit.image is not None]
            for image in np.unique(np.concatenate(passing)).tolist() if passing else ():
                own[image] = sets
                blows += [_blow(k, hit, sets * size, image) for k, hit in enumerate(hits)]
                sets += 1
        return _faulty(step, blows, chosen, np.array(list(by_injection)))

    def _permanent(self, step: Step, mine: list[tuple[int, Hit]], size: int) -> spread.FaultyWeights | None:
        """The same of injections that have one hit each, of one fault, there for all images: all at once."""
        counts = [len(hit.index) for _, hit in mine]
        if any(len(hit.detail) != k for k, (_, hit) in zip(counts, mine, strict=True)):
            for injection, hit in mine:
                self._checked(injection, hit, size)
        mine = [one for k, one in zip(counts, mine, strict=True) if k]
        if not mine:
            return None
        index = np.concatenate([hit.index for _, hit in mine])
        if index.min() < 0 or index.max() >= size:
            for injection, hit in mine:
                self._checked(injection, hit, size)
        cell = np.repeat(np.arange(len(mine)), [k for k in counts if k]) * size + index
        detail = np.concatenate([hit.detail for _, hit in mine])
        if (cell[1:] < cell[:-1]).any():
            by = np.argsort(cell, kind="stable")
            cell, detail = cell[by], detail[by]
        chosen = np.broadcast_to(np.arange(len(mine)), (self.images, len(mine)))
        injections = np.array([injection for injection, _ in mine])
        return _faulty(step, [Blow(0, mine[0][1].fault, cell, detail)], chosen, injections)


def _faulty(step: Step, blows: list[Blow], chosen: Ints, injections: Ints) -> spread.FaultyWeights | None:
    """What blows make of a weight: cells are set · size + index; `chosen` (images, injections) says which set
    each has, or −1."""
    assert step.weight is not None
    assert step.weight_codes is not None
    if not sum(len(blow.cell) for blow in blows):
        return None
    weight, size = step.weight.flatten().numpy(), step.weight.numel()
    cell, value = struck(blows, lambda cell: weight[cell % size].astype(np.float64), step.weight_codes)
    other = value != weight[cell % size]
    other &= ~(np.isnan(value) & np.isnan(weight[cell % size]))
    cell, value = cell[other], value[other]
    # Sets in which nothing is wrong after all, such as a bit stuck at what it was, are left out.
    numbers = np.unique(cell // size)
    if not len(numbers):
        return None
    real = np.isin(chosen, numbers)
    image, which = np.nonzero(real)
    return spread.FaultyWeights(
        image * TOGETHER + injections[which],
        np.searchsorted(numbers, chosen[real]),
        np.searchsorted(numbers, cell // size),
        cell % size,
        value,
    )


def _spread_out(injection: Injection) -> bool:
    hits = injection.hits
    return len(hits) > 1 and len({hit.step for hit in hits if hit.site == "weights"}) > 1


def _many(injection: Injection) -> bool:
    return sum([len(hit.index) for hit in injection.hits if hit.site == "weights"]) > _MANY


def _blow(order: int, hit: Hit, offset: int, image: int | None) -> Blow:
    """What of a hit at weights is there in one image's inference; None: the permanent ones."""
    index, detail = hit.index, np.asarray(hit.detail)
    if hit.image is not None:
        here = hit.image == image
        index, detail = index[here], detail[here]
    by = np.argsort(index, kind="stable")
    return Blow(order, hit.fault, index[by] + offset, detail[by])


def _part(blow: Blow, mask: NDArray[np.bool_]) -> Blow:
    return Blow(blow.order, blow.fault, blow.cell[mask], blow.detail[mask])


def _without(change: Change | None, rows: Ints) -> Change | None:
    if change is None:
        return None
    mask = ~np.isin(change.rows, rows)
    return at_rows(change, mask) if mask.any() else None


def _without_rows(weights: spread.FaultyWeights | None, rows: Ints) -> spread.FaultyWeights | None:
    if weights is None:
        return None
    mask = ~np.isin(weights.rows, rows)
    if not mask.any():
        return None
    return spread.FaultyWeights(
        weights.rows[mask], weights.chosen[mask], weights.set, weights.index, weights.value
    )
