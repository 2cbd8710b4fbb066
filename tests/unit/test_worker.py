"""The worker's side of the pipe, its jobs for cells with a clock that ticks and a fake runtime, and who is hired."""

import errno
import io
import json
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from onnxbench.backends.null import Null
from onnxbench.backends.protocol import Engine, Session, SessionInfo
from onnxbench.errors import RuntimeFailed
from onnxbench.evidence import Built, Counts, Deployment, Info, Inspected, Kernel, Opened
from onnxbench.runners.sweep.cells import ActiveCell
from onnxbench.runners.sweep.hiring import hire
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.worker.cell_jobs import OpenCell
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.jobs import (
    Build,
    Close,
    Done,
    Here,
    Inspect,
    Open,
    Probe,
    ProgressReport,
    StartCold,
    There,
    TimeLatency,
    TimeThroughput,
    Verify,
    WarmUp,
)
from onnxbench.runners.worker.nvml import Nvml, environment
from onnxbench.runners.worker.serve import State, answer
from onnxbench.runners.worker.tasks import task_of
from onnxbench.runners.worker.verify import save_arrays
from onnxbench.spec import PRECISIONS, Concurrency, Settings, Target, from_wire, to_wire

from .fake_nvml import PID, FakeNvml, process


class Raises(dict):
    """Slots whose use raises."""

    def __init__(self, error):
        self.error = error

    def pop(self, *_):
        raise self.error


class FullDisk(io.StringIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ignore(_):
    """Nobody listens to signs of life."""


def ask(state, job, report=ignore):
    """What comes back over the pipe."""
    request = {"job": task_of(type(job)).name, "asked": to_wire(job)}
    return json.loads(json.dumps(answer(state, json.loads(json.dumps(request)), report)))


def raised(error):
    """The answer to a job that raises `error`."""
    return ask(State(open_cells=Raises(error)), Close(key="a"))


@pytest.fixture
def full_log(monkeypatch):
    monkeypatch.setattr("sys.stderr", FullDisk())


def test_a_job_answers_in_data():
    assert answer(State(), {"job": "close", "asked": {"key": "a"}}, ignore) == ("ok", {})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_a_full_disk_is_the_storages_failure_even_where_the_log_is_on_it(full_log, code):
    kind, error = raised(OSError(code, "no room", "samples/a.npz"))
    assert (kind, error["type"]) == ("error", "StorageFailed")
    assert error["message"] == "cannot write samples/a.npz (no room)"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(errno.ENOENT, "no such file"), "RuntimeFailed", "FileNotFoundError: [Errno 2] no such file"),
        (ValueError("line one\nline two"), "RuntimeFailed", "ValueError: line one line two"),
        (MemoryError(), "OutOfMemory", "MemoryError: out of memory"),
        (RuntimeError("CUDA error: out of memory"), "OutOfMemory", "RuntimeError: CUDA error: out of memory"),
        (RuntimeFailed("its own words", "a hint"), "RuntimeFailed", "its own words"),
    ],
)
def test_what_a_job_raises_is_an_answer(error, kind, message):
    assert raised(error)[1]["type"] == kind
    assert raised(error)[1]["message"] == message


def test_a_job_that_there_is_not_is_an_answer_too():
    assert answer(State(), {"job": "dance", "asked": {}}, ignore)[0] == "error"


@pytest.mark.parametrize("request_", [{"asked": {"key": "a"}}, {"job": "close"}, {"job": "close", "asked": {}}])
def test_a_request_with_too_little_in_it_is_an_answer_too(request_):
    assert answer(State(), request_, ignore)[0] == "error"


def test_a_request_with_another_type_in_it_is_an_answer_that_names_the_field():
    kind, error = answer(State(), {"job": "close", "asked": {"key": 3}}, ignore)
    assert (kind, "key: 3" in error["message"]) == ("error", True)


def test_what_a_newer_parent_asks_beside_is_left_out():
    assert answer(State(), {"job": "close", "asked": {"key": "a", "more": 1}}, ignore) == ("ok", {})


