"""Values to charges and spikes to answers, by the rules of `Code` and `Reading`. The compiled loops have the
same rules; these are the plain ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vilfredo.spiking.decoders.decoder import Decoder, Reading
from vilfredo.spiking.encoders.encoder import Code, Encoder
from vilfredo.spiking.network import Floats, Ints


def codes(
    encoder: Encoder | Sequence[Encoder], ranges: Sequence[tuple[float, float]], window: int | None = None
) -> tuple[Code, ...]:
    """One code for each number of an observation, whose `ranges` are (low, high); one encoder for all, or one
    for each.

    Raises `ValueError` for a range that is none, encoders and ranges that differ in number, charges that are
    not from 0 to 1, and spikes after the `window` (timesteps), if given.
    """
    encoders = tuple(encoder) if isinstance(encoder, Sequence) else (encoder,) * len(ranges)
    if len(encoders) != len(ranges):
        raise ValueError(
            f"there are {len(encoders)} encoders for the {len(ranges)} numbers of an observation"
        )
    made = tuple(e.code(float(low), float(high)) for e, (low, high) in zip(encoders, ranges, strict=True))
    for place, (e, code) in enumerate(zip(encoders, made, strict=True)):
        name = f"{type(e).__name__} of number {place}"
        if not (code.charge.ndim == 3 and np.all((code.charge >= 0) & (code.charge <= 1))):
            raise ValueError(
                f"{name}: charges must be a table (regions, neurons, window) of numbers from 0 to 1"
            )
        if code.rule == "signed" and not (code.regions % 2 and code.low < 0 < code.high):
            raise ValueError(f"{name}: the rule 'signed' needs an odd number of regions and a range around 0")
        if window is not None and code.window > window:
            raise ValueError(
                f"{name} needs {code.window} timesteps, the network runs only {window} for one observation; "
                "use fewer spikes, a shorter interval or a longer window"
            )
    return made


def regions(code: Code, values: ArrayLike) -> Ints:
    """The region of each of `values` (m,), from 0 to `code.regions` − 1. Raises `ValueError` for NaN."""
    v = np.asarray(values, dtype=np.float64)
    if np.isnan(v).any():
        raise ValueError("NaN cannot be encoded")
    with np.errstate(over="ignore", invalid="ignore"):  # the side that overflows is not the one that is taken
        if code.rule == "signed":
            middle = (code.regions - 1) / 2
            up = middle + np.ceil(np.minimum(1.0, v / code.high) * middle)
            down = middle - np.ceil(np.minimum(1.0, v / code.low) * middle)
            return np.where(v > 0, up, down).astype(np.int64)
        place = np.floor((v - code.low) / (code.high - code.low) * code.regions)
    return np.clip(place, 0, code.regions - 1).astype(np.int64)


def charges(codes: Sequence[Code], values: ArrayLike) -> Floats:
    """Normalised input charges (m, inputs, window) of the observations `values` (m, f), one code for each of
    f.

    Inputs come in the order of the codes; the window is the longest of theirs. Raises `ValueError` for
    another number of columns, and for NaN.
    """
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.ndim != 2 or table.shape[1] != len(codes):
        raise ValueError(f"observations have {table.shape[-1]} numbers, there are codes for {len(codes)}")
    if np.isnan(table).any():
        row, column = (int(i) for i in np.argwhere(np.isnan(table))[0])
        raise ValueError(f"number {column} of observation {row} is NaN and cannot be encoded")
    window = max(code.window for code in codes)
    out = np.zeros((len(table), inputs(codes), window))
    done = 0
    for code, numbers in zip(codes, table.T, strict=True):
        out[:, done : done + code.neurons, : code.window] = code.charge[regions(code, numbers)]
        done += code.neurons
    return out


def inputs(codes: Sequence[Code]) -> int:
    """How many input neurons the codes need."""
    return sum(code.neurons for code in codes)


def reading(decoder: Decoder, answers: int, window: int) -> Reading:
    """How the decoder reads so many answers from `window` timesteps. Raises `ValueError` if it cannot."""
    made = decoder.reading(answers, window)
    name = type(decoder).__name__
    if made.answers != answers:
        raise ValueError(f"{name} reads {made.answers} answers, the task has {answers}")
    if made.rule == "level" and (made.outputs != 1 or made.full < 1):
        raise ValueError(f"{name}: the rule 'level' needs one output and `full` from 1")
    if made.rule != "level" and (made.outputs < 1 or made.outputs % answers):
        raise ValueError(
            f"{name}: {made.outputs} outputs cannot vote for {answers} answers; as many for each"
        )
    return made


def answers(reading: Reading, counts: ArrayLike, first: ArrayLike) -> NDArray[np.int64]:
    """What the outputs say (m,): of `counts` (m, o) spikes and the timestep of the `first` one (m, o), −1:
    none.

    Raises `ValueError` if o is not `reading.outputs`.
    """
    n = np.atleast_2d(np.asarray(counts, dtype=np.int64))
    t = np.atleast_2d(np.asarray(first, dtype=np.int64))
    if n.shape != t.shape or n.shape[1] != reading.outputs:
        raise ValueError(f"there are spikes of {n.shape[1]} outputs, {reading.outputs} are to be read")
    if reading.rule == "level":
        return np.minimum(n[:, 0] * reading.answers // (reading.full + 1), reading.answers - 1)
    votes = n.reshape(len(n), -1, reading.answers).sum(axis=1)
    if reading.rule == "first":
        never = np.iinfo(np.int64).max
        times = np.where(t < 0, never, t).reshape(len(t), -1, reading.answers).min(axis=1)
        votes = np.where(times == times.min(axis=1, keepdims=True), votes, -1)
    best: NDArray[np.int64] = votes.argmax(axis=1)
    return best
