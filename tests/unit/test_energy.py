"""Energy an item: the arithmetic on renewals of a counter, how they are seen, and the worker's job."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from onnxbench.backends.protocol import Session, SessionInfo
from onnxbench.evidence import Energy
from onnxbench.runners.worker.cell_jobs import OpenCell
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.energy import LEAD_MS, figures, poll_counter
from onnxbench.runners.worker.jobs import ReadEnergy
from onnxbench.runners.worker.nvml import Nvml
from onnxbench.runners.worker.serve import State, answer
from onnxbench.spec import Concurrency, from_wire, to_wire

from .fake_nvml import PID, FakeNvml

MS = 10**6
ONE, TWO = Concurrency(lanes=1, threads=1), Concurrency(lanes=2, threads=1)


def renewals(*points):
    """Pairs of ms and J."""
    return [(at_ms * MS, joule * 1000.0) for at_ms, joule in points]


@pytest.mark.parametrize(
    ("seen", "loaded_ms", "power_w", "spanned"),
    [
        (renewals((0, 0), (100, 70), (200, 140)), (0, 200), 700, 2),
        (renewals((100, 70), (200, 100)), (0, 500), 300, 1),
        (renewals((100, 0), (200, 80), (290, 140), (400, 210)), (0, 500), 700, 3),
        (renewals((0, 0), (100, 10), (200, 80), (300, 150), (400, 151)), (100, 300), 700, 2),
        (renewals((99, 0), (201, 10), (300, 79.3), (501, 80)), (200, 500), 700, 1),
    ],
)
def test_power_is_taken_between_the_first_and_the_last_renewal_under_load(seen, loaded_ms, power_w, spanned):
    told = figures(seen, (loaded_ms[0] * MS, loaded_ms[1] * MS), 4000.0)
    assert told == Energy(
        items_per_s=4000.0, renewals=spanned, power_w=pytest.approx(power_w), energy_mj=pytest.approx(power_w / 4)
    )


@pytest.mark.parametrize(("seen", "count"), [([], 0), (renewals((100, 1)), 1), (renewals((10, 1), (250, 2), (400, 3)), 1)])
def test_fewer_than_two_renewals_under_load_are_a_reason(seen, count):
    told = figures(seen, (50 * MS, 300 * MS), 10.0)
    assert told == Energy(items_per_s=10.0, renewals=0, reason=told.reason)
    assert f"got {count} in 250 ms" in told.reason


def test_a_counter_that_was_set_back_has_no_figure():
    told = figures(renewals((0, 100), (100, 5), (200, 120)), (0, 200 * MS), 10.0)
    assert told == Energy(items_per_s=10.0, renewals=2, reason=told.reason)
    assert "energy counter" in told.reason


class Board:
    """A counter that uses `watt` and is renewed every `every_ns`; a look at the clock takes `tick_ns`, a sleep what it says."""

    def __init__(self, every_ns=100 * MS, watt=700, tick_ns=1000):
        self.ns, self.every_ns, self.watt, self.tick_ns, self.slept = 0, every_ns, watt, tick_ns, []
        self.clock = Clock(now_ns=self.look, cpu_ns=lambda: 0, sleep_s=self.sleep)
        self._lock = threading.Lock()

    def look(self):
        return self.forward(self.tick_ns)

    def forward(self, ns):
        with self._lock:
            self.ns += ns
            return self.ns

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.forward(int(seconds * 1e9))

    def read(self):
        return self.ns // self.every_ns * self.every_ns * self.watt / MS, None


def until(done):
    """Wait until another thread has come so far."""
    for _ in range(10**6):
        if done():
            return
        threading.Event().wait(0.0001)
    raise AssertionError


def test_every_renewal_is_noted_once_and_soon():
    board = Board()
    with poll_counter(board.read, board.clock) as seen:
        until(lambda: len(seen.renewals) >= 5)
    after = len(seen.renewals)
    assert [value for _, value in seen.renewals[:5]] == [70_000, 140_000, 210_000, 280_000, 350_000]
    assert all(0 <= at_ns - number * 100 * MS <= 2.1 * MS for number, (at_ns, _) in enumerate(seen.renewals, 1))
    assert (set(board.slept), seen.reason) == ({0.002}, None)
    board.ns += 10**9
    assert len(seen.renewals) == after


def test_the_first_value_is_no_renewal():
    board = Board()
    board.ns = 250 * MS
    with poll_counter(board.read, board.clock) as seen:
        until(lambda: seen.renewals)
    assert seen.renewals[0][1] == 210_000


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (lambda: (None, "the GPU is lost"), "the GPU is lost"),
        (lambda: int("no number", 0), "the energy counter cannot be read (invalid literal for int() with base 0: 'no number')"),
    ],
)
def test_what_goes_wrong_while_polling_is_the_reason(last, reason):
    answers = iter([lambda: (1.0, None), lambda: (2.0, None), last])

    def read():
        return next(answers)()

    with poll_counter(read, Clock(sleep_s=lambda _: None)) as seen:
        until(lambda: seen.reason)
    assert (seen.reason, len(seen.renewals)) == (reason, 1)


def test_polling_ends_where_the_load_fails():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), poll_counter(Board().read, Clock()):
        raise ZeroDivisionError
    assert threading.active_count() == before


class Lane(Session):
    """A call takes 10 ms of the board's time, in which other threads have their turn."""

    info = SessionInfo(executed="fp32")
    asynchronous = True

    def __init__(self, board):
        self.board = board

    def enter(self): ...

    def bind(self, inputs): ...

    def start(self): ...

    def wait(self):
        for _ in range(10):
            self.board.forward(MS)
            threading.Event().wait(0.0002)

    def fetch(self):
        return {}

    def fork(self):
        return Lane(self.board)

    def close(self): ...


