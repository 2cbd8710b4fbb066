"""The report as one HTML file that asks for nothing else. jinja2, inside functions; plots by matplotlib.

Every text is escaped by the template. A policy in the page lets no script run but its own, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

from ..table.render import nameless, plain, shown
from ..table.table import Table
from .data import Report, grid, headline, machines, same
from .inline import inline
from .plots import Plot, draw

PLAIN_ROWS, REMARKS = 200, 200  # rows of the table without a script, and of print; notes that are listed
UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def page(report: Report) -> str:
    """The whole page."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(_file("page.html")).render(**_nameless(_parts(report)))


def _nameless(part: Any) -> Any:
    """`part` with `nameless` texts; markup was made of such."""
    from markupsafe import Markup

    if isinstance(part, dict):
        return {name: _nameless(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_nameless(value) for value in part]
    return nameless(part) if isinstance(part, str) and not isinstance(part, Markup) else part


def _parts(report: Report) -> dict[str, Any]:
    """What the template shows. Its own style, script and plots are markup; all else is text."""
    from markupsafe import Markup

    script = _file("page.js")
    return {
        "runs": [name for name, _ in machines(report)],
        "style": Markup(_file("page.css")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": Markup(embedded(grid(report.table))),
        **headline(report),
        "undecided": plain(report.undecided),
        "notes": [plain(note.sentence) for note in report.notes],
        "same": same(report.table),
        "table": _few(report.table),
        "total": len(report.table.rows),
        "plots": [_drawn(plot) for plot in draw(report)],
        "remarks": [plain(line) for line in report.table.remarks[:REMARKS]],
        "more_remarks": max(0, len(report.table.remarks) - REMARKS),
        "machines": machines(report),
    }


def embedded(data: Any) -> str:
    """JSON that can stand in a script element, whatever its texts are."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(UNSAFE)


def _few(table: Table) -> dict[str, Sequence[Any]]:
    """The first rows, for print and for a browser without scripts."""
    titles, rows = shown(replace(table, rows=table.rows[:PLAIN_ROWS]))
    return {"titles": titles, "rows": rows}


def _drawn(plot: Plot) -> dict[str, Any]:
    from markupsafe import Markup

    svg = Markup(inline(plot)) if plot.figure else ""  # its texts were escaped as it was written
    return {"name": plot.name, "title": plot.title, "caption": plot.caption, "svg": svg}


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
