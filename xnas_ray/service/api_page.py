"""The HTTP API as a page: made from its OpenAPI description, with nothing that a browser would fetch elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3em .8em .3em 0;"
    "border-bottom:1px solid #ddd}code{white-space:nowrap}small{color:#555}"
)


def api_page(openapi: Mapping[str, Any]) -> str:
    """One row a verb: method, path, parameters, and what it does."""
    info = openapi["info"]
    title = escape(f"{info['title']} {info['version']}")
    rows = "".join(_rows(openapi["paths"]))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}: HTTP API</h1><p>Every request but <code>/health</code> needs "
        "<code>Authorization: Bearer TOKEN</code>. Machines read <code>/openapi.json</code>.</p>"
        f"<table><tr><th>request<th>parameters<th>what it does</tr>{rows}</table></html>"
    )


def _rows(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, verbs in paths.items():
        for verb, found in verbs.items():
            parameters = "<br>".join(_parameter(p) for p in found.get("parameters", []))
            bodies = ", ".join(
                f"<code>{escape(kind)}</code>" for kind in found.get("requestBody", {}).get("content", {})
            )
            text = escape(found.get("description", "")).replace("\n", "<br>")
            yield (
                f"<tr><td><code>{escape(verb.upper())} {escape(path)}</code><td>{parameters}"
                f"{f'<br>body: {bodies}' if bodies else ''}<td>{text}</tr>"
            )


def _parameter(parameter: Mapping[str, Any]) -> str:
    described = f" {parameter['description']}" if parameter.get("description") else ""
    return f"<code>{escape(parameter['name'])}</code> <small>{escape(parameter['in'] + described)}</small>"
