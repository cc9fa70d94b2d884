"""How a trained network answers to small changes of what its hardware holds: a look along its gradients.

One pass forwards and one backwards for each rival of the winning class, over a few images, tell to first
order what each bit flip in each weight and each stored activation does to the winner's lead. It is wrong
where flips are large and many at once, so it is no estimate by itself: these are features for a learned
predictor (`vilfredo.forecast.resilience`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vilfredo import codes as formats
from vilfredo.codes import Codes
from vilfredo.nn.deployed import Deployed, Rescale, Step, sums

Array = NDArray[np.float64]

RARE = 1e-6  # added to shares before their logarithm is taken
LARGEST = 2**20  # entries of a matrix of weights, up to which its greatest singular value is computed
RATES = (1e-4, 1e-3, 1e-2)  # bit error rates at which flips are added up
COPIES = 16  # of the network at each of these rates
HUGE = 1e15  # what a change of a floating-point number counts for at most


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What bit flips do to n images, to first order.

    `margin` (n, rivals): by how much the winner is ahead of each, in codes of the output. `fatal` (n,): the
    share of single bit flips that change the class, of `count` bits. `noise` (n,): the standard deviation of
    the change of a margin, in units of that margin, the greatest of the rivals', when each bit flips with
    probability p: times √p. `ccr` by rate: the classification change rate when the flips of a faulty copy
    simply add up.
    """

    margin: Array
    fatal: Array
    noise: Array
    count: int
    ccr: Mapping[float, float]


def gains(network: Deployed, x: Tensor, rivals: int = 2) -> dict[str, float]:
    """Features of a network and its weights, all finite, from input codes x (n, *input_shape); some 32 images
    will do.

    `flip_*`: logarithm of the share of single bit flips that change an image's class, in weights and
    activations; `size_*`: of the number of bits; `ccr_*_<rate>`: log odds of the classification change rate
    when flips add up, at `RATES`; `noise_*`: logarithm of the deviation of the margins, relative to them,
    under bit flips of a small rate: at the quartiles of the images (`_25`, `_50`, `_75`). `margin`: of the
    median lead, in units of the spread of the outputs. `gain_*` and `norm_*`: Lipschitz-like gains, the
    logarithms of the root mean square and of the greatest singular value of the layers' weights, norms folded
    in: sum, mean and greatest of the layers. `use_*`: how much of the codes' range is used; `slack`: bits
    of it that no weight needs; `silent`, `saturated`: shares of the activations.
    """
    found = _statics(network)
    weights, activations, outputs, stored = sensitivities(network, x, rivals)
    for name, of in (("weights", weights), ("activations", activations)):
        found[f"flip_{name}"] = math.log(float(of.fatal.mean()) + RARE)
        found[f"size_{name}"] = math.log(max(of.count, 1))
        for rate, share in of.ccr.items():
            found[f"ccr_{name}_{rate:g}"] = math.log((share + 1e-3) / (1 - share + 1e-3))
        for share, value in zip((25, 50, 75), np.percentile(of.noise, (25, 50, 75)), strict=True):
            found[f"noise_{name}_{share}"] = math.log(min(max(float(value), 1e-3), 1e5))
    spread = float(outputs.std(axis=1).mean()) + RARE
    found["margin"] = math.log(float(np.median(weights.margin[:, 0])) / spread + 1e-3)
    return found | stored


