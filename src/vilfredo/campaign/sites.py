"""Where faults can be: the populations that campaigns draw from, and the injections that are drawn.

The single faults of a network are counted by layer and, for faults of bits, by bit: a `Stratum` is one bit of
one array, such as the sign bits of the weights of "features.0". Its single faults are its positions.

Arrays that can be hit, by `Fault.site`:

* `weights`: those of convolutions and dense layers.
* `biases`: theirs, one for each output channel, which hardware adds to the accumulators. In whole numbers
  they are as wide as these.
* `activations`: what each step stores for the next one. What is the same numbers once more (`flatten`, `pad`,
  a `concat` that does not rescale) has none of its own.
* `accumulators`: the sums of convolutions and dense layers, before they are rounded to activations.
* `inputs`: the network's input.
* `neurons`: the outputs of convolutions and dense layers, which can be dead.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo import seeds
from vilfredo.campaign.hits import place
from vilfredo.campaign.injection import INPUT, Hit, Injection
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Step
from vilfredo.protocols import Fault, Rng, Site


@dataclass(frozen=True, eq=False)
class Stratum:
    """Single faults of one kind: all positions of the array `site` of a step, in one bit.

    `shape` is the array's (one image's, of activations), `name` the layer's (see `names`), "input" of the
    network's input. `bit` 0 is the least significant; −1: not of a bit. `size` is how many places there are,
    `extent` how many adjacent positions of the array each covers: 1, or all of a channel.
    """

    step: int
    name: str
    site: Site
    shape: tuple[int, ...]
    codes: Codes
    bit: int
    size: int
    extent: int = 1

    def channel(self, index: int) -> int:
        """The output channel (or unit) that place `index` belongs to."""
        return index * self.extent // math.prod(self.shape[1:])


@dataclass(frozen=True)
class Single:
    """One single fault by its place. As text "features.0:weights:1234:7": layer, site, position, bit; without
    a bit "features.0:weights:1234"; in one image's inference only "features.0:activations:99:7@3"."""

    name: str
    site: Site
    index: int
    bit: int = -1
    image: int | None = None

    def __str__(self) -> str:
        bit = "" if self.bit < 0 else f":{self.bit}"
        return f"{self.name}:{self.site}:{self.index}{bit}" + ("" if self.image is None else f"@{self.image}")


_SINGLE = re.compile(r"(.+):([a-z]+):(\d+)(?::(\d+))?(?:@(\d+))?", re.S)


def parse(text: str) -> Single:
    """The inverse of `str(Single)`. Raises `ValueError` if the text names no fault."""
    match = _SINGLE.fullmatch(text)
    if not match:
        raise ValueError(
            f"{text!r} is no fault: write layer:site:position:bit, such as features.0:weights:1234:7"
        )
    name, site, index, bit, image = match.groups()
    return Single(
        name,
        site,  # type: ignore[arg-type]
        int(index),
        -1 if bit is None else int(bit),
        None if image is None else int(image),
    )


def names(network: Deployed) -> tuple[str, ...]:
    """A name for each step that no other has: its own, and with the step's number where several share it."""
    shared = Counter(step.name for step in network.steps)
    return tuple(
        step.name if step.name and shared[step.name] == 1 else f"{step.name or step.op}#{number}"
        for number, step in enumerate(network.steps)
    )


def places(network: Deployed, site: Site, layers: Sequence[str] | None = None) -> tuple[Stratum, ...]:
    """The arrays of a site, each as a stratum of bit −1, in the order of the steps.

    `layers`: those of these names only. Raises `ValueError` if the network has no such site or layer.
    """
    if site == "inputs":
        shape = network.input_shape
        found = [Stratum(INPUT, "input", site, shape, network.input, -1, math.prod(shape))]
    else:
        found = [
            Stratum(number, name, site, shape, codes, -1, math.prod(shape))
            for number, name in enumerate(names(network))
            if _has(network.steps[number], site)
            for shape, codes in [place(network, number, site)]
        ]
    if not found:
        raise ValueError(f"this network has no {site}; faults can be in {', '.join(sites(network))}")
    if layers is None:
        return tuple(found)
    known = {array.name: array for array in found}
    unknown = [name for name in layers if name not in known]
    if unknown:
        raise ValueError(f"no layer with {site} is called {unknown[0]!r}; there are {', '.join(known)}")
    return tuple(array for array in found if array.name in set(layers))


def sites(network: Deployed) -> tuple[Site, ...]:
    """The sites that this network has."""
    kinds: tuple[Site, ...] = ("weights", "biases", "activations", "accumulators", "neurons")
    return (*(site for site in kinds if any(_has(step, site) for step in network.steps)), "inputs")


def _has(step: Step, site: Site) -> bool:
    """Whether campaigns count that array of a step as one of its own."""
    if site == "activations":
        return step.op not in ("flatten", "pad") and (step.op != "concat" or any(step.rescales))
    if site == "weights":
        return step.weight is not None and step.weight_codes is not None
    if site == "biases":
        return step.bias is not None and step.op in ("conv", "dense")
    if site == "accumulators" and step.accumulator is None:
        return False
    return site in ("accumulators", "neurons") and step.op in ("conv", "dense")


