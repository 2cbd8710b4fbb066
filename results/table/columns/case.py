"""Columns of the measured case and its outcome. Pure."""

from __future__ import annotations

from ....axes import Scalar, shapes_of
from ..column import CHECK_VIEW, RANKING_VIEW, TAG_VIEW, Column, axis, condition, stored
from ..executed import executed, placement
from ..row import Row


def _settings(row: Row) -> Scalar:
    opened = row.record.opened
    settings = opened.info.settings if opened else None
    return None if settings is None else " ".join(f"{option}={setting}" for option, setting in settings.items())


DIMS = axis("dims", priority=2, views=(CHECK_VIEW, RANKING_VIEW))
FEEDBACK = axis("feedback", priority=5, views=(CHECK_VIEW, RANKING_VIEW))
INPUTS = axis("inputs", priority=5, views=(CHECK_VIEW, RANKING_VIEW))
CACHE = axis("cache", priority=2, views=(CHECK_VIEW, RANKING_VIEW))
SHAPES = Column(
    name="shapes",
    value=lambda row: shapes_of(row.record.cell),
    number=False,
    measured=False,
    shown=False,
    definition="Shapes of the inputs of one call.",
)
RUN = condition(
    "run",
    lambda row: row.run,
    priority=7,
    leads=True,
    definition="Name of the run's folder, with as much of its path as tells the runs of the table apart.",
    views=(RANKING_VIEW,),
)
COLUMNS = (
    condition(
        "host",
        lambda row: row.host,
        priority=17,
        definition="Name of the processor of the machine that measured the row.",
        views=(CHECK_VIEW, RANKING_VIEW),
    ),
    axis("model", priority=6, views=(CHECK_VIEW, RANKING_VIEW)),
    axis("backend", priority=0, views=(CHECK_VIEW, RANKING_VIEW)),
    axis("environment", priority=4, views=(CHECK_VIEW, RANKING_VIEW)),
    axis("device", priority=9, views=(CHECK_VIEW,)),
    axis("precision", priority=1, views=(CHECK_VIEW, RANKING_VIEW)),
    axis("scheme", priority=5),
    axis("batch", priority=2, views=(CHECK_VIEW, RANKING_VIEW)),
    condition(
        "status",
        lambda row: row.record.status,
        priority=3,
        definition="Outcome: ok; mismatch (fast, but its answers are wrong); undetermined (the reference proves nothing);"
        " unavailable, unsupported, failed, timeout (no figures).",
        views=(CHECK_VIEW, TAG_VIEW),
    ),
    Column(
        name="reason",
        value=lambda row: row.record.reason,
        number=False,
        measured=False,
        shown=False,
        definition="Reason for a status that is not ok.",
        views=(TAG_VIEW,),
    ),
    Column(
        name="executed",
        value=lambda row: executed(row.record),
        number=False,
        varies=True,
        priority=23,
        definition="Arithmetic that ran by the runtime's own evidence, the type of most layers first.",
        views=(CHECK_VIEW, RANKING_VIEW, TAG_VIEW),
    ),
    Column(
        name="placement",
        value=lambda row: placement(row.record),
        number=False,
        shown=False,
        definition="Number of nodes on the requested device, and of kernels in the requested arithmetic, each of all.",
        views=(CHECK_VIEW, TAG_VIEW),
    ),
    Column(
        name="settings",
        value=_settings,
        number=False,
        shown=False,
        definition="Settings of the runtime that were read back from it.",
    ),
    Column(
        name="conversion",
        value=stored("opened", "conversion"),
        number=False,
        shown=False,
        definition="Way in which the file was quantized: scheme, calibration and excluded nodes.",
        views=(TAG_VIEW,),
    ),
)
