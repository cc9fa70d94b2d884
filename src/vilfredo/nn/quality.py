"""What deployment costs: accuracy against the trained network, and the noise of every layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vilfredo.nn.deployed import Deployed, run
from vilfredo.nn.folding import results
from vilfredo.nn.graph import Traced, trace
from vilfredo.nn.quantize import BATCH, checked, planned


@dataclass(frozen=True)
class Layer:
    """Of one step: how it is stored, and what that costs for the samples.

    `sqnr` is the signal to quantisation noise ratio of its result in dB, 10 log₁₀(Σ y² / Σ (y − ŷ)²) with y
    of the trained network and ŷ of the deployed one, the noise of all earlier layers included; inf without
    noise. `saturated` is the share of codes at an end of their range beyond which the trained network's
    values are.
    """

    name: str
    op: str
    weight_bits: int  # 0: no weights
    bits: int
    signed: bool
    scale: float
    accumulator: int  # bits; 0: none
    sqnr: float
    saturated: float


def quality(network: Deployed, model: nn.Module | Traced, samples: Tensor) -> list[Layer]:
    """One row for every step of `network`, which was made of `model`, for samples (n, *input_shape)."""
    traced = model if isinstance(model, Traced) else trace(model, network.input_shape)
    plan = planned(traced)
    checked(traced, samples)
    if [part.name for part in plan] != [step.name for step in network.steps]:
        raise ValueError("the deployed network was not made of this model; give the model that was deployed")
    signal, noise, beyond, count = ([0.0] * len(plan) for _ in range(4))
    with torch.no_grad():
        for x in torch.split(samples.detach().cpu(), BATCH):
            wanted = results(plan, x.double())
            given = run(network, network.encode(x))
            for i, (step, y, codes) in enumerate(zip(network.steps, wanted, given, strict=True)):
                stored = (codes.double() - step.zero) * step.scale
                signal[i] += float(y.square().sum())
                noise[i] += float((y - stored).square().sum())
                at_top, at_bottom = codes >= step.codes.high, codes <= step.codes.low
                past = (at_top & (y > stored + step.scale / 2)) | (at_bottom & (y < stored - step.scale / 2))
                beyond[i] += float(past.sum())
                count[i] += y.numel()
    return [
        Layer(
            step.name,
            step.op,
            step.weight_codes.bits if step.weight_codes else 0,
            step.codes.bits,
            step.codes.signed,
            step.scale,
            step.accumulator.bits if step.accumulator else 0,
            decibels(signal[i], noise[i]),
            beyond[i] / count[i],
        )
        for i, step in enumerate(network.steps)
    ]


def decibels(signal: float, noise: float) -> float:
    """10 log₁₀(signal / noise); inf without noise."""
    return math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-300) / noise)


@dataclass(frozen=True)
class Agreement:
    """Of one data set: the accuracy of the trained and of the deployed network, and the share of samples that
    both put into the same class. Fractions; accuracies are NaN without labels."""

    trained: float
    deployed: float
    same: float


def agreement(network: Deployed, model: nn.Module, x: Tensor, labels: Tensor | None = None) -> Agreement:
    """How `network` and the model that it was made of classify inputs (n, *input_shape) with labels (n,)."""
    training = model.training
    same, right = 0, [0, 0]
    try:
        model.eval()
        with torch.no_grad():
            for at in range(0, len(x), BATCH):
                some = x[at : at + BATCH]
                answers = model(some).argmax(1), run(network, network.encode(some))[-1].argmax(1)
                same += int((answers[0] == answers[1]).sum())
                if labels is not None:
                    right = [
                        n + int((a == labels[at : at + BATCH]).sum())
                        for n, a in zip(right, answers, strict=True)
                    ]
    finally:
        model.train(training)
    trained, deployed = (n / len(x) if labels is not None else math.nan for n in right)
    return Agreement(trained, deployed, same / len(x))
