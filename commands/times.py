"""Types of the options about times under load and about the clock. click alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import click

from .options import KeyValue, ParamType

BASE = "base"
SLO_PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")


class Duration(ParamType):
    """Time in ms, such as `2ms` or `500us`; a number without a unit is in ms."""

    name = "TIME"
    units: ClassVar[Mapping[str, float]] = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "": 1.0}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        parts = re.fullmatch(r"([0-9.]+)\s*(\D*)", str(value).strip())
        number, unit = parts.groups() if parts else ("", "")
        try:
            return float(number) * self.units[unit]
        except (ValueError, KeyError):
            self.fail(f"{value!r} is not a time; write for example 2ms, 500us or 1s", param, ctx)


class Slo(KeyValue):
    """Percentile of the response times and its limit in ms, such as `p99=10ms`."""

    name = "PERCENTILE=TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        name, limit = super().convert(value, param, ctx)
        if name not in SLO_PERCENTILES:
            self.fail(f"{name!r} is not one of {', '.join(SLO_PERCENTILES)}; write for example p99=10ms", param, ctx)
        limit_ms = Duration().convert(limit, param, ctx)
        if not limit_ms > 0:
            self.fail(f"{limit!r} is not above 0, so no response can keep it; write for example p99=10ms", param, ctx)
        return float(name[1:]), limit_ms


class Megahertz(ParamType):
    """Clock in MHz, such as `1500`; `base` is 0."""

    name = "MHZ"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        parts = re.fullmatch(r"([0-9]{1,5})\s*(?:MHz)?", str(value).strip(), re.IGNORECASE)
        if str(value) != BASE and not (parts and int(parts[1])):
            self.fail(f"{value!r} is not a clock in MHz; write for example 1500, or nothing for the base clock", param, ctx)
        return int(parts[1]) if parts else 0
