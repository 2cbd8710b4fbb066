"""The report as one HTML file that loads nothing else. jinja2, inside functions; plots by matplotlib where it is installed.

The template escapes every text. A policy in the page allows the page's own script alone, and no request to a network.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import resources
from typing import Any

from ..store.record import Run
from ..table.render import bare_paths, lines_below, plain, shown
from ..table.table import Table
from .cards import card
from .data import Report, date, machines
from .grid import grid, ordered, same
from .inline import inline
from .plots import NO_PLOTS, Plot, draw, drawable
from .sheet import NARROW, WIDE

PLAIN_ROWS, REMARKS, CARDS = 200, 200, 24  # rows of the table without a script and of print; notes; cards
# </script> or <!-- in a text would end the script element; U+2028 and U+2029 end a line in older JavaScript
UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def page(report: Report) -> str:
    """The whole page as HTML. Without matplotlib it has a note instead of plots."""
    from jinja2 import Environment, StrictUndefined

    # an unknown name in the template is an error (StrictUndefined), not an empty text
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(_file("page.html")).render(**_displayable(_parts(report)))


def _displayable(part: Any) -> Any:
    """Apply `plain` and `bare_paths` to all texts in `part`. Markup stays, and so do programs (see `without_folders`)."""
    from markupsafe import Markup

    if isinstance(part, dict):
        return {name: value if name == "program" else _displayable(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_displayable(value) for value in part]
    return plain(bare_paths(part)) if isinstance(part, str) and not isinstance(part, Markup) else part


def _parts(report: Report) -> dict[str, Any]:
    """Values of the template. The page's own style, script and plots are markup; all else is text."""
    from markupsafe import Markup

    script, plots = _file("page.js"), _plots(report)
    lines = lines_below(report.table)
    return {
        "runs": [name for name, _ in machines(report)],
        "measured_on": _measured_on(report.runs),
        "style": Markup(_file("page.css")),
        "script": Markup(script),
        # the page's policy allows only a script with this hash
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": Markup(embedded(grid(report.table))),
        "cards": [asdict(card(pick)) for pick in report.picks[:CARDS]],
        "more_cards": max(0, len(report.picks) - CARDS),
        "notes": [*(note.sentence for note in report.notes), *([] if plots else [NO_PLOTS])],
        "same": same(report.table),
        "table": _first_rows(report.table),
        "total": len(report.table.rows),
        "plots": plots,
        "remarks": lines[:REMARKS],
        "more_remarks": max(0, len(lines) - REMARKS),
        "machines": machines(report),
    }


def _measured_on(runs: Sequence[Run]) -> list[str]:
    """Hosts and days of `runs`, each once."""
    hosts = dict.fromkeys(run.host.name or run.host.cpu or "unknown host" for run in runs)
    days = dict.fromkeys(day for run in runs if (day := date(run).partition(" ")[0]))
    return [*hosts, *days]


def embedded(data: Any) -> str:
    """JSON that can stand in a script element, whatever its texts are."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(UNSAFE)


def _first_rows(table: Table) -> dict[str, Sequence[Any]]:
    """Titles and texts of the first rows, for print and for a browser without scripts."""
    titles, rows = shown(replace(table, rows=table.rows[:PLAIN_ROWS], fields=tuple(ordered(table))))
    return {"titles": titles, "rows": rows}


def _plots(report: Report) -> list[dict[str, Any]]:
    """Every plot, drawn for a wide and for a narrow screen. Empty without matplotlib."""
    if not drawable():
        return []
    pairs = zip(draw(report, WIDE), draw(report, NARROW))
    return [
        {"name": wide.name, "title": wide.title, "caption": wide.caption, "wide": _svg(wide), "narrow": _svg(narrow)}
        for wide, narrow in pairs
    ]


def _svg(plot: Plot) -> str:
    """The plot as markup, empty where nothing is drawn. ElementTree has escaped every text in it."""
    from markupsafe import Markup

    return Markup(inline(plot)) if plot.figure else ""


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
