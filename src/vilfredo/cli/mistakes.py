"""What a user can mend is said in one sentence; the exit code is 2."""

from __future__ import annotations

import errno
from typing import Any

import click

ERRORS = {
    errno.ENOENT: "there is no such file or folder; check the path",
    errno.EISDIR: "this is a folder; name a file",
    errno.ENOTDIR: "a part of this path is a file, not a folder; check the path",
    errno.EACCES: "this user may not open it; change its permissions or choose another place",
    errno.EPERM: "this user may not open it; change its permissions or choose another place",
    errno.EROFS: "this disk may only be read; choose another place",
    errno.ENOSPC: "the disk is full; make room or choose another place",
    errno.EDQUOT: "your share of the disk is full; make room or choose another place",
}
"""What the system says of a file, in words that say what to do."""


class Mistake(click.ClickException):
    """What a user can mend: a sentence, no traceback, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"vilfredo: {self.format_message()}", err=True, file=file)


def explained(problem: OSError) -> str:
    """The error of a file in one sentence, the file first."""
    text = ERRORS.get(problem.errno or 0, problem.strerror or str(problem))
    return f"{problem.filename}: {text}" if problem.filename else text
