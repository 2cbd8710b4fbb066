"""TensorBoard: a folder of event files for each row, with figures, curves and hparams. Imports tensorboard when it logs.

The files are in `RUN/tensorboard`; `tensorboard --logdir RUN/tensorboard` shows them. No environment variables apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import quantity
from .logged import LoggedRow, LoggedRun

TEXTS = ("reason", "notes")  # tags with sentences; the other tags are hparams too
FORBIDDEN = re.compile(r"[^\w.+@-]+")


def needs() -> tuple[str, ...]:
    """Modules that `log` imports."""
    return ("tensorboard",)


def log(logged: LoggedRun, say: Callable[[str], None]) -> None:
    """Log `logged`, and report the place. Raises the errors of tensorboard."""
    from tensorboard.plugins.hparams import summary_v2 as hparams

    root = logged.folder / "tensorboard"
    parameters = sorted({name for row in logged.rows for name in _parameters(row)})
    metrics = sorted({name for row in logged.rows for name in row.metrics})
    config = hparams.hparams_config_pb(
        hparams=[hparams.HParam(name) for name in parameters], metrics=[hparams.Metric(name) for name in metrics]
    )
    # the page of hparams reads the names of its columns from this summary in the root folder
    _write(root, [(config, 0)], logged.wall_s)
    for row in logged.rows:
        _write(root / FORBIDDEN.sub("-", row.name), _summaries(row, hparams), logged.wall_s)
    say(f"tensorboard: {quantity(len(logged.rows), 'row')} in {root}")


def _parameters(row: LoggedRow) -> dict[str, str | int]:
    return {**row.params, **{name: text for name, text in row.tags.items() if name not in TEXTS}}


def _summaries(row: LoggedRow, hparams: Any) -> list[tuple[Any, int]]:
    """Summaries of a row with their steps."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    scalars = [(Summary(value=[Summary.Value(tag=name, simple_value=value)]), step) for name, value, step in row.points]
    texts = [(_text(name, row.tags[name]), 0) for name in TEXTS if name in row.tags]
    return [(hparams.hparams_pb(_parameters(row), trial_id=row.name), 0), *scalars, *texts]


def _text(name: str, text: str) -> Any:
    import numpy as np
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text import metadata
    from tensorboard.util import tensor_util

    tensor = tensor_util.make_tensor_proto(np.array([text], dtype=object))
    return Summary(value=[Summary.Value(tag=name, metadata=metadata.create_summary_metadata("", ""), tensor=tensor)])


def _write(folder: Path, summaries: list[tuple[Any, int]], wall_s: float) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for summary, step in summaries:
        writer.add_event(Event(wall_time=wall_s, step=step, summary=summary))
    writer.close()
