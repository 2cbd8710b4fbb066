"""Why a row has no figure in a column, and what to measure to have one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..stats.intervals import LEAST_ROUNDS
from ..stats.percentiles import samples_needed
from .columns import Row

WITHHELD: Mapping[str, tuple[str, float]] = {
    "p50_ms": ("p50", 50),
    "p90_ms": ("p90", 90),
    "p99_ms": ("p99", 99),
    "e2e_p50_ms": ("e2e_p50", 50),
}
LABELS = "no labels: give --dataset"
COLD = "not measured: give --cold"
BASELINE = "no other row to compare with: measure with --baseline"
INTERVAL = f"fewer than {LEAST_ROUNDS} rounds: --budget normal"
PARITY = "its answers were not compared with the FP32 reference's"
ON_GPU = "known of a GPU alone"
REASONS: Mapping[str, str] = {
    **dict.fromkeys(("top1", "top1_drop", "top1_drop_ci_low", "top1_drop_ci_high", "top1_change_p", "images"), LABELS),
    **dict.fromkeys(("cold_s", "cold_process_s", "cold_import_s", "cold_load_s", "cold_first_ms"), COLD),
    **dict.fromkeys(("speedup", "speedup_ci_low", "speedup_ci_high"), BASELINE),
    **dict.fromkeys(("p50_ci_low_ms", "p50_ci_high_ms"), INTERVAL),
    **dict.fromkeys(("agreement", "sqnr_db", "max_abs_err", "rel_err"), PARITY),
    "build_s": "nothing is compiled ahead for it",
    "slo_rate_per_s": "not measured: give --load poisson --slo p99=10ms",
}
GPU_COLUMNS = ("device_mem_mb", "device_p50_ms", "energy_mj", "gpu_power_w", "gpu_mhz", "gpu_temperature_c")


def absent(name: str, row: Row) -> str:
    """Why the column `name` is null in `row`, whose status has figures; with the metric's name in front."""
    if row.record.imported:
        return f"{name}: {row.record.imported.tool} does not tell it"
    if name in WITHHELD:
        metric, which = WITHHELD[name]
        return f"{metric} was withheld (fewer than {samples_needed(which)} samples): measure with --metric {metric}"
    return f"{name}: {REASONS.get(name) or _of_the_device(name, row)}"


def _of_the_device(name: str, row: Row) -> str:
    if name in GPU_COLUMNS and row.record.cell.device == "cpu":
        return ON_GPU
    if name == "energy_mj" and row.record.energy and row.record.energy.reason:
        return row.record.energy.reason
    if name in ("peak_rss_mb", "device_mem_mb"):
        budget = row.asked.budget.name if row.asked else "quick"
        return f"not measured at {budget}: --budget normal" if budget == "quick" else "not measured: give --cold"
    return "the run does not have it"
