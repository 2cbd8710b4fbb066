"""Runs for MLflow: one for the whole run, and one within it for each row. mlflow, imported late.

`MLFLOW_TRACKING_URI` says where to; without it nothing leaves the machine: an SQLite file in the run's folder, which
`mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db` shows. mlflow-skinny with SQLAlchemy and Alembic is enough.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import quantity
from .logged import LoggedRun

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
NAME = "onnxbench"
AT_ONCE = {"metrics": 1000, "params": 100, "tags": 100}  # what one request may hold
PARAM_LENGTH, TAG_LENGTH = 500, 5000  # what every version takes


def needs() -> tuple[str, ...]:
    """The modules without which it cannot log where it is to."""
    return ("mlflow",) if os.environ.get(URI) else ("mlflow", "sqlalchemy", "alembic")


def log(logged: LoggedRun, say: Callable[[str], None]) -> None:
    """Log everything, and say where it is. Raises what the library raises; the runs are then marked as failed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # making the tables is told line by line
    uri = os.environ.get(URI) or _local(logged.folder)
    client = MlflowClient(tracking_uri=uri)
    experiment = _experiment(client, None if os.environ.get(URI) else logged.folder / "mlflow" / "artifacts")
    opened: list[str] = []
    try:
        parent = _run(client, experiment, logged.name, {}, opened)
        millis = int(logged.wall_s * 1e3)
        _batch(client, parent, millis, params=logged.params)
        for entry in logged.rows:
            run = _run(client, experiment, entry.name, {"mlflow.parentRunId": parent}, opened)
            _batch(client, run, millis, params=entry.params, metrics=entry.points, tags=entry.tags)
            client.set_terminated(run, "FINISHED" if entry.done else "FAILED")
            opened.remove(run)
        client.set_terminated(parent)
    except BaseException:
        for run in opened:
            with suppress(Exception):
                client.set_terminated(run, "FAILED")
        raise
    say(f"mlflow: {quantity(len(logged.rows), 'row')} in {'what MLFLOW_TRACKING_URI says' if os.environ.get(URI) else uri}")


def _local(folder: Path) -> str:
    (folder / "mlflow").mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(folder / 'mlflow' / 'mlflow.db').resolve()}"


def _experiment(client: Any, artifacts: Path | None) -> str:
    """The experiment that the environment names, or else ours; made where there is none."""
    if os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return os.environ["MLFLOW_EXPERIMENT_ID"]
    name = os.environ.get(EXPERIMENT) or NAME
    found = client.get_experiment_by_name(name)
    where = artifacts.resolve().as_uri() if artifacts else None
    return str(found.experiment_id if found else client.create_experiment(name, artifact_location=where))


def _run(client: Any, experiment: str, name: str, tags: Mapping[str, str], opened: list[str]) -> str:
    made = client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id
    opened.append(made)
    return str(made)


def _batch(
    client: Any,
    run: str,
    millis: int,
    params: Mapping[str, Any],
    metrics: Sequence[tuple[str, float, int]] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Everything of one run, in as many requests as it takes."""
    from mlflow.entities import Metric, Param, RunTag

    parts: dict[str, list[Any]] = {
        "params": [Param(_key(name), str(value)[:PARAM_LENGTH]) for name, value in params.items()],
        "metrics": [Metric(_key(name), value, millis, step) for name, value, step in metrics],
        "tags": [RunTag(_key(name), value[:TAG_LENGTH]) for name, value in (tags or {}).items()],
    }
    for kind, items in parts.items():
        for chunk in _chunks(items, AT_ONCE[kind]):
            client.log_batch(run, **{kind: chunk})


def _key(name: str) -> str:
    """`name` of the characters that keys may have."""
    return re.sub(r"[^\w.\- :/]", "_", name)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