def sensitivities(
    network: Deployed, x: Tensor, rivals: int = 2
) -> tuple[Sensitivity, Sensitivity, Array, dict[str, float]]:
    """Those of weights and of stored activations; the outputs (n, classes); statistics of the activations."""
    steps = network.steps
    arriving: list[list[Tensor]] = []
    totals: list[Tensor] = []
    known: list[Tensor] = []
    start = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        for step in steps:
            inputs = [start if i == -1 else known[i] for i in step.inputs]
            if step.op == "max_pool":
                inputs = [inputs[0] * 1.0]  # so that this way's share of the slope is known by itself
            arriving.append(inputs)
            totals.append(_smooth_sums(step, inputs))
            known.append(_smooth_finish(step, totals[-1]))
        logits = known[-1]
        order = logits.detach().argsort(dim=1, descending=True)[:, : rivals + 1]
        ranked = logits.gather(1, order)
        lead = ranked[:, :1] - ranked[:, 1:]
        pools = [i for i, step in enumerate(steps) if step.op == "max_pool"]
        wanted = [*known, *totals, *(arriving[i][0] for i in pools)]
        slopes = [
            torch.autograd.grad(lead[:, r].sum(), wanted, retain_graph=True, allow_unused=True)
            for r in range(lead.shape[1])
        ]

    def slope(of: Tensor, place: int) -> Tensor:
        """(rivals, n, …)"""
        found = [torch.zeros_like(of) if (g := rows[place]) is None else g.float() for rows in slopes]
        return torch.stack(found).detach()

    margin = lead.detach().float()
    by_weight, by_activation = _Tally(margin), _Tally(margin)
    held = [i for i, step in enumerate(steps) if _stores(step)]
    with torch.no_grad():
        for i, step in enumerate(steps):
            if step.weight is not None:
                each = _of_weights(step, arriving[i][0], slope(totals[i], len(known) + i))
                by_weight.weights(each, step.weight.reshape(1, -1), step.weight_codes or step.codes)
        for i in held:
            own = slope(known[i], i)
            ways = []
            for at, j in enumerate(pools):
                if steps[j].inputs[0] == i:
                    own = own - slope(known[i], 2 * len(known) + at)
                    ways.append(_Way(steps[j], known[i].detach(), slope(known[j], j)))
            by_activation.activations(own, known[i].detach(), ways, steps[i].codes)
        statistics = _activations([(steps[i], known[i].detach()) for i in held])
    return by_weight.done(), by_activation.done(), logits.detach().double().numpy(), statistics


class _Tally:
    """Adds up, array by array, what flips do to n images with margins (n, rivals)."""

    def __init__(self, margin: Tensor) -> None:
        self.margin = margin.T.contiguous()  # (rivals, n)
        rivals, images = self.margin.shape
        self.fatal = torch.zeros(images)
        self.square = torch.zeros(rivals, images, dtype=torch.float64)
        self.count = 0
        self.sums = {rate: torch.zeros(rivals, images, COPIES) for rate in RATES}
        self.rng = torch.Generator().manual_seed(0)

    def weights(self, slopes: Tensor, values: Tensor, codes: Codes) -> None:
        """`slopes` (rivals, n, size) of the margins; `values` (1, size)."""
        for change in _changes(values, codes):
            self._single(slopes * change)
            for rate, total in self.sums.items():
                copy, place = self._drawn(rate, COPIES, values.shape[1])
                moved = slopes[:, :, place] * change[0, place]
                total.index_add_(2, copy, moved)
        self.count += values.shape[1] * codes.bits

    def activations(self, slopes: Tensor, values: Tensor, ways: Sequence[_Way], codes: Codes) -> None:
        """`slopes` (rivals, n, …) of the margins by `values` (n, …), but for the `ways` through pools."""
        flat, slopes = _whole(values.flatten(1), codes), slopes.flatten(2)
        images, size = flat.shape
        for change in _changes(flat, codes):
            moved = slopes * change
            for way in ways:
                moved += way(change)
            self._single(moved)
            for rate, total in self.sums.items():
                row, place = self._drawn(rate, images * COPIES, size)
                image = torch.div(row, COPIES, rounding_mode="floor")
                total.flatten(1).index_add_(1, row, moved[:, image, place])
        self.count += size * codes.bits

    def _single(self, moved: Tensor) -> None:
        self.fatal += (moved < -self.margin[:, :, None]).any(dim=0).sum(dim=1)
        self.square += moved.double().square().sum(dim=2)

    def _drawn(self, rate: float, rows: int, size: int) -> tuple[Tensor, Tensor]:
        """Flips of one bit: in which row each, and at which place."""
        mean = torch.tensor(float(rows * size) * rate)
        count = int(torch.poisson(mean, self.rng))
        return tuple(torch.randint(0, top, (count,), generator=self.rng) for top in (rows, size))  # type: ignore[return-value]

    def done(self) -> Sensitivity:
        noise = (self.square.sqrt() / self.margin.clamp(min=1e-3)).amax(dim=0)
        shares = {
            rate: float((total < -self.margin[:, :, None]).any(dim=0).float().mean())
            for rate, total in self.sums.items()
        }
        return Sensitivity(
            margin=self.margin.T.double().numpy(),
            fatal=(self.fatal / max(self.count, 1)).double().numpy(),
            noise=noise.numpy(),
            count=self.count,
            ccr=shares,
        )


