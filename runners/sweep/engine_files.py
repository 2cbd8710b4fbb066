"""Engines that the user keeps in a folder (`--keep-engines`), and notes on options about builds. Loads no framework.

A file is named after its cell. A later run finds it by that name, and measures it instead of a new build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from ...errors import BadInput, quantity, shown
from ...evidence import KeptEngine
from ...results.store.head import RUN, read_head
from ...results.store.record import CellRecord
from ...spec import Cell, Sweep
from ..pool.progress import Progress
from ..worker.jobs import CopyEngine, There
from .cells import ActiveCell, RunContext
from .opening import Hire, engine_choice, record_file
from .plan import PlannedCell

NAME_DIGITS = 8  # of the cell's key, which tells apart cells that differ in shapes or options


def engine_file(folder: str, cell: Cell) -> Path:
    """File that keeps the engine of `cell` below `folder`."""
    name = f"{cell.target}-{cell.model}-{cell.precision}-b{cell.batch}-{cell.key[:NAME_DIGITS]}"
    return Path(folder).absolute() / f"{re.sub(r'[^A-Za-z0-9@._+-]', '_', name)}.engine"


def make_folder(sweep: Sweep) -> None:
    """Make the folder of `--keep-engines`. `BadInput` if no file can be written there."""
    if not sweep.keep_engines:
        return
    folder = Path(sweep.keep_engines)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # private: an engine is native code
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(
            f"--keep-engines {folder} is not a folder that can be written ({error.strerror})", "give another folder"
        ) from error


def check_resumed(sweep: Sweep, out: Path) -> None:
    """Raise `BadInput` if the run in `out` has another number of builds, or engines in a folder that the user does not give.

    Its rounds measured the middle one of those builds.
    """
    old = read_head(out).sweep if (out / RUN).exists() else None
    if old and old.builds != sweep.builds:
        difference = f"{out} has {quantity(old.builds, 'build')} of each engine, and --builds is {sweep.builds}"
        raise BadInput(difference, "leave --builds out, or give another --out")
    if old and old.keep_engines and not sweep.keep_engines:
        raise BadInput(f"{out} keeps its engines in {shown(old.keep_engines)}", "give --keep-engines again")


def note_builds(rows: Sequence[PlannedCell], sweep: Sweep, progress: Progress) -> None:
    """Note the backends for which `--builds` and `--keep-engines` change nothing."""
    with_file = [row for row in rows if not row.program and not row.refused]
    builders = _targets(row for row in with_file if row.builds or row.searches)
    others = [name for name in _targets(with_file) if name not in builders]
    if sweep.builds > 1 and others:
        begin = f"applies to {', '.join(builders)} only" if builders else "changes nothing"
        verb = "builds" if len(others) == 1 else "build"
        progress.note(f"--builds {sweep.builds} {begin}: {', '.join(others)} {verb} nothing")
    if sweep.keep_engines and with_file and not any(row.builds for row in with_file):
        progress.note(f"--keep-engines changes nothing: no engine file is built for {', '.join(_targets(with_file))}")


def _targets(rows: Iterable[PlannedCell]) -> list[str]:
    return list(dict.fromkeys(str(row.cell.target) for row in rows))


def find_kept(run: RunContext, cells: Sequence[ActiveCell], stored: Mapping[Cell, CellRecord]) -> None:
    """Choose the engines in the user's folder, for cells that an earlier run measured, or that this run did not build."""
    if not run.sweep.keep_engines:
        return
    for active in (active for active in cells if active.planned.builds):
        file, before = engine_file(run.sweep.keep_engines, active.cell), stored[active.planned.cell].kept_engine
        # A journal may come from anybody. It cannot name a file outside of the folder that the user gives.
        if file.exists() and (not active.built or (before is not None and before.file == str(file))):
            active.engine_file, active.engines = str(file), active.engines if active.built else {}


def keep_engines(run: RunContext, cells: Sequence[ActiveCell], hire: Hire) -> None:
    """Copy the engines of `cells` that will be measured to the folder of `--keep-engines`."""
    unkept = [
        active for active in cells if run.sweep.keep_engines and active.engines and not active.engine_file and not active.out
    ]
    left = [active for active in unkept if active.live]
    if late := [active.planned.cell.id for active in unkept if not active.live]:
        run.context.progress.note(f"not kept, because this run measured them before: {', '.join(late)}; give another --out")
    run.total += len(left)
    for active in left:
        run.check_stop()
        run.attempt(active, partial(_keep, run, hire))


def _keep(run: RunContext, hire: Hire, active: ActiveCell) -> None:
    planned, file = active.planned, engine_file(run.sweep.keep_engines, active.cell)
    with hire(active) as worker:
        job = CopyEngine(
            cell=active.cell,
            artifact=planned.artifact,
            file=There(path=str(file)),
            record=There(path=str(record_file(file))),
            engine=engine_choice(active),
        )
        copied = worker.ask(job, run.sweep.timeout_s)
    if copied.sha256:
        active.engine_file = str(file)
        run.journal.add(active.key, KeptEngine(file=active.engine_file, sha256=copied.sha256, maker=copied.maker))
        run.context.progress.note(f"kept the engine of {planned.cell.id} in {file}")
