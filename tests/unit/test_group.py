"""Groups as they are in a run, but with workers in this process, the null backend, and a clock that ticks when it is read."""

import math
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxbench.backends.null import Null
from onnxbench.errors import Interrupted, RuntimeFailed, StorageFailed, WorkerDied, WorkerTimeout
from onnxbench.evidence import Finished, Warm
from onnxbench.results.stats.percentiles import samples_needed
from onnxbench.results.store import record, series
from onnxbench.results.store.journal import NAMES
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.sweep.cells import resume_cell
from onnxbench.runners.sweep.repeats import MAX_REPEATS
from onnxbench.spec import Load, Sweep

from .fake_worker import RESIDENT_MB, only
from .groups import BUDGET, ENERGY, SHORT, Works, active_of, measure, runner


@pytest.fixture
def run(tmp_path):
    """Measures cells by name, as `plot` says."""
    return runner(tmp_path)


SIX = ("fp32/1", "bf16/1", "int8/1", "fp32/8", "bf16/8", "int8/8")


def noisy(*names):
    """Blocks of these cells take 100 and 200 ns in turn, those of others 100."""
    return lambda job, name, nth: {"tick": 100 * (1 + nth % 2)} if name in names and job == "latency" else {}


def test_every_cell_is_visited_once_in_a_round(run):
    found = run(*SIX)
    assert all(found.rounds(name) == [0, 1, 2] for name in SIX)
    for part in ("latency", "throughput"):
        names = found.names(part)
        assert [sorted(names[first : first + 6]) for first in (0, 6, 12)] == [sorted(SIX)] * 3


def test_the_cells_of_one_set_follow_each_other_latency_first(run):
    asked = run(*SIX).asked("latency", "throughput")
    for first in range(0, 36, 6):
        parts, names = zip(*asked[first : first + 6])
        assert parts == ("latency",) * 3 + ("throughput",) * 3
        assert names[:3] == names[3:]
        assert len({name.split("/")[1] for name in names}) == 1


def test_the_order_depends_on_the_seed(run):
    first, again, other = (run(*SIX, folder_name=str(n), seed=seed).asked("latency") for n, seed in enumerate((0, 0, 1)))
    assert first == again
    assert first != other
    assert len({tuple(first[number : number + 6]) for number in (0, 6, 12)}) == 3


def test_a_block_of_the_journal_holds_both_parts(run):
    found = run("fp32/1")
    block = found.cells["fp32/1"].blocks[0]
    assert found.cells["fp32/1"].calls(0, "latency").tolist() == [100] * block.calls
    assert (block.throughput.lanes, block.settled) == (1, True)
    assert [(noise.wall_ns > 0, noise.major_faults) for noise in (block.noise.latency, block.noise.throughput)] == [
        (True, 0)
    ] * 2
    assert [NAMES[type(event)] for _, event in found.events] == ["opened", "inspected", "warm", *["block"] * 3, "finished"]


def test_a_quiet_series_ends_at_the_first_look_and_a_noisy_one_at_the_last(run):
    found = run("fp32/1", "bf16/1", plot=noisy("bf16/1"), budget=BUDGET)
    assert (found.rounds("fp32/1"), found.why("fp32/1")) == (list(range(10)), "interval")
    assert (found.rounds("bf16/1"), found.why("bf16/1")) == (list(range(12)), "budget")
    widths = {name: cell.finished.half_width for name, cell in found.cells.items()}
    assert widths["bf16/1"] > BUDGET.half_width > widths["fp32/1"] == 0


def test_time_that_is_used_up_ends_cells_at_the_first_look_that_is_due(run):
    found = run("fp32/1", "bf16/1", plot=noisy("bf16/1"), budget=replace(BUDGET, cell_s=0))
    ends = {name: (len(found.rounds(name)), found.why(name)) for name in found.cells}
    assert ends == {"fp32/1": (10, "interval"), "bf16/1": (10, "budget")}


def test_a_cells_time_is_its_share_of_the_groups(run):
    """A visit takes more than 2 µs here, so a microsecond for each of ten rounds is not enough, and a second is."""
    late = run("fp32/1", plot=noisy("fp32/1"), budget=replace(BUDGET, cell_s=10e-6), folder_name="late")
    early = run("fp32/1", plot=noisy("fp32/1"), budget=replace(BUDGET, cell_s=1), folder_name="early")
    assert [len(found.rounds("fp32/1")) for found in (late, early)] == [10, 12]


