"""Columns of the costs of a deployment: cold starts, memory, size and energy. Pure."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from ....axes import Scalar
from .. import gpu
from ..column import LESS, MEMORY, ONE_CALL, PICK_VIEW, RANKING_VIEW, Column, stored, timed
from ..findings import Finding
from ..row import Row


def _cold(name: str) -> Callable[[Row], Scalar]:
    """Median over the cell's fresh processes. Memory has some without `--cold` too."""

    def value(row: Row) -> Scalar:
        figures = [figure for event in row.record.cold if (figure := getattr(event, name)) is not None]
        return float(median(figures)) if figures else None

    return value


def _unmeasured_memory(name: str) -> Callable[[Row], Finding]:
    def finding(row: Row) -> Finding:
        # budgets above quick measure memory without --cold
        quick = row.sweep is None or row.sweep.budget.name == "quick"
        return Finding.of("absent_at_quick" if quick else "absent_cold", column=name)

    return finding


def _unmeasured_energy(name: str) -> Callable[[Row], Finding]:
    def finding(row: Row) -> Finding:
        reason = row.record.energy.reason if row.record.energy else None
        return Finding.of("absent_because", column=name, reason=reason) if reason else Finding.of("absent", column=name)

    return finding


def _power_w(row: Row, *, on_cpu: bool) -> Scalar:
    """Mean power of the energy's pass, for a row on a device of this kind."""
    energy = row.record.energy
    return energy.power_w if energy and (row.record.cell.device == "cpu") == on_cpu else None


COLUMNS = (
    Column(
        name="cold_s",
        value=_cold("cold_s"),
        unit="s",
        title="cold start",
        priority=33,
        better=LESS,
        absent="absent_cold",
        definition="Time from the start of a fresh process to its first answer.",
    ),
    Column(
        name="cold_process_s",
        value=_cold("process_s"),
        unit="s",
        title="process",
        priority=45,
        better=LESS,
        absent="absent_cold",
        definition="Part of the cold start until the process runs.",
    ),
    Column(
        name="cold_import_s",
        value=_cold("import_s"),
        unit="s",
        title="import",
        priority=45,
        better=LESS,
        absent="absent_cold",
        definition="Part of the cold start that imports the runtime.",
    ),
    Column(
        name="cold_load_s",
        value=_cold("load_s"),
        unit="s",
        title="cold load",
        priority=45,
        better=LESS,
        absent="absent_cold",
        definition="Part of the cold start that loads the model.",
    ),
    Column(
        name="cold_first_ms",
        value=_cold("first_ms"),
        unit="ms",
        title="cold first",
        priority=45,
        better=LESS,
        absent="absent_cold",
        definition="Part of the cold start that is the first call.",
    ),
    Column(
        name="peak_rss_mb",
        value=_cold("peak_rss_mb"),
        unit="MB",
        title="memory",
        priority=31,
        better=LESS,
        compared=MEMORY,
        objective="memory",
        in_flight=ONE_CALL,
        cheaper="takes less memory",
        absent=_unmeasured_memory("peak_rss_mb"),
        views=(RANKING_VIEW, PICK_VIEW),
        definition="Peak resident memory of a fresh process that loads the model and answers once.",
    ),
    Column(
        name="device_mem_mb",
        value=_cold("device_mem_mb"),
        unit="MB",
        title="GPU memory",
        priority=32,
        gpu=True,
        better=LESS,
        compared=MEMORY,
        objective="memory",
        in_flight=ONE_CALL,
        absent=_unmeasured_memory("device_mem_mb"),
        views=(RANKING_VIEW, PICK_VIEW),
        definition="GPU memory of a fresh process that loads the model and answers once.",
    ),
    Column(
        name="artifact_mb",
        value=stored("opened", "artifact_mb"),
        unit="MB",
        title="file",
        varies=True,
        priority=36,
        better=LESS,
        definition="Size of the ONNX file with its external data.",
    ),
    timed(
        "energy_mj",
        stored("energy", "energy_mj"),
        unit="mJ",
        title="energy",
        priority=34,
        better=LESS,
        objective="energy",
        cheaper="takes less energy",
        absent=_unmeasured_energy("energy_mj"),
        views=(RANKING_VIEW, PICK_VIEW),
        definition="Energy of the GPU, or on a CPU of all whole CPU packages (RAPL), for one item with all lanes busy.",
    ),
    timed(
        "gpu_power_w",
        lambda row: _power_w(row, on_cpu=False),
        unit="W",
        title="GPU power",
        gpu=True,
        shown=False,
        definition="Mean power of the GPU while its energy was measured.",
    ),
    timed(
        "gpu_mhz",
        lambda row: gpu.clock_mhz(row.record),
        unit="MHz",
        title="GPU clock",
        gpu=True,
        shown=False,
        definition="Median clock of the GPU's multiprocessors over the rounds that count.",
    ),
    timed(
        "gpu_temperature_c",
        lambda row: gpu.temperature_c(row.record),
        unit="°C",
        title="GPU temperature",
        gpu=True,
        shown=False,
        definition="Highest temperature of the GPU over the rounds that count.",
    ),
)

CPU_POWER = timed(
    "cpu_power_w",
    lambda row: _power_w(row, on_cpu=True),
    unit="W",
    title="CPU power",
    shown=False,
    absent=_unmeasured_energy("cpu_power_w"),
    definition="Mean power of all whole CPU packages (RAPL), with everything that ran on them, while the energy was measured.",
)
