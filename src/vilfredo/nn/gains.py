"""How a trained network answers to small changes of what its hardware holds: a look along its gradients.

One pass forwards and a few backwards over a few images tell, to first order, what each bit flip in each
weight and each stored activation does to the distance between the winning class and its rivals. That costs
about as much as a few dozen faulty inferences; a measurement takes thousands. It is wrong where flips are large and
many at once, so it is no estimate by itself: these are features for a learned predictor
(`vilfredo.forecast.resilience`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What flips of single bits do to n images, to first order.

    `margin` (n, rivals): by how much the winner is ahead of each, in codes of the output. `fatal` (n,): the
    share of single bit flips that change the class; `count` the bits that there are; `noise` (n,): the
    standard deviation of the change of a margin, in units of that margin, the greatest of the rivals', when
    each bit is flipped with probability p: times √p.
    """

    margin: Array
    fatal: Array
    noise: Array
    count: int

    @property
    def bits(self) -> Array:
        """(n,): how many bits are fatal by themselves."""
        return self.fatal * self.count


def gains(network: Deployed, x: Tensor, rivals: int = 3) -> dict[str, float]:
    """Features of a network and its weights, all finite, from input codes x (n, *input_shape); 8 to 32 images
    will do.

    `flip_*`: logarithm of the share of single bit flips that change an image's class, in weights and
    activations; `bits_*`: of the number of such bits; `noise_*`: of the deviation of the margins, relative to
    them, under bit flips of a small rate: at the quartiles of the images (`_25`, `_50`, `_75`). `margin`: of
    the median lead, in units of the spread of the outputs. `gain_*` and `norm_*`: Lipschitz-like gains, the
    logarithms of the root mean square and of the greatest singular value of the layers' weights, norms folded
    in: sum, mean and greatest of the layers. `use_*`: how much of the codes' range is used; `slack`: bits
    of it that no weight needs; `silent`, `saturated`: shares of the activations.
    """
    found = _statics(network)
    weights, activations, outputs, stored = sensitivities(network, x, rivals)
    for name, of in (("weights", weights), ("activations", activations)):
        found[f"flip_{name}"] = math.log(float(of.fatal.mean()) + RARE)
        found[f"bits_{name}"] = math.log(float(of.bits.mean()) + 1e-2)
        found[f"size_{name}"] = math.log(max(of.count, 1))
        for share, value in zip((25, 50, 75), np.percentile(of.noise, (25, 50, 75)), strict=True):
            found[f"noise_{name}_{share}"] = math.log(min(max(float(value), 1e-3), 1e5))
    spread = float(outputs.std(axis=1).mean()) + RARE
    found["margin"] = math.log(float(np.median(weights.margin[:, 0])) / spread + 1e-3)
    return found | stored


def expected(of: Sensitivity, rate: float) -> float:
    """The classification change rate to first order when each bit is flipped with probability `rate`.

    Of each image the chance that one flip alone is fatal, or that all together are, whichever is greater.
    """
    alone = -np.expm1(of.bits * math.log1p(-min(rate, 1 - 1e-12)))
    deviation = np.maximum(of.noise * math.sqrt(rate), 1e-9)
    together = np.array([0.5 * math.erfc(1.0 / (d * math.sqrt(2.0))) for d in deviation])
    return float(np.maximum(alone, together).mean())


