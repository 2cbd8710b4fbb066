"""A cell on several GPUs: its plan, its workers, the answers of all together, and the scaling in the table."""

from dataclasses import replace

import numpy as np
import pytest
from onnxbench.backends.null import GPUS_VARIABLE, Null
from onnxbench.errors import BadInput, RuntimeFailed, WorkerDied
from onnxbench.evidence import Counts, Energy, GpuCounts, Info, Opened, Rate, Verified, Warm
from onnxbench.results.recommend.candidates import candidates, parse_request
from onnxbench.results.store.outcome import exit_code
from onnxbench.results.store.record import read_run
from onnxbench.results.table.columns import BY_NAME
from onnxbench.results.table.table import lines
from onnxbench.runners.pool import replica_answers as combine
from onnxbench.runners.pool.memory import Limits, Room
from onnxbench.runners.pool.replicas import Replicas, start_worker
from onnxbench.runners.pool.survey import ProbedBackend
from onnxbench.runners.sweep.cells import ActiveCell, has_load
from onnxbench.runners.sweep.devices import note_one_gpu
from onnxbench.runners.sweep.plan import Defaults, plan
from onnxbench.runners.sweep.rounds import is_base
from onnxbench.runners.worker.blocks import wait_until
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import (
    Close,
    Here,
    Inspect,
    Open,
    Started,
    There,
    TimedAnswer,
    TimedAnswers,
    TimedThroughput,
    TimeLatency,
    TimeThroughput,
    Verify,
    WarmUp,
)
from onnxbench.runners.worker.verify import save_arrays
from onnxbench.spec import COLD, Concurrency, Device, Load, Settings, Sweep

from .groups import ARTIFACT, Works, measure

ONE, TWO = Device(kind="cuda", index=0), Device(kind="cuda", index=1)
GPU = ProbedBackend(
    name="null", available=True, device_kind="cpu", devices=("cpu", "cuda:0 H200", "cuda:1 H200"), options=Null.options
)
SINGLE = replace(GPU, devices=("cuda:0 H200",))
ABSENT = replace(GPU, available=False, devices=(), reason="no driver")


def planned(device, *found, **sweep):
    asked = Sweep(device=device, backends=("null",), batches=(1,), **sweep)
    return plan(asked, [ARTIFACT], found, Defaults(shapes={}, threads=1))


def devices(rows):
    return [row.cell.device for row in rows]


def test_all_gpus_are_a_row_beside_that_of_the_first():
    assert devices(planned("cuda:all", GPU)) == ["cuda:0", "cuda:0-1"]
    assert devices(planned("cuda:0-1", GPU)) == ["cuda:0", "cuda:0-1"]


def test_one_gpu_is_all_that_there_is():
    assert devices(planned("cuda:all", SINGLE)) == ["cuda:0"]
    assert note_one_gpu(Sweep(device="cuda:all"), [SINGLE])
    assert not any(note_one_gpu(Sweep(device=device), [GPU, SINGLE]) for device in (None, "cpu", "cuda:0"))
    assert not note_one_gpu(Sweep(device="cuda:all"), [GPU])


@pytest.mark.parametrize(
    ("device", "found", "says"),
    [
        ("cuda:0-1", SINGLE, r"1 GPU \(cuda:0 H200\); use cuda:0$"),
        ("cuda:1", SINGLE, r"1 GPU \(cuda:0 H200\)"),
        ("cuda:1-2", GPU, r"2 GPUs \(cuda:0 H200, cuda:1 H200\); use cuda:all"),
        ("cuda:all", replace(GPU, devices=("cuda:0 H200", "cuda:1 A2")), "one model.*cuda:1 A2"),
    ],
)
def test_a_gpu_that_is_not_there_is_told_with_those_that_are(device, found, says):
    with pytest.raises(BadInput, match=says):
        planned(device, found)


def test_without_a_gpu_the_row_has_the_reason():
    (row,) = planned("cuda:all", ABSENT)
    assert (row.cell.device, row.refused) == ("cuda:0", ("unavailable", "no driver"))


def test_cold_caches_are_those_of_one_gpu():
    rows = planned("cuda:all", GPU, caches=("warm", COLD))
    assert [(row.cell.device, row.cell.cache) for row in rows] == [("cuda:0", "warm"), ("cuda:0-1", "warm"), ("cuda:0", COLD)]


