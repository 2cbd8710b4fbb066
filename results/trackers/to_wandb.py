"""Weights & Biases: a run with a table of all rows, their figures in the summary, and curves. Imports wandb when it logs.

wandb's environment variables apply (`WANDB_MODE`, `WANDB_DIR`, `WANDB_PROJECT`, ...). Without `WANDB_MODE` and without a key,
the data stays in the run's folder (offline), and `wandb sync` sends it later.
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
    """Modules that `log` imports."""
    return ("wandb",)


def log(logged: LoggedRun, say: Callable[[str], None]) -> None:
    """Log `logged`, and report the place. Raises the errors of wandb."""
    offline = not os.environ.get("WANDB_MODE") and not may_send()
    if offline:
        # Its error reports would send data although the run stays here.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    logged.folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        mode="offline" if offline else None,
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
    place = (
        f"{Path(run.dir).parent} (offline, without WANDB_MODE and a key; wandb sync sends it)" if offline else f"run {run.name}"
    )
    say(f"wandb: {quantity(len(logged.rows), 'row')} in {place}")


def may_send(environment: Mapping[str, str] = os.environ) -> bool:
    """True if the user has a key for the server."""
    if any(environment.get(name) for name in KEYS):
        return True
    try:
        logins = netrc.netrc(environment.get("NETRC"))
    except (OSError, UnicodeError, netrc.NetrcParseError):
        return False
    return (urlsplit(environment.get("WANDB_BASE_URL") or HOST).hostname or "") in logins.hosts


def _fill(run: Any, wandb: Any, logged: LoggedRun) -> None:
    cells = [{"name": row.name, **row.params, **row.metrics, **row.tags} for row in logged.rows]
    names = list(dict.fromkeys(name for row in cells for name in row))
    for row in logged.rows:
        _draw(run, row)
    data = [[row.get(name) for name in names] for row in cells]
    run.log({"rows": wandb.Table(columns=names, data=data, allow_mixed_types=True)})
    for row in logged.rows:
        run.summary.update({f"{row.name}/{name}": value for name, value in {**row.metrics, **row.tags}.items()})


def _draw(run: Any, row: LoggedRow) -> None:
    """Log the curves, each over its own steps."""
    steps: dict[int, dict[str, float]] = {}
    for name, curve in row.curves.items():
        for step, value in curve:
            steps.setdefault(step, {})[f"{row.name}/{name}"] = value
    if steps:
        run.define_metric(f"{row.name}/epoch/*", step_metric=f"{row.name}/epoch")
    for step in sorted(steps):
        run.log({f"{row.name}/epoch": step, **steps[step]})
