from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.budgets import BUDGETS
from onnxbench.evidence import Block, Failed, Finished, Rate
from onnxbench.results.store.head import SCHEMA, Head
from onnxbench.results.store.journal import event_to_wire
from onnxbench.runners.sweep import rounds
from onnxbench.runners.sweep.cells import ActiveCell
from onnxbench.runners.sweep.group import block_size
from onnxbench.runners.sweep.journal import Journal, sample_file
from onnxbench.runners.sweep.plan import PlannedCell
from onnxbench.spec import Cell, Settings, Sweep

NOWHERE = Path("no such run")
BUDGET = replace(BUDGETS["normal"], looks=(10, 12), life_rounds=0, repeats=0.5)
QUIET, NOISY = [1000] * 12, [700, 1400] * 6


def active_of(backend="ort-cpu", model="cnn", batch=1, precision="fp32", threads=2, **state):
    cell = Cell(
        model=model,
        sha256="ab" * 32,
        backend=backend,
        device="cpu",
        precision=precision,
        batch=batch,
        shapes=(),
        settings=Settings(threads=threads),
    )
    return ActiveCell(planned=PlannedCell(cell=cell, artifact=None), **state)


cells = st.lists(
    st.builds(active_of, backend=st.text("abc", max_size=2), model=st.sampled_from("xyz"), batch=st.integers(1, 3)),
    max_size=12,
    unique_by=lambda active: active.key,
)


def keys(sets):
    return [[active.key for active in of_set] for of_set in sets]


@given(cells=cells, seed=st.integers(0, 9), number=st.integers(0, 9))
def test_everybody_is_in_a_round_once(cells, seed, number):
    flat = [active for of_set in rounds.shuffle_sets(cells, seed, number) for active in of_set]
    assert sorted(map(id, flat)) == sorted(map(id, cells))


@given(cells=cells, seed=st.integers(0, 9))
def test_the_cells_of_one_model_and_batch_follow_each_other(cells, seed):
    sets = rounds.shuffle_sets(cells, seed, 0)
    of_sets = [{(active.planned.cell.model, active.planned.cell.batch) for active in of_set} for of_set in sets]
    assert all(len(names) == 1 for names in of_sets)
    assert len(set().union(*of_sets)) == len(sets)


@given(cells=cells, data=st.data(), seed=st.integers(0, 9), number=st.integers(0, 9))
def test_the_order_depends_on_the_seed_and_the_round_alone(cells, data, seed, number):
    other = data.draw(st.permutations(cells))
    assert keys(rounds.shuffle_sets(cells, seed, number)) == keys(rounds.shuffle_sets(other, seed, number))


def test_each_round_and_each_seed_has_an_order_of_its_own():
    cells = [active_of(backend, batch=batch) for backend in "abcdef" for batch in (1, 8, 32)]
    by_round = {str(keys(rounds.shuffle_sets(cells, 0, number))) for number in range(50)}
    by_seed = {str(keys(rounds.shuffle_sets(cells, seed, 0))) for seed in range(50)}
    assert (len(by_round), len(by_seed)) == (50, 50)


def test_every_cell_is_the_first_of_its_set_as_often_as_others():
    cells = [active_of(backend) for backend in "abcd"]
    first = [rounds.shuffle_sets(cells, 0, number)[0][0].planned.cell.backend for number in range(400)]
    assert all(60 < first.count(backend) < 140 for backend in "abcd")


@pytest.mark.parametrize(
    ("change", "based"),
    [
        ({}, True),
        ({"backend": "other"}, True),
        ({"backend": "other", "precision": "int8"}, True),
        ({"model": "mlp"}, False),
        ({"batch": 8}, False),
        ({"threads": 1}, False),
    ],
)
def test_a_cell_is_compared_with_the_baselines_cell_of_its_model_batch_and_threads(change, based):
    assert rounds.is_base(active_of(), active_of(**change), Sweep(baseline="ort-cpu")) is based


