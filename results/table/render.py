"""A table as text: for people (`table`, `markdown`) and for programs (`csv`, `json`). Pure; tabulate lays it out for people.

Text from outside (model names, a runtime's messages) is shown as it is, without control characters or markup; JSON
keeps every character, escaped.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ...axes import QUESTION, Scalar
from ...errors import BadInput
from ...spec import nearest
from .column import SCIENTIFIC, Field
from .columns import BY_NAME
from .findings import CAUTION, FAILURE, INFO, KINDS, Finding
from .layout import DIM, GREEN, INDENT, PIPE, RED, STYLES, YELLOW, Screen, fitting, rows_of, shortened, widths_of
from .table import RowValues, Table

MARK, MARKED = " *", "p50_ms"
LATENCY_UNIT = "ms"
DECIMALS = 3
SCALES = ((1000.0, 1e-3, "s"), (0.1, 1.0, "ms"), (0.0, 1e3, "µs"))  # at least this p50 in ms: factor, unit
SECTIONS = {FAILURE: "failed", CAUTION: "caution", INFO: "note"}
PLACE = re.compile(r"(?<![\w./<])/(?:[^\s/:;,'\"()<>|]+/)+([^\s/:;,'\"()<>|]*)")  # an absolute path of two parts or more
MARKDOWN = re.compile(r"([\\|<*`\[\]])")


def render(table: Table, format: str, screen: Screen = PIPE) -> str:
    """`table` in one of FORMATS, ending in a newline; `screen` matters to the format for people only."""
    return _table(table, screen) if format == "table" else FORMATS[format](table)


def chosen(table: Table, names: Sequence[str]) -> Table:
    """`table` with the columns `names` alone, in the order of the table. `BadInput` for a name that the table lacks."""
    for name in names:
        if name not in table.names:
            raise BadInput(f"{name!r} is not a column of this table", nearest(name, table.names))
    fields = {field.name: field for field in (*BY_NAME.values(), *table.fields)}
    kept = [name for name in table.names if name in names]
    return replace(
        table,
        names=tuple(kept),
        rows=tuple({name: row[name] for name in kept} for row in table.rows),
        fields=tuple(fields.get(name) or Field(name=name) for name in kept),
    )


def plain(text: str) -> str:
    """`text` without characters that a terminal would act on."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "�" for char in text)


def shown(table: Table) -> tuple[list[str], list[list[str]]]:
    """Titles and texts of the fields for people, with one unit for all latencies."""
    factor, latency_unit = scale(table.rows)
    titles, columns = [], []
    for field in table.fields:
        is_latency = field.unit == LATENCY_UNIT
        unit = latency_unit if is_latency else field.unit
        titles.append(f"{field.heading} {unit}".strip())
        values = [row[field.name] for row in table.rows]
        columns.append(texts(values, factor if is_latency else 1.0, field))
        if field.name == MARKED and table.best:
            columns[-1] = [text + (MARK if n in table.best else " " * len(MARK)) for n, text in enumerate(columns[-1])]
    return titles, [list(row) for row in zip(*columns)]


