"""Lives: fresh processes for every few rounds, opened in an order that favours nobody."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.errors import Interrupted, RuntimeFailed, WorkerDied
from onnxbench.evidence import Info, Reopened
from onnxbench.loop import Program
from onnxbench.results.stats.intervals import LIFE, ROUND
from onnxbench.results.store import series
from onnxbench.results.store.record import read_run
from onnxbench.runners.sweep.cells import resume_cell
from onnxbench.runners.sweep.rounds import opening_order
from onnxbench.runners.worker import flush
from onnxbench.runners.worker.blocks import COLD_CALLS
from onnxbench.spec import COLD, Sweep

from .fake_worker import AS_A_TARGET, InProcess, only
from .groups import SHORT, Works, active_of, measure, runner

LIVES = replace(SHORT, looks=(6,), life_rounds=2)
CALL = Program(name="call")
PAIR = ("fp32/1", "fp32/8", "bf16/1", "bf16/8")  # two crews of two cells


@pytest.fixture
def run(tmp_path):
    """Measures cells by name, as `plot` says."""
    return runner(tmp_path)


@given(st.integers(1, 7), st.integers(0, 99), st.integers(0, 9))
def test_every_crew_opens_in_every_position_equally_often(count, seed, half):
    crews = [(name,) for name in range(count)]
    orders = [opening_order(crews, seed, life) for life in range(2 * count)]
    assert all(sorted(order) == crews for order in orders)
    assert all([order.index(crew) for order in orders].count(place) == 2 for crew in crews for place in range(count))
    two = [opening_order(crews, seed, life) for life in (2 * half, 2 * half + 1)]
    assert {sum(order.index(crew) for order in two) for crew in crews} == {count - 1}


def test_every_life_has_fresh_processes_and_its_own_rounds(run):
    result = run(*PAIR, budget=LIVES)
    assert all([block.life for block in result.cells[name].blocks.values()] == [0, 0, 1, 1, 2, 2] for name in PAIR)
    assert len(result.works.hired) == 2 * (1 + 3)  # one for each crew's first opening, whose rounds would differ
    assert result.works.most_alive == 2
    assert result.names("open").count("bf16/8") == 4


@pytest.mark.parametrize("without", [0, 2, 9])
def test_an_opening_that_reports_other_settings_than_the_first_is_recorded(tmp_path, without):
    works = Works()

    def hired(state, begin):
        graph = "off" if len(works.hired) == without else "on"
        opened = {**AS_A_TARGET["open"], "info": Info(executed="fp32", settings={"threads": "2", "cuda_graph": graph})}
        return InProcess(state, begin, changed={"open": opened})

    works.worker = hired
    result = measure(tmp_path / "run", [active_of("fp32/1")], works, budget=LIVES)
    on, off = {"cuda_graph": "on"}, {"cuda_graph": "off"}
    expected = {0: [Reopened(reports=on, usual=off)] * 3, 2: [Reopened(reports=off, usual=on)]}
    assert list(result.cells["fp32/1"].reopened) == expected.get(without, [])


def test_all_runtimes_of_a_life_are_loaded_before_its_first_cell_opens(run):
    result = run(*PAIR, budget=LIVES)
    asked = [job for job, _ in result.asked("probe", "open", "latency")]
    starts = [place for place, job in enumerate(asked) if job == "probe" and asked[place - 1] != "probe"]
    assert [asked[place : place + 6] for place in starts] == [["probe"] * 2 + ["open"] * 4] * 3


def test_a_worker_that_dies_while_it_loads_its_runtime_is_replaced(run):
    result = run(*PAIR, plot=lambda *asked: {"raised": WorkerDied("no")} if asked == ("probe", "null", 2) else {}, budget=LIVES)
    assert all(result.rounds(name) == list(range(6)) for name in PAIR)
    assert len(result.works.hired) == 2 * (1 + 3) + 1
    assert [worker.alive for worker in result.works.hired].count(True) == 0


def test_throughput_is_measured_in_the_first_round_of_a_life_and_then_now_and_then(run):
    result = run(*PAIR, budget=replace(LIVES, looks=(8,), life_rounds=4, rate_rounds=3))
    for name in PAIR:
        assert [bool(block.throughput) for block in result.cells[name].blocks.values()] == [True, False, False, True] * 2
    assert len(result.names("throughput")) == 4 * len(PAIR)
    assert len(result.names("latency")) == 8 * len(PAIR)


LONG = replace(LIVES, looks=(4,), most_life_rounds=5, rate_rounds=5)


def test_a_set_of_short_visits_has_more_rounds_in_each_life_and_the_looks_count_the_least(run):
    """Every latency block of batch 8 lasts a second, which is the time that its cells have in a life."""

    def plot(job, name, nth):
        return {"tick": 10**9} if (job, name) == ("latency", "fp32/8") else {}

    result = run(*PAIR, plot=plot, budget=replace(LONG, life_ms=1000))
    found = {name: [block.life for block in result.cells[name].blocks.values()] for name in PAIR}
    assert found["fp32/1"] == found["bf16/1"] == [0] * 5 + [1] * 5
    assert found["fp32/8"] == found["bf16/8"] == [0, 0, 1, 1]
    assert all([bool(block.throughput) for block in cell.blocks.values()].count(True) == 2 for cell in result.cells.values())
    assert result.rounds("fp32/8") == [0, 1, 5, 6]


def test_a_program_that_is_not_started_again_keeps_its_set_at_the_least_rounds(run):
    program = active_of("bf16/1")
    program.planned = replace(program.planned, program=CALL)
    found = run("fp32/1", program, budget=replace(LONG, life_ms=1e9))
    assert all(len(cell.blocks) == 4 for cell in found.cells.values())


def test_a_resumed_cell_counts_the_least_rounds_of_its_lives(run, tmp_path):
    budget = replace(LONG, looks=(6,), life_ms=1e9)
    with pytest.raises(Interrupted):
        run("fp32/1", plot=only("latency", "fp32/1", 6, stop=True), budget=budget)
    (stopped,) = read_run(tmp_path / "run").cells
    active = resume_cell(active_of("fp32/1").planned, stopped, Sweep(budget=budget))
    assert (active.rounds, active.last_round) == (4, 6)
    blocks = run(active, budget=budget).cells["fp32/1"].blocks.values()
    assert [block.life for block in blocks] == [0] * 5 + [1] * 2 + [2] * 5


def test_the_first_opening_alone_compares_answers_and_searches(run):
    names = [active_of(name, concurrency=None, reference="yes") for name in PAIR]
    result = run(*names, budget=LIVES)
    assert sorted(result.names("verify")) == sorted(result.names("inspect")) == sorted(PAIR)
    assert all(len(result.cells[name].lives) == 3 for name in PAIR)
    assert all(result.cells[name].warm.tried for name in PAIR)


def test_each_batch_opens_first_in_turn_and_the_process_then_has_its_memory(run):
    """The memory of each cell is known after as many lives as its crew has batches."""
    result = run(*PAIR, budget=replace(LIVES, memory=True))
    opened = result.names("open")[4:]
    firsts = [sorted(opened[place : place + 4 : 2]) for place in (0, 4, 8)]
    assert firsts == [["bf16/8", "fp32/8"], ["bf16/1", "fp32/1"], ["bf16/8", "fp32/8"]]
    assert all(len(result.cells[name].cold) == 1 for name in PAIR)
    assert all(result.cells[name].cold[0].peak_rss_mb > 0 for name in PAIR)


@pytest.mark.parametrize("changes", [{"memory": False}, {"memory": True, "cold": True}])
def test_lives_give_no_memory_where_none_is_wanted_or_cold_starts_are_timed(run, changes):
    sweep = {name: value for name, value in changes.items() if name == "cold"}
    result = run(*PAIR, budget=replace(LIVES, memory=changes["memory"]), **sweep)
    assert all(result.cells[name].cold == () for name in PAIR)


def test_the_record_has_the_position_of_each_opening(run):
    cells = run(*PAIR, budget=replace(LIVES, looks=(8,))).cells
    one, other = ([life.position for life in cells[name].lives] for name in ("fp32/1", "bf16/1"))
    assert sorted(one) == sorted(other) == [0, 0, 1, 1]
    assert [a + b for a, b in zip(one, other)] == [1] * 4
    assert one == [life.position for life in cells["fp32/8"].lives]


@pytest.mark.parametrize("budget", [LIVES, replace(LIVES, life_rounds=0)])
def test_memory_is_contiguous_wherever_a_cell_opens(run, budget):
    """Else the first to open would have scattered pages, and be slower."""
    works = run(*PAIR, budget=budget).works
    assert works.scattered == []
    assert not works.contiguous


def test_a_cell_that_does_not_open_again_ends_and_the_others_go_on(run):
    def plot(job, name, nth):
        return {"raised": RuntimeFailed("no")} if (job, name, nth) == ("open", "bf16/8", 2) else {}

    result = run(*PAIR, plot=plot, budget=LIVES)
    assert result.cells["bf16/8"].status == "failed"
    assert all(result.rounds(name) == list(range(6)) for name in PAIR[:3])


def test_a_run_that_is_resumed_begins_another_life_with_a_throughput_block_and_ends_with_a_whole_one(run, tmp_path):
    budget = replace(LIVES, looks=(9,), life_rounds=3, rate_rounds=2)
    with pytest.raises(Interrupted):
        run("fp32/1", plot=only("latency", "fp32/1", 4, stop=True), budget=budget)
    (stopped,) = read_run(tmp_path / "run").cells
    active = resume_cell(active_of("fp32/1").planned, stopped, Sweep(budget=budget))
    assert (active.last_life, active.last_round) == (1, 4)
    blocks = run(active, budget=budget).cells["fp32/1"].blocks.values()
    assert [block.life for block in blocks] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [bool(block.throughput) for block in blocks] == [True, False, True, True, False, *[True, False, True] * 2]


def test_time_that_is_used_up_cuts_no_life_short(run):
    """The time ends in the fourth of six rounds, before the last look, and the second life has all three of its rounds."""
    budget = replace(LIVES, looks=(3, 9), life_rounds=3, cell_s=1)
    slow = only("latency", "fp32/1", 3, tick=10**9)
    found = run("fp32/1", plot=slow, budget=budget)
    assert [block.life for block in found.cells["fp32/1"].blocks.values()] == [0] * 3 + [1] * 3
    assert found.why("fp32/1") == "budget"


@pytest.mark.parametrize("builds", [2, 3, 4])
def test_the_lives_of_several_builds_have_their_rounds_although_the_look_is_no_multiple(run, builds):
    budget = replace(SHORT, looks=(10,), rate_rounds=2).with_lives(builds)
    blocks = run("fp32/1", budget=budget).cells["fp32/1"].blocks.values()
    length = 10 // builds
    assert [block.life for block in blocks] == [number // length for number in range(-(-10 // length) * length)]
    assert [bool(block.throughput) for block in blocks] == [number % length % 2 == 0 for number in range(len(blocks))]


def test_lives_of_a_cell_with_cold_caches_have_no_throughput(run, monkeypatch):
    monkeypatch.setattr(flush, "flush_of", lambda *_: lambda: None)
    cold, warm = active_of("fp32/1", concurrency=None), active_of("bf16/1")
    cold.planned = replace(cold.planned, cell=replace(cold.planned.cell, cache=COLD))
    found = run(cold, warm, budget=replace(LIVES, looks=(4,), rate_rounds=2))
    of = {name: [(block.life, bool(block.throughput)) for block in found.cells[name].blocks.values()] for name in found.cells}
    assert of["bf16/1"] == [(0, True), (0, False), (1, True), (1, False)]
    assert of["fp32/1"] == [(0, False), (0, False), (1, False), (1, False)]
    assert all(block.calls >= COLD_CALLS for block in found.cells["fp32/1"].blocks.values())


@pytest.mark.parametrize("budget", [SHORT, replace(SHORT, looks=(6,))])
def test_without_lives_no_block_has_one(run, budget):
    record = run("fp32/1", budget=budget).cells["fp32/1"]
    assert {block.life for block in record.blocks.values()} == {None}
    assert record.lives == ()


def test_rounds_of_a_call_in_this_process_are_no_lives(run):
    """Its process is never fresh, so its interval must not rest on five lives or more."""
    call = active_of("bf16/1")
    call.planned = replace(call.planned, program=CALL)
    cells = run("fp32/1", call, budget=replace(LIVES, looks=(10,))).cells
    assert {block.life for block in cells["bf16/1"].blocks.values()} == {None}
    assert series.repeated(cells["bf16/1"], "p50").unit is ROUND
    assert series.repeated(cells["fp32/1"], "p50").unit is LIFE
    for base, new in (("fp32/1", "bf16/1"), ("bf16/1", "fp32/1")):
        ratios = series.ratios(cells[base], cells[new])
        assert (ratios.unit, len(ratios.values)) == (LIFE, 5)
