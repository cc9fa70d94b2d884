"""What lies between neurons in a NIR graph, as sparse matrices: weights, windows, scales and delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vilfredo.spiking.network import Floats, NetworkError

try:
    from scipy import sparse
except ModuleNotFoundError as absent:
    raise ModuleNotFoundError(
        "NIR graphs need the package scipy: pip install 'vilfredo[spiking]'", name=absent.name
    ) from absent

KINDS = (
    "Linear",
    "Affine",
    "Conv1d",
    "Conv2d",
    "SumPool2d",
    "AvgPool2d",
    "Scale",
    "Delay",
    "Flatten",
    "Port",
)
MOST = 20_000_000  # connections


@dataclass(frozen=True)
class Port:
    """The input or output of a subgraph: passes on what it gets."""


@dataclass(frozen=True)
class Lines:
    """The way from the elements of a node to where a path has come to: by delay in timesteps a sparse
    matrix, a column for each element at the beginning, a row for each here; `shape` is that of those here."""

    matrices: Mapping[int, Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Lines:
        """The beginning of a path."""
        return cls({0: sparse.identity(int(np.prod(shape)), format="csr")}, shape)

    @property
    def width(self) -> int:
        return int(np.prod(self.shape))

    def times(self, name: str, matrix: Any, shape: tuple[int, ...]) -> Lines:
        made = {delay: (matrix @ before).tocsr() for delay, before in self.matrices.items()}
        if sum(m.nnz for m in made.values()) > MOST:
            raise NetworkError(f"node {name!r} comes to more than {MOST:,} connections")
        return Lines(made, shape)


def through(name: str, node: Any, lines: Lines, dt: float) -> Lines:
    """Lines that go on through a node. Raises `NetworkError` with its name."""
    kind = type(node).__name__
    where = f"node {name!r}, {called(kind)},"
    if kind == "Port":
        return lines
    if kind == "Flatten":
        return Lines(lines.matrices, (lines.width,))
    if kind == "Delay":
        return _delayed(name, lines, _steps(where, node, lines.width, dt))
    if kind == "Scale":
        scale = vector(where, "scale", node.scale)
        if len(scale) not in (1, lines.width):
            raise NetworkError(f"node {name!r} has {len(scale)} scales for {lines.width} elements")
        return lines.times(name, sparse.diags(np.broadcast_to(scale, lines.width)), lines.shape)
    bias = np.asarray(getattr(node, "bias", 0.0), np.float64)
    if np.any(bias):
        raise NetworkError(
            f"{where} has a bias of {bias[bias != 0].flat[0]:g}: a constant drive is nothing a spiking "
            "network can express"
        )
    if kind in ("Linear", "Affine"):
        weight = np.asarray(node.weight, np.float64)
        vector(where, "weight", weight)
        if weight.ndim != 2 or weight.shape[1] != lines.width:
            raise NetworkError(
                f"node {name!r} has weights of shape {weight.shape} for {lines.width} elements"
            )
        return lines.times(name, sparse.csr_matrix(weight), (len(weight),))
    matrix, shape = _windows(where, kind, node, lines.shape)
    return lines.times(name, matrix, shape)


def called(kind: str) -> str:
    """ "an LIF", "a Linear"."""
    return f"{'an' if kind[0] in 'AEIO' or kind in ('LI', 'LIF') else 'a'} {kind}"


def vector(where: str, name: str, values: Any) -> Floats:
    """All elements, in C order. Raises `NetworkError` for one that is not finite."""
    found = np.asarray(values, np.float64).reshape(-1)
    if not np.isfinite(found).all():
        raise NetworkError(f"{where} has a {name} that is not a finite number")
    return found


def _delayed(name: str, lines: Lines, steps: Any) -> Lines:
    longer: dict[int, Any] = {}
    for delay, matrix in lines.matrices.items():
        for step in np.unique(steps).tolist():
            part = sparse.diags((steps == step).astype(np.float64)) @ matrix
            longer[delay + step] = longer[delay + step] + part if delay + step in longer else part
    made = {delay: matrix.tocsr() for delay, matrix in longer.items()}
    for matrix in made.values():
        matrix.eliminate_zeros()
    return Lines(made, lines.shape)


def _steps(where: str, node: Any, width: int, dt: float) -> Any:
    given = vector(where, "delay", node.delay)
    steps = np.rint(given / dt)
    odd = (steps < 0) | (abs(given / dt - steps) > 1e-6)
    if odd.any():
        raise NetworkError(f"{where} has a delay of {given[odd][0]:g}, no multiple of a timestep of {dt:g}")
    if len(steps) not in (1, width):
        raise NetworkError(f"{where} has {len(steps)} delays for {width} elements")
    return np.broadcast_to(steps.astype(np.int64), width)


def _windows(where: str, kind: str, node: Any, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """The matrix of a node that moves a window over one or two dimensions, and the shape of its output."""
    dimensions = 1 if kind == "Conv1d" else 2
    if len(shape) != dimensions + 1:
        given = " × ".join(map(str, shape))
        raise NetworkError(f"{where} needs channels and {dimensions} more dimensions, but gets {given}")
    if kind.startswith("Conv"):
        weight = np.asarray(node.weight, np.float64)
        vector(where, "weight", weight)
        groups, dilation = int(node.groups), _each(node.dilation, dimensions)
    else:
        size = _each(node.kernel_size, dimensions)
        groups, dilation = shape[0], (1,) * dimensions
        weight = np.full((shape[0], 1, *size), 1.0 if kind == "SumPool2d" else 1 / np.prod(size))
    stride = _each(node.stride, dimensions)
    if dimensions == 1:
        weight, stride, dilation = weight[:, :, None], (1, *stride), (1, *dilation)
    channels, high, wide = shape if dimensions == 2 else (shape[0], 1, shape[1])
    kernel = weight.shape[2:]
    before, after = _padding(node.padding, dimensions, kernel, dilation)
    if weight.shape[0] % groups or weight.shape[1] * groups != channels:
        raise NetworkError(f"{where} has weights of shape {np.shape(node.weight)} for {channels} channels")
    out = tuple(
        (size + a + b - d * (k - 1) - 1) // s + 1
        for size, a, b, k, s, d in zip((high, wide), before, after, kernel, stride, dilation, strict=True)
    )
    if min(out) < 1:
        raise NetworkError(f"{where} has a window larger than what it moves over")
    rows, columns, values = [], [], []
    outs, ins = np.arange(weight.shape[0]), np.arange(weight.shape[1])
    seen = outs // (weight.shape[0] // groups)  # the group of channels that each sees
    own = seen[:, None] * weight.shape[1] + ins
    y, x = np.indices(out).reshape(2, -1)
    for dy, dx in np.ndindex(*kernel):
        iy = y * stride[0] - before[0] + dy * dilation[0]
        ix = x * stride[1] - before[1] + dx * dilation[1]
        inside = (iy >= 0) & (iy < high) & (ix >= 0) & (ix < wide)
        to, at = (y * out[1] + x)[inside], (iy * wide + ix)[inside]
        if not len(to):
            continue
        every = (len(outs), len(ins), len(to))
        rows.append(np.broadcast_to(outs[:, None, None] * (out[0] * out[1]) + to, every).ravel())
        columns.append(np.broadcast_to(own[:, :, None] * (high * wide) + at, every).ravel())
        values.append(np.broadcast_to(weight[:, :, dy, dx][:, :, None], every).ravel())
    size = (weight.shape[0] * out[0] * out[1], channels * high * wide)
    matrix = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), size
    )
    matrix.eliminate_zeros()
    return matrix, (weight.shape[0], *out) if dimensions == 2 else (weight.shape[0], out[1])


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    found = np.asarray(value).reshape(-1).astype(int).tolist()
    return tuple(found * dimensions if len(found) == 1 else found)


def _padding(
    value: Any, dimensions: int, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Before and after, in both dimensions."""
    word = value.decode() if isinstance(value, bytes) else value if isinstance(value, str) else ""
    if word == "valid":
        return (0, 0), (0, 0)
    if word == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    each = _each(value, dimensions)
    both = (0, *each) if dimensions == 1 else each
    return both, both
