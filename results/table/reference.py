"""Reference page of all columns, from their declarations: `python -m onnxbench.results.table.reference`. Pure."""

from __future__ import annotations

from .column import LESS, MORE, Column
from .columns import COLUMNS

HEAD = """# Columns

Every row of `bench infer`, `check`, `show` and `import` has these columns, in this order, in CSV and JSON.
A value that does not apply, or that was not measured, is null in JSON and empty in CSV; it is never 0.
[method.md](method.md) defines the measurement of each figure.

*Direction* is the better direction. *Limit* marks the columns for which `--max` and `--min` take a limit.
*Compared* marks those that `bench compare` compares. *Objective* names the objective of `bench recommend`.
This page is generated (`make reference`).

| column | unit | definition | direction | limit | compared | objective |
|---|---|---|---|---|---|---|
"""
DIRECTIONS = {MORE: "more is better", LESS: "less is better", "": ""}


def columns_page() -> str:
    """Write the page in Markdown, ending in a newline."""
    return HEAD + "".join(f"| {' | '.join(_facts(column))} |\n" for column in COLUMNS)


def _facts(column: Column) -> tuple[str, ...]:
    limit, compared = "yes" if column.number else "", "yes" if column.compared else ""
    direction = DIRECTIONS[column.better]
    return f"`{column.name}`", column.unit, column.definition, direction, limit, compared, column.objective


if __name__ == "__main__":
    print(columns_page(), end="")
