"""The pages that browsers open at a service's address: shells without data, which ask the API for what they show.

A browser cannot send the token when somebody follows a link, so the pages themselves need none, and hold nothing that
is not in every copy of this package. Their script asks for the token once, keeps it as long as the tab is open, and
sends it with every question, as all clients do.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Callable

from fastapi import FastAPI, Request, Response

from xnas_ray.report.page import CODE, plotly_script, reading_script, style

LIST, REPORT, ASSETS = "/", "/report", "/assets"
POLICY = (
    f"default-src 'none'; script-src 'self' {CODE}; style-src 'self' 'unsafe-inline'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_SCRIPTS: dict[str, Callable[[], str]] = {
    "plotly.js": plotly_script,
    "report.js": lambda: reading_script("live.js", "live_report.js"),
    "list.js": lambda: reading_script("live.js", "live_list.js"),
}
OPEN_PAGES = frozenset({LIST, REPORT, f"{ASSETS}/page.css", *(f"{ASSETS}/{name}" for name in _SCRIPTS)})
"""Paths that need no token."""


def add_pages(app: FastAPI) -> None:
    """Answer at the addresses of the pages."""

    def page(title: str, *scripts: str) -> bytes:
        tags = "".join(f'<script src="{ASSETS}/{name}"></script>' for name in scripts)
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
            f'<title>{title}</title><link rel="stylesheet" href="{ASSETS}/page.css"><link rel="icon" href="data:,">'
            f"</head><body><main><h1>{title}</h1></main>{tags}</body></html>\n"
        ).encode()

    def add(path: str, content: Callable[[], bytes], media_type: str) -> None:
        @functools.cache
        def packed() -> tuple[bytes, bytes, str]:
            plain = content()
            return plain, gzip.compress(plain, mtime=0), f'"{hashlib.sha256(plain).hexdigest()[:32]}"'

        def answer(request: Request) -> Response:
            plain, small, tag = packed()
            return tagged_response(request, plain, small, tag, media_type, _HEADERS)

        app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False, response_model=None)

    add(LIST, lambda: page("xnas: searches", "list.js"), "text/html")
    add(REPORT, lambda: page("xnas: report", "report.js"), "text/html")
    add(f"{ASSETS}/page.css", lambda: style().encode(), "text/css")
    for name, script in _SCRIPTS.items():
        add(f"{ASSETS}/{name}", lambda script=script: script().encode(), "text/javascript")  # type: ignore[misc]


def tagged_response(
    request: Request, plain: bytes | None, small: bytes, tag: str, media_type: str, headers: dict[str, str]
) -> Response:
    """Content that who has it need not fetch again, gzipped for who understands that.

    Args:
        request: what was asked.
        plain: the content, None to unpack it only where it is wanted.
        small: the same, gzipped.
        tag: of the content, in quotes.
        media_type: of the content.
        headers: that go with it.
    """
    known = {**headers, "ETag": tag, "Vary": "Accept-Encoding"}
    if tag in request.headers.get("if-none-match", "").replace("W/", "").split(", "):
        return Response(status_code=304, headers=known)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(small, media_type=media_type, headers={**known, "Content-Encoding": "gzip"})
    return Response(gzip.decompress(small) if plain is None else plain, media_type=media_type, headers=known)
