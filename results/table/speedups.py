"""Geometric mean of speed-ups over several models, for each backend and precision. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from ...axes import Scalar
from ...errors import quantity
from ...spec import Target
from ..stats.intervals import LEAST_RUNS, Interval, difference, of_runs
from .findings import Finding
from .row import Row

SHARED = ("host", "backend", "environment", "device", "precision", "scheme", "threads")  # columns with one value in a mean

Measured = Sequence[tuple[Row, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanSpeedup:
    """Geometric mean of the speed-ups of several models on one backend in one precision.

    - `case`: the values of SHARED. `name`: the values that tell this mean apart.
    - `mean`: the mean; each model counts once, with the geometric mean of its rows.
    - `interval`: 95 %, Student's t over the models' log speed-ups; None for fewer than LEAST_RUNS models.
    - `models`: models in the mean. `left_out`: the other models of the table, without an `ok` row that has a speed-up.
    """

    case: dict[str, Scalar]
    name: str
    mean: float
    interval: Interval | None
    models: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def findings(self) -> list[Finding]:
        """The mean, and the models that it lacks."""
        count = quantity(len(self.models), "model")
        if self.interval:
            mean = Finding.of("mean_speedup", models=count, mean=self.mean, low=self.interval.low, high=self.interval.high)
        else:
            mean = Finding.of("mean_speedup_few", models=count, mean=self.mean, needed=LEAST_RUNS)
        lacks = [Finding.of("mean_speedup_lacks", models=", ".join(self.left_out))] if self.left_out else []
        return [replace(finding, rows=(self.name,)) for finding in (mean, *lacks)]

    def wire(self) -> dict[str, Any]:
        """The mean as JSON data."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (None, None)
        return {
            **self.case,
            "models": self.models,
            "left_out": self.left_out,
            "mean": self.mean,
            "ci_low": low,
            "ci_high": high,
        }


def mean_speedups(measured: Measured) -> list[MeanSpeedup]:
    """Means of the speed-ups in a table of several models, in the order of its rows. Empty for a table of one model.

    Rows without the status `ok` do not count: a wrong answer that is fast is no speed-up. Nor do the rows of the baseline.
    """
    models = list(dict.fromkeys(str(cells["model"]) for row, cells in measured if not row.record.cell.roof))
    speedups: dict[tuple[Scalar, ...], dict[str, list[float]]] = {}
    for row, cells in measured:
        if len(models) > 1 and row.base is not None and row.base is not row.record and not row.instrument:
            of_model = speedups.setdefault(tuple(cells[name] for name in SHARED), {})
            if cells["status"] == "ok" and cells["speedup"]:
                of_model.setdefault(str(cells["model"]), []).append(float(cells["speedup"]))
    cases = [dict(zip(SHARED, values)) for values in speedups]
    several = {name for name in SHARED if len({case[name] for case in cases}) > 1}
    pairs = zip(cases, speedups.values())
    return [_mean(case, _name(case, several), of_model, models) for case, of_model in pairs if of_model]


def _mean(case: dict[str, Scalar], name: str, speedups: dict[str, list[float]], models: Sequence[str]) -> MeanSpeedup:
    figures = [math.exp(fmean(map(math.log, values))) for values in speedups.values()]
    # The unit of the interval is the model: rows of one model at several batches are no independent figures.
    estimate = of_runs(figures)
    return MeanSpeedup(
        case=case,
        name=name,
        mean=math.exp(fmean(map(math.log, figures))),
        interval=difference([estimate], []) if estimate else None,
        models=tuple(speedups),
        left_out=tuple(model for model in models if model not in speedups),
    )


def _name(case: dict[str, Scalar], several: set[str]) -> str:
    """`ort-cpu@new int8`, followed by the scheme, device, threads and host if these differ between the means."""
    target = Target(backend=str(case["backend"]), environment=str(case["environment"] or ""))
    parts = {"scheme": "{}", "device": "{}", "threads": "{} threads", "host": "on {}"}
    rest = [text.format(case[name]) for name, text in parts.items() if name in several and case[name]]
    return " ".join([str(target), str(case["precision"]), *rest])
