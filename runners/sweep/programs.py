"""Programs of the user in a sweep: their rows, their first call, and their workers. Loads no framework."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ... import backends
from ...axes import AXES, QUESTION, question
from ...errors import BadInput, shown
from ...loop import BATCH, THREADS, TURNS, Program
from ...spec import Artifact, Cell, Precision, Settings, Sweep
from ..pool.call import CallLoop, OwnCall
from ..pool.context import Context
from ..pool.own_loop import OwnLoop
from ..pool.pool import Worker
from ..pool.program import Launch, ProgramLoop
from ..worker import nvml
from .plan import PlannedCell

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,39}")


class Programs:
    """Programs of `sweep`, and their loops. `calls`: the calls of Python, by the name of their program."""

    def __init__(self, sweep: Sweep, calls: Mapping[str, OwnCall]) -> None:
        self._sweep, self._calls = sweep, calls
        self._loops: dict[str, OwnLoop] = {}

    def check(self, rows: Sequence[PlannedCell], context: Context) -> None:
        """Start the program of each row and make its first call. Raises `BadInput` for a program that gives no latency."""
        for row in rows:
            if row.program:
                name = row.program.name
                context.progress.step(f"starting {name}", 0, 1)
                loop = self._loops[name] = self._loop(row.program, row.cell, context)
                loop.check(self._sweep.timeout_s)
                _check_metric(row.program, loop, self._sweep)

    def hire(self, program: Program) -> Worker:
        """The loop of `program`. It starts its process again where the last one has ended."""
        return self._loops[program.name]

    def dismiss(self) -> None:
        """End the programs."""
        for loop in self._loops.values():
            loop.dismiss()

    def _loop(self, program: Program, cell: Cell, context: Context) -> OwnLoop:
        threads, clock = cell.settings.threads, context.clock
        if not program.command:
            return CallLoop(program.name, self._calls[program.name], threads, clock)
        variables = {**nvml.environment(os.environ), TURNS: "1", THREADS: str(threads), BATCH: str(cell.batch)}
        log = context.logs / f"{program.name}.log"
        return ProgramLoop(Launch(name=program.name, command=program.command, variables=variables, log=log), threads, clock)


def _check_metric(program: Program, loop: OwnLoop, sweep: Sweep) -> None:
    if sweep.metric == "e2e_p50" and not loop.copies:
        raise BadInput(
            f"{program.name} reports no copy_in and no copy_out, without which its row has no e2e_p50",
            "print copy_in_ms and copy_out_ms for each call, or use --metric p50",
        )


def is_alone(sweep: Sweep) -> bool:
    """True if the programs of `sweep` are measured without a backend beside them."""
    return bool(sweep.programs) and not (sweep.backends or sweep.model or sweep.models or sweep.artifacts)


def check_programs(sweep: Sweep, calls: Mapping[str, OwnCall]) -> None:
    """Raise `BadInput` for a program whose name or precision cannot be used, and for a call that is not in this process."""
    names = [program.name for program in sweep.programs]
    for program in sweep.programs:
        if not NAME.fullmatch(program.name):
            raise BadInput(f"{shown(program.name)} is not a name for a row", "use at most 40 letters, digits, _, - and .")
        if names.count(program.name) > 1 or program.name in backends.registrations():
            raise BadInput(f"{program.name!r} is the name of another row", "give another --name")
        if not program.command and program.name not in calls:
            raise BadInput(f"{program.name!r} is a call of Python, which only its own program can resume", "measure it anew")
        Precision.parse(program.precision)
    if is_alone(sweep) and sweep.baseline not in (None, *names):
        raise BadInput(f"the baseline {sweep.baseline!r} is not in this run", "add it to --backend")


def program_rows(sweep: Sweep, rows: Sequence[PlannedCell], threads: int) -> list[PlannedCell]:
    """One row for each program of `sweep`. It answers the question of the other `rows`, with which it is compared.

    `BadInput` if the other rows answer several questions. `threads`: for a sweep without other rows.
    """
    if not sweep.programs:
        return []
    _check_question(rows)
    given = Cell(
        model="",
        sha256="",
        backend="",
        device=sweep.device or "cpu",
        precision="",
        batch=next(iter(sweep.batches), 1),
        shapes=(),
        settings=Settings(threads=sweep.threads or threads),
    )
    shared = replace(rows[0].cell, scheme="", environment="", settings=_plain(rows[0].cell.settings)) if rows else given
    return [_row(program, shared) for program in sweep.programs]


def _plain(settings: Settings) -> Settings:
    return Settings(threads=settings.threads)


def _row(program: Program, shared: Cell) -> PlannedCell:
    model = shared.model or program.name
    cell = replace(shared, model=model, backend=program.name, precision=program.precision)
    # Nobody knows the file that the program runs, if it runs one.
    file = Artifact(model=model, precision=program.precision, path="", sha256="", nbytes=0, opset=0, inputs=(), outputs=())
    return PlannedCell(cell=cell, artifact=file, program=program)


def _check_question(rows: Sequence[PlannedCell]) -> None:
    questions = list(dict.fromkeys(question(row.cell) for row in rows))
    for index, name in enumerate(QUESTION):
        values = list(dict.fromkeys(str(values[index]) for values in questions))
        if len(values) > 1:
            raise BadInput(
                f"the rows have {len(values)} values of {name} ({', '.join(values[:4])}), and a program has one row",
                f"give one --{AXES[name].name if name != 'dims' else 'dim'}",
            )
