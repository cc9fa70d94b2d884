"""What every page of ours is made of: one file that asks for nothing, its data as JSON inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib import resources

from vilfredo.report import payload
from vilfredo.trial import JSON


def page(template: str, scripts: Sequence[str], title: str, fallback: str, data: JSON) -> str:
    """The asset `template` filled in, with the style of all pages and `scripts` as one.

    `fallback` is HTML for readers without scripts. Only this script and this style may run, and nothing may
    be loaded from anywhere.
    """
    style, script = _asset("style.css"), "\n".join(_asset(name) for name in scripts)
    script = f'(() => {{\n"use strict";\n{script}\n}})();'
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": escape(encodable(title)),
        "style": style,
        "fallback": fallback,
        "data": payload.dump(data),
        "script": script,
    }
    head, *rest = _asset(template).split("{{")
    pieces = [head]
    for piece in rest:  # one pass, so that nothing inserted is searched for further places
        name, after = piece.split("}}", 1)
        pieces += [parts[name], after]
    return "".join(pieces)


def encodable(text: str) -> str:
    """Without halves of characters, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (resources.files("vilfredo.report") / "assets" / name).read_text("utf-8")
