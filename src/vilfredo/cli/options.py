"""Options that several commands have, and what they lead to: a run in a store."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vilfredo.cli.mistakes import Mistake
from vilfredo.cli.printing import shown, unwritable

if TYPE_CHECKING:
    from vilfredo.study import Study

DEFAULT_STORE = "vilfredo.db"

F = TypeVar("F", bound=Callable[..., Any])


def store_option(function: F) -> F:
    return click.option(
        "--store",
        metavar="PATH",
        default=DEFAULT_STORE,
        envvar="VILFREDO_STORE",
        show_default=True,
        help="The file that keeps the runs.",
    )(function)


def run_option(function: F) -> F:
    return click.option(
        "--run", "run", metavar="RUN", help="Number or name of the run; the newest if not given."
    )(function)


def output_option(*names: str, help: str) -> Callable[[F], F]:
    """A file to be written. That it cannot be is said before the work, which may take hours, not after it."""

    def checked(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        trouble = "" if value is None else unwritable(value)
        if trouble:
            raise Mistake(f"{param.opts[-1]}: {trouble}")
        return value

    return click.option(*names, metavar="FILE", callback=checked, help=help)


def opened(store: str, run: str | None) -> Study:
    from vilfredo.study import Study

    return Study.open(store, run, readonly=True)


def page_of(study: Study) -> str:
    """What a run's page is called if nobody says: after its store, for there may be others in the folder."""
    return f"{study.store.path.stem}-{study.run.id}.html"


def place_of(study: Study) -> str:
    """The option that leads to the study's store, where that is not the default."""
    path = study.store.path
    usual = os.environ.get("VILFREDO_STORE", DEFAULT_STORE)
    return "" if path == Path(usual).absolute() else f" --store {shlex.quote(shown(path))}"


def trial_place_of(study: Study) -> str:
    """The options that lead to the run's trials: of the newest run in the usual store none."""
    newest = study.store.run().id
    return ("" if study.run.id == newest else f" --run {study.run.id}") + place_of(study)
