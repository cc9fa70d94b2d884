"""`vilfredo show`: one trial in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vilfredo.cli.options import opened, run_option, store_option
from vilfredo.cli.printing import echo_json

if TYPE_CHECKING:
    from vilfredo.study import Study


@click.command()
@click.argument("trial", type=int)
@run_option
@store_option
@click.option("--traceback", is_flag=True, help="Also the traceback of what failed.")
@click.option("--json", "as_json", is_flag=True, help="All that is known, as JSON.")
def show(trial: int, run: str | None, store: str, traceback: bool, as_json: bool) -> None:
    """Show TRIAL: values and their origin, ancestry, curve, layers."""
    import shutil

    from vilfredo.sheet import sheet
    from vilfredo.trial import to_json

    with opened(store, run) as study:
        known = study.run.trial(trial)
        if as_json:
            echo_json(to_json(known))
            return
        width = shutil.get_terminal_size().columns
        layers = study.layers([known]).get(trial, ())
        without = "" if layers else _no_layers(study)
        trials = {t.number: t for t in study.run.trials(epochs=False)}
        text = sheet(
            known,
            trials,
            study.goals,
            layers,
            no_layers=without,
            deployed=study.deployed([known]).get(trial, ""),
            traceback=traceback,
            width=width,
        )
    click.echo(text)


def _no_layers(study: Study) -> str:
    """Why the layers of a network cannot be shown; empty where there may just be none."""
    if study.run.description.get("kind") == "function":
        return ""
    try:
        study.parts  # noqa: B018
    except (ValueError, OSError) as problem:
        return f"not shown: {' '.join(str(problem).split())}"
    return ""