def scale(rows: Sequence[RowValues]) -> tuple[float, str]:
    """One unit for all latencies, chosen by the middle p50: what ms are multiplied by, and its name."""
    known = sorted(value for row in rows if isinstance(value := row.get("p50_ms"), float))
    if not known:
        return 1.0, LATENCY_UNIT
    middle = known[len(known) // 2]
    return next((factor, unit) for least, factor, unit in SCALES if middle >= least)


def texts(values: Sequence[Scalar], factor: float, field: Field) -> list[str]:
    """One column's texts; its numbers have the same decimals."""
    if field.digits == SCIENTIFIC:
        return [f"{value:.1e}" if isinstance(value, float) else _text(value) for value in values]
    form = f".{places(values, factor, field)}f"
    return [_number(value * factor, form) if isinstance(value, float) else _text(value) for value in values]


def places(values: Sequence[Scalar], factor: float, field: Field) -> int:
    """How many decimals a column has: its own, or enough for the field's significant digits in the smallest of `values`."""
    if field.decimals is not None:
        return field.decimals
    numbers = [abs(value * factor) for value in values if isinstance(value, float) and value]
    return max(0, min(DECIMALS, field.digits - 1 - math.floor(math.log10(min(numbers))))) if numbers else 0


def _number(value: float, form: str) -> str:
    """`value` as `form` has it; a zero has no sign."""
    text = format(value, form)
    return text if text[0] != "-" or float(text) else text[1:]


def _text(value: Scalar) -> str:
    return "" if value is None else plain(str(value))


def _legend(table: Table) -> list[str]:
    """The meaning of the mark, and one line for each finding and each remark."""
    columns = {field.name for field in table.fields}
    question = " and ".join(name for name in QUESTION if name in columns)
    fastest = [f"{MARK.strip()} lowest p50 of its {question}"] if table.best else []
    findings = map(table.line, sorted_findings(table.findings))
    return [plain(line) for line in (*fastest, *findings, *table.remarks, *table.settings)]


def sorted_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Findings of one severity together, the worst first, and in it those of one kind."""
    severities, kinds = list(SECTIONS), list(KINDS)
    return sorted(findings, key=lambda finding: (severities.index(finding.severity), kinds.index(finding.kind)))


def _table(table: Table, screen: Screen = PIPE) -> str:
    facts = [line for fact in table.facts for line in screen.wrapped(plain(fact))]
    lines = [*facts, "", *_grid(table, screen), *_below(table, screen)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _grid(table: Table, screen: Screen) -> list[str]:
    """Titles, a rule, rows with an empty line between questions, and an empty line; nothing where there are no columns."""
    titles, rows = shown(table)
    if not titles:
        return []
    if screen.width is not None:
        rows = [[text if field.number else shortened(text) for text, field in zip(row, table.fields)] for row in rows]
    fit = fitting(table.fields, widths_of(titles, rows), screen.width)
    fields = [table.fields[index] for index in fit]
    texts = [
        [_styled(row[index], table.fields[index], number, table, screen) for index in fit] for number, row in enumerate(rows)
    ]
    head, rule, *body = rows_of([titles[index] for index in fit], texts, fields, screen)
    lines = [head, rule]
    for line, row, above in zip(body, table.rows, (*table.rows[:1], *table.rows)):
        lines += ["", line] if table.grouped and any(row.get(name) != above.get(name) for name in QUESTION) else [line]
    left = len(table.fields) - len(fit)
    more = f"{left} more column{'s' * (left > 1)}: --wide, or --columns a,b,c, or --format csv"
    return [*lines, "", *([screen.styled(more, DIM), ""] if left else [])]


def _styled(text: str, field: Field, number: int, table: Table, screen: Screen) -> str:
    """One cell of row `number` in its colour."""
    if field.name == MARKED and number in table.best:
        return screen.styled(text, GREEN)
    style = STYLES.get(field.name)
    return screen.styled(text, style(table.rows[number][field.name])) if style else text


def _below(table: Table, screen: Screen) -> list[str]:
    """The legend; on a screen wrapped, with a heading for each severity."""
    if screen.width is None:
        return _legend(table)
    first = _legend(replace(table, findings=(), remarks=(), settings=()))
    lines = [line for text in first for line in screen.wrapped(text)]
    for severity, heading in SECTIONS.items():
        findings = [finding for finding in sorted_findings(table.findings) if finding.severity == severity]
        style = {FAILURE: RED, CAUTION: YELLOW}.get(severity, DIM)
        lines += [screen.styled(heading, style)] if findings else []
        lines += [line for text in map(table.line, findings) for line in screen.wrapped(plain(text), INDENT)]
    lines += [line for text in table.remarks for line in screen.wrapped(plain(text))]
    lines += [screen.styled("settings", DIM)] if table.settings else []
    return [*lines, *(line for text in table.settings for line in screen.wrapped(plain(text), INDENT))]


def _markdown(table: Table) -> str:
    titles, rows = shown(table)
    sides = ["---:" if field.number else "---" for field in table.fields]
    lines = ["| " + " | ".join(row) + " |" for row in (titles, sides, *(map(_escaped, row) for row in rows))]
    facts = [f"{_escaped(plain(fact))}  " for fact in table.facts]
    return "\n".join([*facts, "", *lines, "", *(f"- {_escaped(line)}" for line in _legend(table))]).rstrip() + "\n"


def _escaped(text: str) -> str:
    """`text` with what Markdown or HTML would act on made plain."""
    return MARKDOWN.sub(r"\\\1", text)


def _csv(table: Table) -> str:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, table.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(plain(v)) if isinstance(v, str) else v for name, v in row.items()} for row in table.rows)
    return sink.getvalue()


def _inert(text: str) -> str:
    """`text` as a spreadsheet shows it and does not compute it: formulas begin with one of these (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def without_places(table: Table) -> Table:
    """`table` without the folders in its texts, for what is passed on."""
    rows = [{name: nameless(v) if isinstance(v, str) else v for name, v in row.items()} for row in table.rows]
    facts, remarks, settings = (tuple(map(nameless, lines)) for lines in (table.facts, table.remarks, table.settings))
    findings = tuple(finding.with_texts(nameless) for finding in table.findings)
    return replace(table, rows=tuple(rows), facts=facts, findings=findings, remarks=remarks, settings=settings)


def nameless(text: str) -> str:
    """`text` with the last part alone of each absolute path: folders tell of a machine and of its user."""
    return PLACE.sub(r"\1", text)


def _json(table: Table) -> str:
    return json.dumps({**table.head, "rows": table.rows}, indent=1, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "table": _table,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
