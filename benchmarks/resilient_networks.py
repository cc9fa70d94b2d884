"""The references of `benchmarks.resilient_search`: MobileNetV2 and NASNet-A, drawn small.

Both follow the published structure cell by cell; what is scaled is said with each. "Like" is meant as it is
said: these are not the published networks, which are a hundred times as large, and made for other images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Separable(nn.Sequential):
    """A depthwise and a pointwise convolution, and the batch norm of both."""

    def __init__(self, entering: int, leaving: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(entering, entering, kernel, stride, kernel // 2, groups=entering, bias=False),
            nn.Conv2d(entering, leaving, 1, bias=False),
            nn.BatchNorm2d(leaving),
        )


class Bottleneck(nn.Module):
    """An inverted residual with a linear bottleneck: expand by 1 × 1, filter each channel by 3 × 3, project
    by 1 × 1 without an activation; the input is added where shapes allow it."""

    def __init__(self, entering: int, leaving: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = entering * expansion
        expand = [nn.Conv2d(entering, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6()]
        self.body = nn.Sequential(
            *(expand if expansion > 1 else []),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, leaving, 1, bias=False),
            nn.BatchNorm2d(leaving),
        )
        self.residual = stride == 1 and entering == leaving

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.body(x)
        return x + made if self.residual else made


# Expansion, channels, how many, stride of the first: table 2 of the paper, whose seven rows have channels
# 16, 24, 32, 64, 96, 160, 320, as often as 1, 2, 3, 4, 3, 3, 1, and strides 1, 2, 2, 2, 1, 2, 1.
ROWS = ((1, 8, 1, 1), (6, 12, 1, 1), (6, 16, 3, 2), (6, 24, 3, 2), (6, 32, 2, 1))


class MobileNetV2Like(nn.Module):
    """Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: inverted residuals and linear bottlenecks", CVPR
    2018, arXiv 1801.04381.

    Kept: a 3 × 3 convolution, rows of inverted residuals with expansion 6 (the first row's is 1), ReLU6,
    linear bottlenecks, a last 1 × 1 convolution four times as wide as what enters it, global pooling, a
    dense layer. Scaled: channels, five rows in place of seven, and, for images of 28 to 32 pixels, strides
    of 8 in all in place of 32.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, rows: Sequence[Sequence[int]] = ROWS
    ) -> None:
        super().__init__()
        width = rows[0][1]
        body: list[nn.Module] = [
            nn.Conv2d(input_shape[0], width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
        ]
        for expansion, channels, count, stride in rows:
            for number in range(count):
                body.append(Bottleneck(width, channels, expansion, 1 if number else stride))
                width = channels
        body += [nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU6()]
        self.body = nn.Sequential(*body)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.body(x)), 1))  # type: ignore[no-any-return]


def twice(channels: int, kernel: int, stride: int = 1) -> nn.Module:
    """NASNet's separable convolution: applied twice, the stride in the first."""
    return nn.Sequential(Separable(channels, channels, kernel, stride), Separable(channels, channels, kernel))


def fitted(entering: int, leaving: int, stride: int = 1) -> nn.Module:
    """ReLU, 1 × 1 convolution and batch norm: brings a cell's input to its width (and size)."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving)
    )


class NormalCell(nn.Module):
    """Five pairs, after figure 4 of the paper and the wiring of its published code; 6 · `channels` leave."""

    def __init__(self, here: int, before: int, channels: int, stride_before: int) -> None:
        super().__init__()
        self.here = fitted(here, channels)
        self.before = fitted(before, channels, stride_before)
        self.separable = nn.ModuleList(twice(channels, kernel) for kernel in (5, 3, 5, 3, 3))
        self.pool = nn.AvgPool2d(3, 1, 1)

    def forward(self, x: Tensor, previous: Tensor) -> Tensor:
        h, p = self.here(x), self.before(previous)
        five, three, five_before, three_before, three_here = self.separable
        averaged = self.pool(p)
        pairs = (
            five(h) + three(p),
            five_before(p) + three_before(p),
            self.pool(h) + p,
            averaged + averaged,
            three_here(h) + h,
        )
        return torch.cat((p, *pairs), 1)


class ReductionCell(nn.Module):
    """Five pairs, the four that no other pair takes leave: 4 · `channels`, at half the height and width."""

    def __init__(self, here: int, before: int, channels: int, stride_before: int) -> None:
        super().__init__()
        self.here = fitted(here, channels)
        self.before = fitted(before, channels, stride_before)
        self.halving = nn.ModuleList(twice(channels, kernel, 2) for kernel in (5, 7, 7, 5))
        self.last = twice(channels, 3)
        self.greatest = nn.MaxPool2d(3, 2, 1)
        self.mean = nn.AvgPool2d(3, 2, 1)
        self.mean_inside = nn.AvgPool2d(3, 1, 1)

    def forward(self, x: Tensor, previous: Tensor) -> Tensor:
        h, p = self.here(x), self.before(previous)
        five, seven, seven_again, five_again = self.halving
        first = five(h) + seven(p)
        second = self.greatest(h) + seven_again(p)
        third = self.mean(h) + five_again(p)
        fourth = second + self.mean_inside(first)
        fifth = self.last(first) + self.greatest(h)
        return torch.cat((second, third, fourth, fifth), 1)


class NASNetALike(nn.Module):
    """Zoph, Vasudevan, Shlens, Le, "Learning transferable architectures for scalable image recognition", CVPR
    2018, arXiv 1707.07012.

    Kept: both cells of NASNet-A with all their pairs, separable convolutions applied twice, ReLU before
    convolution, the sequence normal – reduction – normal – reduction – normal with twice the channels
    after a reduction, no activation but a ReLU before global pooling. Scaled: `channels` (the published
    smallest for CIFAR-10 has 32) and one normal cell in place of six; and, so that no path needs shifted
    images, a previous cell's output that is larger is fitted by a 1 × 1 convolution of stride 2 in place of
    two shifted ones, averages count padding, and there is no path dropping and no auxiliary head.
    """

    def __init__(self, input_shape: Sequence[int], outputs: int, channels: int = 6, stem: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(input_shape[0], stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem))
        cells: list[nn.Module] = []
        before, here, stride = stem, stem, 1
        for kind in ("normal", "reduction", "normal", "reduction", "normal"):
            if kind == "reduction":
                channels *= 2
                cells.append(ReductionCell(here, before, channels, stride))
                before, here, stride = here, 4 * channels, 2
            else:
                cells.append(NormalCell(here, before, channels, stride))
                before, here, stride = here, 6 * channels, 1
        self.cells = nn.ModuleList(cells)
        self.last = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(here, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = previous = self.stem(x)
        for cell in self.cells:
            x, previous = cell(x, previous), x
        return self.head(torch.flatten(self.pool(self.last(x)), 1))  # type: ignore[no-any-return]
