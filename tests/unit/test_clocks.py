"""Clocks of a GPU: figures in cycles, verdicts that time and cycles contradict, and blocks that throttled clocks spoiled."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from onnxbench.backends.null import Null
from onnxbench.errors import Interrupted
from onnxbench.evidence import Block, Counts, GpuCounts, Noise
from onnxbench.results.compare import gate
from onnxbench.results.compare.compare import compare
from onnxbench.results.compare.comparison import facts, tabulate
from onnxbench.results.compare.verdict import is_shown, overall
from onnxbench.results.stats.ambiguity import disagree
from onnxbench.results.store import clocks
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.runners.sweep.repeats import MAX_REPEATS
from onnxbench.runners.worker.nvml import SLOWED

from .groups import SHORT, active_of, runner

MS = 10**6
NUMBERS = itertools.count()
JITTER = np.exp(np.linspace(-0.004, 0.004, 12))
HOT, CAPPED, IDLE = SLOWED["hw_thermal_slowdown"], SLOWED["sw_power_cap"], 0x1


def gpu_of(mhz, begin=None, throttle=()):
    return {"sm_mhz": mhz, "sm_begin_mhz": begin, "throttle": list(throttle), "others": 0}


@pytest.fixture
def run(run_folder):
    """Path of a run of `cells`; each is given with its p50 in ms and its clock in MHz (None: not known), which may be a list
    by round."""

    def of(*cells, **head):
        folder = run_folder(*(cell for cell, _, _ in cells), name=f"run{next(NUMBERS)}", **head)
        for place, (cell, ms, mhz) in enumerate(cells):
            jitter = JITTER[:: (-1) ** place]  # ratios of two cells differ between lives
            folder.opened(cell)
            folder.warm(cell)
            levels = mhz if isinstance(mhz, list) else [mhz] * len(JITTER)
            for number, (factor, level) in enumerate(zip(jitter, levels)):
                ns = round(ms * MS * factor)
                noise = None if level is None else {part: {"gpu": gpu_of(level)} for part in ("latency", "throughput")}
                folder.block(cell, number, [ns] * 40, [2 * ns] * 40, took_ns=100 * ns, life=number // 2, noise=noise)
            folder.finished(cell)
        return folder.path

    return of


@pytest.fixture
def pair(make_cell):
    """The baseline and another cell on one GPU."""
    return make_cell(backend="ort-cuda", device="cuda:0"), make_cell(backend="torch-cuda", device="cuda:0")


def rows(path, baseline="ort-cuda"):
    built = table.build([read_run(path)], baseline)
    return {row["backend"]: row for row in built.rows}


def compared(base, new, **how):
    return compare([read_run(base)], [read_run(new)], **how)


def of(changes, metric="p50", **cell):
    (found,) = [
        item for item in changes if item.metric.name == metric and all(getattr(item.pair.cell, k) == v for k, v in cell.items())
    ]
    return found


def test_the_clock_of_a_block_is_that_around_its_latency_and_that_after_its_throughput():
    counts = Counts(gpu=GpuCounts(sm_mhz=1980, sm_begin_mhz=1500))
    block = Block(round=0, noise=Noise(latency=counts, throughput=counts))
    assert [clocks.block_mhz(block, part) for part in ("latency", "throughput")] == [1740, 1980]
    older = Block(round=0, noise=Noise(latency=Counts(gpu=GpuCounts(sm_mhz=1755))))
    assert [clocks.block_mhz(older, part) for part in ("latency", "throughput")] == [1755, None]


def test_cycles_are_time_by_clock(run, pair):
    row = rows(run((pair[0], 2.0, 1000), (pair[1], 1.0, 1500)))
    assert row["ort-cuda"]["p50_cycles"] == pytest.approx(2e6, rel=1e-3)
    assert row["torch-cuda"]["p50_cycles"] == pytest.approx(1.5e6, rel=1e-3)
    assert (row["torch-cuda"]["speedup"], row["torch-cuda"]["speedup_cycles"]) == pytest.approx((2, 4 / 3), rel=1e-3)
    ends = [row["torch-cuda"][f"speedup_cycles_ci_{end}"] for end in ("low", "high")]
    assert ends[0] <= row["torch-cuda"]["speedup_cycles"] <= ends[1]
    assert row["torch-cuda"]["verdict"] == "faster"  # in both


def test_a_clock_that_changes_within_a_run_goes_out_of_the_cycles(run, pair):
    levels = [1000, 2000] * 6
    row = rows(run((pair[0], 2.0, levels), (pair[1], 2.0, 1000)))
    assert row["ort-cuda"]["p50_cycles"] == pytest.approx(2e6 * 2**0.5, rel=1e-3)


@pytest.mark.parametrize("mhz", [None, [1000] * 11 + [None]])
def test_without_a_clock_in_every_round_there_are_no_cycles(run, pair, mhz):
    row = rows(run((pair[0], 2.0, 1000), (pair[1], 1.0, mhz)))["torch-cuda"]
    assert [row[name] for name in ("p50_cycles", "speedup_cycles", "speedup_cycles_ci_low")] == [None] * 3
    assert row["verdict"] == "faster"


def test_a_row_against_the_cpu_has_no_speed_up_in_cycles(run, pair, make_cell):
    row = rows(run((make_cell(), 2.0, None), (pair[1], 1.0, 1000)), "ort-cpu")["torch-cuda"]
    assert (row["speedup_cycles"], row["verdict"]) == (None, "faster")


@pytest.mark.parametrize(
    ("ms", "mhz", "verdict"),
    [
        (1.8, 1111, "ambiguous"),  # faster in time alone: its clock was higher
        (2.0, 1200, "ambiguous"),  # as fast, in more cycles
        (1.8, 1300, "ambiguous"),  # faster in time, slower in cycles
        (1.8, 1000, "faster"),
        (1.8, 1020, "faster"),
        (2.2, 1000, "slower"),
        (2.0, 1000, "no difference shown"),
    ],
)
def test_a_speed_up_that_time_and_cycles_contradict_is_ambiguous_and_says_why(run, pair, ms, mhz, verdict):
    path = run((pair[0], 2.0, 1000), (pair[1], ms, mhz))
    assert rows(path)["torch-cuda"]["verdict"] == verdict
    found = [item for item in table.build([read_run(path)], "ort-cuda").findings if item.kind == "ambiguous_speedup"]
    assert bool(found) == (verdict == "ambiguous")
    if found:
        values = dict(found[0].values)
        assert (values["mhz"], values["base_mhz"], values["base"]) == (mhz, 1000, "ort-cuda")


def test_the_clock_of_a_row_is_the_median_of_the_rounds_that_have_one(run, pair):
    record = read_run(run((pair[0], 2.0, [1000, 1200, None] * 4))).cells[0]
    assert clocks.record_mhz(record) == 1100
    assert clocks.record_mhz(read_run(run((pair[0], 2.0, None))).cells[0]) is None


@pytest.mark.parametrize(
    ("time", "cycles", "differs", "answer"),
    [
        (1.1, 1.0, (True, False), True),
        (1.0, 1.1, (False, True), True),
        (1.1, 0.9, (True, True), True),
        (1.1, 1.1, (True, True), False),
        (1.1, 1.09, (True, False), False),  # just short of significance, and nothing that the clock explains
        (1.0, 1.0, (False, False), False),
    ],
)
def test_time_and_cycles_disagree_where_the_clock_explains_the_difference(time, cycles, differs, answer):
    assert disagree(time, cycles, time_differs=differs[0], cycles_differ=differs[1]) == answer
    assert disagree(1 / time, 1 / cycles, time_differs=differs[0], cycles_differ=differs[1]) == answer


def test_runs_at_other_clocks_are_ambiguous_and_the_clocks_are_named(run, pair):
    sides, found = compared(run((pair[0], 2.0, 2000)), run((pair[0], 2.5, 1600)))
    change = of(found)
    assert (change.verdict, change.effect, change.cycles.effect) == ("ambiguous", pytest.approx(1.25), pytest.approx(1))
    assert [of(found, name).verdict for name in ("e2e_p50", "throughput")] == ["ambiguous"] * 2
    assert (is_shown(change), overall(found).verdict) == (True, "undecided")
    (finding, *_) = [item for item in facts(sides, found) if item.kind == "ambiguous_change"]
    values = dict(finding.values)
    assert (values["base_mhz"], values["new_mhz"], round(values["change"])) == (2000, 1600, 25)
    row = tabulate(sides, found, []).rows[0]
    assert (row["verdict"], row["cycles_ratio"], row["base_mhz"], row["new_mhz"]) == ("ambiguous", pytest.approx(1), 2000, 1600)
    assert row["cycles_ratio_ci_low"] <= 1 <= row["cycles_ratio_ci_high"]


def test_runs_at_one_clock_have_the_verdict_of_their_time(run, pair):
    _, found = compared(run((pair[0], 2.0, 2000)), run((pair[0], 2.5, 2000)))
    assert (of(found).verdict, of(found).cycles.effect) == ("slower", pytest.approx(1.25))


@pytest.mark.parametrize("mhz", [(None, None), (2000, None)])
def test_runs_without_clocks_are_compared_by_time_alone(run, pair, mhz):
    sides, found = compared(run((pair[0], 2.0, mhz[0])), run((pair[0], 2.5, mhz[1])))
    assert (of(found).verdict, of(found).cycles) == ("slower", None)
    assert tabulate(sides, found, []).rows[0]["cycles_ratio"] is None


def test_a_control_on_the_gpu_is_divided_out_in_cycles_too(run, pair):
    base, new = (run((pair[0], ms, mhz), (pair[1], ms, mhz)) for ms, mhz in ((2.0, 2000), (2.5, 1600)))
    change = of(compared(base, new, control="torch-cuda")[1], backend="ort-cuda")
    assert (change.verdict, change.effect) == ("no difference shown", pytest.approx(1))
    assert change.cycles.effect == pytest.approx(1)


def test_several_runs_a_side_have_cycles_too(run, pair):
    sides = [[read_run(run((pair[0], ms * f, mhz))) for f in (0.999, 1, 1.001)] for ms, mhz in ((2.0, 2000), (2.5, 1600))]
    change = of(compare(*sides)[1])
    assert (change.method, change.verdict, change.cycles.effect) == ("runs", "ambiguous", pytest.approx(1))


def test_a_limit_is_undecided_where_the_change_is_ambiguous(run, pair):
    _, found = compared(run((pair[0], 2.0, 2000)), run((pair[0], 2.5, 1600)))
    judged = gate.judge(gate.parse(["p50>5%"]), found, "warn")
    assert (judged.failed, len(judged.shown), len(judged.unsure)) == (False, 0, 1)
    assert "--lock-clocks" in dict(gate.judge(gate.parse(["p50>5%"]), found).failures[0].values)["remedy"]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    monkeypatch.setattr(Null, "device_kind", "cuda")
    return runner(tmp_path)


def on_gpu(name):
    active = active_of(name)
    return replace(active, planned=replace(active.planned, cell=replace(active.planned.cell, device="cuda:0")))


def hot(job, name, times, bits=HOT):
    """A plot in which the clocks are throttled the first `times` that a block is measured."""
    return lambda *request: {"bits": bits} if request[:2] == (job, name) and request[2] < times else {}


COOL = replace(SHORT, looks=(2,), throttle_pause_s=1.5, throttle_s=60, repeats=0)


def pauses(found):
    """Pauses of the run in seconds; they are slept in parts of a second."""
    return sum(seconds for seconds in found.works.slept if seconds >= 0.5)


@pytest.mark.parametrize("part", ["latency", "throughput"])
def test_a_throttled_block_is_dropped_and_measured_again_after_a_pause_that_grows(measured, part):
    found = measured(on_gpu("fp32/1"), plot=hot(part, "fp32/1", 3), budget=COOL)
    assert found.names(part).count("fp32/1") == 2 + 3
    assert pauses(found) == 1.5 + 3 + 6
    blocks = found.cells["fp32/1"].blocks
    assert [blocks[number].throttled for number in (0, 1)] == [3, 0]
    assert found.cells["fp32/1"].disturbed == frozenset()


@pytest.mark.parametrize("bits", [CAPPED, IDLE, 0x2, 0x10])
def test_a_power_limit_idleness_and_chosen_clocks_drop_nothing(measured, bits):
    found = measured(on_gpu("fp32/1"), plot=hot("latency", "fp32/1", 9, bits), budget=COOL)
    assert (found.names("latency"), pauses(found)) == (["fp32/1"] * 2, 0)
    assert [block.throttled for block in found.cells["fp32/1"].blocks.values()] == [0, 0]


@pytest.mark.parametrize("bit", [name for name in SLOWED if name != "sw_power_cap"])
def test_every_other_cause_drops_the_block(measured, bit):
    found = measured(on_gpu("fp32/1"), plot=hot("latency", "fp32/1", 1, SLOWED[bit]), budget=COOL)
    assert found.cells["fp32/1"].blocks[0].throttled == 1


def test_pauses_end_with_the_budget_and_the_block_is_kept_as_disturbed(measured):
    found = measured(on_gpu("fp32/1"), plot=hot("latency", "fp32/1", 99), budget=replace(COOL, looks=(1,), throttle_s=5))
    assert pauses(found) == 1.5 + 3
    block = found.cells["fp32/1"].blocks[0]
    assert (block.throttled, found.cells["fp32/1"].disturbed) == (2, {0})


def test_without_pauses_in_the_budget_the_plain_repeats_are_left(measured):
    budget = replace(COOL, looks=(1,), throttle_s=0, repeats=9)
    found = measured(on_gpu("fp32/1"), plot=hot("latency", "fp32/1", 99), budget=budget)
    assert (len(found.names("latency")), pauses(found)) == (1 + MAX_REPEATS, 0)


def test_a_throttled_latency_block_has_its_whole_set_measured_again_and_counts_once(measured):
    found = measured(*map(on_gpu, ("fp32/1", "bf16/1")), plot=hot("latency", "bf16/1", 1), budget=COOL)
    assert sorted(found.names("latency")) == ["bf16/1"] * 3 + ["fp32/1"] * 3
    assert [sum(b.throttled for b in found.cells[name].blocks.values()) for name in ("fp32/1", "bf16/1")] == [0, 1]


def test_ctrl_c_ends_a_pause(measured):
    def plot(job, name, nth):
        return {"bits": HOT, "stop": nth == 1} if job == "latency" else {}

    with pytest.raises(Interrupted):
        measured(on_gpu("fp32/1"), plot=plot, budget=COOL)


def test_a_row_counts_what_was_dropped(run_folder, make_cell):
    cell = make_cell(device="cuda:0")
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell)
    noise = {part: {"gpu": gpu_of(1755)} for part in ("latency", "throughput")}
    for number, count in enumerate((0, 2, 1)):
        folder.block(cell, number, [MS] * 40, [MS] * 40, noise=noise, throttled=count)
    built = table.build([read_run(folder.path)], None)
    assert built.rows[0]["gpu_throttled"] == 3
    assert "throttled" in [finding.kind for finding in built.findings]
