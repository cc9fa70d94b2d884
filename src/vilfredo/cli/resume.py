"""`vilfredo resume`: go on with a run."""

from __future__ import annotations

import click

from vilfredo.cli.driving import conclude, drive
from vilfredo.cli.options import output_option, store_option
from vilfredo.cli.stopping import interruptible


@click.command()
@click.argument("run", required=False)
@store_option
@click.option("--budget", metavar="BUDGET", help="A new budget, counted from the run's very beginning.")
@output_option("--report", help="Where the report goes.  [default: STORE-RUN.html]")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live view.")
def resume(run: str | None, store: str, budget: str | None, report: str | None, plain: bool) -> None:
    """Go on with RUN (the newest, if not given).

    Nothing finished is lost or done again.
    """
    with interruptible() as stop:
        from vilfredo.study import Study

        with Study.open(store, run) as study:
            study.parts  # noqa: B018  # what is missing is said before anything is changed or begun
            if budget is not None:
                study.extend(budget)
            elif study.run.status == "finished":
                click.echo(f"Run {study.run.id} is finished; --budget gives it more to spend.", err=True)
                stop.begun(study, plain)
                conclude(study, report, plain, stop)
                return
            drive(study, report, plain, stop)
