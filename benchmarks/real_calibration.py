"""A real runtime against itself: does the tool call two processes of it different? And does it find calls that are made longer?

    python benchmarks/calibration.py real BACKEND FILE.onnx [--minutes 10] [--names 3] [--slower 0.1] [--slowed 1]
        [--budget normal] [--python PATH] [--option KEY=VALUE] [--note TEXT]
    python benchmarks/calibration.py report [--first N] [FILE.jsonl ...]

Each run measures BACKEND at batch 1 under several names of one interpreter. The baseline is each name in turn, and the other
names are compared with it. With --slower (ort-cpu alone), as many more rows as --slowed have every call made longer by this
share. --python has the runtime, where it is not this Python, and --option is given to each of its names.

Each run adds a line to docs/results/calibration-BACKEND.jsonl, so a later call goes on, on this machine or on another. The line
has a hash of the code that measures latency: `report` puts only those runs together that the same code measured. It computes
the intervals again, from the ratios of the rounds; with --first, of the first N rounds of each life. All runs of a file have
other seeds. Nothing else may run on the machine; where something does, --note says so, and such runs are apart.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import itertools
import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import onnxbench
import slowed_ort
from onnxbench.budgets import Budget
from onnxbench.results.stats.intervals import LIFE, Interval, Repeated, values_of_lives
from onnxbench.results.store import series
from onnxbench.results.store.record import CellRecord, Run, read_run
from onnxbench.results.table import table
from scipy.special import stdtrit

RESULTS = Path(__file__).resolve().parent.parent / "docs/results"
PACKAGE = Path(onnxbench.__file__).parent
MEASURES: Mapping[str, tuple[str, ...]] = {
    "runners/pool/fragments.py": (),
    "runners/pool/holding.py": (),
    "runners/pool/process.py": ("pause", "_resume", "send"),
    "runners/sweep/group.py": ("_live", "_rounds", "_rate_due", "_round", "_reopen", "_warm_job", "_latency", "_time"),
    "runners/sweep/opening.py": (),
    "runners/sweep/repeats.py": (),
    "runners/sweep/rounds.py": (),
    "runners/worker/blocks.py": (),
    "runners/worker/cell_jobs.py": ("open_session", "warm"),
    "runners/worker/measure.py": (),
}
"""Functions that decide how a latency is measured, by their file; all of a file without names."""

SCHEDULE = (
    *("looks", "life_rounds", "most_life_rounds", "life_ms", "half_width", "repeats", "cell_s"),
    *("block_ms", "block_calls", "rate_ms", "rate_rounds", "warmup_ms", "warmup_limit_ms"),
)
"""Fields of the budget that decide it."""

TITLES = (
    *("backend", "machine", "code", "budget", "change", "runs", "comparisons", "different"),
    *("mean difference, 95 %", "opened one place later, 95 %", "spread", "median half-width", "change that 95 % would find"),
)
LETTERS = "bcdefgh"
FOUND = 0.95  # share of the comparisons that would find the change in the last column of the report
Line = Mapping[str, Any]


def code_of(budget: Budget) -> str:
    """Hash of the code that measures latency, without its comments and docstrings, and of the budget's schedule."""
    code = "".join(_code(PACKAGE / file, names) for file, names in MEASURES.items())
    schedule = json.dumps([getattr(budget, name) for name in SCHEDULE])
    return hashlib.sha256((code + schedule).encode()).hexdigest()[:12]


def _code(path: Path, names: Sequence[str] = ()) -> str:
    tree = ast.parse(path.read_text())
    if names:
        found = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        tree = ast.Module(body=[found[name] for name in names], type_ignores=[])
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A string that is a statement is a docstring, or the description of a constant.
            node.body = [item for item in body if not _is_text(item)]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def names_of(backend: str, count: int) -> list[str]:
    """`count` names of one runtime in one environment."""
    return [backend, *(f"{backend}@{letter}" for letter in LETTERS[: count - 1])]


def measure(options: argparse.Namespace, seed: int, folder: Path) -> Run:
    """One run of the whole tool, as a user starts it."""
    names = names_of(options.backend, options.names)
    slowed = names_of("ort-slower", options.slowed) if options.slower else []
    command = [
        sys.executable,
        "-m",
        "onnxbench.cli",
        "infer",
        "--model",
        options.file,
        "--backend",
        ",".join([*names, *slowed]),
    ]
    for name in (*names[options.python == sys.executable :], *slowed[1:]):
        command += ["--python", f"{name}={options.python}"]
    for name, option in itertools.product(names, options.option):
        command += ["--option", f"{name}.{option}"]
    command += ["--baseline", names[seed % len(names)], "--precision", "fp32", "--batch", "1", "--seed", str(seed)]
    command += ["--budget", options.budget, "--out", str(folder / "run")]
    environment = {**slowed_ort.installed(folder), "SLOWER": str(options.slower)} if options.slower else None
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    run = read_run(folder / "run") if (folder / "run/run.json").exists() else None
    if run is None or any(item.failed or not item.finished for item in run.cells):
        raise SystemExit(f"the run of seed {seed} failed: {done.stderr.strip()[-2000:]}")
    return run


