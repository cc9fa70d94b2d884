"""Trained networks for use elsewhere: ONNX graphs and `torch.export` programs.

What is exported takes the data as they are stored (raw pixel values, columns in their own units) and
gives logits of classes, or targets in their own units: normalisation is part of the graph.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from vilfredo.data.dataset import Dataset
    from vilfredo.study import Study

OPSET = 17  # of ONNX; that of ONNX 1.12 (2022), which every present runtime reads


class ExportError(ValueError):
    """A network that cannot be exported; one sentence that says why."""


class Deployed(nn.Module):
    """`model` with the normalisation before it and, for regression, the targets' scale behind it.

    Takes float32 (batch, *input_shape) in the units of the stored data; returns (batch, outputs).
    """

    mean: Tensor
    std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, model: nn.Module, data: Dataset) -> None:
        super().__init__()
        self.model = model
        around = (1, -1, *(1 for _ in data.input_shape[1:]))
        self.register_buffer("mean", _tensor(data.mean, around))
        self.register_buffer("std", _tensor(data.std, around))
        self.regression = data.task == "regression"
        if self.regression:
            self.register_buffer("target_mean", _tensor(data.target_mean, (1, -1)))
            self.register_buffer("target_std", _tensor(data.target_std, (1, -1)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.model((x - self.mean) / self.std)
        return y * self.target_std + self.target_mean if self.regression else y


def _tensor(values: NDArray[Any], shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32)).reshape(shape)


@dataclass(frozen=True)
class Network:
    """A trained network with what a user of it must know. `example` is (2, *input_shape), float32."""

    model: nn.Module
    example: Tensor
    about: dict[str, Any]

    @property
    def summary(self) -> str:
        shape = " × ".join(str(n) for n in self.example.shape[1:])
        return f"takes float32 (batch × {shape}) as stored, gives {self.about['output']}"


def network(study: Study, trial: int) -> Network:
    """The trained network of a trial, ready for export, on the CPU.

    Raises `ExportError` if the run's candidates are no networks, `ValueError` if the trial left no weights.
    """
    problem: Any = study.parts.problem
    data = getattr(problem, "data", None)
    known = study.run.trial(trial)
    model = study.load_model(known) if data is not None else None
    if study.run.description.get("kind") == "spiking":
        raise ExportError(f"trial {trial} is a spiking network; write it with --tennlab or --nir")
    if data is None or not isinstance(model, nn.Module):
        raise ExportError(
            f"the candidates of run {study.run.id} are no networks, so there is nothing to export"
        )
    example = torch.from_numpy(np.array(data.validation.x[:2], np.float32))
    if len(example) < 2:
        example = example.repeat(2, *(1 for _ in example.shape[1:]))
    classification = data.task == "classification"
    about: dict[str, Any] = {
        "run": study.run.name or str(study.run.id),
        "trial": trial,
        "data": data.name,
        "task": data.task,
        "input": list(data.input_shape),
        "output": "logits of the classes" if classification else "targets in their own units",
        "classes": [str(c) for c in getattr(data, "classes", ()) or ()],
        "values": {
            goal.name: value.mean for goal in study.goals if (value := known.value(goal.name)) is not None
        },
    }
    return Network(Deployed(model.cpu(), data).eval(), example, about)


def to_onnx(network: Network, path: str | Path) -> None:
    """Write an ONNX graph with input "x", output "y" and any batch size; its metadata say what it is.

    Raises `ExportError` if the onnx package is missing or the network has an operation ONNX lacks.
    """
    try:
        import onnx
    except ImportError:
        raise ExportError(
            "ONNX needs the onnx package; install it with: pip install 'vilfredo[onnx]'"
        ) from None

    def write(partial: Path) -> None:
        with warnings.catch_warnings():
            # The exporter that needs no further packages; PyTorch would rather have us use the other one.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network.model,
                (network.example,),
                str(partial),
                dynamo=False,
                opset_version=OPSET,
                input_names=["x"],
                output_names=["y"],
                dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
            )
        graph = onnx.load(str(partial))
        for name, value in network.about.items():
            entry = graph.metadata_props.add()
            entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
        onnx.checker.check_model(graph, full_check=True)
        onnx.save(graph, str(partial))

    _written(path, write, "ONNX")


def to_torch(network: Network, path: str | Path) -> None:
    """Write a `torch.export` program (graph and weights) of any batch size.

    `torch.export.load(path).module()` is the network; the file "about.json" inside says what it is.
    Raises `ExportError` if the network cannot be traced.
    """

    def write(partial: Path) -> None:
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(network.model, (network.example,), dynamic_shapes=({0: batch},))
        torch.export.save(program, str(partial), extra_files={"about.json": json.dumps(network.about)})

    _written(path, write, "torch.export")


def _written(path: str | Path, write: Callable[[Path], None], kind: str) -> None:
    """The file whole or not at all."""
    target = Path(path).expanduser()
    if target.is_dir():
        raise ExportError(f"{target} is a folder; name a file")
    if not target.parent.is_dir():
        raise ExportError(f"the folder {target.parent} does not exist; create it or choose another place")
    partial = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        write(partial)
        partial.replace(target)
    except OSError:
        raise
    except Exception as problem:
        first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ExportError(f"this network cannot be written for {kind}: {first}") from problem
    finally:
        partial.unlink(missing_ok=True)


__all__: Sequence[str] = ["Deployed", "ExportError", "Network", "network", "to_onnx", "to_torch"]