@settings(max_examples=10)
@given(
    ticks=st.lists(st.sampled_from([100, 101, 300]), min_size=12, max_size=12), looks=st.sampled_from([(1,), (3, 5), (10, 12)])
)
def test_every_cell_ends_once_and_at_a_look(ticks, looks):
    works = Works(lambda job, name, nth: {"tick": ticks[nth]} if (job, name) == ("latency", "fp32/1") else {})
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), [active_of("fp32/1"), active_of("bf16/1")], works, budget=replace(BUDGET, looks=looks))
    assert sorted(key for key, event in found.events if isinstance(event, Finished)) == sorted(works.names)
    for name, cell in found.cells.items():
        assert len(cell.blocks) in looks, name
        assert cell.finished.why == "interval" or len(cell.blocks) == looks[-1]


def test_a_baseline_stays_as_long_as_anything_that_is_compared_with_it(run):
    found = run("fp32/1", "bf16/1", plot=noisy("bf16/1"), budget=BUDGET, baseline="null")
    assert found.rounds("fp32/1") == found.rounds("bf16/1") == list(range(12))
    assert [(event.of, event.why) for _, event in found.events if isinstance(event, Finished)] == [
        ("p50", "interval"),
        ("speedup", "budget"),
    ]


def test_a_baseline_of_another_batch_does_not_stay(run):
    found = run("fp32/1", "fp32/8", "bf16/8", plot=noisy("bf16/8"), budget=BUDGET, baseline="null")
    assert [len(found.rounds(name)) for name in ("fp32/1", "fp32/8", "bf16/8")] == [10, 12, 12]


def test_what_fits_into_memory_is_open_at_the_same_time(run):
    each_mb = RESIDENT_MB
    names = ("fp32/1", "bf16/1", "int8/1", "fp16/1")
    most = {
        count: run(*names, memory_mb=each_mb * (count + 0.5), folder_name=str(count)).works.most_alive for count in (1, 2, 3, 9)
    }
    assert most == {1: 1, 2: 2, 3: 3, 9: 4}


@pytest.fixture
def on_gpu(monkeypatch):
    """A cell of the null backend, which runs on a GPU for once, by name."""
    monkeypatch.setattr(Null, "device_kind", "cuda")

    def made(name):
        found = active_of(name)
        return replace(found, planned=replace(found.planned, cell=replace(found.planned.cell, device="cuda:0")))

    return made


@pytest.mark.parametrize(("gpu_mb", "most"), [((219, 100), 1), ((220, 100), 2), ((320, 100), 3), (None, 4), ((0, 0), 4)])
def test_another_crew_is_open_on_a_gpu_while_a_fifth_more_than_the_largest_is_free(run, on_gpu, gpu_mb, most):
    names = ("fp32/1", "bf16/1", "int8/1", "fp16/1")
    found = run(*map(on_gpu, names), gpu_mb=gpu_mb)
    assert found.works.most_alive == most
    assert {name: len(found.rounds(name)) for name in names} == dict.fromkeys(names, 3)


def test_a_gpu_bounds_no_crew_on_a_cpu(run):
    assert run("fp32/1", "bf16/1", "int8/1", gpu_mb=(0, 100)).works.most_alive == 3


def test_a_gpu_that_is_full_still_takes_one_more_than_the_baseline(run, on_gpu):
    found = run(*map(on_gpu, ("bf16/1", "int8/1", "fp32/1")), gpu_mb=(0, 100), baseline="null")
    assert found.works.most_alive == 2
    assert [len(found.rounds(name)) for name in ("bf16/1", "int8/1", "fp32/1")] == [3, 3, 6]


def test_a_block_on_a_gpu_has_what_nvml_told_of_both_its_parts(run, on_gpu):
    block = run(on_gpu("fp32/1")).cells["fp32/1"].blocks[0]
    assert [part.gpu.others for part in (block.noise.latency, block.noise.throughput)] == [0, 0]


def slowly(job, name="", nth=0, **more):
    """A plot in which a look at the clock takes 1 ms while energy is measured."""
    return {"tick": 10**6, **more} if job == "energy" else {}


def test_energy_is_measured_once_for_each_cell_on_a_gpu_after_its_warm_up(run, on_gpu):
    found = run(on_gpu("fp32/1"), on_gpu("bf16/1"), plot=slowly, budget=ENERGY)
    assert found.asked("warm", "energy", "latency")[:4] == [
        *(("warm", "fp32/1"), ("energy", "fp32/1")),
        *(("warm", "bf16/1"), ("energy", "bf16/1")),
    ]
    assert Counter(found.names("energy")) == {"fp32/1": 1, "bf16/1": 1}
    assert all(cell.energy.items_per_s > 0 for cell in found.cells.values())


