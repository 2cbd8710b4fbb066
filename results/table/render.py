"""Text of a table: for people (`table`, `markdown`) and for programs (`csv`, `json`). Pure.

Text from outside, such as model names and messages of runtimes, may be hostile. It loses control characters and markup here.
JSON has every character, escaped.
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
from .findings import Finding
from .kind import CAUTION, FAILURE, INFO
from .kinds import KINDS
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
    """Render `table` in one of FORMATS, ending in a newline. `screen` applies to the format `table` only."""
    return _table(table, screen) if format == "table" else FORMATS[format](table)


def with_columns(table: Table, names: Sequence[str]) -> Table:
    """Reduce `table` to the columns `names`, in the order of the table. `BadInput` for a name that the table lacks."""
    for name in names:
        if name not in table.names:
            raise BadInput(f"{name!r} is not a column of this table", nearest(name, table.names))
    fields = {field.name: field for field in (*BY_NAME.values(), *table.fields)}
    columns = [name for name in table.names if name in names]
    return replace(
        table,
        names=tuple(columns),
        rows=tuple({name: row[name] for name in columns} for row in table.rows),
        fields=tuple(fields.get(name) or Field(name=name) for name in columns),
    )


def plain(text: str) -> str:
    """Replace characters that a terminal would act on."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "�" for char in text)


def shown(table: Table) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of texts for people, with one unit for all latencies."""
    factor, latency_unit = scale(table.rows)
    titles, columns = [], []
    for field in table.fields:
        is_latency = field.unit == LATENCY_UNIT
        unit = latency_unit if is_latency else field.unit
        titles.append(f"{field.heading} {unit}".strip())
        values = [row[field.name] for row in table.rows]
        columns.append(texts(values, factor if is_latency else 1.0, field))
        if field.name == MARKED and table.best:
            # rows without the mark get spaces, so that digits stay aligned
            columns[-1] = [text + (MARK if n in table.best else " " * len(MARK)) for n, text in enumerate(columns[-1])]
    return titles, [list(row) for row in zip(*columns)]


def scale(rows: Sequence[RowValues]) -> tuple[float, str]:
    """One unit for all latencies, by the median p50: its factor from ms, and its name."""
    latencies = sorted(value for row in rows if isinstance(value := row.get("p50_ms"), float))
    if not latencies:
        return 1.0, LATENCY_UNIT
    # the median, because one slow row must not turn the others into 0.00 s
    middle = latencies[len(latencies) // 2]
    return next((factor, unit) for least, factor, unit in SCALES if middle >= least)


def texts(values: Sequence[Scalar], factor: float, field: Field) -> list[str]:
    """Texts of one column. Its numbers have the same decimals, unless `field` gives each its own digits."""
    if field.digits == SCIENTIFIC:
        return [f"{value:.1e}" if isinstance(value, float) else _text(value) for value in values]
    if field.each:
        return [_significant(value * factor, field.digits) if isinstance(value, float) else _text(value) for value in values]
    form = f".{places(values, factor, field)}f"
    return [_number(value * factor, form) if isinstance(value, float) else _text(value) for value in values]


def places(values: Sequence[Scalar], factor: float, field: Field) -> int:
    """Number of decimals of a column: its own, or enough for its significant digits in the smallest of `values`."""
    if field.decimals is not None:
        return field.decimals
    # 0 has no logarithm, and needs no decimals
    numbers = [abs(value * factor) for value in values if isinstance(value, float) and value]
    return max(0, min(DECIMALS, field.digits - 1 - math.floor(math.log10(min(numbers))))) if numbers else 0


def _significant(value: float, digits: int) -> str:
    """Format `value` with so many significant digits, without a power of ten for a large figure."""
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def _number(value: float, form: str) -> str:
    """Format `value`. A figure that rounds to zero has no sign."""
    text = format(value, form)
    return text if text[0] != "-" or float(text) else text[1:]


def _text(value: Scalar) -> str:
    return "" if value is None else plain(str(value))


def lines_below(table: Table) -> list[str]:
    """Lines on the rows: findings, the worst first, then remarks and settings."""
    findings = map(table.line, sorted_findings(table.findings))
    return [plain(line) for line in (*findings, *table.remarks, *table.settings)]


def _legend(table: Table) -> list[str]:
    """The meaning of the mark, and the lines below the rows."""
    columns = {field.name for field in table.fields}
    question = " and ".join(name for name in QUESTION if name in columns)
    of_its = f" of its {question}" if question else ""
    fastest = [f"{MARK.strip()} lowest p50{of_its}"] if table.best and MARKED in columns else []
    return [*fastest, *lines_below(table)]


def sorted_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings by severity, the worst first, and then by kind."""
    severities, kinds = list(SECTIONS), list(KINDS)
    return sorted(findings, key=lambda finding: (severities.index(finding.severity), kinds.index(finding.kind)))


