"""`vilfredo front`: the front of a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from vilfredo.cli.options import opened, store_option
from vilfredo.cli.outcome import show_front
from vilfredo.cli.printing import echo_json

if TYPE_CHECKING:
    from vilfredo.study import Study


@click.command()
@click.argument("run", required=False)
@store_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--plain", is_flag=True, help="No colours, no fitting to the terminal.")
def front(run: str | None, store: str, as_json: bool, plain: bool) -> None:
    """Show the front of RUN (the newest, if not given)."""
    from vilfredo import live

    with opened(store, run) as study:
        if as_json:
            echo_json([_as_json(study, trial) for trial in study.front()])
        else:
            show_front(study, plain or live.is_plain(sys.stdout))


def _as_json(study: Study, trial: Any) -> dict[str, Any]:
    from dataclasses import asdict

    def values(split: Any) -> dict[str, Any]:
        found = {goal.name: trial.value(goal.name, split) for goal in study.goals}
        return {name: asdict(value) for name, value in found.items() if value is not None}

    return {
        "trial": trial.number,
        "state": trial.state,
        "confirmed": trial.confirmed,
        "parents": list(trial.parents),
        "operator": trial.operator,
        "halts": [asdict(halt) for halt in trial.halts],
        "values": values("validation"),
        "test": values("test"),
        "genome": dict(trial.genome),
        "artifact": trial.artifact.path if trial.artifact else None,
    }