ONE, TWO, FOUR = Concurrency(lanes=1, threads=2), Concurrency(lanes=2, threads=1), Concurrency(lanes=4, streams=2, threads=1)
INPUTS = {"input": np.zeros((1, 3, 48, 48), np.float32)}


VISITS = {
    "latency": lambda folder: timed(folder / "a.npz"),
    "throughput": lambda folder: TimeThroughput(key="a", block_ms=0.01, concurrency=TWO),
}


def timed(file):
    return TimeLatency(key="a", block_ms=0.01, calls=4, samples=There(path=str(file)))


def no_nvml():
    raise ImportError


def never():
    raise AssertionError("a cell on a CPU needs no NVML")


class Ticking:
    """Each look at this clock takes 100 ns; the process is idle as soon as it sleeps."""

    def __init__(self):
        self.ns = 1000
        self.clock = Clock(now_ns=self.look, cpu_ns=lambda: 0, sleep_s=lambda _: None)

    def look(self):
        self.ns += 100
        return self.ns


class Lane(Session):
    """A call takes `call_ns`; who did what with it is in `log`."""

    info = SessionInfo(executed="fp32")
    asynchronous = True

    def __init__(self, runtime, call_ns):
        self.runtime, self.call_ns, self.log = runtime, call_ns, []
        runtime.sessions.append(self)

    def enter(self):
        self.log.append("enter")

    def bind(self, inputs):
        self.log.append("bind")
        self.inputs = inputs

    def start(self):
        assert self.inputs
        self.runtime.calls += 1

    def wait(self):
        self.runtime.time.ns += self.call_ns

    def fetch(self):
        return {"logits": np.arange(10, dtype=np.float32)[None]}

    def fork(self):
        return Lane(self.runtime, self.call_ns)

    def kernels(self, timed=False):
        self.log.append("kernels")
        return (Kernel(node="a", operator="Conv", type="fp32", layer=True, ns=7 if timed else None),)

    def close(self):
        self.log.append("close")


class Runtime:
    """A backend with three ways of running, of which some are fast."""

    choices: ClassVar[dict] = {}

    def __init__(self, time, call_ns):
        self.time, self.call_ns, self.sessions, self.opened, self.calls = time, call_ns, [], [], 0

    def concurrencies(self, threads):
        return tuple(self.call_ns)

    def open(self, artifact, cell, concurrency, engine=None):
        self.opened.append(concurrency)
        return Lane(self, self.call_ns[concurrency])

    def deploy(self, concurrency):
        return f"{concurrency.lanes} at once"

    def snippet(self, artifact, cell, concurrency):
        return f"{artifact.path} {cell.batch} {concurrency.lanes}"


@pytest.fixture
def worker(make_cell, make_artifact):
    """A worker with one open cell of batch 8, whose runtime takes `call_ns` for a call in each way."""

    def make(call_ns=None):
        time = Ticking()
        runtime = Runtime(time, call_ns or {ONE: 1000, TWO: 500, FOUR: 2000})
        session = Lane(runtime, 1000)
        session.bind(INPUTS)
        open_cell = OpenCell(artifact=make_artifact(), cell=make_cell(batch=8), backend=runtime, inputs=INPUTS, session=session)
        open_cell.compiled[1, 2] = session
        state = State(clock=time.clock, counters=lambda _: counted(runtime.calls), open_cells={"a": open_cell})
        return SimpleNamespace(state=state, open_cell=open_cell, runtime=runtime, time=time)

    return make


def counted(calls):
    """Counters of a worker that made so many calls: one fault each."""
    return Counts(major_faults=calls, mhz=2100)


def done(state, job, report=ignore):
    kind, content = ask(state, job, report)
    assert kind == "ok", content
    return from_wire(type(job).answer(), content)


def warmed(found, concurrency=None):
    return done(found.state, WarmUp(key="a", least_ms=0.1, limit_ms=1, passes=2, concurrency=concurrency))


def closed(sessions):
    return [session.log.count("close") for session in sessions]


