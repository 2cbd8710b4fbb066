"""`bench measure`: a program's own loop as a row, in turns with backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import BadInput
from ..loop import Program
from .help import Command
from .metrics import budget_option, metric_option
from .options import (
    RUN_FOLDER,
    baseline_option,
    debug_option,
    format_option,
    group,
    out_option,
    selectors,
    track_option,
)
from .runs import RUNS, RunRequest, carry_out, sweep_of

SCRIPTS = (".py", ".js", ".rb", ".pl", ".sh", ".exe")
INTERPRETERS = ("python", "python3", "node", "ruby", "perl", "sh", "bash")  # a command's name is that of its script


@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    examples=(
        ("bench measure --model net.onnx --backend ort-cpu -- python my_loop.py", "Compare your loop with ONNX Runtime alone"),
        ("bench measure --name new-server --batch 8 -- ./server --bench", "Measure a program that prints latencies"),
        ("bench measure --budget quick -- python my_loop.py", "Take a first look, without intervals"),
    ),
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND...")
@selectors
@group(
    budget_option,
    baseline_option,
    metric_option(),
    click.option("--name", metavar="NAME", help="Name the program's row. Default: the name of its script or of its file."),
    out_option(RUN_FOLDER),
    track_option,
    format_option(),
    debug_option,
)
def measure(command: tuple[str, ...], name: str | None, out: Path | None, format: str, debug: bool, **options: Any) -> None:
    """Measure the loop of your own program, in turns with backends.

    COMMAND prints one latency a line, such as `latency_ms=1.31`, or with its parts: `latency_ms=1.31 copy_in_ms=0.12
    compute_ms=1.05 wait_ms=0.1 copy_out_ms=0.04`. A bare number is in seconds. A program that prints `onnxbench ready` stays
    loaded and gets lines `block N` (docs/own-loop.md; in Python, use onnxbench.calls). Any other program runs once in each
    round. With --model or --backend the program takes turns with the backends, and speed-ups are against the first of them.
    """
    from ..results import trackers
    from ..results.table.values import measured
    from ..runners.infer import infer as work
    from ..runners.worker.clock import Clock

    if not command:
        raise BadInput("there is no command to measure", "write it after --, as in: bench measure -- python my_loop.py")
    trackers.check(names := options.pop("track"))
    sweep = sweep_of(_alongside(options, Program(name=name or _name(command), command=command)))
    folder = out or RUNS / Clock().stamp()
    request = RunRequest(
        sweep=sweep,
        out=folder,
        work=work,
        result=lambda: measured(folder, sweep.baseline, sweep),
        baseline=sweep.baseline,
        trackers=names,
    )
    carry_out(request, format, debug)


def _alongside(options: dict[str, Any], program: Program) -> dict[str, Any]:
    """`options` of a sweep with `program`, whose precision is the first of --precision, else fp32."""
    precisions = options["precisions"] or (program.precision,)
    named = [name for name in options["backends"] if name != "all"]
    return {
        **options,
        "precisions": precisions,
        "baseline": options["baseline"] or next(iter(named), None),
        "programs": (Program(name=program.name, command=program.command, precision=precisions[0]),),
    }


def _name(command: tuple[str, ...]) -> str:
    """Name of the script or of the module in `command`, or of its program."""
    first = Path(command[0]).name
    is_interpreter = first in INTERPRETERS or first.startswith("python")
    scripts = [part for part in command[1:] if not part.startswith("-")]
    script = scripts[0] if is_interpreter and scripts and "-c" not in command[1:3] else first
    text = Path(script).stem if script.endswith(SCRIPTS) else script
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in text)
    return plain.strip("-.")[:40] or "program"
