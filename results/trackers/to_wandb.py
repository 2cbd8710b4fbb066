"""Runs for Weights & Biases: one run with a table of all rows, their figures in its summary, and curves. wandb, imported late.

Its own environment variables count (`WANDB_MODE`, `WANDB_DIR`, `WANDB_PROJECT`, ...). Where neither they nor a key say that it
may be sent, it is kept in the run's folder, and `wandb sync` sends it later.
"""

from __future__ import annotations

import netrc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import quantity
from .logged import LoggedRow, LoggedRun

NAME = "onnxbench"
KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
HOST = "https://api.wandb.ai"


def needs() -> tuple[str, ...]:
    """The modules without which it cannot log."""
    return ("wandb",)


def log(logged: LoggedRun, say: Callable[[str], None]) -> None:
    """Log everything, and say where it is. Raises what the library raises."""
    kept = not os.environ.get("WANDB_MODE") and not may_send()
    if kept:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    logged.folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        mode="offline" if kept else None,
        dir=None if os.environ.get("WANDB_DIR") else str(logged.folder.resolve()),
        project=os.environ.get("WANDB_PROJECT") or NAME,
        group=os.environ.get("WANDB_RUN_GROUP") or logged.name,
        name=os.environ.get("WANDB_NAME") or logged.name,
        config=dict(logged.params),
        settings=wandb.Settings(quiet=True, silent=True, console="off", disable_git=True, disable_code=True),
    )
    try:
        _fill(run, wandb, logged)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
    where = (
        f"{Path(run.dir).parent} (offline, without WANDB_MODE and a key; wandb sync sends it)" if kept else f"run {run.name}"
    )
    say(f"wandb: {quantity(len(logged.rows), 'row')} in {where}")


def may_send(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user has a key for it."""
    if any(environment.get(name) for name in KEYS):
        return True
    try:
        known = netrc.netrc(environment.get("NETRC"))
    except (OSError, UnicodeError, netrc.NetrcParseError):
        return False
    return (urlsplit(environment.get("WANDB_BASE_URL") or HOST).hostname or "") in known.hosts


def _fill(run: Any, wandb: Any, logged: LoggedRun) -> None:
    cells = [{"name": entry.name, **entry.params, **entry.metrics, **entry.tags} for entry in logged.rows]
    names = list(dict.fromkeys(name for row in cells for name in row))
    for entry in logged.rows:
        _draw(run, entry)
    data = [[row.get(name) for name in names] for row in cells]
    run.log({"rows": wandb.Table(columns=names, data=data, allow_mixed_types=True)})
    for entry in logged.rows:
        run.summary.update({f"{entry.name}/{name}": value for name, value in {**entry.metrics, **entry.tags}.items()})


def _draw(run: Any, entry: LoggedRow) -> None:
    """The curves over their own steps."""
    steps: dict[int, dict[str, float]] = {}
    for name, curve in entry.curves.items():
        for step, value in curve:
            steps.setdefault(step, {})[f"{entry.name}/{name}"] = value
    if steps:
        run.define_metric(f"{entry.name}/epoch/*", step_metric=f"{entry.name}/epoch")
    for step in sorted(steps):
        run.log({f"{entry.name}/epoch": step, **steps[step]})
