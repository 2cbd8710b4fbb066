"""Table of one run or several: rows, columns, and the lines around them, for any format. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...axes import QUESTION, Scalar
from ...errors import BadInput, quantity
from ...spec import PRECISIONS, Target, gpu_count, nearest, set_fields
from ..stats.ambiguity import AMBIGUOUS, disagree
from ..stats.intervals import Interval, holm
from ..store.head import SCHEMA, Host
from ..store.record import Run
from .advice import of_batches
from .column import CHECK_VIEW, Column, Field, values_of
from .columns import BY_NAME, COLUMNS, shown_in
from .explain import explain, in_lines
from .findings import Finding, grouped, of_status
from .imported import unlike_settings
from .row import MEASURED, Row
from .speedups import mean_speedups

NAMED_AT_MOST = 3
RowValues = Mapping[str, Scalar]
"""The figures and texts of one row, by column name."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table: all `rows` by column name for programs, and for people the `fields` with the lines around them.

    best: indices of the rows to mark as fastest. facts: lines above the rows. findings: lines below the rows, by severity.
    remarks: lines below the findings. settings: lines below the remarks. grouped: an empty line separates different questions.
    head: data beside the rows in JSON.
    """

    names: tuple[str, ...]
    rows: tuple[RowValues, ...]
    fields: tuple[Field, ...]
    best: frozenset[int] = frozenset()
    facts: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    head: Mapping[str, Any] = field(default_factory=dict)
    grouped: bool = True

    def line(self, finding: Finding) -> str:
        """Sentence of `finding`, behind the names of its rows."""
        return ": ".join((*([named(finding.rows, len(self.rows))] if finding.rows else []), finding.sentence))


def build(runs: Sequence[Run], baseline: str | None = None) -> Table:
    """Build the table of all cells of `runs`, with speed-ups against the target `baseline`.

    `BadInput` if no run has that baseline.
    """
    return tabulate(runs, lines(runs, baseline), baseline)


def tabulate(runs: Sequence[Run], lines: Sequence[tuple[Row, RowValues]], baseline: str | None) -> Table:
    """Build the table of `runs` from their `lines`."""
    rows, means = [cells for _, cells in lines], mean_speedups(lines)
    # an instrument is no candidate, and other tools define p50 in another way: neither may win the mark
    unmarked = {index for index, (row, _) in enumerate(lines) if row.record.imported or row.instrument}
    unlike = unlike_settings((name_of(cells), row.record) for row, cells in lines)
    explained, findings = (
        _explained(runs),
        [*_findings(lines), *unlike, *(finding for mean in means for finding in mean.findings)],
    )
    texts = {topic: in_lines(about) for topic, about in explained.items()}
    named_hosts = {run.host.label: set_fields(run.host) for run in runs if run.host.name}
    fields = _fields(rows, shown_in(CHECK_VIEW) if runs and all(run.is_check for run in runs) else ())
    return Table(
        names=tuple(column.name for column in COLUMNS),
        rows=tuple(rows),
        fields=tuple(fields),
        findings=tuple(findings),
        best=frozenset(_fastest(rows, unmarked)),
        facts=_facts(runs, rows, baseline, [field.name for field in fields]),
        remarks=(*_conversions(rows), *texts["speed"], *texts["accuracy"]),
        settings=tuple(_deployments(rows)),
        head={
            "schema": SCHEMA,
            "host": set_fields(runs[0].host) if runs else {},
            "versions": runs[0].head.versions if runs else {},
            **({"hosts": named_hosts} if named_hosts else {}),
            "findings": [finding.wire() for finding in (*findings, *explained["speed"], *explained["accuracy"])],
            **({"mean_speedups": [mean.wire() for mean in means]} if means else {}),
            **({"explain": texts} if any(texts.values()) else {}),
        },
    )


def lines(runs: Sequence[Run], baseline: str | None = None) -> list[tuple[Row, RowValues]]:
    """Every cell of `runs` in the order of the table: its row, and its figures by column name.

    `BadInput` if no run has that baseline.
    """
    targets = {str(record.cell.target) for run in runs for record in run.cells}
    if baseline and baseline not in targets:
        raise BadInput(f"no row has the baseline {baseline!r}", nearest(baseline, targets))
    names = names_of(runs)
    rows = _judged([row for run, name in zip(runs, names) for row in _rows(run, name, baseline)])
    figures = [(row, values_of(COLUMNS, row) | _imported(row)) for row in rows]
    return sorted(figures, key=lambda line: order(line[1]))


def names_of(runs: Sequence[Run]) -> list[str]:
    """Name of each run: its folder's name, with as many parent folders as make all names different."""
    paths = [run.folder.resolve().parts for run in runs]
    names = ["/".join(path[-1:]) for path in paths]
    depth = 1
    # one folder may be there twice, so the names cannot be more different than the paths
    while depth < max(map(len, paths), default=0) and len(set(paths)) > len(set(names)):
        depth += 1
        counts = Counter(names)
        names = ["/".join(path[-depth:]) if counts[name] > 1 else name for path, name in zip(paths, names)]
    return names


