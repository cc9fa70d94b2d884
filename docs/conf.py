"""Sphinx configuration."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # what documents itself is imported

project = "Vilfredo"
author = "The Vilfredo developers"
copyright = "2026, the Vilfredo developers"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "Vilfredo"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
default_role = "code"  # `names` in docstrings
autodoc_typehints = "description"
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]


def plain(app, what, name, thing, options, lines):  # docstrings are prose: in shapes a star is a star
    lines[:] = [line.replace(" *input_shape", r" \*input_shape") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", plain)
