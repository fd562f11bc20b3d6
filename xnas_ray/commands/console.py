"""What reaches the terminal: text that cannot control it, tables, JSON and errors."""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

MAX_WIDTH = 80
MAX_ERROR_CHARS = 4000
GAP = 2  # spaces between columns
LEAST_KEPT = 12  # width that a column keeps when it is cut
_UNLIMITED = 100_000

_debug = False


def set_debug(value: bool) -> None:
    """Show tracebacks from now on; a flag that is not given leaves it as it is."""
    global _debug
    _debug = _debug or value


def reset_debug() -> None:
    """Hide tracebacks: the state in which every command line begins."""
    global _debug
    _debug = False


def clean(value: object, limit: int | None = None) -> str:
    """Text on one line in which nothing can control a terminal, shortened to ``limit`` characters.

    Control characters, line breaks, bidirectional overrides, other invisible ones and lone surrogates are written as
    Python escapes, as ``repr`` would.
    """
    text = str(value)
    kept = text if limit is None else text[: limit + 1]
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)
    return kept if limit is None or len(kept) <= limit else kept[: max(0, limit - 1)] + "…"


def say(text: str = "") -> None:
    """Print cleaned lines to standard output."""
    for line in text.split("\n"):
        print(clean(line))
    sys.stdout.flush()


def nearby(path: Path) -> Path:
    """A path as people read it: relative to the working directory where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def note(text: str) -> None:
    """Print cleaned lines to standard error: what is not the answer."""
    for line in text.split("\n"):
        print(clean(line), file=sys.stderr)
    sys.stderr.flush()


def show_error(error: BaseException, *, text: str = "", hint: str = "") -> None:
    """``error: …`` on standard error, with the traceback first if debugging was asked for."""
    if _debug:
        for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
            print(clean(line), file=sys.stderr)
    text = text or str(error) or type(error).__name__
    if len(text) > MAX_ERROR_CHARS:
        text = text[:MAX_ERROR_CHARS] + "…"
    note(f"error: {text}")
    if hint and not _debug:
        note(hint)


def say_json(value: object) -> None:
    """Print JSON: NaN and infinities as null, times in ISO format, everything else that JSON lacks as text."""
    print(json.dumps(jsonable(value), indent=2, ensure_ascii=True))


def jsonable(value: Any) -> Any:
    """The nearest JSON value."""
    if isinstance(value, (bool, str)):
        return value
    if value is None or type(value).__name__ in ("NaTType", "NAType"):  # pandas' missing values
        return None
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


# ---- tables ----------------------------------------------------------------------------------------------------------


def is_terminal() -> bool:
    """Whether standard output is a terminal that can be written over."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def console(width: int | None = None) -> Console:
    """A rich console on standard output that interprets no markup: as wide as the terminal, unlimited elsewhere."""
    from rich.console import Console

    if width is None and not is_terminal():
        width = _UNLIMITED
    return Console(file=sys.stdout, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    limit: int | None = None,
    header: bool = True,
    width: int | None = None,
) -> Table:
    """A table without lines; numbers are set right, nothing is wrapped.

    Args:
        columns: their titles.
        rows: cells, one a column; None is shown as nothing.
        limit: most characters of a cell.
        header: whether the titles are shown.
        width: characters of a line; where that is too narrow the widest column is cut, then the next one.
    """
    from rich.table import Table
    from rich.text import Text

    given = [list(row) for row in rows]
    titles = [clean(title) for title in columns]
    cells = _texts(given, limit)
    drawn = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=header, header_style="bold")
    widths = _fitted([titles, *cells] if header else cells, width)
    for index, title in enumerate(titles):
        numeric = any(isinstance(r[index], (int, float)) for r in given) and all(
            r[index] is None or isinstance(r[index], (int, float)) for r in given
        )
        drawn.add_column(
            Text(title),
            justify="right" if numeric else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=widths[index] if widths else None,
        )
    for row in cells:
        drawn.add_row(*map(Text, row))
    return drawn


def _texts(rows: Iterable[Sequence[object]], limit: int | None) -> list[list[str]]:
    return [["" if cell is None else shown(cell, limit) for cell in row] for row in rows]


def _fitted(cells: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """Widths of columns that together fit; what is cut first is the widest."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if width is None:
        return widths
    over = sum(widths) + GAP * (len(widths) - 1) - width
    for index in sorted(range(len(widths)), key=widths.__getitem__, reverse=True):
        cut = min(max(0, over), max(0, widths[index] - LEAST_KEPT))
        widths[index] -= cut
        over -= cut
    return widths


def say_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    limit: int | None = None,
    optional: Sequence[str] = (),
) -> None:
    """Print a table; on a terminal that is too narrow without the ``optional`` columns, the last of them first."""
    given, kept = [list(row) for row in rows], list(columns)
    for title in reversed(optional):
        if not is_terminal() or sum(_fitted([kept, *_texts(given, limit)], None)) + GAP * len(kept) <= console().width:
            break
        index = kept.index(title)
        kept.pop(index)
        given = [row[:index] + row[index + 1 :] for row in given]
    say_drawn(table(kept, given, limit=limit, width=_line_width()))


def say_pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values without titles."""
    say_drawn(table(("", ""), rows, header=False, width=_line_width()))


def _line_width() -> int | None:
    return console().width if is_terminal() else None


def say_drawn(drawn: RenderableType) -> None:
    """Print something that rich draws, without the spaces that pad its lines where the output is no terminal."""
    if is_terminal():
        console().print(drawn)
        return
    with (target := console()).capture() as captured:
        target.print(drawn)
    for line in captured.get().splitlines():
        print(line.rstrip())


def shown(value: object, limit: int | None = None) -> str:
    """A cell: numbers with up to six significant digits, everything else as clean text."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return clean(value, limit)


def duration(seconds: float | None) -> str:
    """Seconds as people read them: ``8.2 s``, ``3m 05s``, ``2h 14m``, ``5d 03h``."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes}m {whole % 60:02d}s"
    return f"{hours}h {minutes % 60:02d}m" if days < 1 else f"{days}d {hours % 24:02d}h"


def byte_size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
