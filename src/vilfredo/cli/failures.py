"""`vilfredo failures`: failed trials by cause."""

from __future__ import annotations

import click

from vilfredo.cli.options import opened, store_option, trial_place_of


@click.command()
@click.argument("run", required=False)
@store_option
def failures(run: str | None, store: str) -> None:
    """Count the failed trials of RUN by cause; say what was noted."""
    from collections import Counter

    with opened(store, run) as study:
        found, notes, place = study.failures(), study.notes(), trial_place_of(study)
    for note in notes:
        click.echo(f"Note: {note}")
    if not found:
        click.echo(f"No trial of run {study.run.id} failed.")
        return
    for kind, rows in sorted(found.items(), key=lambda item: -len(item[1])):
        click.echo(f"{kind}: {len(rows)}")
        messages = Counter(failure.message for _, failure in rows)
        for message, count in messages.most_common(5):
            numbers = [str(number) for number, failure in rows if failure.message == message]
            listed = ", ".join(numbers[:8]) + (", …" if count > 8 else "")
            first = (message.strip().splitlines() or [""])[0]
            click.echo(f"  {count} × {first} (trial {listed})")
        if len(messages) > 5:
            click.echo(f"  and {len(messages) - 5} other messages")
    click.echo(f"A traceback: vilfredo show TRIAL --traceback{place}")