def test_the_row_of_one_gpu_is_measured_as_long_as_that_of_all():
    one, both = (ActiveCell(planned=row) for row in planned("cuda:all", GPU))
    assert is_base(one, both, Sweep())
    assert not is_base(both, one, Sweep())
    assert not is_base(one, one, Sweep())
    assert not is_base(both, both, Sweep(baseline="null"))
    assert is_base(one, one, Sweep(baseline="null"))


def test_load_is_measured_on_one_gpu():
    load = Sweep(load=Load(percentile=99, limit_ms=10))
    assert [has_load(row, load) for row in planned("cuda:all", GPU)] == [True, False]


@pytest.mark.parametrize("device", ["cuda:all", "cuda:0-1"])
def test_all_gpus_that_were_named_need_a_row_that_is_ok(device, pair):
    assert exit_code(read_run(pair(10, 20).path), Sweep(device=device)) == 0
    assert exit_code(read_run(pair(10, None, name="b").path), Sweep(device=device)) == 3


@pytest.fixture
def gpus(monkeypatch):
    """GPUs of the null backend."""
    monkeypatch.setenv(GPUS_VARIABLE, "2")


@pytest.mark.parametrize(("device", "runs"), [("cuda:0", True), ("cuda:1", True), ("cuda:2", False), ("cpu", True)])
def test_the_null_backend_lists_gpus_that_do_not_exist(gpus, make_cell, make_artifact, device, runs):
    assert Null().probe().devices == ("cpu", "cuda:0 null", "cuda:1 null")
    assert (Null().supports(make_cell(backend="null", device=device), make_artifact()) is None) is runs


class Workshop:
    """Two workers in this process, with the null backend on a GPU each, behind one worker."""

    def __init__(self, folder, plots=(), fault=""):
        self.works = [Works(*plots[index : index + 1]) for index in range(2)]
        options = (("fault", fault),) if fault else ()
        (_, row) = planned("cuda:all", GPU)
        self.cell = replace(row.cell, settings=Settings(threads=1, options=options))
        self.active = ActiveCell(planned=replace(row, cell=self.cell), concurrency=Concurrency(lanes=2))
        self.folder = folder
        for works in self.works:
            works.names = {replace(self.cell, device=f"cuda:{index}").key: f"on {index}" for index in range(2)}

    def hire(self, active=None):
        workers = [works.hire(active) for works in self.works]
        return Replicas(dict(zip((ONE, TWO), workers)), self.works[0].clock)

    def opened(self):
        save_arrays(self.folder, {"input": np.zeros((1, 2), np.float32)})
        worker = self.hire()
        worker.ask(Open(cell=self.cell, artifact=ARTIFACT, inputs=Here(path=str(self.folder))), 1)
        return worker

    def asked(self, job):
        return [sum(name == job for name, _ in works.asked) for works in self.works]


@pytest.fixture
def workshop(tmp_path, gpus):
    return lambda *plots, **how: Workshop(tmp_path / "in", plots, **how)


def test_every_gpu_has_a_replica_with_a_key_of_its_own(workshop):
    shop = workshop()
    worker = shop.opened()
    states = [list(works.hired[0].state.open_cells.values()) for works in shop.works]
    assert [[cell.cell.device for cell in cells] for cells in states] == [["cuda:0"], ["cuda:1"]]
    assert (worker.network, worker.resident_mb()) == ("isolated", 200)
    worker.ask(Close(key=shop.cell.key), 1)
    assert not any(works.hired[0].state.open_cells for works in shop.works)
    worker.dismiss()
    assert not any(works.hired[0].alive for works in shop.works)


def test_the_search_runs_on_one_gpu_and_holds_for_all(workshop):
    shop = workshop()
    worker = shop.opened()
    warm = worker.ask(WarmUp(key=shop.cell.key, least_ms=0.001, limit_ms=0.01, passes=2), 1)
    kept = [works.hired[0].state.open_cells for works in shop.works]
    assert warm.tried
    assert warm.lanes == 2 * warm.concurrency.lanes
    assert [len(cell.lanes(warm.concurrency)) for cells in kept for cell in cells.values()] == [warm.concurrency.lanes] * 2
    assert "2 processes" in warm.deploy


