"""A few bit flips tried in a deployed network, exactly, and what follows from them for any number at once.

Derivatives (`vilfredo.nn.gains`) do not see that codes are clamped, that a flip wakes what a ReLU had
silenced, that another pixel wins a pool: the high bits, which decide, are no small changes. So a sample of
single flips is carried through the network as it is, each from the step that it hits on, and what each does
to the outputs is kept. That is a small measurement. It is cheap because one sample of a network serves all
rates and is all its measurement: under many flips the changes of the outputs are taken to add up. Where they
do not, it is wrong, so these, too, are features for a learned predictor (`vilfredo.forecast.resilience`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vilfredo import codes as formats
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Step, output, run

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

ACTIVATIONS = 1024  # flips tried in activations, each in one image
WEIGHTS = 128  # in weights, each on all of `IMAGES`
IMAGES = 24  # on which weights are tried at most
RATES = (1e-4, 3e-4, 1e-3)  # bit error rates
COPIES = 256  # of the network at each of these rates
BATCH = 128  # inferences at a time
RARE = 1e-5  # added to shares before their logarithm is taken
HUGE = 1e15  # what a change of an output counts for at most


@dataclass(frozen=True, eq=False)
class Flips:
    """What k single flips do to the outputs of n images.

    `stands` (k,): how many of the network's bits each stands for; together all of them. `moved` are the
    changes of the outputs: (k, classes), of activations, each in the inference of `image` (k,) alone; of
    weights (k, n, classes), and `image` is None. `outputs` (n, classes) are those without flips.
    """

    outputs: Array
    stands: Array
    moved: Array
    image: Ints | None = None


def probe(network: Deployed, x: Tensor, seed: int = 0) -> dict[str, float]:
    """Features of a network, all finite, from input codes x (n, *input_shape); some 50 to 100 images will do.

    For `weights` and `activations`: `single_*`, the logarithm of the share of single bit flips that change an
    image's class; `half_*` and `lost_*`: of those that take half of the winner's lead over its strongest
    rival, and of the part of the lead that a flip takes on average; `ccr_*_<rate>`: log odds of the
    classification change rate where the flips of a faulty copy add up, at `RATES`.
    """
    found: dict[str, float] = {}
    rng = np.random.default_rng(seed)
    for site, flips in (
        ("activations", of_activations(network, x, ACTIVATIONS, rng)),
        ("weights", of_weights(network, x[:IMAGES], WEIGHTS, rng)),
    ):
        lost = _lost(flips)
        found[f"single_{site}"] = _log(_mean(lost >= 1, flips.stands))
        found[f"half_{site}"] = _log(_mean(lost >= 0.5, flips.stands))
        found[f"lost_{site}"] = _log(_mean(np.clip(lost, 0, 1), flips.stands))
        for rate in RATES:
            share = together(flips, rate, COPIES, rng)
            found[f"ccr_{site}_{rate:g}"] = math.log((share + 1e-3) / (1 - share + 1e-3))
    return found


def of_activations(network: Deployed, x: Tensor, count: int, rng: np.random.Generator) -> Flips:
    """About `count` flips of stored activations (`_shared` among layers and bits), each in one image."""
    known = run(network, x)
    outputs = known[-1].double().numpy()
    held = [i for i, step in enumerate(network.steps) if _stores(step)]
    arrays = [(network.steps[i].codes, math.prod(network.steps[i].shape)) for i in held]
    stands, moved, images = [], [], []
    for step, strata in zip(held, _shared(arrays, len(x), count), strict=True):
        codes, size = network.steps[step].codes, math.prod(network.steps[step].shape)
        flat = known[step].flatten(1)
        picked = [rng.choice(size * len(x), k, replace=False) for k in strata]
        image, place = np.divmod(np.concatenate(picked), size)
        bit = np.repeat(np.arange(codes.bits), strata)
        flipped = _flipped(flat[image, place], bit, codes)
        faulty = partial(_hit, known[step], image, place, flipped)
        moved.append(_resumed(network, x, known, step, image, faulty) - outputs[image])
        stands.append(size / np.repeat(strata, strata))
        images.append(image)
    return Flips(outputs, np.concatenate(stands), _finite(np.concatenate(moved)), np.concatenate(images))


def of_weights(network: Deployed, x: Tensor, count: int, rng: np.random.Generator) -> Flips:
    """About `count` flips of weights (`_shared` among layers and bits), each on all images."""
    known = run(network, x)
    outputs = known[-1].double().numpy()
    held = [i for i, step in enumerate(network.steps) if step.weight is not None and step.weight_codes]
    stands, moved = [np.empty(0)], [np.empty((0, *outputs.shape))]
    arrays = [(_codes(network.steps[i]), _weight(network.steps[i]).numel()) for i in held]
    every = np.arange(len(x))
    for number, strata in zip(held, _shared(arrays, 1, count), strict=True):
        step = network.steps[number]
        weight, codes = _weight(step), _codes(step)
        places = np.concatenate([rng.choice(weight.numel(), k, replace=False) for k in strata])
        flipped = _flipped(weight.flatten()[places], np.repeat(np.arange(codes.bits), strata), codes)
        arriving = [x if i == -1 else known[i] for i in step.inputs]
        for place, value in zip(places.tolist(), flipped, strict=True):
            changed = weight.clone(memory_format=torch.contiguous_format)
            changed.view(-1)[place] = value
            out = output(replace(step, weight=changed), arriving)
            found = _resumed(network, x, known, number, every, out.__getitem__)
            moved.append((found - outputs)[None])
        stands.append(weight.numel() / np.repeat(strata, strata))
    return Flips(outputs, np.concatenate(stands), _finite(np.concatenate(moved)))


def together(flips: Flips, rate: float, copies: int, rng: np.random.Generator) -> float:
    """The share of images whose class changes in copies in which each bit flips with probability `rate`, if
    what the flips do to the outputs adds up: each flip tried is there a Poisson number of times.

    Of activations, what the flips did in any image counts for all.
    """
    if not len(flips.stands):
        return 0.0
    times = rng.poisson(rate * flips.stands, (copies, len(flips.stands))).astype(float)
    moved = (times @ flips.moved.reshape(len(flips.stands), -1)).reshape(copies, *flips.moved.shape[1:])
    if flips.image is not None:
        moved = moved[:, None]
    changed = (flips.outputs + moved).argmax(axis=2) != flips.outputs.argmax(axis=1)
    return float(changed.mean())


def _lost(flips: Flips) -> Array:
    """By flip, (k,) or (k, n): the part of the winner's lead that it takes; 1 where the class changes."""
    outputs = flips.outputs if flips.image is None else flips.outputs[flips.image]
    after = outputs + flips.moved
    top = outputs.argmax(axis=1)
    if flips.image is None:
        top = np.broadcast_to(top, after.shape[:2])
    before, now = _lead(np.broadcast_to(outputs, after.shape), top), _lead(after, top)
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.nan_to_num((before - now) / before, nan=0.0)
    # Of equals the first wins.
    return np.where(after.argmax(axis=-1) != top, 1.0, np.minimum(lost, np.nextafter(1.0, 0.0)))


