from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.budgets import BUDGETS
from onnxbench.runners.preview import BUILD_S, _engines, time_range_s
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.spec import Cell, Load, Settings, Sweep

NORMAL = BUDGETS["normal"]


def row(backend="ort-cpu", batch=1, precision="fp32", sha256="ab"):
    cell = Cell(
        model="cnn",
        sha256=sha256,
        backend=backend,
        device="cpu",
        precision=precision,
        batch=batch,
        shapes=(),
        settings=Settings(threads=2),
    )
    return PlannedCell(cell=cell, artifact=None)


rows = st.lists(
    st.builds(row, backend=st.sampled_from("abc"), batch=st.integers(1, 4), sha256=st.sampled_from("xy")),
    min_size=1,
    max_size=9,
)
budgets = st.sampled_from(list(BUDGETS.values()))


@given(rows=rows, budget=budgets, cold=st.booleans())
def test_the_most_is_not_less_than_the_least(rows, budget, cold):
    least_s, most_s = time_range_s(rows, Sweep(budget=budget, cold=cold))
    assert 0 < least_s <= most_s


@given(rows=rows, budget=budgets, cold=st.booleans())
def test_one_more_cell_takes_longer(rows, budget, cold):
    sweep = Sweep(budget=budget, cold=cold)
    before, after = time_range_s(rows, sweep), time_range_s([*rows, rows[0]], sweep)
    assert after[0] > before[0]
    assert after[1] > before[1]


def test_the_least_is_the_first_look_and_the_most_the_last():
    """A round has one and a half blocks and 0.06 s, and every third a throughput block and 0.06 s."""
    budget = replace(NORMAL, looks=(14, 20), cell_s=100, block_ms=100, rate_ms=100, rate_rounds=3)
    least_s, most_s = time_range_s([row()], Sweep(budget=budget))
    assert most_s - least_s == pytest.approx(6 * (1.5 * 0.1 + 0.06) + 2 * (0.1 + 0.06))


def test_a_cells_time_bounds_what_its_rounds_take():
    slow = replace(NORMAL, looks=(10, 20), block_ms=200, rate_ms=180, rate_rounds=1)  # 0.6 s a round
    free = time_range_s([row()], Sweep(budget=replace(slow, cell_s=100)))
    bound = time_range_s([row()], Sweep(budget=replace(slow, cell_s=10)))
    assert bound[0] == free[0]
    assert bound[1] == pytest.approx(free[1] - 2)


def test_the_first_look_is_reached_however_little_time_a_cell_may_take():
    least_s, most_s = time_range_s([row()], Sweep(budget=replace(NORMAL, cell_s=0.1)))
    assert least_s == most_s


@pytest.mark.parametrize(("life_rounds", "openings"), [(0, 1), (5, 9)])  # 40 rounds are 8 lives after the first opening
def test_a_file_costs_time_once_and_a_worker_in_each_life(life_rounds, openings):
    def least_s(*rows):
        return time_range_s(rows, Sweep(budget=replace(NORMAL, life_rounds=life_rounds)))[0]

    same = least_s(row(), row(batch=8))
    assert least_s(row(), row("torch-cpu")) - same == pytest.approx(0.5 * openings)
    assert least_s(row(), row(precision="tf32")) - same == pytest.approx(0.5 * openings)
    assert least_s(row(), row(batch=8, sha256="cd")) - same == pytest.approx(2)


@pytest.mark.parametrize(
    ("memory", "cold", "processes"), [(False, False, 0), (True, False, 0.5), (False, True, 5), (True, True, 5)]
)
def test_fresh_processes_are_counted_where_there_are_some(memory, cold, processes):
    """For memory alone two run side by side."""
    budget = replace(NORMAL, life_rounds=0, memory=memory, cold_starts=5)
    none = time_range_s([row()], Sweep(budget=replace(budget, memory=False)))[0]
    some = time_range_s([row()], Sweep(budget=budget, cold=cold))[0]
    assert some - none == pytest.approx(1.5 * processes)


def test_a_cell_under_load_takes_longer():
    budget = replace(NORMAL, load_s=2, load_halvings=3, load_passes=3)
    plain, loaded = Sweep(budget=budget), Sweep(budget=budget, load=Load(percentile=99, limit_ms=10, max_batch=4))
    small, large = row(batch=4), row(batch=8)
    least, most = (
        after - before for before, after in zip(time_range_s([small, large], plain), time_range_s([small, large], loaded))
    )
    assert (least, most) == (pytest.approx(4 * 2), pytest.approx(2 * 11 * 2 * 5))  # of the small one alone


def test_a_cell_on_a_gpu_is_kept_busy_for_its_energy():
    there = replace(row(), cell=replace(row().cell, device="cuda:0"))
    sweep = Sweep(budget=replace(NORMAL, energy_ms=2500))
    assert time_range_s([row(), there], sweep)[0] - time_range_s([row(), row()], sweep)[0] == pytest.approx(2.5)


@pytest.mark.parametrize(("life_rounds", "turns"), [(0, 1), (2, 2)])
def test_engines_are_built_and_timed_once_or_twice(life_rounds, turns):
    """Each process has a start of 1.5 s, a warm-up of 0.2 s and three blocks of 0.15 s, each with 0.06 s beside it."""
    budget, engine = replace(NORMAL, life_rounds=life_rounds, block_ms=100), replace(row(), builds=True)
    one, three = (time_range_s([row(), engine], Sweep(budget=budget, builds=builds)) for builds in (1, 3))
    timed_s = turns * 3 * (1.5 + 0.2 + 3 * (0.15 + 0.06))
    assert three[0] - one[0] == pytest.approx(timed_s)
    assert three[1] - one[1] == pytest.approx(timed_s + 2 * BUILD_S)
    assert one[1] - time_range_s([row(), row()], Sweep(budget=budget))[1] == pytest.approx(BUILD_S)


def test_cells_that_build_nothing_take_no_longer():
    assert time_range_s([row()], Sweep(builds=3)) == time_range_s([row()], Sweep())


def test_the_engines_are_counted():
    engine = replace(row(), builds=True)
    assert _engines([row()], Sweep(builds=3)) == ""
    assert _engines([row(), engine, engine], Sweep()).endswith(": 2")
    assert _engines([row(), engine, engine], Sweep(builds=3)).endswith(": 6, 3 for each cell")


@given(budget=budgets, builds=st.integers(1, 30))
def test_a_budget_has_a_life_for_each_build(budget, builds):
    longer = budget.with_lives(builds)
    assert all(look // longer.life_rounds >= builds for look in longer.looks)
    assert longer.with_lives(builds) == longer
    if budget.life_rounds:
        assert longer.life_rounds == budget.life_rounds
        assert all(new >= old for old, new in zip(budget.looks, longer.looks))