class _Way:
    """What changed codes do through a max pool: they count where they become the greatest of a window, or
    were. A slope alone would say that what is not the greatest does nothing."""

    def __init__(self, step: Step, values: Tensor, slope: Tensor) -> None:
        kernel, stride, (down, across) = (tuple(step.args[k]) for k in ("kernel", "stride", "padding"))
        images, channels = values.shape[:2]

        def windows(x: Tensor, fill: float) -> Tensor:
            padded = F.pad(x, (across, across, down, down), value=fill)
            return F.unfold(padded, kernel, stride=stride).reshape(len(x), channels, math.prod(kernel), -1)

        self.size = values[0].numel()
        self.cells = windows(values, -HUGE)
        numbers = torch.arange(self.size, dtype=torch.float64).reshape(1, *values.shape[1:])
        at = windows(numbers, float(self.size)).long()
        self.at = at.expand(images, -1, -1, -1).reshape(images, -1)
        best = self.cells.topk(min(2, self.cells.shape[2]), dim=2).values
        self.best = best[:, :, :1]
        self.rest = torch.where(self.cells >= self.best, best[:, :, -1:], self.best)
        self.slope = slope.flatten(3)[:, :, :, None]  # (rivals, n, channels, 1, windows)

    def __call__(self, change: Tensor) -> Tensor:
        """(rivals, n, size) for changes (n, size)."""
        more = F.pad(change, (0, 1)).gather(1, self.at).reshape(self.cells.shape)
        moved = (torch.maximum(self.cells + more, self.rest) - self.best) * self.slope
        total = torch.zeros(*moved.shape[:2], self.size + 1)
        total.scatter_add_(2, self.at.expand(len(moved), -1, -1), moved.flatten(2))
        return total[:, :, :-1]


def _changes(values: Tensor, codes: Codes) -> Iterator[Tensor]:
    """What flipping each bit, the lowest first, adds to values (n, size)."""
    if codes.form == "whole":
        whole = values.long()
        for bit in range(codes.bits):
            weight = float(1 << bit) * (-1 if codes.signed and bit == codes.bits - 1 else 1)
            yield (1 - 2 * ((whole >> bit) & 1)).float() * weight
        return
    array = values.double().numpy()
    patterns = formats.patterns(array, codes)
    for bit in range(codes.bits):
        with np.errstate(invalid="ignore", over="ignore"):
            change = formats.values(patterns ^ (1 << bit), codes) - array
        yield torch.from_numpy(np.clip(np.nan_to_num(change, nan=HUGE), -HUGE, HUGE)).float()


def _stores(step: Step) -> bool:
    return step.op not in ("flatten", "pad") and (step.op != "concat" or any(step.rescales))


def _smooth_sums(step: Step, arriving: list[Tensor]) -> Tensor:
    """`deployed.sums` with a slope everywhere: nothing is rounded."""
    if step.op == "lookup":
        assert step.table is not None
        table = step.table.to(arriving[0].dtype)
        at = (arriving[0] - step.table_low).clamp(0, len(table) - 1)
        low = at.detach().floor().clamp(max=max(len(table) - 2, 0)).long()
        high = (low + 1).clamp(max=len(table) - 1)
        return table[low] + (at - low) * (table[high] - table[low])
    if step.op == "concat":
        parts = [
            other if rescale is None else _smooth_rescale(rescale, other - zero)
            for other, zero, rescale in zip(arriving, step.zeros, step.rescales, strict=True)
        ]
        return torch.cat(parts, dim=1)
    return sums(step, arriving)


def _smooth_finish(step: Step, total: Tensor) -> Tensor:
    if step.finish is None:
        return total
    return _smooth_rescale(step.finish, total) if isinstance(step.finish, Rescale) else step.finish(total)


