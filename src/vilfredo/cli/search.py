"""`vilfredo search`: begin a search."""

from __future__ import annotations

from typing import Any

import click

from vilfredo.cli.driving import drive
from vilfredo.cli.options import output_option
from vilfredo.cli.stopping import interruptible


@click.command()
@click.argument("spec")
@click.option("--budget", metavar="BUDGET", help="A time (10min, 2h) or a number of trials (200).")
@click.option("--goals", metavar="A,B,…", help="Goals, separated by commas: error,latency.")
@click.option("--workers", type=click.IntRange(min=0), help="Worker processes; 0: compute in this one.")
@click.option("--seed", type=click.IntRange(min=0), help="Where all random numbers come from.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of full training.")
@click.option("--confirm", type=click.IntRange(min=0), help="Training seeds to confirm the front with.")
@click.option(
    "--optimizer", metavar="NAME", help="How candidates are chosen: steady, nsga2, lemonade, random."
)
@click.option("--stopper", metavar="NAME", help="Who ends hopeless trainings early: genrace, …; never.")
@click.option("--space", metavar="NAME", help="Which networks are searched: chain, macro, morph.")
@click.option(
    "--processor", metavar="NAME", help="Of spiking networks: risp, vrisp, caspian, danna2, mrdanna."
)
@click.option("--name", help="What to call the run.")
@click.option("--start", metavar="STORE[:RUN]", help="Begin with the front of an earlier run.")
@click.option("--store", metavar="PATH", envvar="VILFREDO_STORE", help="The file that keeps the runs.")
@click.option("--dry-run", is_flag=True, help="Say what would be searched; train and write nothing.")
@output_option("--report", help="Where the report goes.  [default: STORE-RUN.html]")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live view.")
def search(
    spec: str,
    goals: str | None,
    workers: int | None,
    epochs: int | None,
    optimizer: str | None,
    stopper: str | None,
    space: str | None,
    processor: str | None,
    store: str | None,
    dry_run: bool,
    report: str | None,
    plain: bool,
    **rest: Any,
) -> None:
    """Search as SPEC says.

    SPEC is a TOML file or a packaged spec: digits, fashion_mnist and resilient for trained networks;
    cartpole, iris, wine, breast_cancer and others (docs/tasks.md) for spiking ones.
    """
    with interruptible() as stop:
        from vilfredo.spec import read
        from vilfredo.study import create

        named = None if goals is None else [name.strip() for name in goals.split(",") if name.strip()]
        changes = {
            **rest,
            "goals": named,
            "executor.use": None if workers is None else "local" if workers else "inline",
            "executor.workers": workers or None,
            "problem.epochs": epochs,
            "optimizer.use": optimizer,
            "stopper.use": stopper,
            "space.use": space,
            "problem.processor.use": processor,
            "store.path": store,
        }
        wanted = read(spec, changes)
        if dry_run:
            from vilfredo.cli.dry_run import outlook
            from vilfredo.spec import build

            for line in outlook(wanted, build(wanted)):
                click.echo(line)
            return
        with create(wanted) as study:
            drive(study, report, plain, stop)
