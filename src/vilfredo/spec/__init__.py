"""From a TOML file, a packaged name or a mapping to the objects of a search.

`read` gives a `Spec` (checked data), `build` gives `Parts` (objects). Every mistake that can be found
without touching the data is in the one `SpecError` of `read`.
"""

from vilfredo.spec.build import Parts, build
from vilfredo.spec.model import Spec
from vilfredo.spec.read import SpecError, packaged, read

__all__ = ["Parts", "Spec", "SpecError", "build", "packaged", "read"]
