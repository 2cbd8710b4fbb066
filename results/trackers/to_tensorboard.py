"""Event files for TensorBoard: a folder for each row, with its figures, curves and hparams. tensorboard, imported late.

They are in `RUN/tensorboard`, which `tensorboard --logdir RUN/tensorboard` shows. It has no settings of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import quantity
from .logged import LoggedRow, LoggedRun

TEXTS = ("reason", "notes")  # tags that are sentences; the others are hparams too
ALLOWED = re.compile(r"[^\w.+@-]+")


def needs() -> tuple[str, ...]:
    """The modules without which it cannot log."""
    return ("tensorboard",)


def log(logged: LoggedRun, say: Callable[[str], None]) -> None:
    """Log everything, and say where it is. Raises what the library raises."""
    from tensorboard.plugins.hparams import summary_v2 as hparams

    root = logged.folder / "tensorboard"
    asked = sorted({name for entry in logged.rows for name in _asked(entry)})
    shown = sorted({name for entry in logged.rows for name in entry.metrics})
    listed = hparams.hparams_config_pb(
        hparams=[hparams.HParam(name) for name in asked], metrics=[hparams.Metric(name) for name in shown]
    )
    _write(root, [(listed, 0)], logged.wall_s)
    for entry in logged.rows:
        _write(root / ALLOWED.sub("-", entry.name), _summaries(entry, hparams), logged.wall_s)
    say(f"tensorboard: {quantity(len(logged.rows), 'row')} in {root}")


def _asked(entry: LoggedRow) -> dict[str, str | int]:
    return {**entry.params, **{name: text for name, text in entry.tags.items() if name not in TEXTS}}


def _summaries(entry: LoggedRow, hparams: Any) -> list[tuple[Any, int]]:
    """What is written of a row, each with its step."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    scalars = [(Summary(value=[Summary.Value(tag=name, simple_value=value)]), step) for name, value, step in entry.points]
    texts = [(_text(name, entry.tags[name]), 0) for name in TEXTS if name in entry.tags]
    return [(hparams.hparams_pb(_asked(entry), trial_id=entry.name), 0), *scalars, *texts]


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