def test_only_the_baselines_fp32_cell_is_a_base():
    assert not rounds.is_base(active_of(precision="int8"), active_of("other"), Sweep(baseline="ort-cpu"))
    assert not rounds.is_base(active_of("torch-cpu"), active_of("other"), Sweep(baseline="ort-cpu"))
    assert not rounds.is_base(active_of(), active_of("other"), Sweep())


def wanted(cells, **sweep):
    return [cells.index(active) for active in rounds.due_cells(cells, Sweep(**sweep))]


def test_a_cell_that_has_had_enough_is_not_visited():
    cells = [active_of("a"), active_of("b", finished=True), active_of("c", out=True)]
    assert wanted(cells) == [0]


def test_a_baseline_is_visited_as_long_as_anything_that_is_compared_with_it():
    base, other = active_of(finished=True), active_of("other")
    assert wanted([base, other], baseline="ort-cpu") == [0, 1]
    other.finished = True
    assert wanted([base, other], baseline="ort-cpu") == []


def test_a_baseline_of_another_batch_is_not_visited_again():
    cells = [active_of(finished=True), active_of(batch=8, finished=True), active_of("other", batch=8)]
    assert wanted(cells, baseline="ort-cpu") == [1, 2]


def test_a_baseline_without_figures_is_not_visited():
    assert wanted([active_of(out=True), active_of("other")], baseline="ort-cpu") == [1]


@pytest.fixture
def measured(tmp_path):
    """A run in which each backend's cell had the given p50 in each round; the folder, and the cells' visits by backend."""

    def write(**p50):
        cells = {backend: active_of(backend, rounds=len(values)) for backend, values in p50.items()}
        with Journal(tmp_path) as journal:
            journal.write_head(Head(schema=SCHEMA), {active.planned.cell: active.key for active in cells.values()})
            for backend, active in cells.items():
                for number, value in enumerate(p50[backend]):
                    name = sample_file(active.key, number)
                    np.savez(
                        tmp_path / name, latency=np.array([value] * 3, np.int64), end_to_end=np.array([2 * value], np.int64)
                    )
                    rate = Rate(calls=1, took_ns=5000)
                    journal.add(active.key, Block(round=number, samples=name, calls=3, throughput=rate))
        return tmp_path, cells

    return write


def ends(measured, late=False, **sweep):
    folder, cells = measured
    found = rounds.finished_cells(folder, list(cells.values()), Sweep(budget=BUDGET, **sweep), late)
    return {backend: found[active.key] for backend, active in cells.items() if active.key in found}


def test_nobody_ends_between_the_looks():
    """The run is not even read."""
    cells = [active_of(rounds=count) for count in (0, 1, 9, 11)]
    assert rounds.finished_cells(NOWHERE, cells, Sweep(budget=BUDGET), late=False) == {}


def test_a_look_within_a_life_waits_for_the_end_of_the_life(measured):
    """A run that was resumed has lives that end at other rounds than its looks. No look comes twice, and none is left out."""
    lives = replace(BUDGET, looks=(6, 12), life_rounds=3)
    for count in (4, 5, 9, 10, 11):
        assert rounds.finished_cells(NOWHERE, [active_of(rounds=count)], Sweep(budget=lives), late=False) == {}
    for count in (6, 7, 8):
        folder, cells = measured(a=QUIET[:count])
        found = rounds.finished_cells(folder, list(cells.values()), Sweep(budget=replace(lives, looks=(6,))), late=False)
        assert list(found) == [cells["a"].key]


def test_who_has_had_enough_is_not_looked_at_again():
    cells = [active_of(rounds=10, finished=True), active_of(rounds=12, out=True)]
    assert rounds.finished_cells(NOWHERE, cells, Sweep(budget=BUDGET), late=True) == {}


