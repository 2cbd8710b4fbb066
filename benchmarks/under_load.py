"""The rate that a limit of latency allows, by onnxbench and by MLPerf LoadGen's Server scenario, for ort-cpu in one run.

    pip install mlcommons-loadgen
    python benchmarks/under_load.py FILE.onnx [LIMIT_MS] [TURNS] [SECONDS]

Both load the same file with the same lanes, in turns at the same rates: onnxbench's worker with its own queue, and LoadGen that
draws and times the queries itself, with threads that take them from Python's queue. p99 is what each says. Both curves are
read off in the same way (`results/table/load.py`), at LIMIT_MS (four times the latency of a call) and at twice that.
"""

from __future__ import annotations

import importlib
import queue
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import peers
from onnxbench.evidence import LoadPoint
from onnxbench.results.stats.intervals import LEAST_ROUNDS
from onnxbench.results.table.load import capacity
from onnxbench.spec import Concurrency
from tool import BenchmarkCell, ratio, told

SHARES = (0.3, 0.5, 0.65, 0.75, 0.85, 0.92)
PERCENTILE = 99.0
LEAST_ITEMS = 1000


class Server:
    """LoadGen's system under test: `lanes` threads, each of which answers one query at a time."""

    def __init__(self, file: str, how: Concurrency) -> None:
        self.lg: Any = importlib.import_module("mlperf_loadgen")
        load = peers.Load(file=file, batch=1, threads=how.threads, lanes=how.lanes)
        session, _ = peers.ort_session(load)
        self.waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(how.lanes):
            call = peers.ort_call(session, peers.arrays(load))
            threading.Thread(target=self._answer, args=(call,), daemon=True).start()

    def _answer(self, call: Any) -> None:
        while True:
            sample = self.waiting.get()
            call()
            self.lg.QuerySamplesComplete([self.lg.QuerySampleResponse(sample, 0, 0)])

    def point(self, asked: dict[str, Any], limit_ms: float) -> LoadPoint:
        """Figures of LoadGen's summary for this rate, as onnxbench's record has a point."""

        def issue(samples: Any) -> None:
            for sample in samples:
                self.waiting.put(sample.id)

        system = self.lg.ConstructSUT(issue, lambda: None)
        library = self.lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
        try:
            with tempfile.TemporaryDirectory() as folder:
                audit = str(Path(folder, "audit.config"))
                setup = self._setup(folder, asked, limit_ms)
                self.lg.StartTestWithLogSettings(system, library, *setup, audit)
                summary = Path(folder, "mlperf_log_summary.txt").read_text()
        finally:
            self.lg.DestroyQSL(library)
            self.lg.DestroySUT(system)
        p99 = int(peers.said(r"^99\.00 percentile latency \(ns\) *: *(\d+)", summary))
        return LoadPoint(rate_per_s=asked["rate_per_s"], latency_ns={f"{PERCENTILE:g}": p99})

    def _setup(self, folder: str, asked: dict[str, Any], limit_ms: float) -> tuple[Any, Any]:
        settings, logs = self.lg.TestSettings(), self.lg.LogSettings()
        settings.scenario, settings.mode = self.lg.TestScenario.Server, self.lg.TestMode.PerformanceOnly
        settings.server_target_qps, settings.server_target_latency_ns = asked["rate_per_s"], round(limit_ms * 1e6)
        settings.server_target_latency_percentile = PERCENTILE / 100
        settings.min_duration_ms = round(asked["items"] / asked["rate_per_s"] * 1e3)
        settings.min_query_count = settings.max_query_count = asked["items"]
        settings.schedule_rng_seed = 1 + asked["seed"]
        logs.log_output.outdir, logs.enable_trace = folder, False
        return settings, logs


def main() -> None:
    file = str(Path(sys.argv[1]).absolute())
    given = dict(enumerate(sys.argv[2:]))
    turns, seconds = int(given.get(1, 10)), float(given.get(2, 4.0))
    with BenchmarkCell("ort-cpu", file, 1) as cell:
        print(f"ort-cpu, batch 1: {cell.warm(search=True)}", flush=True)
        how, top = cell.concurrency, cell.throughput(1.0)
        limit_ms = float(given.get(0, 4 * how.lanes / top * 1e3))
        server = Server(file, how)
        curves: list[dict[str, list[LoadPoint]]] = []
        for turn in range(turns):
            curve: dict[str, list[LoadPoint]] = {"ours": [], "theirs": []}
            for share in SHARES:
                items = max(LEAST_ITEMS, round(share * top * seconds))
                asked = {"rate_per_s": share * top, "items": items, "seed": turn}
                visits = {
                    "ours": lambda asked=asked: cell.load(**asked, give_up_ms=20 * limit_ms),
                    "theirs": lambda asked=asked: server.point(asked, limit_ms),
                }
                for who in sorted(visits, reverse=bool(turn % 2)):
                    curve[who].append(visits[who]())
            curves.append(curve)
            _tell(curve, limit_ms, turn)
    for limit in (limit_ms, 2 * limit_ms) if turns >= LEAST_ROUNDS else ():
        found = {who: [_allowed(curve[who], limit) for curve in curves] for who in ("ours", "theirs")}
        print(f"p99 <= {limit:.2f} ms: onnxbench over LoadGen {told(ratio(found['ours'], found['theirs']))}", flush=True)


def _allowed(points: list[LoadPoint], limit_ms: float) -> float:
    found = capacity(points, PERCENTILE, limit_ms * 1e6)
    assert found is not None
    if found.rate_per_s is None:
        raise SystemExit(f"p99 <= {limit_ms:.2f} ms holds at none of the rates; give a higher limit")
    return found.rate_per_s


def _tell(curve: dict[str, list[LoadPoint]], limit_ms: float, turn: int) -> None:
    parts = [f"{who} {_allowed(points, limit_ms):.1f}/s" for who, points in curve.items()]
    p99 = [[f"{(point.latency_ns.get('99') or 0) / 1e6:.2f}" for point in points] for points in curve.values()]
    print(f"turn {turn}: {', '.join(parts)} at {limit_ms:.2f} ms; p99 {' '.join(p99[0])} | {' '.join(p99[1])} ms", flush=True)


if __name__ == "__main__":
    main()
