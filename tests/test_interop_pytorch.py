"""Three lines in a plain PyTorch training loop, on the embedded digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vilfredo.data import digits
from vilfredo.goal import Goal
from vilfredo.interop.watch import Watch

EPOCHS = 12
# Hidden units and learning rate: some learn, some hardly do, one diverges.
SETTINGS = (
    *((32, 0.1), (16, 0.05), (64, 0.03), (8, 0.1), (32, 0.2), (24, 0.02), (4, 0.05), (2, 0.1), (64, 0.001)),
    *((32, 0.0003), (16, 0.001), (3, 0.01), (48, 0.05), (2, 0.003), (8, 0.0001), (32, 30.0), (64, 0.1)),
)


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    data = digits.load()
    found = []
    for part in (data.train, data.validation):
        found += [
            torch.from_numpy(part.x.reshape(len(part.x), -1) / 16.0).float(),
            torch.from_numpy(part.y).long(),
        ]
    return tuple(found)  # type: ignore[return-value]


def train(watch: Watch | None, hidden: int, rate: float, seed: int, data: Any) -> tuple[int, float]:
    """The epochs that were trained, and the last validation accuracy."""
    x, y, validation_x, validation_y = data
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    network = None if watch is None else watch.network(parameters=75 * hidden + 10)
    accuracy, trained = 0.0, 0
    while trained < EPOCHS:
        trained, right = trained + 1, 0
        for rows in torch.randperm(len(x)).split(32):
            out = model(x[rows])
            right += int((out.argmax(1) == y[rows]).sum())
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(out, y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = float((model(validation_x).argmax(1) == validation_y).float().mean())
        if network is not None and network.update(train=right / len(x), val=accuracy).stop:
            break
    return trained, accuracy


def test_poor_networks_are_ended_and_the_best_is_kept() -> None:
    data = tensors()
    full = [train(None, *setting, seed, data)[1] for seed, setting in enumerate(SETTINGS)]
    watch = Watch("genrace", epochs=EPOCHS, goal=Goal("accuracy", "max"))
    paid = [train(watch, *setting, seed, data)[0] for seed, setting in enumerate(SETTINGS)]

    best = int(np.argmax(full))
    assert sum(paid) < 0.8 * EPOCHS * len(SETTINGS)
    trials = {t.number: t for t in watch.trials}
    assert set(trials) == set(range(len(SETTINGS)))
    assert all((trials[n].state == "complete") == (paid[n] == EPOCHS) for n in trials)
    values = {n: t.value("accuracy") for n, t in trials.items()}
    kept = [n for n, t in trials.items() if t.state == "complete"]
    assert max(full[n] for n in kept) >= full[best] - 0.01  # two images of 288
    for number, value in values.items():
        assert value is not None
        assert value.origin == ("measured" if trials[number].state == "complete" else "forecast")
        assert value.mean <= 1.05
    for trial in watch.trials:  # reasons are in the user's terms: accuracies, not errors
        for halt in trial.halts:
            shown = float(halt.reason.split("forecast ")[1].split(" ")[0])
            assert shown == pytest.approx(halt.forecast["accuracy"].mean, abs=halt.forecast["accuracy"].sd)
    poor = [n for n in trials if full[n] < 0.5 and n > 8]
    assert poor
    assert all(paid[n] <= EPOCHS // 2 for n in poor)


@pytest.mark.parametrize("engine", ["penguin", "ensemble", "median", "asha"])
def test_every_engine_runs_in_the_loop(engine: str) -> None:
    data = tensors()
    watch = Watch(engine, epochs=EPOCHS, goal=Goal("accuracy", "max"))
    paid = [train(watch, *setting, seed, data)[0] for seed, setting in enumerate(SETTINGS[:8])]
    assert all(1 <= n <= EPOCHS for n in paid)
    assert len(watch.trials) == 8
