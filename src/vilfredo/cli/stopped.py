"""`vilfredo stopped`: who was stopped or paused early."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vilfredo.cli.options import opened, store_option
from vilfredo.cli.outcome import accounts_of, full_epochs, noun
from vilfredo.cli.printing import console, echo_json, echo_rows

if TYPE_CHECKING:
    from vilfredo.study import Study
    from vilfredo.trial import Trial

HALTED = 40  # halted networks that are listed


@click.command()
@click.argument("run", required=False)
@store_option
@click.option("--all", "everybody", is_flag=True, help=f"All of them, not only the latest {HALTED}.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table; all of them.")
@click.option("--plain", is_flag=True, help="No colours, no fitting to the terminal.")
def stopped(run: str | None, store: str, everybody: bool, as_json: bool, plain: bool) -> None:
    """List who was stopped or paused early in RUN.

    When, why, what was forecast, and what was measured later.
    """
    from vilfredo import live
    from vilfredo.savings import savings

    with opened(store, run) as study:
        trials = study.trials()
    found = savings(trials, full_epochs(study))
    if as_json:
        echo_json(_halts_as_json(study, trials))
        return
    if not found.halted:
        click.echo(f"No {noun(study)} of run {study.run.id} was stopped or paused early.")
        return
    kinds = {"stopped": found.stopped, "paused": found.paused, "trained in full later": found.revived}
    split = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    click.echo(f"{found.halted} {noun(study)}{'' if found.halted == 1 else 's'} halted early: {split}.")
    for text in accounts_of(study, trials):
        click.echo(text)
    halted = [t for t in reversed(trials) if t.halts]
    listed = halted if everybody else halted[:HALTED]
    if listed:
        click.echo("")
        rows = live.halt_cells(listed, study.goals)
        if plain or live.is_plain(sys.stdout):
            echo_rows(rows, left=("was", "now"))
        else:
            console().print(live.halt_table(rows))
    if len(listed) < len(halted):
        click.echo(f"and {len(halted) - len(listed)} before them (--all)")


def _halts_as_json(study: Study, trials: Sequence[Trial]) -> dict[str, Any]:
    from dataclasses import asdict

    from vilfredo.savings import calibrations, checks, savings

    found, checked = savings(trials, full_epochs(study)), checks(trials, study.goals)
    shares = {"share": found.share, "net_seconds": found.net_seconds, "engine_share": found.engine_share}
    halts = [{"trial": t.number, "state": t.state, **asdict(halt)} for t in trials for halt in t.halts]
    return {
        "savings": {**asdict(found), **shares},
        "calibration": [asdict(row) for row in calibrations(checked, study.goals)],
        "checks": [asdict(row) for row in checked],
        "halts": halts,
    }