def test_a_cell_on_a_cpu_is_asked_for_its_energy_once_too(run):
    found = run("fp32/1", plot=slowly, budget=ENERGY)
    assert (found.names("energy"), found.rounds("fp32/1")) == (["fp32/1"], [0, 1])


def test_a_budget_without_energy_measures_none(run, on_gpu):
    found = run(on_gpu("fp32/1"), budget=replace(ENERGY, energy_ms=0))
    assert (found.names("energy"), found.rounds("fp32/1")) == ([], [0, 1])


def test_a_cell_that_is_opened_again_has_its_energy(run, on_gpu):
    def plot(job, name, nth):
        return only("latency", "fp32/8", 0, raised=WorkerDied("killed"))(job, name, nth) or slowly(job)

    found = run(on_gpu("fp32/1"), on_gpu("fp32/8"), plot=plot, budget=ENERGY)
    assert (Counter(found.names("warm")), Counter(found.names("energy"))) == (
        {"fp32/1": 2, "fp32/8": 1},
        {"fp32/1": 1, "fp32/8": 1},
    )


def test_a_resumed_cell_has_its_energy(run, on_gpu, tmp_path):
    with pytest.raises(Interrupted):
        run(on_gpu("fp32/1"), plot=lambda job, _, nth: {"stop": (job, nth) == ("latency", 0), **slowly(job)}, budget=ENERGY)
    (held,) = record.read_run(tmp_path / "run").cells
    again = resume_cell(on_gpu("fp32/1").planned, held, Sweep(budget=ENERGY))
    longer = run(again, plot=slowly, budget=replace(ENERGY, looks=(3,)))
    assert (again.energy, longer.names("energy"), longer.cells["fp32/1"].energy) == (True, [], held.energy)


def test_energy_that_fails_is_a_note_and_ends_no_cell(run, on_gpu, monkeypatch):
    notes = []
    monkeypatch.setattr(Silent, "note", lambda _, text: notes.append(text))
    failing = only("energy", "fp32/1", 0, raised=RuntimeFailed("a lane fell over"))
    found = run(on_gpu("fp32/1"), plot=failing, budget=ENERGY).cells["fp32/1"]
    assert (found.status, len(found.blocks), found.energy.reason) == ("ok", 2, "a lane fell over")
    assert ["a lane fell over" in note for note in notes] == [True]


def test_a_worker_that_dies_while_energy_is_measured_ends_that_cell_alone(run, on_gpu):
    def plot(job, name, nth):
        return only("energy", "fp32/8", 0, raised=WorkerDied("killed"))(job, name, nth) or slowly(job)

    found = run(on_gpu("fp32/1"), on_gpu("fp32/8"), plot=plot, budget=ENERGY)
    assert {name: cell.status for name, cell in found.cells.items()} == {"fp32/1": "ok", "fp32/8": "failed"}


def test_without_any_memory_to_spare_crews_are_measured_one_after_the_other(run):
    found = run(*SIX, memory_mb=0)
    order = [name.split("/")[0] for name in found.names("latency")]
    assert [order[first] for first in (0, 6, 12)] == list(dict.fromkeys(order))
    assert {name: len(found.rounds(name)) for name in SIX} == dict.fromkeys(SIX, 3)


def test_each_group_has_the_baseline_again_and_rounds_of_its_own(run):
    found = run("bf16/1", "int8/1", "fp32/1", memory_mb=0, baseline="null")
    base, others = set(found.rounds("fp32/1")), [set(found.rounds(name)) for name in ("bf16/1", "int8/1")]
    assert [len(numbers) for numbers in others] == [3, 3]
    assert set.union(*others) <= base
    assert not set.intersection(*others)
    assert found.works.most_alive == 2


def disturb(job, name, count):
    """The first `count` requests of this kind to this cell are disturbed."""
    return lambda of_job, of_name, nth: {"disturbed": (of_job, of_name) == (job, name) and nth < count}


def test_a_disturbed_latency_block_has_its_whole_set_measured_again(run):
    found = run(*SIX, plot=disturb("latency", "bf16/1", 1), budget=replace(SHORT, looks=(2,)))
    times = Counter(found.names("latency"))
    assert times == {name: 2 + name.endswith("/1") for name in SIX}
    assert Counter(found.names("throughput")) == dict.fromkeys(SIX, 2)
    assert all(block.noise.latency.major_faults == 0 for cell in found.cells.values() for block in cell.blocks.values())