def test_a_backend_is_asked_what_it_is():
    found = done(State(), Probe(backend="null"))
    assert (found.available, found.instrument, found.device_kind) == (True, True, "cpu")
    assert set(found.options) == {"work", "by_value", "fault"}
    assert (set(found.precisions), found.on_request) == (set(PRECISIONS), ())


def test_a_backend_says_what_it_takes_on_request_alone():
    found = done(State(), Probe(backend="ort-cpu"))
    assert (found.precisions, found.on_request) == (("fp32", "fp16", "int8"), ("fp16",))


@pytest.fixture
def given(make_cell, make_artifact, tmp_path):
    """A job of this kind for a cell of the null backend."""
    save_arrays(tmp_path / "inputs", INPUTS)

    def make(kind, **changes):
        inputs = {} if kind is Build else {"inputs": Here(path=str(tmp_path / "inputs"))}
        return kind(cell=make_cell(**{"backend": "null", **changes}), artifact=make_artifact(), **inputs)

    return make


def test_a_cell_is_opened_with_its_load_and_first_call_timed_apart(given):
    state, job = State(clock=Ticking().clock), given(Open)
    assert done(state, job) == Opened(
        load_s=pytest.approx(1e-7),
        first_ms=pytest.approx(1e-4),
        info=Info(executed="fp32", settings={"work": "0"}),
        instrument=True,
        int8_scheme="portable",
    )
    assert state.open_cells[job.cell.key].compiled == {(1, 2): state.open_cells[job.cell.key].session}


def test_a_cell_that_the_backend_does_not_take_is_not_opened(given):
    state, job = State(), given(Open, settings=Settings(threads=1, options=(("speed", "high"),)))
    kind, error = ask(state, job)
    assert (kind, error["type"], state.open_cells) == ("error", "Unsupported", {})


@pytest.fixture
def built(monkeypatch, cache_folder):
    """The null backend builds for once, in 3 s as it says; where it was told to (`asked`), and what it opens (`loaded`)."""
    told = SimpleNamespace(asked=[], loaded=[])

    def build(self, artifact, cell, workshop):
        told.asked.append(workshop.folder)
        return Engine(path=workshop.folder / "plan", seconds=3, cached=len(told.asked) > 1, remark="it was damaged")

    def load(self, artifact, cell, concurrency, engine):
        told.loaded.append(engine)
        return self._open(artifact, cell, concurrency)

    monkeypatch.setattr(Null, "_build", build)
    monkeypatch.setattr(Null, "_open_engine", load)
    return told


def test_what_is_built_lies_in_the_cache_and_its_time_is_told(given, built, cache_folder):
    first, second = (done(State(), given(Build)) for _ in range(2))
    assert first == Built(build_s=3, engine_cached=False, remark="it was damaged")
    assert (second.engine_cached, built.asked, built.loaded) == (True, [cache_folder / "engines"] * 2, [])


def test_what_was_built_is_opened_every_time_and_is_no_part_of_loading(given, built):
    state, job = State(clock=Ticking().clock), given(Open)
    told = done(state, job)
    assert (told.build_s, told.load_s) == (3, pytest.approx(1e-7))
    state.open_cells[job.cell.key].lanes(Concurrency(lanes=2, threads=1))
    assert [item.path.name for item in built.loaded] == ["plan", "plan"]
    assert len(built.asked) == 1


def test_a_backend_that_builds_nothing_says_nothing_of_it(given):
    assert done(State(), given(Build)) == Built()


def test_nothing_is_built_of_a_cell_that_the_backend_does_not_take(given, built):
    kind, error = ask(State(), given(Build, device="cuda:0"))
    assert (kind, error["type"], built.asked) == ("error", "Unsupported", [])


def test_a_cold_start_tells_its_parts_on_one_clock(given):
    time = Ticking()
    found = done(State(clock=time.clock), given(StartCold))
    assert 1000 < found.up_ns < found.answered_ns < time.ns
    assert found.import_s + found.load_s + found.first_ms / 1e3 < (found.answered_ns - found.up_ns) / 1e9
    assert found.peak_rss_mb > 1


@pytest.fixture
def on_gpu(monkeypatch):
    """The null backend runs on a GPU for once."""
    monkeypatch.setattr(Null, "device_kind", "cuda")