def strata(network: Deployed, fault: Fault, layers: Sequence[str] | None = None) -> tuple[Stratum, ...]:
    """The population of single faults, by layer and by bit, least significant first; by layer if not of bits.

    Raises `ValueError` if the network has no such site or layer, or numbers that cannot have the fault.
    """
    found: list[Stratum] = []
    for array in places(network, fault.site, layers):
        try:
            bits, extent = fault.places(array.codes), fault.extent(array.shape)
        except ValueError as error:
            raise ValueError(f"layer {array.name}: {error}") from None
        found += [replace(array, bit=bit, size=array.size // extent, extent=extent) for bit in bits]
    return tuple(found)


def single(stratum: Stratum, fault: Fault, index: int, seed: int = 0, image: int | None = None) -> Injection:
    """One fault: of the stratum's array, at place `index` (a flat position where `extent` is 1), in its bit.

    The same (seed, layer, site, index, bit) give the same fault, also where there is chance in it (the
    normal number of a variation). `image`: in that image's inference only; None: in all.
    """
    return Injection((_hit(stratum, fault, [index], seed, image),))


def one(
    network: Deployed, fault: Fault, where: Single | str, seed: int = 0, layers: Sequence[str] | None = None
) -> Injection:
    """The single fault at a place that is given as `Single` or as its text, made again.

    Raises `ValueError` if the network has no such place.
    """
    where = parse(where) if isinstance(where, str) else where
    if where.site != fault.site:
        raise ValueError(f"{where}: this fault acts on {fault.site}, not on {where.site}")
    for stratum in strata(network, fault, layers):
        if (stratum.name, stratum.bit) == (where.name, where.bit):
            if where.index >= stratum.size:
                raise ValueError(f"{where}: {where.name} has {stratum.size} {where.site}, counted from 0")
            return single(stratum, fault, where.index, seed, where.image)
    raise ValueError(f"{where}: this network has no such layer, or its {where.site} no such bit")


def several(
    population: Sequence[Stratum],
    fault: Fault,
    count: int,
    rng: Rng,
    seed: int = 0,
    images: int | None = None,
) -> Injection:
    """`count` faults at once, any set of them as likely as any other; with `images`, a set for each image
    (transient). Raises `ValueError` if there are not that many."""
    sizes = np.array([s.size for s in population], np.int64)
    total = int(sizes.sum())
    if not 1 <= count <= total:
        raise ValueError(f"{count} faults at once: there are {total} in these layers")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    sets = [rng.choice(total, count, replace=False) for _ in range(images or 1)]
    picks = np.concatenate(sets)
    image = np.repeat(np.arange(len(sets)), count)
    which = np.searchsorted(starts, picks, side="right") - 1
    hits: list[Hit] = []
    for number in np.unique(which):
        here = which == number
        index = picks[here] - starts[number]
        found = _hit(population[number], fault, index, seed, image[here] if images is not None else None)
        hits.append(found)
    return Injection(tuple(hits))


def _hit(
    stratum: Stratum,
    fault: Fault,
    index: Sequence[int] | NDArray[np.int64],
    seed: int,
    image: int | NDArray[np.int64] | None,
) -> Hit:
    """Single faults of one stratum, each with its own random numbers."""
    at = np.asarray(index, np.int64)
    certain = _certain(fault, stratum.codes, stratum.bit, stratum.extent)
    if certain is not None:
        details = np.tile(certain, len(at))
    else:
        bits = np.full(stratum.extent, stratum.bit, np.int64)
        path = ("single", stratum.name, stratum.site)
        rngs = (seeds.generator(seed, *path, int(i), stratum.bit) for i in at)
        details = np.concatenate([fault.details(bits, stratum.codes, rng) for rng in rngs])
    flat = at
    if stratum.extent > 1:
        flat = (at[:, None] * stratum.extent + np.arange(stratum.extent)).reshape(-1)
    when = None
    if image is not None:
        when = np.repeat(np.broadcast_to(np.asarray(image, np.int64), at.shape), stratum.extent)
    return Hit(fault, stratum.step, stratum.site, flat, details, when)


def _certain(fault: Fault, codes: Codes, bit: int, extent: int) -> NDArray[Any] | None:
    """The details of a single fault if there is no chance in them, which saves a generator for each."""
    try:
        hash(fault)
    except TypeError:  # somebody's own
        return None
    return _asked(fault, codes, bit, extent)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=4096)
def _asked(fault: Fault, codes: Codes, bit: int, extent: int) -> NDArray[Any] | None:
    rng = np.random.Generator(np.random.PCG64(0))
    before = rng.bit_generator.state
    detail = fault.details(np.full(extent, bit, np.int64), codes, rng)
    return detail if rng.bit_generator.state == before else None


def drawn(
    network: Deployed, faults: Sequence[Fault], rng: Rng, images: int, layers: Sequence[str] | None = None
) -> Injection:
    """All faults at once, each at its own rate, over all layers of its site (or those of `layers`).

    Permanent ones are drawn once, transient ones for each of the `images` on their own. Networks whose arrays
    have the same shapes and bits get the same hits from equal generators. Raises `ValueError` as `places`.
    """
    hits: list[Hit] = []
    for fault in faults:
        for array in places(network, fault.site, layers):
            try:
                found = _draw(array, fault, rng, images)
            except ValueError as error:
                raise ValueError(f"layer {array.name}: {error}") from None
            if len(found.index):
                hits.append(found)
    return Injection(tuple(hits))


def _draw(array: Stratum, fault: Fault, rng: Rng, images: int) -> Hit:
    shape, size = array.shape, array.size
    if not fault.transient:
        found = fault.draw(shape, array.codes, rng)
        return Hit(fault, array.step, array.site, found.index, found.detail)
    if fault.extent(shape) == 1 and getattr(fault, "count", None) is None:
        # What is independent from position to position is so from image to image: one draw for all.
        found = fault.draw((images, *shape), array.codes, rng)
        image, index = np.divmod(found.index, size)
        return Hit(fault, array.step, array.site, index, found.detail, image)
    each = [fault.draw(shape, array.codes, rng) for _ in range(images)]
    return Hit(
        fault,
        array.step,
        array.site,
        np.concatenate([f.index for f in each]),
        np.concatenate([f.detail for f in each]),
        np.repeat(np.arange(images), [len(f.index) for f in each]),
    )
