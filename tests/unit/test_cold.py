"""What the journal keeps of fresh processes, with workers in this process."""

from types import SimpleNamespace

import pytest
from onnxbench.errors import RuntimeFailed
from onnxbench.evidence import MEMORY, Cold, Failed, StepFailed
from onnxbench.results.store.head import SCHEMA, Head
from onnxbench.results.store.journal import read_journal
from onnxbench.results.store.record import gather
from onnxbench.runners.pool.context import Context
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.sweep import cold
from onnxbench.runners.sweep.cells import ActiveCell, RunContext
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.runners.worker.jobs import Started
from onnxbench.spec import Sweep, from_wire, to_wire

ANSWER = {"up_ns": 3 * 10**9, "answered_ns": 5 * 10**9, "import_s": 1.0, "load_s": 0.5, "first_ms": 2.0, "peak_rss_mb": 300.0}


def answered(answer):
    if isinstance(answer, Exception):
        raise answer
    return from_wire(Started, answer)


@pytest.fixture
def event_of(tmp_path, make_cell, make_artifact):
    """The event that the journal has of a fresh process that answered so."""

    def of(answer, complete=False, **asked):
        fake = {"send": lambda job: None, "receive": lambda job, timeout_s: answered(answer), "dismiss": lambda: None}
        worker = SimpleNamespace(begin_ns=10**9, **fake)
        pool = SimpleNamespace(start=lambda log, python, network: worker)
        with Journal(tmp_path / "run") as journal:
            journal.write_head(Head(schema=SCHEMA), {})
            context = Context(logs=journal.logs, pool=pool, progress=Silent(), timeout_s=1)
            run = RunContext(sweep=Sweep(**asked), journal=journal, context=context, stop=SimpleNamespace(requested=False))
            planned = PlannedCell(cell=make_cell(), artifact=make_artifact())
            cold.start_cold(run, [ActiveCell(planned=planned, complete=complete)])
        return next(read_journal(tmp_path / "run"))[1]

    return of


@pytest.fixture
def kept(event_of):
    """The names and values that the journal has of a fresh process that answered so."""

    def of(answer, **asked):
        event = event_of(answer, **asked)
        assert type(event) is Cold
        return {name: value for name, value in to_wire(event).items() if value is not None}

    return of


@pytest.mark.parametrize(("complete", "kind"), [(False, Failed), (True, StepFailed)])
def test_a_process_that_fails_after_the_measurement_leaves_the_figures(event_of, complete, kind):
    event = event_of(RuntimeFailed("no"), complete=complete)
    assert type(event) is kind
    assert getattr(event, "step", MEMORY) == MEMORY


def test_a_later_process_cancels_the_failure_of_an_earlier_one(make_cell, tmp_path):
    events = [StepFailed(step=MEMORY, status="failed", reason="no"), Cold(peak_rss_mb=100.0)]
    found = [gather(make_cell(), "k", tmp_path, Head(schema=SCHEMA), events[:count]).failed_steps for count in (1, 2)]
    assert [len(steps) for steps in found] == [1, 0]


def test_without_cold_starts_memory_alone_is_kept(kept):
    assert kept(ANSWER) == {"peak_rss_mb": 300.0}


@pytest.mark.parametrize(("used", "told"), [(512.0, {"device_mem_mb": 512.0}), (None, {})])
def test_memory_of_a_gpu_is_kept_where_the_process_told_it(kept, used, told):
    assert kept({**ANSWER, "device_mem_mb": used}) == {"peak_rss_mb": 300.0, **told}


def test_cold_starts_keep_everything(kept):
    found = kept({**ANSWER, "device_mem_mb": 512.0}, cold=True)
    assert (found["process_s"], found["cold_s"], found["load_s"], found["device_mem_mb"]) == (2.0, 4.0, 0.5, 512.0)