def test_a_cold_start_on_a_gpu_tells_what_its_own_process_holds_there(given, on_gpu):
    library = FakeNvml(("GPU-a", "GPU-b"))
    library.processes = [[process(7, 1_000_000), process(PID, 512_000_000)]]
    state = State(gpu=Nvml(load=lambda: library, pid=PID))
    assert done(state, given(StartCold, device="cuda:1")).device_mem_mb == 512
    assert library.asked[-1] == ("ComputeRunningProcesses", 1)


def test_a_cold_start_on_a_gpu_that_nobody_can_ask_has_no_such_figure(given, on_gpu):
    assert done(State(gpu=Nvml(load=no_nvml)), given(StartCold, device="cuda:0")).device_mem_mb is None


def test_a_cold_start_on_a_cpu_asks_no_gpu(given):
    assert done(State(gpu=Nvml(load=never)), given(StartCold)).device_mem_mb is None


def test_a_model_is_compiled_once_for_each_way_and_lanes_share_it(worker):
    found = worker()
    lanes = [found.open_cell.lanes(way) for way in (ONE, TWO, FOUR, TWO, Concurrency(lanes=2, threads=2))]
    assert found.runtime.opened == [TWO, FOUR]
    assert [len(of_way) for of_way in lanes] == [1, 2, 4, 2, 2]
    assert lanes[0] == [found.open_cell.session]
    assert lanes[1] == lanes[3]
    assert lanes[4][0] is found.open_cell.session
    assert all(session.inputs is INPUTS for session in found.runtime.sessions)


@pytest.mark.parametrize("chosen", [ONE, TWO, FOUR])
def test_only_the_latency_session_and_the_chosen_lanes_stay_open(worker, chosen):
    found = worker()
    for way in (ONE, TWO, FOUR):
        found.open_cell.lanes(way)
    found.open_cell.keep(chosen)
    kept = {found.open_cell.session, *found.open_cell.lanes(chosen), *found.open_cell.compiled.values()}
    assert closed(kept) == [0] * len(kept)
    assert closed(set(found.runtime.sessions) - kept) == [1] * (7 - len(kept))


def test_a_closed_cell_has_closed_every_session_once(worker):
    found = worker()
    for way in (ONE, TWO, FOUR):
        found.open_cell.lanes(way)
    assert done(found.state, Close(key="a")) == Done()
    assert closed(found.runtime.sessions) == [1] * 7
    assert found.state.open_cells == {}


def test_a_warm_up_finds_the_concurrency_and_tells_what_it_tried(worker):
    found = worker()
    told = warmed(found)
    assert (told.lanes, told.concurrency, told.deploy) == (2, TWO, "2 at once")
    assert told.snippet == "cnn-fp32.onnx 8 2"
    assert told.single == Deployment(deploy="1 at once", snippet="cnn-fp32.onnx 8 1")
    assert (told.stationary, told.settled) == (True, True)
    assert [(way.lanes, way.streams, way.threads) for way in told.tried] == [(1, 1, 2), (4, 2, 1), (2, 1, 1)]
    rates = [way.items_per_s for way in told.tried]
    assert rates == pytest.approx([8 * 1e9 / 1100, 8 * 1e9 / 2025, 8 * 1e9 / 550], rel=0.01)
    assert sum(closed(found.runtime.sessions)) == 4  # of FOUR: what was compiled, and the lanes beside it


def test_the_program_has_the_options_that_the_session_tells(worker):
    found = worker()
    found.runtime.choices = {"graph": ("auto", "on", "off"), "search": ("wide", "narrow")}
    found.open_cell.cell = replace(
        found.open_cell.cell, settings=Settings(threads=2, options=(("graph", "auto"), ("odd", "1")))
    )
    found.open_cell.session.info = SessionInfo(
        executed="fp32", settings=(("graph", "off"), ("search", "some"), ("threads", "2"))
    )
    found.runtime.snippet = lambda artifact, cell, how: str(dict(cell.settings.options))
    assert warmed(found).snippet == "{'graph': 'off', 'odd': '1'}"


