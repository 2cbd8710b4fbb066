"""Columns of the builds of an engine: their number, their spread, and the engine that was measured. Pure."""

from __future__ import annotations

from ....axes import Scalar
from ..builds import build_count, spread_percent
from ..column import LESS, Column, stored
from ..findings import Finding
from ..row import Row


def _no_spread(row: Row) -> Finding:
    kind = "absent_build" if build_count(row.record) is None else "absent_builds"
    return Finding.of(kind, column="build_spread")


COLUMNS = (
    Column(
        name="builds",
        value=lambda row: build_count(row.record),
        decimals=0,
        priority=46,
        partial=True,
        varies=True,
        absent="absent_build",
        definition="Builds that were measured: engines, or processes of a runtime that chooses its kernels at every opening.",
    ),
    Column(
        name="build_spread",
        value=lambda row: spread_percent(row.record),
        unit="%",
        title="build spread",
        digits=2,
        priority=45,
        better=LESS,
        absent=_no_spread,
        definition="Difference of the slowest and the fastest build in p50, in % of the middle one, each in its own processes.",
    ),
    Column(
        name="engine_sha256",
        value=stored("opened", "engine_sha256"),
        number=False,
        shown=False,
        absent="absent_build",
        definition="SHA-256 of the engine that was measured.",
    ),
)


def _converter(row: Row) -> Scalar:
    converted = row.record.converted
    return ", ".join(f"{name} {version}" for name, version in converted.versions.items()) if converted else None


CONVERTED = (
    Column(
        name="convert_s",
        value=stored("converted", "convert_s"),
        unit="s",
        title="convert",
        priority=37,
        better=LESS,
        absent="absent_conversion",
        definition="Time to convert the file to the format of its runtime, when it was converted.",
    ),
    Column(
        name="converter",
        value=_converter,
        number=False,
        shown=False,
        absent="absent_conversion",
        definition="Packages of the program that converted the file, with their versions.",
    ),
)
