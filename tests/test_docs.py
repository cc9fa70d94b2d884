"""What the pages say is true: their code runs, their specs are accepted, and no option is missing."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vilfredo.spec import build, names, read
from vilfredo.spec.model import ExecutorTable, GoalTable, Spec, StoreTable
from vilfredo.spec.plan import GIVEN, LIMITS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PYTHON = (
    "tutorial",
    "data",
    "spiking",
    "networks",
    "processors",
    "tasks",
    "resilience",
    "extending",
    "quantization",
    "faults",
    "campaigns",
    "prediction",
)  # pages whose Python blocks are run
RUN = ["README.md", *(f"docs/{name}.md" for name in PYTHON)]


# -- what is on a page ----------------------------------------------------------------------------


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def file_of(block: str) -> str | None:
    """`# spiral.py` in the first line: the block is that file, not code to be run."""
    match = re.match(r"# (\S+\.py)\n", block)
    return match[1] if match else None


def write_files(page: str, folder: Path) -> None:
    """The files that the page shows, and data of the names that it uses."""
    for block in blocks(page, "python"):
        name = file_of(block)
        if name:
            (folder / name).write_text(block, encoding="utf-8")
    rng = np.random.default_rng(1)
    rows = "\n".join(
        f"{a:.3f},{b:.3f},{n % 5},{2 * a - b:.3f}" for n, (a, b) in enumerate(rng.random((60, 2)))
    )
    (folder / "measurements.csv").write_text(f"length,width,line,quality\n{rows}\n", encoding="utf-8")
    signals, kinds = rng.random((60, 12)).astype(np.float32), np.arange(60) % 3
    np.savez(folder / "signals.npz", x=signals, y=kinds)
    for kind in ("good", "scratched"):
        (folder / "parts" / kind).mkdir(parents=True, exist_ok=True)
        for n in range(12):
            _picture(folder / "parts" / kind / f"{n}.png", rng)


def _picture(path: Path, rng: np.random.Generator) -> None:
    try:
        from PIL import Image
    except ImportError:  # then what reads it says so
        return
    Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder whose modules are forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# -- code and specs -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", RUN)
def test_the_code_on_the_page_runs(page: str, tmp_path: Path) -> None:
    """Block after block, in an empty folder with the files that the page shows."""
    write_files(page, tmp_path)
    code = "\n".join(block for block in blocks(page, "python") if not file_of(block))
    assert code, f"{page} has no Python in it"
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


SPECS = [
    pytest.param(page, number, id=f"{page}-{number}")
    for page in PAGES
    for number in range(len(blocks(page, "toml")))
]


@pytest.mark.parametrize(("page", "number"), SPECS)
def test_every_spec_on_a_page_is_accepted(page: str, number: int, folder: Path) -> None:
    """Read as it stands, or with a problem if it is a fragment; and built where the data is at hand."""
    write_files(page, folder)
    text = blocks(page, "toml")[number]
    if "problem" not in tomllib.loads(text):
        text += '\n[problem]\ndata = "digits"\n'
    file = folder / "spec.toml"
    file.write_text(text, encoding="utf-8")
    spec = read(file)
    data = (spec.problem.options if spec.problem else {}).get("data")
    use = data["use"] if isinstance(data, Mapping) else data
    if use == "folder":
        pytest.importorskip("PIL")
    if use in DOWNLOADED or spec.start:
        return
    parts = build(spec)
    assert parts.problem.goals
    assert parts.optimizer().ask(1, np.random.default_rng(1))


DOWNLOADED = ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn")


# -- nothing is missing ---------------------------------------------------------------------------


def sections(page: str) -> dict[str, str]:
    """Text by heading; a heading of the third level also has what stands between the second and it."""
    found: dict[str, str] = {}
    above = title = ""
    for line in re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S).splitlines():
        if line.startswith("## "):
            above = title = line[3:]
            found[title] = ""
        elif line.startswith("### "):
            title = f"{above} / {line[4:]}"
            found[title] = found[above]
        elif title:
            found[title] += line + "\n"
    return found


def options(kind: str, target: Callable[..., Any]) -> set[str]:
    """What a spec may say in the table of this target beside `use`."""
    skip = {"goal": 1}.get(kind, 0)
    filled = set(GIVEN.get(kind, ())) - ({*LIMITS} if kind == "executor" else set())
    given = {"problem"} if kind == "executor" else filled
    named = list(names.parameters(target).items())[skip:]
    return {n for n, p in named if n not in given and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def undescribed(wanted: set[str], text: str) -> list[str]:
    return sorted(name for name in wanted if f"`{name}`" not in text)


LEAVES = [
    (kind, use)
    for kind in ("problem", "space", "optimizer", "stopper", "executor")
    for use in names.known(kind)
]


@pytest.mark.parametrize(("kind", "use"), LEAVES)
def test_every_option_of_a_part_is_on_the_page(kind: str, use: str) -> None:
    found = sections("docs/spec.md")
    title = f'`[{kind}]` / `use = "{use}"`'
    assert title in found, f"docs/spec.md has no section {title}"
    assert not undescribed(options(kind, names.find(kind, use)), found[title])


@pytest.mark.parametrize("use", names.known("goal"))
def test_every_goal_and_its_options_are_on_the_page(use: str) -> None:
    text = sections("docs/spec.md")["`[goals]`"]
    row = next((line for line in text.splitlines() if line.startswith(f"| `{use}` |")), None)
    assert row, f"docs/spec.md has no row for the goal {use}"
    assert not undescribed(options("goal", names.find("goal", use)), row)


@pytest.mark.parametrize("use", names.known("data"))
def test_every_option_of_a_loader_is_on_the_pages(use: str) -> None:
    text = sections("docs/spec.md")["`data` of `[problem]`"]
    row = next((line for line in text.splitlines() if line.startswith(f'| `"{use}"` |')), None)
    assert row, f"docs/spec.md has no row for the data {use}"
    common = {"train_size", "validation_size", "test_size", "seed"}
    wanted = options("data", names.find("data", use))
    assert not undescribed(common, text)
    assert not undescribed(wanted - common, row)
    about = "\n".join(t for title, t in sections("docs/data.md").items() if f"`{use}`" in title + t)
    assert not undescribed(wanted, about), f"docs/data.md does not describe all of {use}"


@pytest.mark.parametrize("use", names.known("fault"))
def test_every_option_of_a_fault_is_on_the_page(use: str) -> None:
    text = sections("docs/faults.md")[f"`{use}`"]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    wanted = options("fault", names.find("fault", use))
    assert sorted(wanted) == sorted(row.split("`")[1] for row in rows)
    module = names.find("fault", use).__module__
    assert f"automodule:: {module}\n" in (ROOT / "docs" / "reference.md").read_text("utf-8")


def test_every_entry_of_the_file_is_on_the_page() -> None:
    found = sections("docs/spec.md")
    assert not undescribed(set(Spec.model_fields) - {"folder"}, found["The top of the file"])
    assert not undescribed(set(GoalTable.model_fields), found["`[goals]`"])
    assert not undescribed(set(StoreTable.model_fields), found["`[store]`"])
    entries = set(ExecutorTable.model_fields) - {"use"}
    assert not undescribed(entries, found['`[executor]` / `use = "local"`'])


def test_every_public_constructor_and_module_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    for kind, use in LEAVES:
        target = names.find(kind, use)
        assert f"automodule:: {target.__module__}" in text, f"docs/reference.md lacks {target.__module__}"
    package = importlib.import_module("vilfredo")
    for name in package.__all__:
        thing = getattr(package, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert re.search(rf"\b{name}\b", text), f"docs/reference.md lacks vilfredo.{name}"


def test_what_the_reference_names_exists() -> None:
    """As the build of the pages finds, too, much later."""
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    listed = re.findall(r"automodule:: (\S+)\n   :members: (.+)\n", text)
    assert len(listed) > 50
    for module, members in listed:
        for name in members.split(", "):
            found = hasattr(importlib.import_module(module), name)
            assert found, f"docs/reference.md: {module} has no {name}"


def test_every_command_and_its_options_are_on_the_page() -> None:
    import click

    from vilfredo.cli import main

    found = sections("docs/cli.md")
    context = click.Context(main)
    for name in main.list_commands(context):
        title = next((t for t in found if t.startswith(f"`vilfredo {name}")), None)
        assert title, f"docs/cli.md has no section for {name}"
        command = main.get_command(context, name)
        assert command is not None
        flags = {max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)} - {"--store"}
        missing = [flag for flag in sorted(flags) if flag not in found[title]]
        assert not missing, f"docs/cli.md does not name {missing} of {name}"