def test_throughput_is_counted_on_all_at_one_time_and_latency_on_the_first(workshop, tmp_path):
    shop = workshop()
    worker = shop.opened()
    job = TimeThroughput(key=shop.cell.key, block_ms=0.01, concurrency=Concurrency(lanes=2))
    seen = []
    for works in shop.works:
        works.begin = lambda name, job, old=works.begin: (seen.append(getattr(job, "begin_ns", None)), old(name, job))
        works.hired[0].begin = works.begin
    timed = worker.ask(job, 1)
    assert (len(set(seen)), len(seen), seen[0] > 0) == (1, 2, True)
    assert (timed.rate.lanes, len(timed.rate.each)) == (4, 2)
    assert timed.rate.calls_per_s == pytest.approx(sum(timed.rate.each))
    worker.ask(TimeLatency(key=shop.cell.key, block_ms=0.01, calls=2, samples=There(path=str(tmp_path / "a.npz"))), 1)
    worker.ask(Inspect(key=shop.cell.key, timed=False), 1)
    assert (shop.asked("throughput"), shop.asked("latency"), shop.asked("inspect")) == ([1, 1], [1, 0], [1, 0])


def test_a_failed_replica_is_named_and_the_others_stay_usable(workshop):
    shop = workshop(fault="raise@start:4+1")
    worker = shop.opened()
    job = TimeThroughput(key=shop.cell.key, block_ms=0.01, concurrency=Concurrency(lanes=1))
    with pytest.raises(RuntimeFailed, match=r"^on cuda:1: "):
        worker.ask(job, 1)
    assert worker.ask(job, 1).rate.lanes == 2


def test_a_dead_replica_is_named(workshop):
    died = WorkerDied("the worker was killed")
    shop = workshop(lambda *_: {}, lambda job, name, nth: {"raised": died} if job == "throughput" else {})
    with pytest.raises(WorkerDied, match=r"^on cuda:1: the worker was killed"):
        shop.opened().ask(TimeThroughput(key=shop.cell.key, block_ms=0.01, concurrency=Concurrency(lanes=1)), 1)


def test_accuracy_is_that_of_the_first(workshop):
    shop = workshop()
    jobs = [shop.hire()._own(Verify(key="a", reference=Here(path="r"), samples=Here(path="s")), each) for each in (ONE, TWO)]
    assert [job.samples for job in jobs] == [Here(path="s"), None]


class TwoGpus(Works):
    """Hires a worker for a cell on one GPU, and two for a cell on two."""

    def hire(self, active):
        if active.planned.cell == active.planned.cell.alone:
            return super().hire(active)
        return Replicas({ONE: super().hire(active), TWO: super().hire(active)}, self.clock)


@pytest.mark.parametrize(("fault", "failed"), [("", False), ("raise@open+1", True), ("raise@start:30+1", True)])
def test_a_group_measures_both_rows_in_the_same_rounds(tmp_path, gpus, fault, failed):
    rows = planned("cuda:all", GPU, options=(("fault", fault),) if fault else ())
    works, cells = TwoGpus(), [ActiveCell(planned=row, concurrency=Concurrency(lanes=1, threads=1)) for row in rows]
    works.names[replace(rows[1].cell, device="cuda:1").key] = "on the second"
    run = read_run(measure(tmp_path / "run", cells, works).folder)
    single, both = run.cells
    assert len(single.blocks) >= 3
    assert not single.failed
    if failed:
        assert both.failed.reason.startswith("on cuda:1: ")
    else:
        assert both.blocks.keys() == single.blocks.keys()
        assert all(len(block.throughput.each) == 2 for block in both.blocks.values())


def test_each_gpu_has_the_lanes_of_the_row_of_one(tmp_path, gpus):
    works, cells = TwoGpus(), [ActiveCell(planned=row) for row in planned("cuda:all", GPU)]
    works.names[replace(cells[1].planned.cell, device="cuda:1").key] = "on the second"
    single, both = read_run(measure(tmp_path / "run", cells, works).folder).cells
    assert single.warm.tried
    assert not both.warm.tried
    assert both.warm.concurrency == single.warm.concurrency
    assert both.warm.lanes == 2 * single.warm.lanes


def test_a_worker_for_one_device_is_a_process_and_for_several_one_for_each(tmp_path, make_cell):
    started = []

    class Pool:
        def start(self, log, python, *, network):
            if len(started) == 2:
                raise WorkerDied("no more")
            started.append(Works().hire(None))
            started[-1].log = log
            return started[-1]

    assert start_worker(Pool(), make_cell(device="cuda:1"), tmp_path / "a.log") is started[0]
    with pytest.raises(WorkerDied):
        start_worker(Pool(), make_cell(device="cuda:0-1"), tmp_path / "a.log")
    assert [(worker.log.name, worker.alive) for worker in started] == [("a.log", True), ("a-cuda0.log", False)]


