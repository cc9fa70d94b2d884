"""How often, or by how much, a network is wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate, Examples, answers, evaluated
from vilfredo.trial import Value

GOAL = KNOWN["error"]

BATCH = 128  # as in training's own evaluation


def objective(candidate: Candidate) -> Value:
    """Classification: the fraction of examples that are classified wrongly. Regression: the root mean squared
    error in units of the targets' standard deviation on the training part, over all targets; 1 is what a
    constant prediction of the training mean comes to, 0 is perfect. Of a network that is deployed the
    answers of the deployed one count.

    `sd` is the standard error that follows from the number of examples: binomial for classification, by the
    delta method for regression. Raises `ValueError` if the candidate brings no examples.
    """
    examples = candidate.examples
    if examples is None:
        raise ValueError("error needs examples to be measured on; the candidate has none")
    count = len(examples)
    if candidate.deployed is None:
        outputs = predict(candidate.model, examples)
    else:
        outputs = answers(candidate.deployed, examples.normalise(examples.x).cpu()).to(examples.y.device)
    if candidate.task == "classification":
        if not bool(torch.isfinite(outputs).all()):
            return Value(math.nan)
        wrong = int((outputs.argmax(dim=1) != examples.y).sum())
        rate = wrong / count
        return Value(rate, math.sqrt(rate * (1 - rate) / count))
    squares = (outputs - examples.standardise(examples.y)).double().square().mean(dim=1)
    error = math.sqrt(float(squares.mean()))
    if error == 0 or count < 2:
        return Value(error)
    return Value(error, float(squares.std()) / math.sqrt(count) / (2 * error))


def predict(model: torch.nn.Module, examples: Examples) -> Tensor:
    """The network's outputs (n, outputs) in evaluation mode, as float32."""
    with evaluated(model), torch.inference_mode():
        return torch.cat([model(examples.normalise(x)).float() for x in torch.split(examples.x, BATCH)])
