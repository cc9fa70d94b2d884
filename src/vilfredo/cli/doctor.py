"""`vilfredo doctor`: what is found on this machine."""

from __future__ import annotations

import click

from vilfredo.cli.options import store_option


@click.command()
@store_option
def doctor(store: str) -> None:
    """Say what this machine offers, what is wrong, and what to do."""
    from vilfredo.doctor import examine

    bad = 0
    for finding in examine(store):
        bad += finding.level == "wrong"
        mark = {"good": "ok   ", "note": "note ", "wrong": "WRONG"}[finding.level]
        click.echo(f"{mark}  {finding.what}: {finding.text}")
        if finding.advice:
            click.echo(f"       → {finding.advice}")
    if bad:
        raise click.exceptions.Exit(1)