class Library(FakeNvml):
    """Its counter is the board's."""

    def __init__(self, board, **how):
        super().__init__(("GPU-a", "GPU-b"), **how)
        self.board = board

    def _TotalEnergyConsumption(self, device):
        return self.board.read()[0]


@pytest.fixture
def worker(make_cell, make_artifact):
    """A worker with an open cell of batch 8 on the second GPU; sleeping takes no time of the board, or it would be idle."""

    def make(failing=(), load=None, **how):
        board = Board(**how)
        library = Library(board, failing=failing)
        session = Lane(board)
        cell = replace(make_cell(batch=8), device="cuda:1")
        open_cell = OpenCell(artifact=make_artifact(), cell=cell, backend=None, inputs={}, session=session)
        open_cell.compiled[1, 1] = session
        clock = replace(board.clock, sleep_s=lambda _: threading.Event().wait(0.0001))
        environ = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        gpu = Nvml(load=load or (lambda: library), pid=PID, environ=environ)
        return SimpleNamespace(state=State(clock=clock, gpu=gpu, open_cells={"a": open_cell}), board=board, library=library)

    return make


def done(found, concurrency=ONE, block_ms=500):
    job = ReadEnergy(key="a", block_ms=block_ms, concurrency=concurrency)
    kind, content = answer(found.state, {"job": "energy", "asked": to_wire(job)}, lambda _: None)
    assert kind == "ok", content
    return from_wire(Energy, content)


@pytest.mark.parametrize(("way", "rate"), [(ONE, 800), (TWO, 800)])
def test_the_lanes_are_busy_for_the_lead_and_the_time_that_was_asked_for(worker, way, rate):
    found = worker()
    told = done(found, way)
    assert found.board.ns >= (LEAD_MS + 500) * MS
    assert told.items_per_s == pytest.approx(rate, rel=0.02)
    assert told.power_w == pytest.approx(700, rel=0.1)
    assert told.energy_mj == pytest.approx(told.power_w / told.items_per_s * 1000)
    assert 3 <= told.renewals <= 5
    assert {query[1] for query in found.library.asked if query[0] == "TotalEnergyConsumption"} == {1}


def test_what_was_renewed_before_the_load_was_steady_is_left_out(worker):
    """Renewed at 150 and 300 ms, of which the lead takes the first."""
    told = done(worker(every_ns=150 * MS), block_ms=200)
    assert "got 1 in 2" in told.reason


def test_a_counter_that_stands_still_is_a_reason(worker):
    told = done(worker(every_ns=10**12))
    assert "got 0 in 5" in told.reason
    assert told.power_w is told.energy_mj is None


def test_without_nvml_or_a_counter_nothing_is_loaded(worker):
    def absent():
        raise ImportError

    found = worker(load=absent)
    told = done(found)
    assert told == Energy(reason=told.reason)
    assert "pip install nvidia-ml-py" in told.reason
    assert found.board.ns == 0
    found = worker(failing=("TotalEnergyConsumption",))
    told = done(found)
    assert told == Energy(reason=told.reason)
    assert "its energy (Not Supported)" in told.reason
    assert found.board.ns == 0


def test_a_counter_that_is_lost_under_load_is_the_reason(worker):
    found = worker()
    read = found.board.read
    found.board.read = lambda: read() if found.board.ns < 400 * MS else 1 // 0
    assert "division" in done(found).reason