def test_a_disturbed_throughput_block_is_measured_again_alone(run):
    found = run(*SIX, plot=disturb("throughput", "bf16/1", 1), budget=replace(SHORT, looks=(2,)))
    assert Counter(found.names("throughput")) == {name: 2 + (name == "bf16/1") for name in SIX}
    assert Counter(found.names("latency")) == dict.fromkeys(SIX, 2)


@pytest.mark.parametrize("part", ["latency", "throughput"])
def test_what_stays_disturbed_is_kept_as_it_is(run, part):
    found = run("fp32/1", plot=disturb(part, "fp32/1", 99), budget=replace(SHORT, looks=(1,), repeats=9))
    assert found.names(part) == ["fp32/1"] * (1 + MAX_REPEATS)
    assert getattr(found.cells["fp32/1"].blocks[0].noise, part).major_faults == 1


@settings(max_examples=15)
@given(
    dirty=st.sets(st.tuples(st.sampled_from(["latency", "throughput"]), st.sampled_from(SIX[:3]), st.integers(0, 9))),
    data=st.data(),
)
def test_repeats_stay_within_the_tries_and_the_budget(dirty, data):
    budget = replace(SHORT, repeats=data.draw(st.sampled_from([0.34, 1, 5])))
    works = Works(lambda *request: {"disturbed": request in dirty})
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), [active_of(name) for name in SIX[:3]], works, budget=budget)
    for name in SIX[:3]:
        extra = [found.names(part).count(name) - 3 for part in ("latency", "throughput")]
        assert all(0 <= more <= 3 * MAX_REPEATS for more in extra)
        assert sum(extra) <= math.ceil(budget.repeats * 3)
        assert found.rounds(name) == [0, 1, 2]
    assert len({found.names("latency").count(name) for name in SIX[:3]}) == 1


@pytest.mark.parametrize(("error", "status"), [(WorkerDied("killed"), "failed"), (WorkerTimeout("no answer"), "timeout")])
@pytest.mark.parametrize("job", ["latency", "throughput"])
def test_a_worker_that_is_gone_ends_its_cell_and_the_others_of_its_crew_go_on(run, job, error, status):
    found = run("fp32/1", "fp32/8", "bf16/1", plot=only(job, "fp32/8", 1, raised=error))
    assert (found.cells["fp32/8"].status, found.cells["fp32/8"].reason) == (status, str(error))
    assert found.rounds("fp32/1") == found.rounds("bf16/1") == [0, 1, 2]
    assert len(found.works.hired) == 3
    assert Counter(found.names("open")) == {"fp32/1": 2, "fp32/8": 1, "bf16/1": 1}


@pytest.mark.parametrize("job", ["open", "warm"])
def test_a_worker_that_dies_at_the_opening_ends_that_cell_alone(run, job):
    found = run("fp32/1", "fp32/8", "fp32/32", plot=only(job, "fp32/8", 0, raised=WorkerDied("killed")))
    assert {name: (cell.status, len(cell.blocks)) for name, cell in found.cells.items()} == {
        "fp32/1": ("ok", 3),
        "fp32/8": ("failed", 0),
        "fp32/32": ("ok", 3),
    }


def test_a_cell_that_fails_leaves_its_worker_to_the_others(run):
    found = run("fp32/1", "fp32/8", plot=only("latency", "fp32/8", 1, raised=RuntimeFailed("out of memory")))
    assert (found.cells["fp32/8"].reason, found.rounds("fp32/1")) == ("out of memory", [0, 1, 2])
    assert (len(found.works.hired), Counter(found.names("open"))) == (1, {"fp32/1": 1, "fp32/8": 1})


def test_the_largest_batch_of_a_crew_is_opened_first(run):
    assert run("fp32/1", "fp32/32", "fp32/8").names("open") == ["fp32/32", "fp32/8", "fp32/1"]


def test_a_cell_that_is_opened_again_does_not_search_nor_verify_again(run):
    first = active_of("fp32/1", concurrency=None, reference="yes")
    found = run(first, "fp32/8", plot=only("latency", "fp32/8", 1, raised=WorkerDied("killed")))
    of_first = [event for key, event in found.events if key == first.key]
    warm = [event for event in of_first if isinstance(event, Warm)]
    assert [bool(event.tried) for event in warm] == [True, False]
    assert warm[0].concurrency == warm[1].concurrency
    once = {"verified": 1, "inspected": 1, "answered": 1, "finished": 1}
    assert Counter(NAMES[type(event)] for event in of_first) == {"opened": 2, "warm": 2, "block": 3, **once}


