"""Networks as users write them: families of architectures, and random ones with every layer there is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """With weights and statistics as training may leave them, in evaluation mode."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) and module.running_mean is not None:
                module.running_mean.copy_(torch.randn(module.num_features, generator=rng) * 0.3)
                module.running_var.copy_(torch.rand(module.num_features, generator=rng) + 0.3)
                if module.affine:
                    module.weight.copy_(torch.rand(module.num_features, generator=rng) + 0.5)
                    module.bias.copy_(torch.randn(module.num_features, generator=rng) * 0.3)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.copy_(torch.randn(module.weight.shape, generator=rng) * (1.5 / fan_in) ** 0.5)
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=rng) * 0.2)
    return model.eval()


def conv(inside: int, outside: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU6(inplace=True),
    )


class Residual(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding="same", bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.down: nn.Module = nn.Identity()
        if stride > 1 or inside != outside:
            self.down = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.down(x)
        return y.relu_()


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6)
        self.blocks = nn.ModuleList([Residual(6, 6), Residual(6, 8, 2)])
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean([-1, -2]))


class Inverted(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        wide = 2 * inside
        self.skips = stride == 1 and inside == outside
        self.body = nn.Sequential(
            conv(inside, wide, 1),
            conv(wide, wide, 3, stride, wide),
            nn.Conv2d(wide, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skips else self.body(x)


def mobilenet() -> nn.Module:
    return nn.Sequential(
        conv(3, 6, 3, 2),
        Inverted(6, 6, 1),
        Inverted(6, 8, 2),
        Inverted(8, 8, 1),
        conv(8, 12, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(12, 5),
    )


class Dense(nn.Module):
    """BN → ReLU → conv, whose result joins all that came before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.bns = nn.ModuleList([nn.BatchNorm2d(4 + 3 * n) for n in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(4 + 3 * n, 3, 3, padding=1, bias=False) for n in range(3)])
        self.head = nn.Linear(13 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        known = [self.stem(x)]
        for bn, layer in zip(self.bns, self.convs, strict=True):
            known.append(layer(torch.relu(bn(torch.cat(known, 1)))))
        y = F.avg_pool2d(torch.cat(known, dim=-3), 2)
        return self.head(y.view(y.size(0), -1))


class Cell(nn.Module):
    """Like a cell of NASNet-A: sums of pairs of separable convolutions, pools and identities, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6)
        self.left = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False),
            nn.Conv2d(6, 6, 1, bias=False),
            nn.BatchNorm2d(6),
        )
        self.right = nn.Sequential(
            nn.ReLU(), nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6), nn.Conv2d(6, 6, 1)
        )
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.top = nn.MaxPool2d(3, 1, 1)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        a = self.left(x) + x
        b = torch.add(self.pool(x), self.top(x))
        c = self.right(x) + self.left(x)
        x = torch.cat([a, b, c, self.pool(a) + c], dim=1)
        return self.head(F.adaptive_avg_pool2d(F.relu(x), 1).flatten(1))


FAMILIES = {"resnet": ResNet, "mobilenet": mobilenet, "densenet": Dense, "nasnet": Cell}


KINDS = [
    *("conv", "conv", "depthwise", "dilated", "even", "relu", "relu6", "bn", "max", "avg", "avg_in", "add"),
    *("add", "concat", "function", "affine", "hardtanh", "pad"),
]


class Anything(nn.Module):
    """A random graph of every layer that can be deployed."""

    def __init__(self, seed: int, size: int = 8, depth: int = 9) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)

        def pick(options: list) -> object:
            return options[int(torch.randint(len(options), (1,), generator=rng))]

        shapes = [(3, size, size)]
        self.plan: list[tuple[str, tuple[int, ...]]] = []
        self.layers = nn.ModuleList()
        for _ in range(depth):
            source = int(torch.randint(max(0, len(shapes) - 3), len(shapes), (1,), generator=rng))
            c, h, w = shapes[source]
            kind = pick(KINDS)
            layer: nn.Module = nn.Identity()
            inputs, out = (source,), (c, h, w)
            if kind == "conv":
                groups, stride = (pick([1, c]) if c > 1 else 1), pick([1, 1, 2])
                wide = c * pick([1, 2]) if groups > 1 else pick([2, 3, 5])
                layer = nn.Conv2d(c, wide, 3, stride, 1, groups=groups, bias=pick([True, False]))
                out = (wide, (h - 1) // stride + 1, (w - 1) // stride + 1)
            elif kind == "depthwise":
                layer = nn.Sequential(nn.Conv2d(c, c, 3, padding=1, groups=c), nn.BatchNorm2d(c), nn.ReLU())
            elif kind == "dilated":
                layer = nn.Conv2d(c, c, 3, padding=2, dilation=2)
            elif kind == "even":
                layer = nn.Conv2d(c, 3, (2, 4), padding="same")
                out = (3, h, w)
            elif kind == "max" and h > 2 and w > 2:
                layer, out = nn.MaxPool2d(3, 2, 1), (c, (h - 1) // 2 + 1, (w - 1) // 2 + 1)
            elif kind in ("avg", "avg_in"):
                layer = nn.AvgPool2d(3, 1, 1, count_include_pad=kind == "avg")
            elif kind == "bn":
                layer = nn.BatchNorm2d(c)
            elif kind == "pad":
                layer, out = nn.ZeroPad2d((1, 0, 0, 1)), (c, h + 1, w + 1)
            elif kind in ("add", "concat"):
                others = [
                    i for i, s in enumerate(shapes) if (s if kind == "add" else s[1:]) == out[-len(s) :]
                ]
                others = [
                    i for i, s in enumerate(shapes) if s[1:] == (h, w) and (kind == "concat" or s[0] == c)
                ]
                inputs = (source, pick(others))
                out = (sum(shapes[i][0] for i in inputs) if kind == "concat" else c, h, w)
                layer = pick([nn.Identity(), nn.ReLU()])
            else:
                layer = {
                    "relu": nn.ReLU(),
                    "relu6": nn.ReLU6(),
                    "hardtanh": nn.Hardtanh(-1.0, 1.5),
                    "function": pick([nn.Sigmoid(), nn.GELU(), nn.LeakyReLU(0.2), nn.Hardswish(), nn.Tanh()]),
                }.get(kind, nn.Identity())
            if out[0] > 12:
                continue
            self.plan.append((kind, inputs))
            self.layers.append(layer)
            shapes.append(out)
        c, h, w = shapes[-1]
        self.globally = bool(pick([True, False]))
        self.head = nn.Linear(c if self.globally else c * h * w, 4)

    def forward(self, x: Tensor) -> Tensor:
        known = [x]
        for (kind, inputs), layer in zip(self.plan, self.layers, strict=True):
            arriving = [known[i] for i in inputs]
            y = arriving[0]
            if kind == "add":
                y = arriving[0] + arriving[1]
            elif kind == "concat":
                y = torch.cat(arriving, dim=1)
            elif kind == "affine":
                y = (y - 0.25) / 2.0
            known.append(layer(y))
        x = known[-1]
        return self.head(x.mean((2, 3)) if self.globally else x.flatten(1))
