"""Cold caches: the flush is outside of every time, rows have latency only, and who reads them knows the axis."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.results.compare.compare import compare
from onnxbench.results.recommend.by_model import split_models
from onnxbench.results.store import record, series
from onnxbench.results.table import table
from onnxbench.runners.sweep.arrays import check_conditions
from onnxbench.runners.worker import cell_jobs, flush
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.lanes import Length, throughput
from onnxbench.runners.worker.measure import end_to_end, latency, on_device
from onnxbench.spec import COLD, WARM, Cell, Load, Settings, Sweep

from .in_process import TINY, UNLABELLED, Bench, Works
from .test_feedback import ZERO, stateful
from .test_input_turns import ARRAYS, Echo, turning

FLUSH_NS = 10**6


def cold(session):
    """`session`, with a flush before each call."""

    def flushed():
        session.ns += FLUSH_NS
        session.flushes = getattr(session, "flushes", 0) + 1

    session.precede = flushed
    return session


def test_the_flush_is_in_no_latency():
    session = cold(Echo())
    session.bind(ARRAYS[1])
    assert latency(session, session.now, least_ns=0, least_calls=4).tolist() == [15] * 4
    assert session.flushes == 4


def test_the_flush_comes_after_the_copy_of_an_array_and_of_a_state():
    log = []

    class Logged(Echo):
        def bind(self, inputs):
            log.append("bind")

        def start(self):
            log.append("start")

    session = turning(Logged)
    session.precede = lambda: log.append("flush")
    latency(session, session.now, least_ns=0, least_calls=2)
    assert log == ["bind", "flush", "start"] * 2
    with_state = cold(stateful())
    assert set(latency(with_state, with_state.now, least_ns=0, least_calls=9).tolist()) == {10}


def test_the_flush_is_in_no_time_from_host_to_host():
    session = cold(stateful())
    assert end_to_end(session, ZERO, session.now, least_ns=0, least_calls=3).tolist() == [2010] * 3
    assert session.flushes == 3


def test_the_flush_precedes_a_call_that_the_device_times():
    session = cold(Echo())
    session.device_ns = lambda: 7
    assert on_device(session, session.now, least_ns=0, least_calls=3).tolist() == [7] * 3
    assert session.flushes == 3


def test_calls_in_flight_are_not_flushed():
    session = cold(Echo())
    clock = iter(range(0, 10**9, 1000))
    throughput([session], lambda: next(clock), Length(least_ns=20_000))
    assert not hasattr(session, "flushes")


def caches(root, *sizes):
    """A system with these caches: (cpu, index, level, size, kind, CPUs that share it)."""
    for cpu, index, level, size, kind, shared in sizes:
        folder = root / f"cpu{cpu}/cache/index{index}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("size", size), ("type", kind), ("shared_cpu_list", shared)):
            (folder / name).write_text(f"{text}\n")
    return root


def test_the_buffer_is_larger_than_the_last_level_caches_of_all_sockets(tmp_path):
    found = caches(
        tmp_path,
        *[(cpu, 0, 1, "48K", "Data", cpu) for cpu in range(4)],
        *[(cpu, 2, 2, "2048K", "Unified", cpu) for cpu in range(4)],
        *[(cpu, 3, 3, "30M", "Unified", "0-1" if cpu < 2 else "2-3") for cpu in range(4)],
    )
    assert flush.host_bytes(found) == 1.25 * 2 * 30 * 2**20


def test_a_cache_of_instructions_and_a_folder_without_a_size_do_not_count(tmp_path):
    found = caches(tmp_path, (0, 1, 9, "64K", "Instruction", 0), (0, 2, 2, "1M", "Unified", 0), (0, 3, 3, "?", "Unified", 0))
    assert flush.host_bytes(found) == 1.25 * 2**20


def test_without_a_list_of_caches_the_c_library_or_a_guess_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(flush.os, "sysconf", lambda name: 8 * 2**20)
    assert flush.host_bytes(tmp_path) == 10 * 2**20
    monkeypatch.setattr(flush.os, "sysconf", lambda name: 0)
    assert flush.host_bytes(tmp_path) == flush.UNKNOWN_BYTES


def test_each_flush_reads_and_writes_every_number_on_every_cpu(monkeypatch):
    bound = []
    monkeypatch.setattr(flush.os, "sched_setaffinity", lambda _, cpus: bound.append((threading.get_ident(), *cpus)))
    flushed = flush.HostFlush(8 * 1001, (0, 1, 2))
    for count in (1, 2):
        flushed()
        assert np.array_equal(flushed.numbers, np.full(1001, count))
    assert sorted(cpu for _, cpu in bound) == [0, 1, 2]
    assert len({thread for thread, _ in bound}) == 3


def test_a_device_flushes_itself_and_the_host_has_one_buffer():
    log = []

    class OnDevice(Echo):
        def flush_bytes(self):
            return 10**8

        def flush(self):
            log.append("device")

    flush.flush_of(OnDevice(), lambda: 1 / 0, Clock())()
    assert log == ["device"]
    quiet = Clock(cpu_ns=lambda: 0, sleep_s=lambda _: log.append("settled"))
    flush.flush_of(Echo(), lambda: lambda: log.append("host"), quiet)()
    assert log == ["device", "settled", "host"]
    assert flush.describe(OnDevice()) == "100 MB (GPU)"
    assert flush.describe(Echo(), lambda: 2 * 10**8).startswith("200 MB (host, ")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"caches": ("warm", "hot")}, "'hot' is not a state of the caches"),
        ({"caches": ("cold",), "load": Load(percentile=99, limit_ms=1)}, "--cache cold cannot be used with --load"),
        ({"caches": ("warm", "cold"), "metric": "throughput"}, "--metric throughput is not measured with --cache cold"),
    ],
)
def test_what_cold_caches_cannot_measure_is_refused(asked, message):
    check_conditions(Sweep(caches=("warm", "cold")))
    with pytest.raises(BadInput, match=message):
        check_conditions(Sweep(**asked))


def test_a_warm_cell_has_the_key_and_the_name_that_it_had_before():
    cell = Cell(
        **{"model": "m", "sha256": "", "backend": "b", "device": "cpu", "precision": "fp32", "batch": 1, "shapes": ()},
        settings=Settings(threads=1),
    )
    assert replace(cell, cache=WARM).key == cell.key != replace(cell, cache=COLD).key
    assert (cell.id, replace(cell, cache=COLD).id) == ("m/b/cpu/fp32/b1", "m/b/cpu/fp32/b1/cold")


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A run with warm and cold caches, whose host has a small buffer. Returns the run and the number of its flushes."""
    flushes = []

    class Counted(flush.HostFlush):
        def __init__(self, nbytes, cpus):
            super().__init__(800, (None,))

        def __call__(self):
            flushes.append(1)
            super().__call__()

    monkeypatch.setattr(cell_jobs.flush, "HostFlush", Counted)
    works = Works((UNLABELLED,), lambda *_: {}, 0, {})
    asked = {"precisions": ("fp32",), "batches": (1,), "budget": replace(TINY, looks=(2,)), "caches": ("warm", "cold")}
    return Bench(tmp_path, works).infer(**asked), works, flushes