def line_of(run: Run, slower: float, note: str = "") -> dict[str, Any]:
    """Facts of a run, and each row that was compared with the baseline."""
    sweep, rows = run.sweep, table.build([run], run.sweep.baseline if run.sweep else None).rows
    assert sweep is not None
    began = datetime.fromtimestamp(run.head.began_unix_s or 0, tz=timezone.utc).isoformat(timespec="seconds")
    base = next(item for item in run.cells if str(item.cell.target) == sweep.baseline)
    pairs = [pair for pair in zip(run.cells, rows, strict=True) if pair[0] is not base]
    return {
        "began": began,
        "machine": run.host.cpu
        if base.cell.device == "cpu"
        else " and ".join(gpu.name or "GPU" for gpu in run.host.gpus or ()),
        "threads": run.host.usable_threads,
        "note": note,
        "version": run.head.versions[str(base.cell.target)],
        "code": code_of(sweep.budget),
        "tool": run.head.tool,
        "budget": sweep.budget.name,
        "seed": sweep.seed,
        "baseline": sweep.baseline,
        "rows": [_compared(base, item, row, slower) for item, row in pairs],
    }


def _compared(base: CellRecord, new: CellRecord, row: Mapping[str, Any], slower: float) -> dict[str, Any]:
    """One row: its speed-up with the interval and the verdict of the table, and by life the ratios of its rounds.

    `later`: by how many places the row's process opened later than the baseline's, in the same lives as `ratios`. `us`: median
    of the rounds' p50 of each life, in us, by the kind of time (latency, and device on a GPU). `reopened`: what later openings
    reported that the first one did not.
    """
    ratios = {number: base.p50_ns(number, "latency") / new.p50_ns(number, "latency") for number in series.counted(new, base)}  # type: ignore[operator]
    lives = series.rounds_by_life(ratios, new, base)
    place, of_base = ({life.number: life.position for life in item.lives} for item in (new, base))
    return {
        "target": str(new.cell.target),
        "slower": slower if new.cell.backend == "ort-slower" else 0.0,
        **{name: round(row[name], 5) for name in ("speedup", "speedup_ci_low", "speedup_ci_high")},
        **{name: row[name] for name in ("verdict", "rounds", "disturbed", "stopped", "grade", "p50_ms")},
        "later": [place[life] - of_base[life] for life in lives],
        "ratios": [[round(value, 4) for value in values] for values in lives.values()],
        "reopened": [dict(event.reports) for event in new.reopened],
        "us": {kind: _medians_us(new, list(ratios), kind) for kind in ("latency", "device") if new.p50_ns(min(ratios), kind)},
    }


def _medians_us(record: CellRecord, rounds: Iterable[int], kind: str) -> list[float]:
    times = series.rounds_by_life({number: record.p50_ns(number, kind) or 0.0 for number in rounds}, record)
    return [round(median(values) / 1e3, 2) for values in times.values()]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Lines of a file of results; none for a file that does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_all(options: argparse.Namespace) -> None:
    """Add runs to the file of the backend until the time is over."""
    path, end = RESULTS / f"calibration-{options.backend}.jsonl", time.monotonic() + 60 * options.minutes
    longest_s = 0.0
    while time.monotonic() + longest_s < end:
        seed, begin = 1 + max((line["seed"] for line in lines_of(path)), default=-1), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            line = line_of(measure(options, seed, Path(folder)), options.slower, options.note)
        with path.open("a") as file:
            file.write(json.dumps({**line, "took_s": round(time.monotonic() - begin, 1)}) + "\n")
        longest_s = max(longest_s, time.monotonic() - begin)
        print("\n".join(report(lines_of(path))), flush=True)


def shortened(line: Line, first: int | None) -> Line:
    """`line` with the ratios of the first rounds of each life; all of them for None."""
    return {**line, "rows": [{**row, "ratios": [life[:first] for life in row["ratios"]]} for row in line["rows"]]}


