"""Run folders of `infer`, `check` and `measure`: the request of the options, its work into a folder, and stored runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..budgets import BUDGETS
from ..errors import BadInput
from ..spec import Device, Sweep, Target
from .options import Pairs
from .output import print_table, track

if TYPE_CHECKING:
    from ..results.store.record import Run
    from ..results.table.values import Measurement
    from ..runners.infer import Surroundings
    from ..runners.pool.progress import Progress

RUNS = Path("runs")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A request to make a run: the `sweep`, the folder `out`, the `work`, and the reader of its `result`.

    `resume`: continue the run in `out`. `baseline`: target of the speed-ups. `trackers`: names of those that log the rows.
    """

    sweep: Sweep
    out: Path
    work: Callable[[Sweep, Surroundings], None]
    result: Callable[[], Measurement]
    resume: bool = False
    baseline: str | None = None
    trackers: tuple[str, ...] = ()

    def around(self, progress: Progress) -> Surroundings:
        """Surroundings of the work, with a listener for its progress."""
        from ..runners.infer import Surroundings

        return Surroundings(progress=progress, out=self.out, resume=self.resume)


def carry_out(request: RunRequest, format: str, debug: bool) -> None:
    """Do the work of `request`, print its table, log it to the trackers, and end the program with its exit code."""
    from ..results.trackers.logged import of_run
    from ..runners.pool.progress import terminal

    with terminal().live() as progress:
        around = request.around(progress)
        interrupted = run(lambda: request.work(request.sweep, around), around, debug)
    result = request.result()
    print_table(result.table, format)
    for measured in result.runs or (result.run,):
        track(request.trackers, partial(of_run, measured, request.baseline), interrupted)
    sys.exit(130 if interrupted else result.exit_code)


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """Read the runs in `folders`. A folder of several nodes has a run for each."""
    from ..results.store import nodes, record

    return [record.read_run(folder) for folder in nodes.run_folders(folders)]


def sweep_of(options: dict[str, Any], *, replicas: bool = False) -> Sweep:
    """Sweep that the command line's `options` request. `replicas`: the command can use several devices at the same time."""
    read = Device.parse if replicas else partial(Device.one, instead="use one device, as --device cuda:0")
    device = str(read(options["device"])) if options["device"] else None
    from ..models.preprocessing import full_name
    from ..runners.prepare.library_models import check_random

    options = {**options, "dataset": full_name(options["dataset"], options["preprocess"], options["models"])}
    del options["preprocess"]
    names = options["models"]
    check_random(names, random=options["random_weights"])
    changed = {"artifacts": str(options["artifacts"] or ""), "device": device, "budget": BUDGETS[options["budget"]]}
    models = {"model": names[0], "models": ()} if len(names) == 1 else {"models": names}
    dims = [name for name, _ in options["dims"]]
    if twice := next((name for name in dims if dims.count(name) > 1), None):
        raise BadInput(f"--dim {twice} stands there twice", f"write all sizes in one list, as --dim {twice}=16,128")
    pythons, converters = split_interpreters(options["pythons"])
    return Sweep(**{**options, **changed, **models, "pythons": pythons, "converters": converters})


def split_interpreters(pythons: Pairs) -> tuple[Pairs, Pairs]:
    """Interpreters of backends, and those of converters."""
    from .. import backends

    if all(Target.parse(name).backend in backends.BUILT_IN for name, _ in pythons):
        return pythons, ()
    names = backends.converters()  # imports the files of all backends
    own = tuple(pair for pair in pythons if pair[0] in names)
    return tuple(pair for pair in pythons if pair not in own), own


def stored(folders: Iterable[Path]) -> list[Run]:
    """Read the runs in `folders`, for a command that ends after them. Until then, no garbage is collected."""
    import gc

    # All runs stay until the command ends. Searching them for garbage takes a third of the time of a large run.
    gc.disable()
    click.get_current_context().call_on_close(_collect_again)
    return read_runs(folders)


def _collect_again() -> None:
    import gc

    gc.freeze()  # a program that ends here would search all runs once more
    gc.enable()


def run(work: Callable[[], object], around: Surroundings, debug: bool) -> bool:
    """Do `work` into a run folder and print its path. True if the user interrupted it; what it measured stays."""
    from ..errors import Interrupted

    interrupted = False
    try:
        work()
    except Interrupted as error:
        interrupted = True
        around.progress.note(f"bench: {error}")
    around.progress.note(f"run: {around.out}" + (f"; workers' logs: {around.out / 'logs'}" if debug else ""))
    return interrupted