def _lead(outputs: Array, top: Ints) -> Array:
    """By how much class `top` (…) is ahead of the strongest other in `outputs` (…, classes)."""
    if outputs.shape[-1] < 2:
        return np.ones(top.shape)
    own = np.take_along_axis(outputs, top[..., None], -1)[..., 0]
    others = outputs.copy()
    np.put_along_axis(others, top[..., None], -np.inf, -1)
    return np.asarray(own - others.max(axis=-1))


def _mean(values: NDArray[np.generic], stands: Array) -> float:
    """The mean over all bits, and over images."""
    each = np.asarray(values, dtype=float).reshape(len(stands), -1).mean(axis=1)
    return float(each @ stands / stands.sum()) if len(stands) else 0.0


def _log(share: float) -> float:
    return math.log(share + RARE)


def _shared(arrays: Sequence[tuple[Codes, int]], images: int, count: int) -> Iterator[Ints]:
    """How many flips of each bit (bits,), of each array of codes by its size.

    In proportion to √(size · 2^bit): that is the best allocation (Neyman 1934) if a flip changes the class
    with a small probability in proportion to 2^bit / size, as relevance says. Each has 1 at least, and not
    more than there are; with a `count` of all there are, each is tried.
    """
    each = [np.sqrt(size * 2.0 ** np.arange(1 - codes.bits, 1)) for codes, size in arrays]
    there = [np.full(codes.bits, size * images) for codes, size in arrays]
    if not arrays:
        return
    if count >= sum(int(t.sum()) for t in there):
        yield from there
        return
    unit = count / sum(float(e.sum()) for e in each)
    for wanted, most in zip(each, there, strict=True):
        yield np.clip(np.rint(wanted * unit).astype(np.int64), 1, most)


def _flipped(values: Tensor, bits: Ints, codes: Codes) -> Tensor:
    """Values (k,) with one bit of each (k,) flipped."""
    known = values.double().numpy()
    if codes.form == "whole":
        known = np.clip(np.rint(known), *formats.span(codes))
    with np.errstate(invalid="ignore", over="ignore"):
        changed = formats.values(formats.patterns(known, codes) ^ (np.int64(1) << bits), codes)
    return torch.from_numpy(changed).to(values.dtype)


def _hit(codes: Tensor, image: Ints, place: Ints, values: Tensor, rows: slice) -> Tensor:
    """The codes of these rows' images (k, …), each with one value at its place."""
    # Not every step gives its codes in the usual order of memory.
    out = codes[torch.from_numpy(image[rows])].clone(memory_format=torch.contiguous_format)
    out.view(len(out), -1)[torch.arange(len(out)), torch.from_numpy(place[rows])] = values[rows]
    return out


def _resumed(
    network: Deployed,
    x: Tensor,
    known: Sequence[Tensor],
    start: int,
    image: Ints,
    faulty: Callable[[slice], Tensor],
) -> Array:
    """The network's outputs (k, classes) where step `start` gives `faulty` in the inferences of `image` (k,).

    Only what follows from it is computed.
    """
    last = len(network.steps) - 1
    reached = {start}
    for number in range(start + 1, last + 1):
        if reached & set(network.steps[number].inputs):
            reached.add(number)
    needed = {i: number for number in sorted(reached) for i in network.steps[number].inputs}
    found = []
    with torch.no_grad():
        for begin in range(0, len(image), BATCH):
            rows = slice(begin, begin + BATCH)
            mine = torch.from_numpy(image[rows])
            now = {start: faulty(rows)}
            for number in sorted(reached - {start}):
                step = network.steps[number]
                arriving = [now[i] if i in now else (x if i == -1 else known[i])[mine] for i in step.inputs]
                now[number] = output(step, arriving)
                for i in step.inputs:
                    if needed[i] == number:
                        now.pop(i, None)
            found.append((now[last] if last in reached else known[last][mine]).double())
    return np.asarray(torch.cat(found).numpy())


def _finite(moved: Array) -> Array:
    return np.clip(np.nan_to_num(moved, nan=HUGE), -HUGE, HUGE)


def _stores(step: Step) -> bool:
    return step.op not in ("flatten", "pad") and (step.op != "concat" or any(step.rescales))


def _weight(step: Step) -> Tensor:
    assert step.weight is not None
    return step.weight


def _codes(step: Step) -> Codes:
    assert step.weight_codes is not None
    return step.weight_codes