def _rows(run: Run, name: str, baseline: str | None) -> list[Row]:
    """Rows of `run`, each with the record of its baseline, and of its cell on one GPU."""
    several = any(record.cell != record.cell.alone for record in run.cells)
    roofs = [record for record in run.cells if record.cell.roof]
    return [
        Row(
            record=record,
            base=run.base_of(record, baseline),
            host=run.host.label,
            run=name,
            sweep=run.sweep,
            instrument=run.is_instrument(record.cell),
            one_gpu=next((item for item in run.cells if item.cell.is_one_gpu_of(record.cell)), None) if several else None,
            roofs=roofs,
        )
        for record in run.cells
    ]


def _imported(row: Row) -> dict[str, Scalar]:
    """Figures of another tool by column name; empty for a row that onnxbench measured."""
    imported = row.record.imported
    if imported is None:
        return {}
    return {name: value for name, value in imported.figures.items() if name in BY_NAME}


def order(row: RowValues) -> tuple[object, ...]:
    """Sort key of a row. Rows that answer one question on one host stand together."""
    # None and a value have no order, so the first part of each pair decides between them
    question = ((row[name] is not None, _ordered(name, row[name])) for name in QUESTION)
    return (str(row.get("host")), *question, list(PRECISIONS).index(str(row["precision"])))


