"""MLflow: a parent run for the run, and a nested run for each row. Imports mlflow when it logs.

`MLFLOW_TRACKING_URI` is the server. Without it all data stays in an SQLite file in the run's folder, which
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
AT_ONCE = {"metrics": 1000, "params": 100, "tags": 100}  # the server's limits for a request
PARAM_LENGTH, TAG_LENGTH = 500, 5000  # the limits of the oldest versions


def needs() -> tuple[str, ...]:
    """Modules that `log` imports: those for SQLite too, unless a server is set."""
    return ("mlflow",) if os.environ.get(URI) else ("mlflow", "sqlalchemy", "alembic")


def log(logged: LoggedRun, say: Callable[[str], None]) -> None:
    """Log `logged`, and report the place. Raises the errors of mlflow, and then marks the open runs as failed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they report each new table of the SQLite file
    uri = os.environ.get(URI) or _local(logged.folder)
    client = MlflowClient(tracking_uri=uri)
    experiment = _experiment(client, None if os.environ.get(URI) else logged.folder / "mlflow" / "artifacts")
    opened: list[str] = []
    try:
        parent = _run(client, experiment, logged.name, {}, opened)
        millis = int(logged.wall_s * 1e3)
        _batch(client, parent, millis, params=logged.params)
        for row in logged.rows:
            run = _run(client, experiment, row.name, {"mlflow.parentRunId": parent}, opened)
            _batch(client, run, millis, params=row.params, metrics=row.points, tags=row.tags)
            client.set_terminated(run, "FINISHED" if row.done else "FAILED")
            opened.remove(run)
        client.set_terminated(parent)
    except BaseException:
        # Otherwise MLflow would show them as running for ever.
        for run in opened:
            with suppress(Exception):
                client.set_terminated(run, "FAILED")
        raise
    say(f"mlflow: {quantity(len(logged.rows), 'row')} in {'the server of MLFLOW_TRACKING_URI' if os.environ.get(URI) else uri}")


def _local(folder: Path) -> str:
    (folder / "mlflow").mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(folder / 'mlflow' / 'mlflow.db').resolve()}"


def _experiment(client: Any, artifacts: Path | None) -> str:
    """Id of the experiment in the environment variables, else of NAME. Creates a missing experiment."""
    if os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return os.environ["MLFLOW_EXPERIMENT_ID"]
    name = os.environ.get(EXPERIMENT) or NAME
    experiment = client.get_experiment_by_name(name)
    location = artifacts.resolve().as_uri() if artifacts else None
    return str(experiment.experiment_id if experiment else client.create_experiment(name, artifact_location=location))


def _run(client: Any, experiment: str, name: str, tags: Mapping[str, str], opened: list[str]) -> str:
    run = str(client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id)
    opened.append(run)
    return run


def _batch(
    client: Any,
    run: str,
    millis: int,
    params: Mapping[str, Any],
    metrics: Sequence[tuple[str, float, int]] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log the data of a run, in requests within AT_ONCE."""
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
    """Replace the characters that MLflow refuses in keys."""
    return re.sub(r"[^\w.\- :/]", "_", name)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
