"""The table of a report: its columns in the order of the page, and its values as JSON data for the page's script. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...axes import AXES, Scalar
from ..table.column import SCIENTIFIC, Column, Field
from ..table.columns import COLUMNS
from ..table.render import LATENCY_UNIT, MARKED, places, plain, scale, texts
from ..table.table import Table
from .data import Facts

NAMES = ("run", "host", *AXES, "status")
"""Columns that name a row. They stand first."""
SELECTS = ("run", "host", *AXES, "status", "grade")
CHOICES = 40  # a column with more different values has no select
DIGITS = 6  # significant digits of a figure in the page; csv and parquet have all
INTERVAL = {"low": "from", "high": "to"}


def grid(table: Table) -> dict[str, Any]:
    """The whole table as JSON data, by column. A value is null where a row has none.

    {"rows": count, "best": row numbers, "selects": names, "columns": [{name, title, main, rank, values} and in each column
    `decimals` for numbers, or `texts` for values that are positions in `texts`]}
    """
    fields = [(field, True) for field in ordered(table)] + [(_field(column), False) for column in details(table)]
    columns = [_packed(field, main, table) for field, main in fields]
    selects = [item["name"] for item in columns if item["name"] in SELECTS and 1 < _choices(item) <= CHOICES]
    return {"rows": len(table.rows), "best": sorted(table.best), "selects": selects, "columns": columns}


def ordered(table: Table) -> list[Field]:
    """The fields for people in the order of the page: names first, then figures by importance."""
    fields = [replace(field, title=_title(field.name, field.title)) for field in table.fields]
    names = [field for field in fields if field.name in NAMES]
    return names + sorted((field for field in fields if field.name not in NAMES), key=lambda field: field.priority)


def _rank(field: Field) -> int:
    """Importance of a column. A narrow screen moves the highest ranks into the details of a row. p50 ranks before names."""
    return -1 if field.name == MARKED else field.priority


def details(table: Table) -> list[Column]:
    """Columns that are not in the table for people, and that differ between rows."""
    main = {field.name for field in table.fields}
    return [column for column in COLUMNS if column.name not in main and len(_values(column, table)) > 1]


def same(table: Table) -> Facts:
    """Title and text of each column that has the same value in all rows, and is not in the table for people."""
    main = {field.name for field in table.fields}
    columns = [(column, _values(column, table)) for column in COLUMNS if column.name not in main]
    constant = [(column, next(iter(values))) for column, values in columns if len(values) == 1 and values != {None}]
    return [(_field(column).title, _text(column, value)) for column, value in constant]


def _values(column: Column, table: Table) -> set[Scalar]:
    return {row[column.name] for row in table.rows}


def _title(name: str, title: str) -> str:
    """`title`; for an end of an interval `p50 from`, since `from` alone names no figure."""
    figure, _, end = name.partition("_ci_")
    if not end:
        return title or name
    # p50_ci_low_ms belongs to p50_ms, and top1_drop_ci_low to top1_drop
    parent = next((column for column in COLUMNS if column.name.removesuffix("_ms") == figure), None)
    return f"{(parent and parent.title) or figure} {INTERVAL[end.partition('_')[0]]}"


def _text(column: Column, value: Scalar) -> str:
    (text,) = texts([value], 1.0, _field(column))
    return f"{text} {column.unit}".strip()


def _field(column: Column) -> Field:
    title = column.label or _title(column.name, column.title)
    return replace(column, title=title)


def _choices(column: Mapping[str, Any]) -> int:
    return len({value for value in column["values"] if value is not None})


def _packed(field: Field, main: bool, table: Table) -> dict[str, Any]:
    factor, unit = scale(table.rows) if field.unit == LATENCY_UNIT else (1.0, field.unit)
    values = [row[field.name] for row in table.rows]
    head = {"name": field.name, "title": f"{field.heading} {unit}".strip(), "main": main, "rank": _rank(field)}
    if all(value is None or isinstance(value, int | float) for value in values):
        numbers = [_rounded(value, factor) for value in values]
        return {**head, "decimals": -1 if field.digits == SCIENTIFIC else places(values, factor, field), "values": numbers}
    # texts repeat in most rows, so a column stores each text once
    positions = {text: index for index, text in enumerate(dict.fromkeys(plain(str(v)) for v in values if v is not None))}
    return {**head, "texts": list(positions), "values": [None if v is None else positions[plain(str(v))] for v in values]}


def _rounded(value: Scalar, factor: float) -> Scalar:
    """A figure in the unit of the page, with DIGITS digits; other values unchanged."""
    return float(f"{value * factor:.{DIGITS}g}") if isinstance(value, float) else value
