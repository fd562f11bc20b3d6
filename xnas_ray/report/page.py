"""The page: one file with everything in it, which needs no network and could not use one.

Data travel compressed in a block that is no script, and reach the page as text and numbers alone: no name, message or
architecture is ever read as HTML. A policy in the page forbids every connection, and every script but its own.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any

from xnas_ray.errors import ExplanationError

SCRIPTS = (
    *("drawn.js", "figures.js", "figures_course.js", "figures_why.js", "figures_supernets.js", "figures_nars.js"),
    *("figures_space.js", "figures_trees.js", "figures_joint.js", "panel.js", "sections.js", "sections_why.js"),
    *("sections_supernets.js", "sections_nars.js", "sections_trees.js", "sections_joint.js", "page.js"),
)
"""What every page of a report needs; together they are one function."""

STYLE = "page.css"
CODE = "'unsafe-eval'"
"""Plotly's WebGL plots make the code of their shaders' inputs; what they make it from are numbers of its own."""


_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
"""Characters that would steer a terminal or turn the direction of the text around."""


def report_page(data: bytes, title: str) -> str:
    """A report as one HTML file.

    Args:
        data: what it shows (see ``packed``).
        title: of the page, any text.
    """
    named = escape(_STEERING.sub("\ufffd", title))
    scripts = [page_script(), plotly_script()]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))} {CODE}",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{named}</title><style>{style()}</style>'
    )
    body = (
        f"<main><h1>{named}</h1><noscript>Scripts in this file draw its figures.</noscript></main>"
        f'<script type="application/gzip" id="data">{base64.b64encode(data).decode()}</script>'
        f'<script type="text/plain" id="plotly">{scripts[1]}</script>'  # which the first one runs when the page stands
        f"<script>{scripts[0]}</script>"
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def packed(payload: Mapping[str, Any]) -> bytes:
    """A payload as the page reads it: gzipped JSON; the same payload gives the same bytes."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def joint_alone(data: bytes) -> bytes:
    """The data of a page that shows where explanations agree and nothing else; a click still shows a whole trial.

    Raises:
        ExplanationError: no search has enough architectures to tell.
    """
    payload = unpacked(data)
    if not any(search["joint"] for search in payload["searches"]):
        raise too_few()
    return packed({**payload, "only": "joint"})


def too_few() -> ExplanationError:
    """What is wrong where explanations cannot be set beside each other."""
    from xnas_ray.explain.operation_effects import LEAST

    return ExplanationError(
        "too few architectures have every objective: explanations are set beside each other "
        f"from {LEAST} that differ on.",
        fix="Extend the search: `xnas extend`.",
    )


def unpacked(data: bytes) -> dict[str, Any]:
    """What ``packed`` packed."""
    return dict(json.loads(gzip.decompress(data)))


@functools.cache
def plotly_script() -> str:
    """plotly.js, which can stand in a page: it has no end of a script in it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def page_script() -> str:
    """The script of the page that has its data in it."""
    return reading_script("file.js")


@functools.cache
def reading_script(*names: str) -> str:
    """The scripts of a page that reads its data in the way of ``names``, as one."""
    return '(() => {\n"use strict";\n' + "\n".join(map(_asset, (*SCRIPTS, *names))) + "\n})();"


def style() -> str:
    """Its style sheet."""
    return _asset(STYLE)


def _asset(name: str) -> str:
    return resources.files("xnas_ray.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