def test_a_resumed_run_keeps_the_concurrency_and_goes_on_after_its_rounds(run, tmp_path):
    with pytest.raises(Interrupted):
        run(active_of("fp32/1", concurrency=None), plot=only("latency", "fp32/1", 1, stop=True))
    (held,) = record.read_run(tmp_path / "run").cells
    found = run(resume_cell(active_of("fp32/1").planned, held, Sweep(budget=SHORT)))
    chosen, rates = held.warm.concurrency, [block.throughput for block in found.cells["fp32/1"].blocks.values()]
    assert held.warm.tried
    assert (found.cells["fp32/1"].warm.concurrency, found.cells["fp32/1"].warm.tried) == (chosen, held.warm.tried)
    assert [rate.lanes for rate in rates] == [chosen.lanes] * 3
    assert (len(found.names("latency")), found.rounds("fp32/1")) == (1, [0, 1, 2])


@pytest.mark.parametrize("error", [StorageFailed("no room"), ZeroDivisionError()])
def test_what_is_no_cells_fault_ends_the_run_and_every_worker(tmp_path, error):
    works = Works(only("latency", "bf16/1", 1, raised=error))
    with pytest.raises(type(error)):
        measure(tmp_path, [active_of("fp32/1"), active_of("bf16/1")], works)
    assert [worker.alive for worker in works.hired] == [False, False]


def test_a_run_that_the_user_stops_keeps_the_rounds_that_were_done(run, tmp_path):
    with pytest.raises(Interrupted, match="stopped by Ctrl-C"):
        run("fp32/1", "bf16/1", plot=lambda job, _, nth: {"stop": (job, nth) == ("latency", 1)})
    assert [len(cell.blocks) for cell in record.read_run(tmp_path / "run").cells] == [2, 2]


def test_a_finished_baseline_is_visited_again_beside_what_is_compared_with_it(run):
    found = run(active_of("fp32/1", complete=True, finished=True, rounds=3, last_round=2), "bf16/1", baseline="null")
    assert found.rounds("fp32/1") == found.rounds("bf16/1") == [3, 4, 5]
    assert found.why("fp32/1") is None


def test_all_rounds_together_carry_the_p99_that_was_asked_for(run):
    found = run("fp32/1", metric="p99", budget=replace(BUDGET, looks=(10,)))
    assert len(series.samples(found.cells["fp32/1"], "latency")) >= samples_needed(99)


UNDER_LOAD = {"load": Load(percentile=50, limit_ms=1, max_batch=1), "budget": replace(SHORT, load_s=1e-5)}


def test_who_is_asked_for_a_rate_is_loaded_when_all_rounds_are_done(run):
    found = run("fp32/1", "fp32/8", **UNDER_LOAD)
    assert set(found.names("load")) == {"fp32/1"}  # calls of eight are larger than asked for
    jobs = [job for job, _ in found.works.asked]
    assert jobs.index("load") > max(index for index, job in enumerate(jobs) if job == "throughput")
    told = found.cells["fp32/1"].load
    assert told.asked.limit_ms == 1
    assert [point.items > 0 for way in told.ways for point in way.points]
    assert found.cells["fp32/8"].load is None


def test_a_load_that_the_user_stops_is_no_step_that_failed(run, tmp_path):
    with pytest.raises(Interrupted):
        run("fp32/1", plot=only("load", "fp32/1", 0, stop=True), **UNDER_LOAD)
    (held,) = record.read_run(tmp_path / "run").cells
    assert (held.status, held.load, held.failed_steps) == ("ok", None, ())


def test_a_worker_that_dies_under_load_ends_the_row_alone(run):
    died = WorkerDied("it was killed")
    found = run("fp32/1", "bf16/1", plot=only("load", "fp32/1", 0, raised=died), **UNDER_LOAD)
    failed = found.cells["fp32/1"]
    assert (failed.status, failed.load) == ("ok", None)
    assert [(event.step, event.reason) for event in failed.failed_steps] == [("load", "it was killed")]
    assert found.cells["bf16/1"].load is not None
    assert found.cells["bf16/1"].failed_steps == ()