def test_a_cold_row_stands_beside_the_warm_one_and_has_latency_only(measured):
    found, works, flushes = measured
    run = record.read_run(found.out)
    warm, cold_one = sorted(run.cells, key=lambda item: item.cell.cache != WARM)
    assert (warm.status, cold_one.status, cold_one.cell.cache) == ("ok", "ok", COLD)
    assert [len(item.blocks) for item in (warm, cold_one)] == [2, 2]
    assert set(works.asked("throughput", "key")) == {warm.cell.key}
    assert all(block.throughput is None for block in cold_one.blocks.values())
    assert len(flushes) >= sum(block.calls for block in cold_one.blocks.values()) > 0
    assert "throughput" in series.figures(warm)
    assert "throughput" not in series.figures(cold_one)
    rows = {row["cache"]: row for row in table.build([run]).rows}
    assert rows[COLD]["p50_ms"] is not None
    assert [rows[COLD][name] for name in ("throughput_per_s", "throughput_settings")] == [None, None]
    assert rows[None]["throughput_per_s"] is not None
    assert "flush=" in rows[COLD]["settings"]


def test_two_runs_with_cold_rows_are_compared_by_their_latency(measured):
    found, _, _ = measured
    run = record.read_run(found.out)
    _, changes = compare([run], [run])
    names = {cache: {change.metric.name for change in changes if change.pair.cell.cache == cache} for cache in (WARM, COLD)}
    assert (names[WARM] - names[COLD], "p50" in names[COLD]) == ({"throughput"}, True)


def test_the_answers_of_a_cold_row_are_compared_too(measured):
    found, _, _ = measured
    answered = {item.cell.cache: item.answered for item in record.read_run(found.out).cells}
    assert (answered[COLD].answers, answered[COLD].part) == (1, "latency")
    assert answered[WARM].answers > 1


def test_a_recommendation_is_about_warm_caches_where_both_are_measured(measured):
    found, _, _ = measured
    run = record.read_run(found.out)
    (rows,) = split_models([run], table.lines([run]))
    assert [row.record.cell.cache for row, _ in rows.measured] == [WARM]
    only = replace(run, cells=tuple(item for item in run.cells if item.cell.cache == COLD))
    (rows,) = split_models([only], table.lines([only]))
    assert [row.record.cell.cache for row, _ in rows.measured] == [COLD]
