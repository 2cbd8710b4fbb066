"""The page of the rows of a CPU, such as docs/results/intel-xeon-2-cores.md, from a stored run.

    make bench && python benchmarks/cpu_page.py runs/NAME "Intel Xeon (Emerald Rapids), two cores" \
        > docs/results/intel-xeon-2-cores.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from onnxbench.results.store import record
from onnxbench.results.table import render, table

PARTS = {
    "Latency": ("p50_ms", "p50_ci_low_ms", "p50_ci_high_ms", "p90_ms", "p99_ms", "e2e_p50_ms", "rounds", "grade"),
    "Throughput, loading, memory and parity": (
        *("throughput_per_s", "lanes", "threads_per_lane", "load_s", "first_ms"),
        *("sqnr_db", "peak_rss_mb", "artifact_mb"),
    ),
}
NAMES = ("model", "backend", "precision", "batch", "executed")
END = """[Method](../method.md) defines the figures. Every backend had the same threads, the same inputs and a fixed
arithmetic.
"""


def page(run: Any, title: str) -> Iterator[str]:
    """Lines of the page."""
    found = table.build([run])
    date = datetime.fromtimestamp(run.head.began_unix_s or 0, tz=timezone.utc).date().isoformat()
    versions = ", ".join(f"{name} {version}" for name, version in run.head.versions.items())
    budget = run.sweep.budget.name if run.sweep else "?"
    yield from (f"# {title}", "", f"Measured on {date} at `{budget}`. Host: {run.host.cpu}, {run.host.usable_threads} threads.")
    yield f"Versions: {versions}."
    for number, (heading, names) in enumerate(PARTS.items()):
        facts = () if number else found.facts
        yield from ("", f"## {heading}", "", *_columns(replace(found, facts=facts), names))
    yield from ("", "## Notes", "", *(f"- {render.escaped(line)}" for line in render.lines_below(found)), "", END.rstrip())


def _columns(found: table.Table, names: Sequence[str]) -> list[str]:
    """The rows with these columns, of which the run has those of its kind, and without the lines below."""
    several = len({row["model"] for row in found.rows}) > 1
    kept = [name for name in (*NAMES[not several :], *names) if name in found.names]
    part = replace(render.with_columns(found, kept), findings=(), remarks=(), settings=())
    return render.render(part, "markdown").rstrip().splitlines()


def main() -> None:
    print("\n".join(page(record.read_run(Path(sys.argv[1])), sys.argv[2])))


if __name__ == "__main__":
    main()