def test_a_narrow_interval_ends_a_cell_at_the_first_look(measured):
    assert ends(measured(a=QUIET[:10])) == {"a": Finished(why="interval", of="p50", half_width=0.0, budget="normal")}


def test_a_wide_interval_ends_a_cell_at_the_last_look_alone(measured):
    assert ends(measured(a=NOISY[:10])) == {}
    end = ends(measured(a=NOISY))["a"]
    assert (end.why, end.of) == ("budget", "p50")
    assert end.half_width > 0.02


@pytest.mark.parametrize("count", [9, 10, 12])
def test_time_that_is_used_up_ends_cells_at_the_first_look_that_is_due(measured, count):
    assert {backend: end.why for backend, end in ends(measured(a=NOISY[:count]), late=True).items()} == (
        {} if count < 10 else {"a": "budget"}
    )


def test_more_rounds_than_the_budget_has_are_enough(measured):
    assert ends(measured(a=[*NOISY, 700]))["a"].why == "budget"


def test_too_few_rounds_for_an_interval_end_by_the_budget(measured):
    folder, cells = measured(a=QUIET[:5])
    found = rounds.finished_cells(folder, list(cells.values()), Sweep(budget=BUDGETS["quick"]), late=False)
    assert found == {cells["a"].key: Finished(why="budget", of="p50", half_width=None, budget="quick")}


def test_with_a_baseline_the_speed_up_is_looked_at_and_not_the_cells_own_time(measured):
    """Both get slower and faster together, so that their ratio is known well before either time."""
    found = ends(measured(a=NOISY[:10], b=[2 * value for value in NOISY[:10]]), baseline="a")
    assert found == {"b": Finished(why="interval", of="speedup", half_width=pytest.approx(0), budget="normal")}


def test_a_baseline_without_blocks_leaves_a_cells_own_time(measured):
    assert ends(measured(a=[], b=QUIET[:10]), baseline="a")["b"].of == "p50"


def test_a_baseline_that_ended_without_figures_leaves_a_cells_own_time(measured):
    folder, cells = measured(a=QUIET[:10], b=QUIET[:10])
    with Journal(folder) as journal:
        journal.add(cells["a"].key, Failed(status="failed", reason="killed"))
    assert ends((folder, cells), baseline="a")["b"].of == "p50"


@pytest.mark.parametrize(("metric", "known"), [("p50", False), ("p90", False), ("e2e_p50", False), ("throughput", True)])
def test_without_a_baseline_the_metric_that_was_asked_for_is_looked_at(measured, metric, known):
    assert [end.of for end in ends(measured(a=NOISY[:10]), metric=metric).values()] == [metric] * known


def test_an_end_is_written_as_it_is():
    told = {"why": "interval", "of": "p50", "half_width": 0.01, "budget": "normal"}
    assert event_to_wire("key", Finished(**told)) == {"event": "finished", "cell": "key", **told}


@given(last=st.lists(st.integers(-1, 50)))
def test_rounds_are_numbered_after_all_that_any_cell_had(last):
    number = rounds.next_round([active_of(last_round=item) for item in last])
    assert number >= 0
    assert all(number > item for item in last)
    assert number == max(last, default=-1) + 1


@pytest.mark.parametrize(("repeats", "left"), [(0, True), (5, True), (6, False), (7, False)])
def test_repeats_are_a_share_of_the_rounds(repeats, left):
    assert rounds.repeats_left(active_of(repeats=repeats), Sweep(budget=BUDGET)) is left


@pytest.mark.parametrize(("metric", "calls"), [("p50", 1), ("p90", 4), ("p99", 37), ("e2e_p50", 1), ("throughput", 1)])
def test_a_block_is_long_enough_for_the_percentile_that_was_asked_for(metric, calls):
    assert block_size(Sweep(budget=BUDGET, metric=metric)) == (BUDGET.block_ms, calls)
    assert block_size(Sweep(budget=replace(BUDGET, block_calls=50), metric=metric)) == (BUDGET.block_ms, 50)
