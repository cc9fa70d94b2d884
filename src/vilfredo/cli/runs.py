"""`vilfredo runs`: the runs of a store."""

from __future__ import annotations

import click

from vilfredo.cli.options import store_option
from vilfredo.cli.printing import echo_json, echo_rows


@click.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def runs(store: str, as_json: bool) -> None:
    """List the runs of a store."""
    from vilfredo.store import Store

    with Store.open(store, create=False, readonly=True) as opened:
        found = opened.runs()
    if as_json:
        from dataclasses import asdict

        echo_json([asdict(info) for info in found])
        return
    rows = [["run", "name", "begun", "status", "trials", "failed"]]
    for info in found:
        begun = info.created[:16].replace("T", " ")
        rows.append([str(info.id), info.name, begun, info.status, str(info.trials), str(info.failures)])
    echo_rows(rows, left=rows[0])