def timed(calls, took_ns, others_ns=0, cpu_ns=0, gpu=None, settled=True):
    noise = Counts(wall_ns=took_ns, cpus=2, others_ns=others_ns, gpu=gpu)
    return TimedThroughput(rate=Rate(calls=calls, took_ns=took_ns, lanes=2), noise=noise, settled=settled, cpu_ns=cpu_ns)


def test_the_rate_of_all_is_the_sum_of_their_rates():
    both = combine.throughput({ONE: timed(100, 10**9), TWO: timed(100, 2 * 10**9, settled=False)})
    assert (both.rate.calls_per_s, both.rate.lanes, both.rate.each, both.settled) == (150, 4, (100, 50), False)


def test_the_replicas_are_no_other_processes_to_each_other():
    both = combine.throughput({ONE: timed(1, 1, others_ns=90, cpu_ns=70), TWO: timed(1, 1, others_ns=100, cpu_ns=60)})
    assert (both.noise.others_ns, both.cpu_ns, both.noise.gpu, both.noise.gpus) == (30, 130, None, ())


def test_the_gpu_of_all_is_the_worst_and_each_is_kept():
    cool = GpuCounts(sm_mhz=1980, temperature_c=50, power_w=300, throttle=(), others=0)
    hot = GpuCounts(sm_mhz=1500, temperature_c=85, power_w=400, throttle=("hw_slowdown",), others=1, reason="no memory clock")
    noise = combine.throughput({ONE: timed(1, 1, gpu=cool), TWO: timed(1, 1, gpu=hot)}).noise
    assert noise.gpus == (cool, hot)
    assert noise.gpu == GpuCounts(
        sm_mhz=1500, temperature_c=85, power_w=700, throttle=("hw_slowdown",), others=1, reason="no memory clock"
    )
    assert combine.worst_gpu([replace(cool, throttle=None), replace(hot, throttle=None, power_w=None)]).power_w is None


def test_the_energy_of_all_is_their_power_over_their_items():
    both = combine.energy(
        {ONE: Energy(power_w=300, items_per_s=100, renewals=9), TWO: Energy(power_w=500, items_per_s=60, renewals=7)}
    )
    assert both == Energy(power_w=800, items_per_s=160, energy_mj=5000, renewals=7)
    assert combine.energy({ONE: Energy(power_w=300, items_per_s=1), TWO: Energy(reason="why")}).reason == "on cuda:1: why"
    assert combine.energy({ONE: Energy(reason="why"), TWO: Energy(reason="why")}).reason == "why"


def test_a_start_is_as_slow_as_the_slowest_and_needs_the_memory_of_all():
    first = Started(up_ns=10, answered_ns=90, load_s=1.0, peak_rss_mb=100, device_mem_mb=400)
    second = Started(up_ns=12, answered_ns=80, load_s=2.0, peak_rss_mb=110, device_mem_mb=None)
    both = combine.started({ONE: first, TWO: second})
    assert (both.up_ns, both.answered_ns, both.load_s, both.peak_rss_mb, both.device_mem_mb) == (12, 90, 2, 210, None)


def test_a_replica_that_computes_otherwise_is_told():
    def session(**settings):
        return Opened(load_s=len(settings), info=Info(executed="fp16", settings=settings))

    alike = combine.opened({ONE: session(graph="on"), TWO: session(graph="on")})
    unlike = combine.opened({ONE: session(graph="on"), TWO: session(graph="off", more="yes")})
    assert alike.info.remarks == ()
    assert (len(unlike.info.remarks), unlike.load_s, unlike.info.settings) == (1, 2, {"graph": "on"})
    assert all(text in unlike.info.remarks[0] for text in ("cuda:1", "graph off instead of on"))


def test_the_worst_replica_decides_about_parity():
    both = combine.verified({ONE: Verified(sqnr_db=100, top1=90, agreement=99), TWO: Verified(sqnr_db=3)})
    assert (both.sqnr_db, both.top1, both.agreement) == (3, 90, 99)
    broken = combine.verified({ONE: Verified(sqnr_db=2), TWO: Verified(sqnr_db=90, diverged="h", diverged_step=4)})
    assert (broken.diverged, broken.diverged_step) == ("h", 4)


