"""Run folders, as `infer`, `check` and `train` make them: the sweep that the options ask for, and work into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..budgets import BUDGETS
from ..spec import Device, Sweep

if TYPE_CHECKING:
    from ..results.store.record import Run
    from ..runners.infer import Surroundings

RUNS = Path("runs")


def sweep_of(options: dict[str, Any]) -> Sweep:
    """The sweep that the command line's `options` ask for."""
    device = str(Device.parse(options["device"])) if options["device"] else None
    changed = {"artifacts": str(options["artifacts"]), "device": device, "budget": BUDGETS[options["budget"]]}
    return Sweep(**{**options, **changed})


def stored(folders: Iterable[Path]) -> list[Run]:
    """The runs in `folders`.

    What is read stays until the command ends, so it is taken out of the search for garbage, which else takes a third of the
    time for a large run.
    """
    import gc

    from ..results.store import record

    read = [record.read_run(folder) for folder in folders]
    gc.freeze()
    return read


def run(work: Callable[[], None], around: Surroundings, debug: bool) -> bool:
    """Do `work` into a run folder and print where that is. True if the user interrupted it: what there is stays."""
    from ..errors import Interrupted

    interrupted = False
    try:
        work()
    except Interrupted as error:
        interrupted = True
        around.progress.note(f"bench: {error}")
    around.progress.note(f"run: {around.out}" + (f"; workers' logs: {around.out / 'logs'}" if debug else ""))
    return interrupted
