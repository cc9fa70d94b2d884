"""Small random deployed networks, whole-number and float, made by hand: every op, both schemes, skips."""

from __future__ import annotations

import math

import numpy as np
import torch

from vilfredo.codes import Codes, floats
from vilfredo.nn.deployed import Deployed, Rescale, Rounded, Step, finished, sums

IMAGES = 5
RELU = Codes(0, 255, 8)
SIGNED = Codes(-128, 127, 8)


class Builder:
    """Adds steps whose rescaling suits what arrives, by running them on the images at once."""

    def __init__(self, rng: np.random.Generator, form: str, scheme: str) -> None:
        self.rng, self.form, self.scheme = rng, form, scheme
        self.steps: list[Step] = []
        shape = (int(rng.integers(1, 4)), int(rng.integers(5, 9)), int(rng.integers(5, 9)))
        if form == "whole":
            self.input, self.input_zero = SIGNED, int(rng.integers(-9, 9))
            x = torch.from_numpy(rng.integers(-128, 128, (IMAGES, *shape))).float()
            x[rng.random(x.shape) < 0.4] = self.input_zero
        else:
            self.input, self.input_zero = floats(form), 0
            x = self._round(torch.from_numpy(rng.normal(size=(IMAGES, *shape))).float())
        self.x, self.shape = x, shape
        self.known = {-1: x}

    def _round(self, t):
        kinds = {"float16": torch.float16, "bfloat16": torch.bfloat16}
        return t.to(kinds[self.form]).float() if self.form in kinds else t

    def codes(self, i):
        return self.input if i == -1 else self.steps[i].codes

    def zero(self, i):
        return self.input_zero if i == -1 else self.steps[i].zero

    def add(self, op, inputs, *, weight=None, bias=None, finish=True, codes=None, zero=None, **more):
        """The new step's number."""
        args = {
            "name": f"{op}{len(self.steps)}",
            "op": op,
            "inputs": tuple(inputs),
            "zeros": tuple(self.zero(i) for i in inputs),
            "weight": weight,
            "bias": bias,
            "codes": codes or self.codes(inputs[0]),
            "zero": self.zero(inputs[0]) if zero is None else zero,
            "shape": (),
            **more,
        }
        if weight is not None:
            wide = weight[0].numel() * 128 * 256 >= 2**24
            args["dtype"] = torch.float64 if wide and self.form == "whole" else torch.float32
            args["weight_codes"] = Codes(-127, 127, 8) if self.form == "whole" else floats(self.form)
            args["accumulator"] = (
                Codes(-(2**31), 2**31 - 1, 32) if self.form == "whole" else floats("float32")
            )
            if (
                self.form == "whole"
                and args.get("args", {}).get("groups", 1) == 1
                and self.rng.random() < 0.3
            ):
                args["dtype"], args["chunk"] = torch.float64, int(self.rng.integers(1, 4))
        arriving = [self.known[i] for i in inputs]
        step = Step(**args)
        total = sums(step, arriving)
        if finish:
            args["finish"], args["codes"], args["zero"] = self.finish(total, more.get("low"))
            step = Step(**args)
        out = finished(step, total)
        args["shape"] = tuple(out.shape[1:])
        self.steps.append(Step(**args))
        self.known[len(self.steps) - 1] = out
        return len(self.steps) - 1

    def finish(self, total, _):
        rng = self.rng
        if self.form != "whole":
            function = str(rng.choice(["", "relu", "tanh", "gelu"]))
            clip = rng.random() < 0.3
            high = 2.0 if clip else math.inf
            return Rounded(function, -high, high, self.form), floats(self.form), 0
        kind = rng.choice(["relu", "signed", "shifted", "clipped"])
        zero = 0 if kind == "relu" else int(rng.integers(-30, 30))
        codes = RELU if kind == "relu" else SIGNED
        low = 0 if kind == "relu" else zero if kind in ("shifted", "clipped") else -128
        high = 255 if kind == "relu" else 127 if kind != "clipped" else zero + 20
        ratio = 60 / (float(total.double().std()) + 1)
        channels = total.shape[1] if self.scheme != "power_of_two_tensor" else 1
        wanted = ratio * np.exp(rng.normal(size=channels) * 0.3)
        if self.scheme == "real":
            multiplier = torch.from_numpy(rng.integers(2**14, 2**15, channels)).double()
            shift = torch.from_numpy(np.clip(np.rint(np.log2(multiplier.numpy() / wanted)), 0, 40)).double()
        else:
            multiplier = torch.ones(channels, dtype=torch.float64)
            shift = torch.from_numpy(np.clip(np.rint(-np.log2(wanted)), 0, 40)).double()
        if self.scheme == "power_of_two_tensor":
            multiplier, shift = multiplier.reshape(()), shift.reshape(())
        return Rescale(multiplier, shift, zero, low, high), codes, zero

    def weight(self, *shape):
        if self.form == "whole":
            w = np.clip(np.rint(self.rng.normal(size=shape) * 40), -127, 127)
            return torch.from_numpy(w).float()
        return self._round(
            torch.from_numpy(self.rng.normal(size=shape) / math.sqrt(math.prod(shape[1:]))).float()
        )

    def bias(self, size):
        if self.rng.random() < 0.3:
            return None
        scale = 500 if self.form == "whole" else 0.2
        b = self.rng.normal(size=size) * scale
        return torch.from_numpy(np.rint(b) if self.form == "whole" else b).float()

    # One kind of step each.

    def conv(self, i, *, filters=None, stride=None, kernel=None, depthwise=False, padding=None):
        rng, (channels, height, width) = self.rng, self.known[i].shape[1:]
        kernel = kernel or (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        stride = stride or (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        padding = padding or tuple(int(rng.integers(0, k)) for k in kernel)
        dilation = [1, 1]
        if rng.random() < 0.2 and min(height, width) > 4:
            dilation = [2, 1]
            padding = (max(padding[0], 1), padding[1])
        if height + 2 * padding[0] < dilation[0] * (kernel[0] - 1) + 1 or width + 2 * padding[1] < kernel[1]:
            kernel, padding, dilation = (1, 1), (0, 0), [1, 1]
        groups = 1
        if depthwise:
            groups, filters = channels, channels * int(rng.integers(1, 3))
        elif channels % 2 == 0 and rng.random() < 0.2:
            groups, filters = 2, 2 * int(rng.integers(1, 4))
        filters = filters or int(rng.integers(1, 7))
        args = {
            "kernel": list(kernel),
            "stride": list(stride),
            "padding": list(padding),
            "dilation": dilation,
            "groups": groups,
        }
        return self.add(
            "conv",
            [i],
            weight=self.weight(filters, channels // groups, *kernel),
            bias=self.bias(filters),
            args=args,
        )

    def dense(self, i, units):
        return self.add(
            "dense", [i], weight=self.weight(units, self.known[i].shape[1]), bias=self.bias(units)
        )

    def pool(self, i, op):
        rng = self.rng
        size = min(self.known[i].shape[2:])
        kernel = int(rng.integers(1, min(3, size) + 1))
        args = {
            "kernel": [kernel, kernel],
            "stride": [int(rng.integers(1, 3))] * 2,
            "padding": [int(rng.integers(0, kernel // 2 + 1))] * 2,
        }
        shares = None
        if op == "avg_pool" and rng.random() < 0.5:
            sides = [
                (s + 2 * args["padding"][0] - kernel) // args["stride"][0] + 1
                for s in self.known[i].shape[2:]
            ]
            shares = torch.from_numpy(rng.integers(1, 4, sides)).float()
        return self.add(op, [i], args=args, finish=op == "avg_pool", shares=shares)

    def block(self, i):
        """A few steps on an image, chosen at random; the number of the last."""
        kind = self.rng.choice(["conv", "depthwise", "pool", "avg", "add", "concat", "lookup", "clip", "pad"])
        shape = self.known[i].shape
        if kind == "conv":
            return self.conv(i)
        if kind == "depthwise":
            return self.conv(i, depthwise=True)
        if kind == "pool":
            return self.pool(i, "max_pool")
        if kind == "avg":
            return self.pool(i, "avg_pool")
        if kind in ("add", "concat"):
            filters = shape[1] if kind == "add" else None
            other = self.conv(i, filters=filters, stride=(1, 1), kernel=(3, 3), padding=(1, 1))
            if self.known[other].shape[2:] != shape[2:] or (
                kind == "add" and self.known[other].shape != shape
            ):
                return other
            if kind == "add":
                factors = (
                    (1.0, 1.0) if self.form != "whole" else tuple(self.rng.integers(1, 9, 2).astype(float))
                )
                return self.add("add", [i, other], factors=factors)
            if self.form != "whole":
                return self.add("concat", [i, other], rescales=(None, None), finish=False)
            rescale, codes, zero = self.finish(self.known[i], None)
            if self.rng.random() < 0.5 and codes == self.codes(other) and zero == self.zero(other):
                return self.add(
                    "concat", [i, other], rescales=(rescale, None), finish=False, codes=codes, zero=zero
                )
            second = self.finish(self.known[other], None)[0]
            second = Rescale(second.multiplier, second.shift, rescale.zero, rescale.low, rescale.high)
            return self.add(
                "concat", [i, other], rescales=(rescale, second), finish=False, codes=codes, zero=zero
            )
        if kind == "lookup" and self.form == "whole":
            low = -128 if self.codes(i).signed else 0
            table = torch.from_numpy(self.rng.integers(-128, 128, 256)).float()
            return self.add("lookup", [i], table=table, table_low=low, codes=SIGNED, zero=0, finish=False)
        if kind == "pad":
            border = [int(b) for b in self.rng.integers(0, 2, 4)]
            return self.add("pad", [i], args={"padding": border}, finish=False)
        return self.add("clip", [i])

    def finished(self):
        return Deployed(tuple(self.steps), self.shape, self.input, 1.0, self.input_zero), self.x


def network(
    seed: int, form: str = "whole", scheme: str = "real", blocks: int = 3
) -> tuple[Deployed, torch.Tensor]:
    """A network and input codes of 5 images for it."""
    rng = np.random.default_rng(seed)
    build = Builder(rng, form, scheme)
    i = build.conv(-1, filters=int(rng.integers(2, 6))) if rng.random() < 0.8 else -1
    for _ in range(blocks):
        i = build.block(i)
    last = "global_pool" if rng.random() < 0.3 else "flatten"
    i = build.add(last, [i], finish=last == "global_pool")
    if rng.random() < 0.6:
        i = build.dense(i, int(rng.integers(2, 9)))
    build.dense(i, 4)
    return build.finished()
