"""All commands together: how they are found, and what becomes of an error in one of them."""

from __future__ import annotations

from typing import Any

import click

from vilfredo.cli.mistakes import Mistake, explained
from vilfredo.cli.stopping import INTERRUPTED


class Commands(click.Group):
    """Mistakes of the user become one sentence; bugs keep their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except ValueError as problem:
            if ctx.params.get("traceback"):
                raise
            raise Mistake(str(problem)) from problem
        except OSError as problem:
            if ctx.params.get("traceback"):
                raise
            raise Mistake(explained(problem)) from problem

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from vilfredo.spec.names import near

            raise click.UsageError(
                f"there is no command {args[0]!r}; {near(args[0], self.list_commands(ctx))}", ctx
            ) from None