def sensitivities(
    network: Deployed, x: Tensor, rivals: int = 3
) -> tuple[Sensitivity, Sensitivity, Array, dict[str, float]]:
    """Those of weights and of stored activations; the outputs (n, classes); statistics of the activations."""
    arriving: list[list[Tensor]] = []
    totals: list[Tensor] = []
    known: list[Tensor] = []
    start = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        for step in network.steps:
            inputs = [start if i == -1 else known[i] for i in step.inputs]
            total = _smooth_sums(step, inputs)
            arriving.append(inputs)
            totals.append(total)
            known.append(_smooth_finish(step, total))
        logits = known[-1]
        order = logits.detach().argsort(dim=1, descending=True)[:, : rivals + 1]
        ranked = logits.gather(1, order)
        lead = ranked[:, :1] - ranked[:, 1:]
        weighted = [i for i, step in enumerate(network.steps) if step.weight is not None]
        held = [i for i, step in enumerate(network.steps) if _stores(step)]
        wanted = [totals[i] for i in weighted] + [known[i] for i in held]
        gradients = [
            torch.autograd.grad(lead[:, r].sum(), wanted, retain_graph=True, allow_unused=True)
            for r in range(lead.shape[1])
        ]
    margin = lead.detach().double().numpy()
    by_weight, by_activation = _Tally(margin), _Tally(margin)
    with torch.no_grad():
        for place, i in enumerate(weighted):
            step = network.steps[i]
            assert step.weight is not None
            slopes = [_of_weights(step, arriving[i][0], rows[place], totals[i]) for rows in gradients]
            by_weight.add(slopes, step.weight.reshape(1, -1).numpy(), step.weight_codes or step.codes)
        for place, i in enumerate(held):
            values = known[i].detach().flatten(1)
            slopes = [
                torch.zeros_like(values) if (g := rows[len(weighted) + place]) is None else g.flatten(1)
                for rows in gradients
            ]
            by_activation.add(slopes, _whole(values, network.steps[i].codes), network.steps[i].codes)
        statistics = _activations([(network.steps[i], known[i].detach()) for i in held])
    return by_weight.done(), by_activation.done(), logits.detach().double().numpy(), statistics


class _Tally:
    """Adds up, array by array, what single flips do to n images with margins (n, rivals)."""

    def __init__(self, margin: Array) -> None:
        self.margin = margin
        self.fatal = np.zeros(len(margin))
        self.square = np.zeros_like(margin)
        self.count = 0

    def add(self, slopes: Sequence[Tensor], values: Array, codes: Codes) -> None:
        """`slopes`: of each rival's margin by the values (n, size); `values` (n or 1, size)."""
        patterns = formats.patterns(values, codes)
        gradients = [s.double().numpy() for s in slopes]
        for bit in range(codes.bits):
            change = formats.values(patterns ^ (1 << bit), codes) - values
            change = np.nan_to_num(change, nan=0.0, posinf=1e30, neginf=-1e30)
            dead = np.zeros(np.broadcast_shapes(change.shape, gradients[0].shape), dtype=bool)
            for rival, slope in enumerate(gradients):
                moved = slope * change
                dead |= moved < -self.margin[:, rival, None]
                self.square[:, rival] += np.minimum(np.einsum("nk,nk->n", moved, moved), 1e30)
            self.fatal += dead.sum(axis=1)
        self.count += values.shape[1] * codes.bits

    def done(self) -> Sensitivity:
        lead = np.maximum(self.margin, 1e-3)
        noise = (np.sqrt(self.square) / lead).max(axis=1)
        return Sensitivity(self.margin, self.fatal / max(self.count, 1), noise, self.count)


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


def _of_weights(step: Step, x: Tensor, slope: Tensor | None, total: Tensor) -> Tensor:
    """Derivatives of a margin by the weights, one row for each image: (n, weights)."""
    assert step.weight is not None
    count = len(x)
    if slope is None:
        return torch.zeros(count, step.weight.numel())
    x = (x.detach() - step.zeros[0]).to(torch.float32)
    slope = slope.to(torch.float32)
    if step.op == "dense":
        return (slope[:, :, None] * x[:, None, :]).flatten(1)
    args = step.args
    groups = int(args.get("groups", 1))
    columns = F.unfold(
        x, step.weight.shape[2:], tuple(args["dilation"]), tuple(args["padding"]), tuple(args["stride"])
    )
    columns = columns.reshape(count, groups, -1, columns.shape[-1])
    return (slope.reshape(count, groups, -1, columns.shape[-1]) @ columns.transpose(2, 3)).flatten(1)


def _whole(values: Tensor, codes: Codes) -> Array:
    array = values.double().numpy()
    return np.clip(np.rint(array), *formats.span(codes)) if codes.form == "whole" else array


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