def test_lanes_are_numbered_over_all_gpus():
    def answers(*pairs):
        return TimedAnswers(answers=tuple(TimedAnswer(sqnr_db=100, part=part, lane=lane) for part, lane in pairs))

    both = combine.compared(
        {ONE: answers(("latency", 1), ("throughput", 1), ("throughput", 2)), TWO: answers(("throughput", 1))}
    )
    assert [(each.part, each.lane) for each in both.answers] == [
        ("latency", 1),
        ("throughput", 1),
        ("throughput", 2),
        ("throughput", 3),
    ]


def test_a_warm_up_is_stationary_if_all_are():
    both = combine.warm({ONE: Warm(lanes=2, deploy="2 streams"), TWO: Warm(lanes=2, deploy="2 streams", stationary=False)})
    assert (both.lanes, both.stationary) == (4, False)
    assert both.deploy.endswith("2 streams")


@pytest.mark.parametrize(("begin_ns", "slept"), [(0, []), (900, []), (3_000_001_000, [3.0])])
def test_a_worker_waits_for_the_common_begin(begin_ns, slept):
    done = []
    wait_until(begin_ns, Clock(now_ns=lambda: 1000, sleep_s=done.append))
    assert done == pytest.approx(slept)


def test_a_crew_on_several_gpus_needs_room_on_each():
    free = {0: [1000, 900, 500], 1: [1000, 900, 100]}
    room = Room(Limits(resident_mb=1e9, gpu_free_mb=lambda index: free[index].pop(0)))
    assert not room.begin([], "cuda:0-1")
    room.end(None)
    assert room.begin([], "cuda:0-1")


@pytest.fixture
def pair(run_folder, make_cell):
    """A run of one cell on one GPU and on two, with a rate (items a second) of each; None for a failure."""

    def make(*rates, rounds=10, name="run"):
        cells = [make_cell(backend="ort-cuda", device=device) for device in ("cuda:0", "cuda:0-1")]
        folder = run_folder(*cells, name=name)
        for cell, rate in zip(cells, rates):
            if rate is None:
                folder.add("failed", cell, status="failed", reason="on cuda:1: no memory")
                continue
            folder.opened(cell)
            folder.warm(cell)
            folder.verified(cell)
            for number in range(rounds):
                # both rates change from round to round, and their ratio does not
                folder.block(cell, number, [10**6] * 40, [10**6] * 40, calls=rate * (1 + number % 3))
            folder.finished(cell)
        return folder

    return make


def figures(folder):
    return {row.record.cell.device: (row, cells) for row, cells in lines([read_run(folder.path)])}


def test_efficiency_is_the_rate_of_all_over_that_of_one_times_their_number(pair):
    rows = figures(pair(100, 190))
    both, one = rows["cuda:0-1"][1], rows["cuda:0"][1]
    assert (both["gpus"], one["gpus"]) == (2, 1)
    assert both["scaling_efficiency"] == pytest.approx(95)
    assert both["scaling_efficiency_ci_low"] == pytest.approx(95) == both["scaling_efficiency_ci_high"]
    assert one["scaling_efficiency"] is None


@pytest.mark.parametrize(
    ("rates", "device", "column", "kind"),
    [
        ((100, 190), "cuda:0", "scaling_efficiency", "absent_on_one_gpu"),
        ((None, 190), "cuda:0-1", "scaling_efficiency", "absent_one_gpu"),
        ((None, 190), "cuda:0-1", "scaling_efficiency_ci_low", "absent_one_gpu"),
        ((100, 190), "cuda:0-1", "scaling_efficiency_ci_low", "absent_interval"),
        ((100, 190), "cuda:0-1", "slo_rate_per_s", "absent_load_on_gpus"),
        ((100, 190), "cuda:0", "slo_rate_per_s", "absent_load"),
    ],
)
def test_a_figure_that_is_missing_has_a_reason(pair, rates, device, column, kind):
    row, cells = figures(pair(*rates, rounds=3))[device]
    assert cells[column] is None
    assert BY_NAME[column].why_absent(row).kind == kind


def test_all_gpus_are_recommended_for_throughput_and_one_for_latency(pair):
    run = read_run(pair(100, 190).path)
    names = {}
    for objective in ("latency", "throughput", "memory"):
        found = candidates([run], parse_request(objective, (), (), ()))
        names[objective] = {item.row.record.cell.device: [reason.kind for reason in item.reasons] for item in found}
    assert names["latency"] == {"cuda:0": [], "cuda:0-1": ["one_gpu_answers"]}
    assert names["throughput"] == {"cuda:0": [], "cuda:0-1": []}
    assert "one_gpu_answers" not in names["memory"]["cuda:0-1"]
