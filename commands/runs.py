"""Run folders of `infer`, `check` and `train`: the sweep that the options request, and work into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..budgets import BUDGETS
from ..errors import BadInput
from ..spec import Device, Sweep

if TYPE_CHECKING:
    from ..results.store.record import Run
    from ..runners.infer import Surroundings

RUNS = Path("runs")


def sweep_of(options: dict[str, Any]) -> Sweep:
    """Sweep that the command line's `options` request."""
    device = str(Device.parse(options["device"])) if options["device"] else None
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
    return Sweep(**{**options, **changed, **models})


def stored(folders: Iterable[Path]) -> list[Run]:
    """Read the runs in `folders`."""
    import gc

    from ..results.store import record

    read = [record.read_run(folder) for folder in folders]
    # All runs stay until the command ends. Searching them for garbage takes a third of the time of a large run.
    gc.freeze()
    return read


def run(work: Callable[[], None], around: Surroundings, debug: bool) -> bool:
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
