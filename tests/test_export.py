"""Exported networks compute what the trained ones do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from vilfredo import export, study
from vilfredo.export import ExportError


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A finished search over three small networks."""
    changes = {"problem.train_size": 200}
    made = study.search(
        "digits", budget=3, workers=0, epochs=1, confirm=0, goals=["error", "parameters"],
        store=tmp_path_factory.mktemp("export") / "digits.db", changes=changes,
    )  # fmt: skip
    list(made)
    return made


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A finished search over networks for two targets in a table."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    x = rng.normal(5, 2, (120, 3)).astype(np.float32)
    y = np.stack([x.sum(1) * 100, x[:, 0] - 40], axis=1).astype(np.float32)
    np.savez(folder / "t.npz", x=x, y=y)
    data = {"use": "npz", "path": str(folder / "t.npz")}
    made = study.search(
        {"problem": {"data": data}, "goals": ["error", "parameters"]},
        budget=2, workers=0, epochs=2, confirm=0, store=folder / "t.db",
    )  # fmt: skip
    list(made)
    return made


def expected(made, number: int, x: np.ndarray) -> np.ndarray:
    """What the trained network says of data as stored, computed by hand."""
    data = made.parts.problem.data
    shape = (1, -1, *(1 for _ in data.input_shape[1:]))
    model = made.load_model(number).eval()
    with torch.no_grad():
        inputs = (torch.from_numpy(x) - torch.tensor(data.mean).reshape(shape)) / torch.tensor(
            data.std
        ).reshape(shape)
        y = model(inputs).numpy()
    return y * data.target_std + data.target_mean if data.task == "regression" else y


@pytest.mark.parametrize("which", ["digits", "table"])
def test_onnx_agrees_with_torch(which, request, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    made = request.getfixturevalue(which)
    for number in (t.number for t in made.trials() if t.state == "complete"):
        path = tmp_path / f"{number}.onnx"
        export.to_onnx(export.network(made, number), path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for count in (1, 7):
            x = made.parts.problem.data.test.x[:count].astype(np.float32)
            y = session.run(None, {"x": x})[0]
            np.testing.assert_allclose(y, expected(made, number, x), rtol=1e-5, atol=1e-5)
        about = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
        assert about["trial"] == str(number)


@pytest.mark.parametrize("which", ["digits", "table"])
def test_torch_programs_agree(which, request, tmp_path):
    made = request.getfixturevalue(which)
    number = next(t.number for t in made.trials() if t.state == "complete")
    path = tmp_path / "network.pt2"
    export.to_torch(export.network(made, number), path)
    extra = {"about.json": ""}
    program = torch.export.load(str(path), extra_files=extra)
    for count in (1, 7):
        x = made.parts.problem.data.test.x[:count].astype(np.float32)
        y = program.module()(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(y, expected(made, number, x), rtol=1e-5, atol=1e-5)
    about = json.loads(extra["about.json"])
    assert (about["trial"], about["task"]) == (number, made.parts.problem.data.task)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_one_sentence(digits, tmp_path):
    network = export.network(digits, 0)
    with pytest.raises(ExportError, match="is a folder"):
        export.to_torch(network, tmp_path)
    with pytest.raises(ExportError, match="does not exist"):
        export.to_torch(network, tmp_path / "no" / "x.pt2")

    class Odd(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    odd = export.Network(Odd(), network.example, network.about)
    with pytest.raises(ExportError, match=r"cannot be written for torch\.export"):
        export.to_torch(odd, tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


def test_functions_have_no_network(tmp_path):
    made = study.search(
        lambda params: {"loss": params["x"]}, space={"x": {"float": [0, 1]}}, goals=["loss"], budget=2,
        store=tmp_path / "f.db",
    )  # fmt: skip
    list(made)
    with pytest.raises(ExportError, match="are no networks"):
        export.network(made, 0)