def _table(table: Table, screen: Screen = PIPE) -> str:
    facts = [line for fact in table.facts for line in screen.wrapped(plain(fact))]
    lines = [*facts, *([""] if facts else []), *_grid(table, screen), *_below(table, screen)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _grid(table: Table, screen: Screen) -> list[str]:
    """Lines of the grid, with an empty line between the rows of different questions. Empty for a table without columns."""
    titles, rows = shown(table)
    if not titles:
        return []
    if screen.width is not None:
        # files and pipes get the whole names
        rows = [[text if field.number else shortened(text) for text, field in zip(row, table.fields)] for row in rows]
    widths = [] if screen.width is None else widths_of(titles, rows)
    fit = fitting(table.fields, widths, screen.width)
    fields = [table.fields[index] for index in fit]
    texts = [[row[index] for index in fit] for row in rows]
    if screen.colour:
        texts = [
            [_styled(text, field, index, table, screen) for text, field in zip(row, fields)] for index, row in enumerate(texts)
        ]
    head, rule, *body = rows_of([titles[index] for index in fit], texts, fields, screen)
    lines = [head, rule]
    questions = [tuple(map(row.get, QUESTION)) for row in table.rows] if table.grouped else [()] * len(body)
    for line, question, above in zip(body, questions, (*questions[:1], *questions)):
        lines += [line] if question == above else ["", line]
    left = len(table.fields) - len(fit)
    more = f"{left} more column{'s' * (left > 1)}: --wide, or --columns a,b,c, or --format csv"
    return [*lines, "", *([screen.styled(more, DIM), ""] if left else [])]


def _styled(text: str, field: Field, number: int, table: Table, screen: Screen) -> str:
    """Text of one cell of row `number` in its colour."""
    if field.name == MARKED and number in table.best:
        return screen.styled(text, GREEN)
    style = STYLES.get(field.name)
    return screen.styled(text, style(table.rows[number][field.name])) if style else text


def _below(table: Table, screen: Screen) -> list[str]:
    """Lines below the grid. On a screen they are wrapped, with a heading for each severity."""
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
    lines = ["| " + " | ".join(row) + " |" for row in (titles, sides, *(map(escaped, row) for row in rows))]
    facts = [f"{escaped(plain(fact))}  " for fact in table.facts]
    return "\n".join([*facts, "", *lines, "", *(f"- {escaped(line)}" for line in _legend(table))]).rstrip() + "\n"


def escaped(text: str) -> str:
    """Escape characters that Markdown or HTML would act on."""
    return MARKDOWN.sub(r"\\\1", text)


def _csv(table: Table) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(table.names)
    writer.writerows([_inert(plain(v)) if isinstance(v := row[name], str) else v for name in table.names] for row in table.rows)
    return sink.getvalue()


def _inert(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would compute."""
    # first characters of formulas, by OWASP's page on CSV injection
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def without_places(table: Table) -> Table:
    """Remove folders from all texts of `table`, for files that a user passes on."""
    rows = [{name: bare_paths(v) if isinstance(v, str) else v for name, v in row.items()} for row in table.rows]
    facts, remarks, settings = (tuple(map(bare_paths, lines)) for lines in (table.facts, table.remarks, table.settings))
    findings = tuple(finding.with_texts(bare_paths) for finding in table.findings)
    return replace(table, rows=tuple(rows), facts=facts, findings=findings, remarks=remarks, settings=settings)


def bare_paths(text: str) -> str:
    """Reduce each absolute path in `text` to its last part, since folders name the machine's user."""
    return PLACE.sub(r"\1", text) if text.count("/") > 1 else text


def _json(table: Table) -> str:
    # NaN and Infinity are not JSON, and most parsers refuse them: an error here is better than a file that nobody reads
    return json.dumps({**table.head, "rows": table.rows}, indent=1, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "table": _table,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
}