def _smooth_rescale(rescale: Rescale, total: Tensor) -> Tensor:
    factor = (rescale.multiplier * torch.exp2(-rescale.shift)).to(total.dtype)
    if factor.dim():
        factor = factor.reshape([-1 if d == 1 else 1 for d in range(total.dim())])
    return (total * factor + rescale.zero).clamp(rescale.low, rescale.high).float()


def _of_weights(step: Step, x: Tensor, slope: Tensor) -> Tensor:
    """Derivatives of the margins by the weights (rivals, n, weights), from those by the sums."""
    assert step.weight is not None
    rivals, count = slope.shape[:2]
    x = (x.detach() - step.zeros[0]).float()
    if step.op == "dense":
        return (slope[:, :, :, None] * x[:, None, :]).flatten(2)
    args = step.args
    groups = int(args.get("groups", 1))
    columns = F.unfold(
        x, step.weight.shape[2:], tuple(args["dilation"]), tuple(args["padding"]), tuple(args["stride"])
    )
    columns = columns.reshape(count, groups, -1, columns.shape[-1])
    rows = slope.reshape(rivals, count, groups, -1, columns.shape[-1])
    return (rows @ columns.transpose(2, 3)).flatten(2)


def _whole(values: Tensor, codes: Codes) -> Tensor:
    return values.round().clamp(*formats.span(codes)) if codes.form == "whole" else values


def _activations(held: Sequence[tuple[Step, Tensor]]) -> dict[str, float]:
    use, silent, saturated, total = 0.0, 0.0, 0.0, 0
    for step, values in held:
        codes, centred = step.codes, values - step.zero
        reach = max(abs(codes.high - step.zero), abs(codes.low - step.zero)) if codes.form == "whole" else 1.0
        use += math.log(float(centred.double().square().mean().sqrt()) / reach + 1e-3)
        silent += float((centred.abs() < 0.5 * (codes.form == "whole") + 1e-12).sum())
        saturated += float((values >= codes.high).sum())
        total += values.numel()
    steps = max(len(held), 1)
    return {
        "use_activations": use / steps,
        "silent": silent / max(total, 1),
        "saturated": saturated / max(total, 1),
    }


def _statics(network: Deployed) -> dict[str, float]:
    """What the weights say without an image."""
    gain, norm, use, peak, slack, sizes = [], [], [], [], [], []
    for step in network.steps:
        if step.weight is None:
            continue
        codes = step.weight_codes or step.codes
        matrix = step.weight.double().flatten(1)
        scale = torch.ones(()) if step.weight_scale is None else step.weight_scale.double()
        real = matrix * (scale if scale.dim() == 0 else scale[:, None])
        gain.append(math.log(float(real.square().sum(1).mean().sqrt()) + 1e-6))
        if real.numel() <= LARGEST:
            norm.append(math.log(float(torch.linalg.matrix_norm(real, 2)) + 1e-6))
        top = float(codes.high) if codes.form == "whole" else 1.0
        greatest = matrix.abs().amax(1).clamp(min=1e-9)
        deviation = matrix.square().mean(1).sqrt()
        use.append(math.log(float((deviation / top).mean()) + 1e-6))
        peak.append(math.log(float((greatest / deviation.clamp(min=1e-9)).mean()) + 1e-6))
        slack.append(float((top / greatest).log2().mean()))
        sizes.append(matrix.numel())
    if not sizes:
        return {}
    share = np.array(sizes) / sum(sizes)
    return {
        "gain_sum": float(np.sum(gain)),
        "gain_mean": float(np.mean(gain)),
        "gain_max": float(np.max(gain)),
        "norm_sum": float(np.sum(norm)),
        "norm_mean": float(np.mean(norm or [0.0])),
        "norm_max": float(np.max(norm or [0.0])),
        "use_weights": float(share @ np.array(use)),
        "use_layers": float(np.mean(use)),
        "peak_weights": float(np.mean(peak)),
        "slack": float(np.mean(slack)),
        "slack_weights": float(share @ np.array(slack)),
    }