def test_a_way_that_cannot_run_has_no_rate(worker):
    found = worker()
    found.runtime.open = lambda *_: (_ for _ in ()).throw(RuntimeFailed("no streams"))
    assert [way.items_per_s > 0 for way in warmed(found).tried].count(True) == 1


def test_a_concurrency_that_is_known_is_not_searched_for(worker):
    found = worker()
    told = warmed(found, FOUR)
    assert (told.concurrency, found.runtime.opened) == (FOUR, [FOUR])
    assert told.tried == ()
    assert len(found.open_cell.lanes(FOUR)) == 4


def test_a_latency_visit_writes_the_time_of_every_call(worker, tmp_path):
    found = worker()
    told = done(found.state, timed(tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as arrays:
        single, whole = arrays["latency"], arrays["end_to_end"]
    assert set(single) == set(whole) == {1100}
    assert (told.calls, told.settled) == (len(single), True)
    assert told.p50_ns == {
        "latency": sorted(single)[(len(single) - 1) // 2],
        "end_to_end": sorted(whole)[(len(whole) - 1) // 2],
    }
    assert (len(single) * 1200 >= 10_000, len(whole)) == (True, 4)


def test_a_latency_visit_writes_what_the_devices_clock_says_where_there_is_one(worker, tmp_path, monkeypatch):
    for name, took in (("without", None), ("with", 700)):
        monkeypatch.setattr(Lane, "device_ns", lambda self, took=took: took)
        done(worker().state, timed(tmp_path / f"{name}.npz"))
    found = {name: np.load(tmp_path / f"{name}.npz")["device"] for name in ("without", "with")}
    assert (found["without"].tolist(), found["without"].dtype) == ([], np.int64)
    assert (set(found["with"].tolist()), len(found["with"]) >= 4) == ({700}, True)


def test_what_disturbs_is_counted_over_the_blocks_and_not_before(worker, tmp_path):
    found = worker()
    told = done(found.state, timed(tmp_path / "a.npz"))
    assert told.noise == counted(told.calls + 4)
    assert found.runtime.calls > told.noise.major_faults
    told = done(found.state, TimeThroughput(key="a", block_ms=0.01, concurrency=TWO))
    assert told.noise == counted(told.rate.calls + 4)  # and the lead, and what fills the lanes


def test_a_visit_on_a_gpu_has_what_nvml_told_around_the_cpus_counters(worker, tmp_path):
    found, looks = worker(), []
    library = FakeNvml(("GPU-a", "GPU-b"))
    found.open_cell.cell = replace(found.open_cell.cell, device="cuda:1")
    found.state.gpu = Nvml(load=lambda: library, pid=PID, environ=environment({}))
    count = found.state.counters
    found.state.counters = lambda clock: looks.append((len(library.asked), found.runtime.calls)) or count(clock)
    for job in VISITS.values():
        looks.clear()
        library.asked.clear()
        told = done(found.state, job(tmp_path)).noise
        assert (told.gpu.sm_mhz, told.gpu.others, told.gpu.throttle) == (1755, 0, ())
        (asked, calls), (still, more) = looks
        assert asked == still  # nothing between the looks at the CPU, and so nothing while calls are timed
        assert replace(told, gpu=None) == counted(more - calls)
        assert {query[1] for query in library.asked if query[0] == "PowerUsage"} == {1}


def test_a_visit_on_a_cpu_loads_no_nvml(worker, tmp_path):
    found = worker()
    found.state.gpu = Nvml(load=never)
    for job in VISITS.values():
        assert done(found.state, job(tmp_path)).noise.gpu is None


def test_a_visit_on_a_gpu_without_nvml_says_so(worker, tmp_path):
    found = worker()
    found.open_cell.cell = replace(found.open_cell.cell, device="cuda:0")
    found.state.gpu = Nvml(load=no_nvml)
    for job in VISITS.values():
        assert done(found.state, job(tmp_path)).noise.gpu.reason.endswith("pip install nvidia-ml-py")


def test_a_throughput_visit_keeps_all_lanes_busy(worker):
    found = worker()
    told = done(found.state, TimeThroughput(key="a", block_ms=0.01, concurrency=FOUR))
    assert told.rate.lanes == 4
    assert told.rate.calls / told.rate.took_ns == pytest.approx(4 / 8100)
    assert told.settled


def judged(folder):
    """Verify the cell by what is in `folder`, with its labels."""
    return Verify(key="a", reference=Here(path=str(folder)), samples=Here(path=str(folder)))


def test_a_session_is_entered_before_its_answer_is_compared(worker, tmp_path):
    found = worker()
    save_arrays(tmp_path, {"logits": np.arange(10, dtype=np.float32)[None]})
    found.open_cell.session.log.clear()
    told = done(found.state, Verify(key="a", reference=Here(path=str(tmp_path))))
    assert (told.max_abs_err, found.open_cell.session.log) == (0, ["enter"])


def test_after_a_look_at_samples_the_inputs_are_bound_again(worker, tmp_path):
    found = worker()
    save_arrays(tmp_path, {"logits": np.arange(10, dtype=np.float32)[None]})
    for name, array in {"images": np.ones((3, 3, 48, 48), np.float32), "labels": [9, 9, 0], "reference": [9, 9, 9]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    found.open_cell.session.fetch = lambda: {"logits": np.arange(10, dtype=np.float32)[None].repeat(8, 0)}
    save_arrays(tmp_path, found.open_cell.session.fetch())
    told = done(found.state, judged(tmp_path))
    assert (told.top1, told.agreement, told.images) == (pytest.approx(200 / 3), 100, 3)
    assert found.open_cell.session.inputs is INPUTS
    assert (told.lost, told.gained, told.accuracy_batch) == (0, 0, 8)


def test_a_look_at_many_samples_is_told_call_by_call_so_that_nobody_gives_up_waiting(worker, tmp_path):
    found, heard = worker(), []
    found.open_cell.session.fetch = lambda: {"logits": np.arange(10, dtype=np.float32)[None].repeat(8, 0)}
    save_arrays(tmp_path, found.open_cell.session.fetch())
    for name, array in {"images": np.ones((20, 3, 48, 48), np.float32), "labels": [9] * 20, "reference": [9] * 20}.items():
        np.save(tmp_path / f"{name}.npy", array)
    assert done(found.state, judged(tmp_path), heard.append).images == 20
    assert heard == [ProgressReport()] * 3


@pytest.mark.parametrize("timed", [False, True])
def test_kernels_are_told_as_data_after_the_session_was_entered(worker, timed):
    found = worker()
    found.open_cell.session.log.clear()
    told = done(found.state, Inspect(key="a", timed=timed))
    assert told == Inspected(kernels=(Kernel(node="a", operator="Conv", type="fp32", layer=True, ns=7 if timed else None),))
    assert found.open_cell.session.log == ["enter", "kernels"]


@pytest.fixture
def hired(tmp_path):
    """Who works for a cell; in place of a new worker, its log's name."""
    pool = SimpleNamespace(start=lambda log, python, network: f"{python} {log.name}")

    def by(spare, cell, artifact):
        planned = PlannedCell(cell=cell, artifact=artifact, python="py")
        return hire(Journal(tmp_path), pool, spare)(ActiveCell(planned=planned))

    return by


@pytest.mark.parametrize("text", ["ort-cpu", "ort-cpu@new"])
def test_a_crew_is_given_the_worker_that_its_target_was_probed_in_once(hired, make_cell, make_artifact, text):
    target, another = Target.parse(text), Target(backend="null")
    spare, cell = {target: "probed", another: "another"}, make_cell(environment=target.environment)
    assert [hired(spare, cell, make_artifact()) for _ in range(2)] == ["probed", f"py {text}-fp32.log"]
    assert spare == {another: "another"}


def test_a_worker_of_another_environment_is_never_a_probed_one(hired, make_cell, make_artifact):
    spare = {Target(backend="ort-cpu"): "probed", Target(backend="ort-cpu", environment="old"): "probed too"}
    assert hired(spare, make_cell(environment="new"), make_artifact()) == "py ort-cpu@new-fp32.log"
