"""The trainer: it learns, it resumes bit for bit, and it says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vilfredo import artifacts
from vilfredo.architecture import Layer, assemble
from vilfredo.data import digits
from vilfredo.nn.build import build
from vilfredo.nn.train import SHIFT, Augment, Data, Recipe, Scale, Teacher, augmented, restore, train
from vilfredo.protocols import Snapshot


def parts(train: int = 1150, validation: int = 288) -> tuple[Data, Data, Scale]:
    data = digits.load()

    def tensors(part: Any, count: int) -> Data:
        return Data(torch.from_numpy(part.x[:count]), torch.from_numpy(part.y[:count]))

    scale = Scale(
        torch.from_numpy(data.mean).reshape(1, -1, 1, 1),
        torch.from_numpy(data.std).reshape(1, -1, 1, 1),
        torch.empty(0),
    )
    return tensors(data.train, train), tensors(data.validation, validation), scale


def small(seed: int = 0) -> nn.Module:
    layers = [
        Layer("conv", {"filters": 8, "kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]}),
        Layer("batch_norm", {}, (0,)),
        Layer("relu", {}, (1,)),
        Layer("max_pool", {"kernel": [2, 2], "stride": [2, 2]}, (2,)),
        Layer("flatten", {}, (3,)),
        Layer("dropout", {"rate": 0.2}, (4,)),
        Layer("dense", {"units": 10}, (5,)),
    ]
    return build(assemble((1, 8, 8), layers), seed)


def decent() -> nn.Module:
    conv = {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1]}
    layers = [
        Layer("conv", {"filters": 12, **conv}),
        Layer("batch_norm", {}, (0,)),
        Layer("relu", {}, (1,)),
        Layer("conv", {"filters": 24, **conv}, (2,)),
        Layer("batch_norm", {}, (3,)),
        Layer("relu", {}, (4,)),
        Layer("max_pool", {"kernel": [2, 2], "stride": [2, 2]}, (5,)),
        Layer("flatten", {}, (6,)),
        Layer("dense", {"units": 10}, (7,)),
    ]
    return build(assemble((1, 8, 8), layers), 0)


def run(
    model: nn.Module, recipe: Recipe, epochs: int = 4, **options: Any
) -> tuple[list[Snapshot], list[dict[str, Any]]]:
    data, validation, scale = options.pop("parts", None) or parts(200, 80)
    shots, checkpoints = [], []
    for shot in train(
        model, "classification", data, validation, scale, recipe, seed=7, epochs=epochs, **options
    ):
        shots.append(shot)
        if shot.checkpoint is not None:
            checkpoints.append(dict(shot.checkpoint()))
    return shots, checkpoints


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a)


RECIPES = [
    Recipe("adam", weight_decay=1e-3, batch_size=32),
    Recipe("sgd", batch_size=48, schedule="constant"),
    Recipe("sgd", momentum=0.0, batch_size=32),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=["adam", "sgd", "sgd without momentum"])
@pytest.mark.parametrize("augment", ["none", "flip_shift"])
def test_four_epochs_are_two_and_two_more_bit_for_bit(
    recipe: Recipe, augment: Augment, tmp_path: Path
) -> None:
    whole, marks = run(small(), recipe, augment=augment)
    half, first = run(small(), recipe, augment=augment, until=2)
    assert [s.metrics for s in half] == [s.metrics for s in whole[:2]]
    artifact = artifacts.write(tmp_path / "a.safetensors", first[-1], [])
    torch.manual_seed(99)  # the process's own stream has no say
    resumed, rest = run(small(seed=5), recipe, augment=augment, resume=artifacts.read(artifact)[0])
    assert [s.index for s in resumed] == [3, 4]
    assert [s.metrics for s in resumed] == [s.metrics for s in whole[2:]]
    assert all(same(a, b) for a, b in zip(marks, first + rest, strict=True))


def test_the_last_checkpoint_is_the_network_alone_and_resumes_to_nothing() -> None:
    model = small()
    _, marks = run(model, RECIPES[0])
    names = {name for name in marks[-1] if not name.startswith("training/")}
    assert names == set(model.state_dict())
    again = small(seed=5)
    assert run(again, RECIPES[0], resume=marks[-1])[0] == []
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(ValueError, match="no state of the optimizer, so epoch 5 cannot follow"):
        run(small(), RECIPES[0], epochs=6, resume=marks[-1])


def test_the_same_seed_gives_the_same_and_leaves_the_process_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, two = run(small(), RECIPES[0], epochs=2), run(small(), RECIPES[0], epochs=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert [s.metrics for s in one[0]] == [s.metrics for s in two[0]]
    assert same(one[1][-1], two[1][-1])


def test_the_checkpoint_is_a_copy_and_cannot_be_taken_too_late() -> None:
    data, validation, scale = parts(100, 50)
    model = small()
    training = train(
        model, "classification", data, validation, scale, RECIPES[0], seed=1, epochs=3, resume=None
    )
    first = next(training)
    assert first.checkpoint is not None
    kept = dict(first.checkpoint())
    saved = {name: array.copy() for name, array in kept.items()}
    next(training)
    assert same(kept, saved)
    with pytest.raises(RuntimeError, match="epoch 1 was asked for after epoch 2"):
        first.checkpoint()


# -- clipped weights, and a teacher ---------------------------------------------------------------------


def test_clipped_weights_stay_within_their_limit() -> None:
    limited, free = small(), small()
    run(limited, Recipe("adam", lr=0.01, batch_size=32, weight_clip=0.05), epochs=2)
    run(free, Recipe("adam", lr=0.01, batch_size=32), epochs=2)
    for index in (0, 6):  # the convolution and the dense layer, but no batch norm
        assert float(limited.layers[index].weight.detach().abs().max()) == pytest.approx(0.05)  # type: ignore[index, union-attr]
        assert float(free.layers[index].weight.detach().abs().max()) > 0.1  # type: ignore[index, union-attr]
    assert float(limited.layers[1].weight.detach().abs().max()) > 0.5  # type: ignore[index, union-attr]


@pytest.fixture(scope="module")
def master() -> nn.Module:
    model = decent()
    run(model, Recipe("adam", lr=0.005, batch_size=32), epochs=4, parts=parts(600, 80))
    return model.eval()


def test_a_student_comes_nearer_to_its_teacher(master: nn.Module) -> None:
    data, _, scale = parts(200, 80)
    before = {name: tensor.clone() for name, tensor in master.state_dict().items()}

    def apart(teacher: Teacher | None) -> float:
        student = small()
        run(student, Recipe("adam", lr=0.01, batch_size=32), epochs=8, teacher=teacher)
        with torch.no_grad():
            asked = scale(data.x)
            mine, its = student.eval()(asked) / 4, master(asked) / 4
            return float((mine.softmax(1) - its.softmax(1)).abs().mean())

    assert apart(Teacher(master, 0.9)) < 0.9 * apart(None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in master.state_dict().items())
    assert not master.training


def test_the_loss_that_is_told_is_that_of_the_right_answers(master: nn.Module) -> None:
    """A weight of 0 is no teacher at all."""
    alone, _ = run(small(), RECIPES[0], epochs=2)
    taught, _ = run(small(), RECIPES[0], epochs=2, teacher=Teacher(master, 0.0))
    assert [s.metrics for s in alone] == [s.metrics for s in taught]


def test_the_loss_of_a_teacher_is_hintons() -> None:
    teacher = Teacher(nn.Identity(), weight=0.25, temperature=2.0)
    answers, outputs = torch.tensor([[2.0, 0.0, -2.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    p, q = (answers / 2).softmax(1), (outputs / 2).softmax(1)
    expected = 0.75 * 3.0 + 0.25 * 4 * float((p * (p.log() - q.log())).sum())
    assert float(teacher("classification", answers, outputs, torch.tensor(3.0))) == pytest.approx(expected)
    expected = 0.75 * 3.0 + 0.25 * float((answers - outputs).square().mean())
    assert float(teacher("regression", answers, outputs, torch.tensor(3.0))) == pytest.approx(expected)
    for wrong in ({"weight": 1.5}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match="it must be"):
            Teacher(nn.Identity(), **wrong)


@pytest.mark.parametrize("augment", ["none", "flip_shift"])
def test_with_a_teacher_and_clipped_weights_four_epochs_are_two_and_two_more(
    master: nn.Module, augment: Augment
) -> None:
    recipe = Recipe("adam", batch_size=32, weight_clip=0.3)
    whole, marks = run(small(), recipe, augment=augment, teacher=Teacher(master))
    _, first = run(small(), recipe, augment=augment, until=2, teacher=Teacher(master))
    again = {"resume": first[-1], "teacher": Teacher(master)}
    resumed, rest = run(small(seed=5), recipe, augment=augment, **again)
    assert [s.metrics for s in resumed] == [s.metrics for s in whole[2:]]
    assert all(same(a, b) for a, b in zip(marks, first + rest, strict=True))


def test_what_others_put_into_a_checkpoint_is_not_looked_at() -> None:
    _, marks = run(small(), RECIPES[0], epochs=1)
    assert restore(small(seed=5), {**marks[-1], "vilfredo/genome": np.zeros(3, dtype=np.uint8)}) == 1


def test_a_small_network_learns_the_digits() -> None:
    shots, _ = run(decent(), Recipe(batch_size=32), epochs=8, parts=parts())
    assert shots[-1].metrics["val_accuracy"] > 0.95
    assert shots[-1].metrics["val_error"] == 1 - shots[-1].metrics["val_accuracy"]
    assert shots[-1].metrics["train_loss"] < shots[0].metrics["train_loss"] / 3


def test_regression_learns_a_plane_and_reports_its_unit() -> None:
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=stream)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    y = y / y.std()
    scale = Scale(torch.zeros(1, 3), torch.ones(1, 3), torch.tensor([10.0]))
    model = build(assemble((3,), [Layer("dense", {"units": 1})]), 1)
    shots = list(
        train(
            model,
            "regression",
            Data(x[:300], y[:300]),
            Data(x[300:], y[300:]),
            scale,
            Recipe(lr=0.05),
            seed=0,
            epochs=15,
        )
    )
    last = shots[-1].metrics
    assert last["val_error"] < 0.05
    assert last["val_rmse"] == pytest.approx(10 * last["val_error"])
    assert last["val_loss"] == pytest.approx(last["val_error"] ** 2)


def test_what_diverges_says_so_and_ends() -> None:
    shots, marks = run(small(), Recipe("sgd", lr=1e20, schedule="constant"), epochs=5)
    assert len(shots) == 1
    assert all(math.isnan(v) for v in shots[0].metrics.values())
    assert shots[0].checkpoint is None
    assert marks == []


def test_a_batch_of_one_that_is_left_over_is_left_out() -> None:
    data = parts(65, 20)
    shots, _ = run(small(), Recipe(batch_size=32), epochs=1, parts=data)
    assert math.isfinite(shots[0].metrics["train_loss"])


def test_a_network_with_nothing_to_learn_is_evaluated() -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :10]

    shots, marks = run(Mean(), Recipe(), epochs=2)
    assert shots[0].metrics["val_loss"] == shots[1].metrics["val_loss"]
    assert run(Mean(), Recipe(), epochs=2, resume=marks[0])[0][0].index == 2


@given(
    height=st.integers(8, 33),
    width=st.integers(8, 33),
    flip=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None)
def test_augmented_images_are_shifts_of_their_own(height: int, width: int, flip: bool, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = torch.randint(1, 200, (6, 2, height, width), dtype=torch.uint8)
        changed = augmented(images, "flip_shift" if flip else "shift")
    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    down, right = height // SHIFT, width // SHIFT
    for before, after in zip(images, changed, strict=True):
        candidates = [before, before.flip(2)] if flip else [before]
        found = False
        for image in candidates:
            padded = nn.functional.pad(image, (right, right, down, down))
            found |= any(
                torch.equal(padded[:, i : i + height, j : j + width], after)
                for i in range(2 * down + 1)
                for j in range(2 * right + 1)
            )
        assert found


def test_tables_are_not_augmented() -> None:
    x = torch.randn(4, 3)
    assert augmented(x, "shift") is x


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "lion"}, "optimizer is 'lion'; it must be adam or sgd"),
        ({"schedule": "step"}, "schedule is 'step'"),
        ({"lr": 0}, "lr is 0; it must be a number above 0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": True}, "lr is True"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"weight_clip": -0.1}, "weight_clip is -0.1; it must be a number from 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
    ],
)
def test_wrong_recipes(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe().changed(settings)


def test_a_recipe_takes_its_own_settings_only() -> None:
    assert Recipe().changed({"lr": 0.1, "depth": 3, "optimizer": "sgd"}) == Recipe("sgd", lr=0.1)
    assert Recipe("sgd").rate == 0.05


def test_checkpoints_of_other_networks() -> None:
    _, marks = run(small(), RECIPES[0], epochs=1)
    short = {n: a for n, a in marks[0].items() if n != "layers.0.bias"}
    with pytest.raises(ValueError, match=r"it has no 'layers\.0\.bias'"):
        restore(small(), short)
    with pytest.raises(ValueError, match="it has 'extra', which this one lacks"):
        restore(small(), {**marks[0], "extra": np.zeros(3)})
    with pytest.raises(ValueError, match=r"its 'layers\.0\.bias' has shape \(3,\), this one's \(8,\)"):
        restore(small(), {**marks[0], "layers.0.bias": np.zeros(3)})