def _ordered(name: str, value: Scalar) -> object:
    """`value` of an axis for sorting. `seq=16` stands before `seq=128`."""
    parts = str(value).replace("=", " ").split() if name == "dims" else ()
    return [(part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts] if parts else value


def _judged(rows: Sequence[Row]) -> list[Row]:
    """Add verdicts to rows with a speed-up, corrected for the number of speed-ups (Holm); those in cycles likewise."""
    speedups = {index: row.speedup for index, row in enumerate(rows) if row.speedup}
    cycles = {index: row.cycles for index, row in enumerate(rows) if row.cycles}
    significant, in_cycles = (holm({index: item.p for index, item in family.items()}) for family in (speedups, cycles))
    verdicts = {index: _verdict(interval, index in significant) for index, interval in speedups.items()}
    for index, interval in cycles.items():
        differs = {"time_differs": index in significant, "cycles_differ": index in in_cycles}
        if index in speedups and disagree(speedups[index].middle, interval.middle, **differs):
            verdicts[index] = AMBIGUOUS
    return [replace(row, verdict=verdicts[index]) if index in verdicts else row for index, row in enumerate(rows)]


def _verdict(interval: Interval, significant: bool) -> str:
    if not significant:
        return "no difference shown"
    return "faster" if interval.middle > 1 else "slower"


def _fields(rows: Sequence[RowValues], view: Collection[Column]) -> list[Column]:
    """Columns for people: those of the `view` if there is one, else all columns that have something to show."""
    columns, measured = [_always(column) for column in view] or COLUMNS, _measured(rows)
    shown = [column for column in columns if column.shown and _differs(column, _distinct(column, rows, measured))]
    return sorted(shown, key=lambda column: not column.leads)


def _always(column: Column) -> Column:
    """Show `column` even if all its figures are the same."""
    return replace(column, shown=True, varies=column.varies and not column.measured)


def _measured(rows: Sequence[RowValues]) -> list[RowValues]:
    """Rows with figures."""
    return [row for row in rows if row["status"] in MEASURED]


def _distinct(column: Column, rows: Sequence[RowValues], measured: Sequence[RowValues]) -> set[Scalar]:
    """Distinct values of a column, in the rows that can have one: all, or those with figures."""
    name = column.name
    return {row[name] for row in (measured if column.measured else rows)}


def _differs(column: Column, values: set[Scalar]) -> bool:
    """True if `column` has something to show to people: a figure that some row has, or an axis that varies."""
    # a figure needs one value, an axis needs two: `varies` counts as 0 or 1
    different = values - {None} if column.partial or not column.varies else values
    return len(different) > column.varies


def _fastest(rows: Sequence[RowValues], unmarked: Collection[int]) -> list[int]:
    """Index of the row with the lowest p50 for each question and host, without the rows `unmarked`."""
    best: dict[tuple[Scalar, ...], int] = {}
    for index, row in enumerate(rows):
        group = (row["host"], *(row[name] for name in QUESTION))
        if row["status"] != "ok" or row["p50_ms"] is None or index in unmarked:
            continue
        if group not in best or _p50(row) < _p50(rows[best[group]]):
            best[group] = index
    return list(best.values())


def _p50(row: RowValues) -> float:
    return float(row["p50_ms"] or 0)


def _facts(runs: Sequence[Run], rows: Sequence[RowValues], baseline: str | None, shown: Collection[str]) -> tuple[str, ...]:
    """Lines above the table: values that all rows share and no `shown` column has, versions, and the baseline."""
    once, measured = [c for c in COLUMNS if c.varies and not c.leads and c.name not in shown], _measured(rows)
    values = {c.name: _distinct(c, rows, measured) for c in once}
    same = {name: next(iter(distinct)) for name, distinct in values.items() if len(distinct) == 1}
    # the ends of an interval stand in the fact of their figure
    ends = {end for name in same for end in BY_NAME[name].interval or ()}
    texts = [_fact(BY_NAME[name], value, same) for name, value in same.items() if name not in ends]
    versions = [f"{name} {version}" for run in runs for name, version in run.head.versions.items()]
    against = [f"speed-up against {baseline} fp32 at the same batch"] if baseline else []
    machines = dict.fromkeys(_machine(run.host) for run in runs if run.host.name and run.host.cpu)
    return tuple(
        line for line in (" · ".join(filter(None, texts)), " · ".join(dict.fromkeys(versions)), *machines, *against) if line
    )


def _machine(host: Host) -> str:
    """Line about a machine whose name is not that of its CPU."""
    gpus = [f"{count} x {name}" for name, count in Counter(gpu.name or "unknown GPU" for gpu in host.gpus or ()).items()]
    threads, memory = host.usable_threads, host.memory_gb
    facts = (host.cpu, threads and quantity(threads, "thread"), memory and f"{memory:g} GB", *gpus)
    return f"{host.label}: {', '.join(str(fact) for fact in facts if fact)}"


def _fact(column: Column, value: Scalar, same: RowValues) -> str:
    """`threads 2`, or `top-1 drop 0.00 points (95 %: -3.37 to 3.37)`. Empty for a value without news: None, ok or 0."""
    low, high = (same.get(end) for end in column.interval or ("", ""))
    if value in (None, "ok", 0) and low is None:
        return ""
    ends = f" (95 %: {_figure(low, column)} to {_figure(high, column)})" if low is not None and high is not None else ""
    return f"{column.label or column.heading} {_figure(value, column)} {column.unit}".strip() + ends


def _figure(value: Scalar, column: Column) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if column.decimals is None else f"{value:.{column.decimals}f}"


def _findings(lines: Sequence[tuple[Row, RowValues]]) -> list[Finding]:
    """Reasons and findings of all rows. Equal ones are merged."""
    prefixes = _prefixes([cells for _, cells in lines])
    named = [(prefixes[str(cells["model"])] + name_of(cells), row, cells) for row, cells in lines]
    own = [(name, finding) for name, row, cells in named for finding in (*of_status(cells), *row.findings)]
    return grouped([*own, *of_batches([(name, row) for name, row, _ in named])])


def _prefixes(rows: Sequence[RowValues]) -> dict[str, str]:
    """The beginning of the name of a model's rows: the model where there are several, else nothing."""
    models = {str(row["model"]) for row in rows}
    return {model: f"{model} " if len(models) > 1 else "" for model in models}


def _explained(runs: Sequence[Run]) -> dict[str, list[Finding]]:
    """Findings of the INT8 doctor on all checks, by topic."""
    checks = [explain(run) for run in runs if run.is_check]
    return {topic: [finding for check in checks for finding in check[topic]] for topic in ("speed", "accuracy")}


def _conversions(rows: Sequence[RowValues]) -> list[str]:
    """Lines on the quantization of files, one for each model and precision."""
    conversions = {(row["model"], row["precision"]): row["conversion"] for row in rows if row["conversion"]}
    return [f"{model} {precision}: {conversion}" for (model, precision), conversion in conversions.items()]


def _deployments(rows: Sequence[RowValues]) -> list[str]:
    """Lines with the settings that give the throughput and the rate under load. Rows that differ only in batch share a line."""
    prefixes = _prefixes(rows)
    batches: dict[tuple[str, str], list[str]] = {}
    for column, figure in (("throughput_settings", "throughput"), ("slo_settings", "rate under load")):
        for row in (row for row in rows if row[column]):
            name = f"{prefixes[str(row['model'])]}{_compiled_name(row)}"
            key = (name, f"{figure} with {row[column]}")
            batches.setdefault(key, []).append(str(row["batch"]))
    return [f"{name} b{','.join(own)}: {settings}" for (name, settings), own in batches.items()]


def named(names: Sequence[str], of: int) -> str:
    """Names of a few rows, or the number of many."""
    if len(names) <= NAMED_AT_MOST:
        return ", ".join(names)
    return "all rows" if len(names) == of else f"{len(names)} of {of} rows"


def name_of(row: RowValues) -> str:
    """Name of a row for people."""
    return f"{_compiled_name(row)} b{row['batch']}"


def _compiled_name(row: RowValues) -> str:
    """Target, precision and dimensions of a row: what its batches share. The portable scheme of INT8 needs no name."""
    scheme = f"-{row['scheme']}" if row.get("scheme") not in (None, "", "portable") else ""
    inputs = f"{row['inputs']} inputs" if row.get("inputs") else ""
    replicas = str(row["device"]) if (gpu_count(str(row.get("device"))) or 1) > 1 else ""
    rest = (replicas, str(row.get("dims") or ""), inputs, str(row.get("cache") or ""))
    return " ".join(filter(None, (str(target_of(row)), f"{row['precision']}{scheme}", *rest)))


def target_of(row: RowValues) -> Target:
    """Target of a row: its backend and environment."""
    return Target(backend=str(row["backend"]), environment=str(row["environment"] or ""))
