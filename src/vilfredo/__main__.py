"""`python -m vilfredo` is `vilfredo`."""

from vilfredo.cli import main

main(prog_name="vilfredo")
