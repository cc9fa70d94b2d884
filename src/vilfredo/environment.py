"""With what a run was made: versions, machine, git revision, command line. Nothing that names a person."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from vilfredo.trial import JSON

PACKAGES = ("vilfredo", "torch", "numpy", "moocore", "pydantic", "safetensors")


def describe(folder: str | Path = ".") -> dict[str, JSON]:
    """What to know to make a run again, as JSON data; `folder` is where git is asked. Never raises.

    `time` is ISO 8601 in UTC, `memory` in bytes; `cores` is how many this process may use. What cannot be
    found out is None. GPUs are listed only where torch is loaded already: to load it takes seconds.
    The home folder is written as `~`.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [_without_home(part) for part in getattr(sys, "orig_argv", sys.argv)],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "cores": _usable_cores(),
        "memory": _memory(),
        "gpus": _gpus(),
        "git": _git(Path(folder)),
    }


def _without_home(text: str) -> str:
    home = os.path.expanduser("~")
    return text.replace(home, "~") if len(home) > 1 else text


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str | None:
    """The processor's model: the platform module gives only its family on Linux and macOS."""
    try:
        if platform.system() == "Darwin":
            return (
                _run(["sysctl", "-n", "machdep.cpu.brand_string"], Path("/")) or platform.processor() or None
            )
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.lower().startswith(("model name", "hardware", "cpu model")):
                    return line.partition(":")[2].strip() or None
    except OSError:
        pass
    return platform.processor() or platform.machine() or None


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory() -> int | None:
    try:
        import psutil

        return int(psutil.virtual_memory().total)
    except (ImportError, OSError):
        return None


def _gpus() -> list[JSON] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    try:
        found: list[JSON] = [
            torch.cuda.get_device_name(index)
            for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        ]
        if not found and torch.backends.mps.is_available():
            found.append("Apple MPS")
    except (AttributeError, RuntimeError):  # still being loaded, or a driver that does not answer
        return None
    return found


def _git(folder: Path) -> dict[str, JSON] | None:
    """The revision checked out in `folder` and whether tracked files differ from it; None outside of git."""
    revision = _run(["git", "rev-parse", "HEAD"], folder)
    if not revision:
        return None
    # A repository may name programs to run for its status: not here.
    status = _run(
        ["git", "-c", "core.fsmonitor=false", "status", "--porcelain", "--untracked-files=no"], folder
    )
    return {"revision": revision, "dirty": None if status is None else bool(status)}


def _run(command: list[str], folder: Path) -> str | None:
    """What a quick program prints; None if it is absent, fails or takes longer than two seconds."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=2.0,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
