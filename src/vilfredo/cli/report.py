"""`vilfredo report`: a run's page."""

from __future__ import annotations

import click

from vilfredo.cli.options import opened, output_option, page_of, store_option
from vilfredo.cli.printing import shown, write


@click.command()
@click.argument("run", required=False)
@store_option
@output_option("-o", "--output", help="Where to write it.  [default: STORE-RUN.html]")
def report(run: str | None, store: str, output: str | None) -> None:
    """Write the report of RUN: one HTML page that works offline."""
    with opened(store, run) as study:
        path = output or page_of(study)
        write(path, study.report())
    click.echo(shown(path))