def report(lines: Iterable[Line]) -> Iterator[str]:
    """Rows of a Markdown table, one for each machine, code, budget, and change that was made."""
    yield f"| {' | '.join(TITLES)} |"
    yield "|" + "---|" * 5 + "---:|" * 3 + "---|" * 2 + "---:|" * 3
    groups: dict[tuple[Any, ...], list[tuple[Line, Line]]] = {}
    for line in lines:
        for row in line["rows"]:
            place = ", ".join(filter(None, (line["machine"], f"{line['threads']} threads", line["note"])))
            backend = line["baseline"].partition("@")[0]
            groups.setdefault((backend, place, line["code"], line["budget"], row["slower"]), []).append((line, row))
    for (backend, place, code, budget, slower), pairs in groups.items():
        facts = (backend, place, f"`{code}`", f"`{budget}`", f"{slower:.0%} slower" if slower else "none")
        yield "| " + " | ".join((*facts, *_figures(pairs))) + " |"


def _figures(pairs: Sequence[tuple[Line, Line]]) -> tuple[str, ...]:
    """Number of runs, and the figures of their comparisons.

    A row counts as different if its own interval excludes 1: Holm's correction for the other rows of its run would hide some.
    """
    rows = [row for _, row in pairs]
    intervals = [interval for row in rows if (interval := _interval(row))]
    by_run: dict[tuple[str, int], list[Line]] = {}
    for line, row in pairs:
        by_run.setdefault((line["began"], line["seed"]), []).append(row)
    means = [fmean(map(_log, run)) for run in by_run.values()]
    different = sum(not each.low <= 1 <= each.high for each in intervals)
    ends = sorted(end - 1 for each in intervals for end in (each.high, 1 / each.low))
    least = ends[math.ceil(FOUND * len(ends)) - 1]
    return (
        str(len(by_run)),
        str(len(rows)),
        str(different),
        _mean(means),
        _mean([_place(run) for run in by_run.values()]),
        f"{100 * stdev(map(_log, rows)):.2f} %" if len(rows) > 1 else "",
        f"{100 * median(each.half_width for each in intervals):.2f} %",
        "" if rows[0]["slower"] else f"{100 * least:.1f} %",
    )


def _log(row: Line) -> float:
    """Log of the row's latency over that of its baseline."""
    return -fmean(map(math.log, values_of_lives(row["ratios"])))


def _interval(row: Line) -> Interval | None:
    """Interval of the speed-up, from the ratios of all rounds."""
    return Repeated(values_of_lives(row["ratios"]), LIFE).interval


def _place(rows: Iterable[Line]) -> float:
    """Log of a process's latency over that of one that opened a place before it, by least squares over the lives of a run."""
    products = squares = 0.0
    for row in rows:
        logs = [-fmean(map(math.log, values)) for values in row["ratios"]]
        products += sum(later * (log - fmean(logs)) for later, log in zip(row["later"], logs, strict=True))
        squares += sum(later**2 for later in row["later"])
    return products / squares


def _mean(logs: Sequence[float]) -> str:
    """Interval of the mean of `logs`, one for each run, in % longer. The comparisons of one run share their baseline."""
    if len(logs) < 2:
        return ""
    half = float(stdtrit(len(logs) - 1, 0.975)) * stdev(logs) / math.sqrt(len(logs))
    low, high = (100 * math.expm1(fmean(logs) + sign * half) for sign in (-1, 1))
    return f"{low:+.2f} to {high:+.2f} %"


def main(arguments: Sequence[str]) -> None:
    """Run `real` or `report`."""
    parser = argparse.ArgumentParser(prog="calibration.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    real = commands.add_parser("real")
    real.add_argument("backend")
    real.add_argument("file")
    real.add_argument("--minutes", type=float, default=10.0)
    real.add_argument("--names", type=int, default=3, choices=range(1, 2 + len(LETTERS)))
    real.add_argument("--slower", type=float, default=0.0)
    real.add_argument("--slowed", type=int, default=1, choices=range(1, 2 + len(LETTERS)))
    real.add_argument("--python", default=sys.executable)
    real.add_argument("--option", action="append", default=[])
    real.add_argument("--budget", default="normal")
    real.add_argument("--note", default="")
    shown = commands.add_parser("report")
    shown.add_argument("files", nargs="*", type=Path)
    shown.add_argument("--first", type=int, default=None)
    options = parser.parse_args(arguments)
    if options.command == "report":
        files = options.files or sorted(RESULTS.glob("calibration-*.jsonl"))
        print("\n".join(report(shortened(line, options.first) for path in files for line in lines_of(path))))
    elif options.slower and options.backend != "ort-cpu":
        parser.error("only ort-cpu has calls that are made longer")
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # subprocess then ends the run too
        run_all(options)
