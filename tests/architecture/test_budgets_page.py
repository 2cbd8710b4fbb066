"""Tables of the budgets in docs/method-intervals.md, held against budgets.py."""

from pathlib import Path

import pytest
from onnxbench.budgets import BUDGETS

PAGE = Path(__file__).resolve().parents[2] / "docs/method-intervals.md"


def rows_of(title):
    """Cells of the rows below the heading row that begins with `title`, by their first cell."""
    lines = PAGE.read_text().splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith(title)) + 2
    rows = {}
    for line in lines[begin:]:
        if not line.startswith("|"):
            return rows
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name.split("`")[1]] = cells
    return rows


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_the_page_has_the_rounds_and_times_of_the_budget(budget):
    assert rows_of("| budget | looks after rounds |")[budget.name] == [
        ", ".join(map(str, budget.looks)),
        " to ".join(map(str, filter(None, (budget.life_rounds, budget.most_life_rounds)))) or "all",
        f"±{100 * budget.half_width:g} %" if len(budget.looks) > 1 else "none: no interval",
        f"{budget.cell_s:g} s",
        f"{budget.block_ms:g}, {budget.throughput_ms:g}",
        f"{budget.warmup_ms:g} ({budget.warmup_limit_ms:g})",
        str(budget.passes),
    ]


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_the_page_has_the_extent_of_the_budget(budget):
    assert rows_of("| budget | energy, ms |")[budget.name] == [
        f"{budget.energy_ms:g}",
        f"{budget.images:,}",
        "yes" if budget.memory else "no",
        str(budget.cold_starts),
    ]
