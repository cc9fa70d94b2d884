"""The shape of the package, walked over by itself: what loads what, and words that are not used.

Who may import whom is in `pyproject.toml` (`[tool.importlinter]`, `make imports`); here is what only shows
when modules are loaded, and what import rules cannot say.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vilfredo

ROOT = Path(vilfredo.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
GROUND = (
    "trial",
    "goal",
    "seeds",
    "pareto",
    "protocols",
    "artifacts",
    "architecture",
    "units",
    "budget",
    "savings",
)
WITHOUT_TORCH = (
    "spaces",
    "optimizers",
    "data",
    "faults",
    "spiking",
    "report",
    "store",
    "loop",
    "evaluation",
    "spec",
    "study",
    "cli",
)
HEAVY = ("torch", "rich", "pydantic", "click", "psutil", "moocore", "safetensors", "onnx", "scipy", "PIL")
TOOLS = ("keras", "lightning", "optuna", "pymoo", "pytorch_lightning", "ray", "syne_tune")


def module(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def below(*rooms: str) -> list[str]:
    names = [module(file) for file in FILES]
    return [n for n in names if any(f"{n}.".startswith(f"vilfredo.{room}.") for room in rooms)]


def loaded(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after `code`, among those that cost time."""
    script = f"{code}\nimport json, sys\nprint(json.dumps([n for n in {HEAVY + TOOLS} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


def test_to_import_the_package_costs_nothing() -> None:
    assert loaded("import vilfredo, vilfredo as v; dir(v)") == set()


def test_the_ground_floor_needs_nothing_but_numpy() -> None:
    names = below(*GROUND)
    assert len(names) == len(GROUND)
    assert loaded("import " + ", ".join(names)) == set()


def test_torch_is_loaded_by_nothing_that_does_not_compute_with_it() -> None:
    names = below(*WITHOUT_TORCH)
    assert "torch" not in loaded("import " + ", ".join(names))


def test_the_help_loads_no_torch_and_no_drawing() -> None:
    code = """
import contextlib, io
from vilfredo.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    try:
        main(["--help"])
    except SystemExit as end:
        assert not end.code
"""
    assert loaded(code) <= {"click"}


def test_every_module_can_be_the_first_to_be_imported() -> None:
    """Circles show only when somebody begins elsewhere. One interpreter, which forgets in between.
    A tool that `interop` works in may not be installed."""
    names = [n for n in (module(file) for file in FILES) if not n.endswith("__main__")]
    code = f"""
import importlib, sys
for name in {names}:
    for known in [m for m in sys.modules if m.partition(".")[0] == "vilfredo"]:
        del sys.modules[known]
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as absent:
        if not name.startswith("vilfredo.interop.") or (absent.name or "vilfredo").startswith("vilfredo"):
            raise
"""
    loaded(code)


def trees() -> Iterator[tuple[str, ast.Module]]:
    for file in FILES:
        yield module(file), ast.parse(file.read_text(encoding="utf-8"))


def test_words_that_say_nothing_are_not_used() -> None:
    """No `utils`, no `Manager`: a thing is named after what it does."""
    vague = ("utils", "util", "misc", "core", "common", "helpers", "base")
    assert [module(file) for file in FILES if file.stem in vague] == []
    found = [
        f"{name}.{node.name}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and (node.name.startswith("Base") or node.name.endswith(("Manager", "Handler", "Mixin", "Helper")))
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    rooms = {"vilfredo." + f.parent.name for f in FILES if f.name == "__init__.py"}
    silent = [name for name, tree in trees() if not ast.get_docstring(tree) and name not in rooms]
    assert silent == []


def test_files_from_outside_are_read_without_pickle() -> None:
    """Processes of one search or campaign may pickle to each other; no other module knows pickle (law 8)."""
    internal = {*below("executors"), "vilfredo.problems.function", "vilfredo.campaign.workers"}
    found: list[str] = []
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and name not in internal:
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                found += [
                    f"{name}: {n}" for n in names if n.split(".")[0] in ("pickle", "dill", "joblib", "shelve")
                ]
            if isinstance(node, ast.Call):
                options = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if options.get("allow_pickle", "False") != "False":
                    found.append(f"{name}: allow_pickle")
                if ast.unparse(node.func) == "torch.load" and options.get("weights_only") != "True":
                    found.append(f"{name}: torch.load")
    assert found == []


@pytest.mark.parametrize(
    "room", ["spaces", "optimizers", "objectives", "data", "executors", "problems", "nn"]
)
def test_a_room_does_not_collect_its_leaves(room: str) -> None:
    """A new leaf is one new file: no list of leaves that it would have to be added to."""
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports == []
