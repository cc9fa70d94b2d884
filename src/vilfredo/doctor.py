"""What is found on this machine, what is wrong, and what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from vilfredo.units import show

DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox")
EXTRAS = {
    "onnx": "ONNX export",
    "PIL": "folders of images",
    "numba": "spiking networks, fast fault campaigns",
    "gymnasium": "control tasks of spiking networks",
    "nir": "NIR graphs of spiking networks",
    "sklearn": "the data of iris, wine and breast_cancer",
}
PACKAGES = {"onnx": "onnx", "PIL": "images"} | dict.fromkeys(
    ("numba", "gymnasium", "nir", "sklearn"), "spiking"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `level`: "good", "note" (works, with less) or "wrong"."""

    level: Literal["good", "note", "wrong"]
    what: str
    text: str
    advice: str = ""


def examine(store: str | Path) -> Iterator[Finding]:
    """The findings, one after the other; a check that itself breaks is a finding too."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _machine,
        _torch,
        _gpus,
        _workers,
        lambda: _store(store),
        _data,
        _extras,
        _browser,
    )
    for check in checks:
        try:
            yield from check()
        except Exception as problem:
            name = getattr(check, "__name__", "store").strip("_<>")
            yield Finding("wrong", name, f"the check raised {type(problem).__name__}: {problem}")


def _python() -> Iterator[Finding]:
    version = ".".join(str(n) for n in sys.version_info[:3])
    yield Finding("good", "python", f"{version} on {sys.platform}")
    if sys.platform == "win32":
        advice = "Use WSL for quicker starts and memory limits."
        yield Finding("note", "windows", "workers are spawned, which takes seconds each", advice)


def _packages() -> Iterator[Finding]:
    names = ("vilfredo", "torch", "numpy", "moocore", "pydantic", "safetensors", "psutil")
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding("good", "packages", ", ".join(found))
    if missing:
        yield Finding("wrong", "packages", f"missing: {', '.join(missing)}", "pip install vilfredo")


def _machine() -> Iterator[Finding]:
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("good", "processor", f"{cores} usable cores, load {psutil.getloadavg()[0]:.1f}")
    memory = psutil.virtual_memory()
    text = f"{show(memory.available, 'B')} free of {show(memory.total, 'B')}"
    if memory.available < cores * 2**30:
        advice = "Give fewer --workers, or set executor.memory so that one candidate cannot take all."
        yield Finding("note", "memory", text + ", less than 1 GiB for each core", advice)
    else:
        yield Finding("good", "memory", text)
    disk = shutil.disk_usage(Path.cwd())
    level: Literal["good", "note"] = "good" if disk.free > 2**30 else "note"
    advice = "" if level == "good" else "Set store.quota, or search where there is more room."
    yield Finding(level, "disk", f"{show(disk.free, 'B')} free here", advice)


def _torch() -> Iterator[Finding]:
    import torch

    layer = torch.nn.Linear(4, 2)
    layer(torch.ones(3, 4)).sum().backward()
    yield Finding("good", "torch", f"{torch.__version__} computes, {torch.get_num_threads()} threads")


def _gpus() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        built = "this PyTorch is built for the CPU" if torch.version.cuda is None else "PyTorch sees none"
        text = f"none ({built}); candidates are trained on the CPU"
        yield Finding("note" if shutil.which("nvidia-smi") else "good", "gpu", text, _gpu_advice())
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Finding("good", "gpu", f"{number}: {about.name}, {show(about.total_memory, 'B')}")
    yield Finding("good", "gpu", 'used with device = "cuda" in [problem]')


def _gpu_advice() -> str:
    found = shutil.which("nvidia-smi")
    return "There is an NVIDIA driver: install a PyTorch built for CUDA, see pytorch.org." if found else ""


def _workers() -> Iterator[Finding]:
    """A worker process is started, computes and comes back, in the way that a search does it."""
    from vilfredo.executors.local import Local
    from vilfredo.problems.function import Function
    from vilfredo.protocols import Died, Finished, Task, Work
    from vilfredo.spaces.parameters import Float, Parameters

    problem = Function(_try, Parameters({"x": Float(0, 1)}), ["loss"])
    executor = Local(problem, workers=1)
    try:
        executor.submit(Task(0, Work({"x": 0.5}), seed=0))
        for _ in range(120):
            for event in executor.events(timeout=0.5):
                if isinstance(event, Finished):
                    took = show(event.attempt.seconds, "s")
                    if event.outcome.failure is None:
                        yield Finding("good", "workers", f"a worker process started and computed ({took})")
                    else:
                        yield Finding("wrong", "workers", event.outcome.failure.message)
                    return
                if isinstance(event, Died):
                    advice = "Search with --workers 0, in one process."
                    yield Finding("wrong", "workers", f"a worker died: {event.failure.message}", advice)
                    return
        yield Finding("wrong", "workers", "a worker did not answer in a minute", "Search with --workers 0.")
    finally:
        executor.close()


def _try(params: dict[str, float]) -> dict[str, float]:
    return {"loss": params["x"] ** 2}


def _store(path: str | Path) -> Iterator[Finding]:
    from vilfredo.store import Store, StoreError

    target = Path(path).expanduser().absolute()
    try:
        if target.exists():
            with Store.open(target, create=False) as opened:
                count = len(opened.runs())
                runs = f"{count} run{'' if count == 1 else 's'}"
                yield Finding("good", "store", f"{target} holds {runs} and is writable")
        else:
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".vilfredo-") as folder:
                Store.open(Path(folder) / "try.db").close()
            yield Finding("good", "store", f"{target} can be made")
    except (StoreError, OSError) as problem:
        yield Finding("wrong", "store", str(problem), "Name another place with --store.")


def _data() -> Iterator[Finding]:
    from vilfredo.data.locate import cache

    given = os.environ.get("VILFREDO_DATA")
    if given and not Path(given).expanduser().is_dir():
        advice = "Correct the variable or create the folder."
        yield Finding("wrong", "data", f"VILFREDO_DATA is {given}, which is no folder", advice)
        given = None
    roots = [Path(given).expanduser()] if given else []
    roots.append(cache())
    found = [name for name in DATASETS if any(_filled(root / name) for root in roots)]
    missing = [name for name in DATASETS if name not in found]
    yield Finding("good", "data", f"found: digits (comes with the program){''.join(', ' + n for n in found)}")
    if missing:
        text = f"not here yet: {', '.join(missing)}"
        where = f"They are downloaded to {cache()} when first used, or put below $VILFREDO_DATA."
        yield Finding("note", "data", text, where)


def _filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _extras() -> Iterator[Finding]:
    for module, use in EXTRAS.items():
        if find_spec(module) is not None:
            yield Finding("good", "extra", f"{module} for {use}")
        else:
            advice = f"If you need it: pip install 'vilfredo[{PACKAGES[module]}]'"
            yield Finding("note", "extra", f"{module} for {use} is not installed", advice)


def _browser() -> Iterator[Finding]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found or sys.platform in ("win32", "darwin"):
        yield Finding("good", "browser", f"reports open in {found or 'the system browser'}")
    else:
        text = "none found here; a report is one file that opens in any browser elsewhere"
        yield Finding("note", "browser", text)
