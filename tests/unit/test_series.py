import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.errors import Interrupted, RuntimeFailed
from onnxbench.evidence import Percentiles, Pooled
from onnxbench.results.stats.intervals import LIFE, Repeated, log_interval
from onnxbench.results.store import record, series
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.spec import to_wire

from .fake_worker import only
from .in_process import FP32, INT8, TINY

MS = 10**6
times = st.lists(st.integers(1_000, 10**8), min_size=10, max_size=20)
pairs = st.lists(st.tuples(*[st.integers(1_000, 10**8)] * 2), min_size=10, max_size=20)


def row_of(folder, baseline=None):
    """The table's first row."""
    return table.build([read_run(folder.path)], baseline).rows[0]


@pytest.fixture
def mixed(run_folder, make_cell):
    """The record of a cell of batch 8 with two rounds of a hundred calls, the second one twice as slow and told first."""
    cell = make_cell(batch=8)
    folder = run_folder(cell)
    for number, factor in ((1, 2), (0, 1)):
        latency = np.arange(100, 0, -1) * factor
        folder.block(cell, number, latency, latency * 10, calls=300 // factor, took_ns=2 * 10**9)
    (record,) = read_run(folder.path).cells
    return record


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("p50", {0: 50, 1: 100}),
        ("p90", {0: 90, 1: 180}),
        ("p99", {0: 99, 1: 198}),
        ("e2e_p50", {0: 500, 1: 1000}),
        ("throughput", {0: 8 * 300 / 2, 1: 8 * 150 / 2}),
    ],
)
def test_a_metric_has_one_value_a_round(mixed, metric, values):
    assert series.values(mixed, metric) == values
    assert list(series.values(mixed, metric)) == [0, 1]


def test_the_samples_are_the_calls_of_all_rounds_in_their_order(mixed):
    assert series.samples(mixed, "latency").tolist() == [*range(100, 0, -1), *range(200, 0, -2)]
    assert series.samples(mixed, "end_to_end").tolist() == [*range(1000, 0, -10), *range(2000, 0, -20)]
    assert series.samples(mixed, "latency").dtype == np.int64


def test_without_rounds_there_are_no_samples_no_values_and_no_interval(make_record):
    record = make_record([])
    assert series.samples(record, "latency").tolist() == []
    assert series.values(record, "p50") == {}
    assert series.interval(record, "p50") is None


def test_disturbed_rounds_are_left_out_where_ten_clean_ones_stay(make_record):
    record = make_record([100] * 10 + [900, 900], disturbed={10, 11})
    assert series.disturbed(record) == {10, 11}
    assert series.values(record, "p50") == dict.fromkeys(range(10), 100.0)
    assert list(series.values(record, "throughput")) == list(range(10))
    assert series.samples(record, "latency").tolist() == [100] * 10
    assert series.samples(record, "end_to_end").tolist() == [200] * 10


def test_all_rounds_count_where_fewer_than_ten_clean_ones_would_be_left(make_record):
    record = make_record([100] * 9 + [900, 900], disturbed={9, 10})
    assert series.disturbed(record) == {9, 10}
    assert list(series.values(record, "p50").values()) == [100] * 9 + [900] * 2
    assert len(series.samples(record, "latency")) == 11


@given(dirty=st.lists(st.booleans(), max_size=25))
def test_rounds_count_that_are_clean_or_all_of_them(make_record, dirty):
    disturbed = {number for number, is_dirty in enumerate(dirty) if is_dirty}
    clean = [number for number, is_dirty in enumerate(dirty) if not is_dirty]
    record = make_record([100] * len(dirty), disturbed=disturbed)
    assert series.counted(record) == (clean if len(clean) >= 10 else list(range(len(dirty))))


def test_rounds_that_count_are_in_order_whatever_disturbed_them(make_record):
    many, few = dict.fromkeys([11, 3, 5, *range(20, 29)], 100), dict.fromkeys([11, 3, 5], 100)
    assert series.counted(make_record(many, {3}), make_record(many, {28})) == [5, 11, *range(20, 28)]
    assert series.counted(make_record(few, {3}), make_record(few, {5})) == [3, 5, 11]


LIVES = [100, 400, 100, 100, 200, 200, 100, 100, 100, 100]  # five lives of two rounds


def test_the_unit_of_an_interval_is_the_life_where_there_are_lives(make_record):
    """By hand: of the ten rounds, two are cut at each end, and 400 counts as 200, the highest that is left."""
    record = make_record(LIVES, life_rounds=2)
    figure, halves = series.figures(record)["p50"], np.array([0.5, 0, 1, 0, 0])  # of each life, in factors of 2 over 100
    logs = 1 / 6 + 10 / 6 * (halves - halves.mean())
    assert figure == Repeated(pytest.approx(100 * 2**logs), LIFE)
    half = scipy.stats.t.ppf(0.98, 3) * math.log(2) * logs.std(ddof=1) / 5**0.5
    assert series.interval(record, "p50").high == pytest.approx(100 * 2 ** (1 / 6) * np.exp(half))
    assert series.ratios(make_record([200] * 10, life_rounds=2), record).unit == LIFE


def test_the_rounds_that_a_change_of_speed_entered_are_left_out(make_record):
    calm = [100, 101, 102, 103, 104, 105] * 6
    shaken = [*calm[:12], 400, *calm[13:20], 20, 380, *calm[22:]]
    middles = [series.interval(make_record(rounds, life_rounds=6), "p50").middle for rounds in (calm, shaken)]
    assert middles == [pytest.approx(102.5, rel=0.005)] * 2  # a plain mean is 105.6


def test_throughput_counts_the_rounds_that_measured_it(make_record):
    record = make_record([100] * 10, {4}, life_rounds=2)
    blocks = {n: block if n % 2 == 0 else replace(block, throughput=None) for n, block in record.blocks.items()}
    sparse = replace(record, blocks=blocks)
    assert series.counted(sparse) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert sorted(series.values(sparse, "throughput")) == [0, 2, 4, 6, 8]  # without round 4 only four lives would be left
    assert len(series.figures(sparse)["throughput"].values) == len(series.figures(sparse)["p50"].values) == 5
    assert len(series.paired(record, sparse, "throughput").values) == 5
    empty = {number: replace(block, throughput=None) for number, block in blocks.items()}
    with pytest.raises(ValueError, match="throughput"):
        series.values(replace(record, blocks=empty), "throughput")


def test_fewer_than_five_lives_have_no_interval_however_many_rounds(make_record):
    assert series.interval(make_record(LIVES, life_rounds=3), "p50") is None


def test_disturbed_rounds_count_where_fewer_than_five_lives_would_be_left(make_record):
    assert series.counted(make_record(LIVES, {3, 4}, life_rounds=2)) == [0, 1, 2, 5, 6, 7, 8, 9]
    assert series.counted(make_record(LIVES, {2, 3}, life_rounds=2)) == list(range(10))


def test_a_ratio_is_how_many_times_faster_the_new_one_is(make_record):
    assert series.ratios(make_record([400, 900]), make_record([100, 1800])).values == [4.0, 0.5]


def test_ratios_are_paired_by_the_number_of_the_round(make_record):
    base, new = make_record({0: 100, 1: 800, 3: 5}), make_record({2: 7, 1: 100, 0: 50})
    assert series.ratios(base, new).values == [2.0, 8.0]
    assert series.ratios(base, make_record({7: 1})).values == []


def test_a_round_that_was_disturbed_in_either_cell_has_no_ratio(make_record):
    base, new = make_record([200] * 10 + [900, 200], disturbed={10}), make_record([100] * 11 + [900], disturbed={11})
    assert series.ratios(base, new).values == [2.0] * 10


def test_all_ratios_count_where_fewer_than_ten_clean_pairs_would_be_left(make_record):
    base, new = make_record([200] * 10 + [800], disturbed={10}), make_record([100] * 11, disturbed={0})
    assert series.ratios(base, new).values == [2.0] * 10 + [8.0]


@given(pairs=pairs)
def test_swapping_base_and_new_inverts_the_speed_up_and_its_interval(make_record, pairs):
    base, new = (make_record(p50s) for p50s in zip(*pairs))
    there, back = series.ratios(base, new).interval, series.ratios(new, base).interval
    assert (back.low, back.middle, back.high) == pytest.approx((1 / there.high, 1 / there.middle, 1 / there.low))
    assert back.p == pytest.approx(there.p, abs=1e-9)


@given(pairs=pairs, drift=st.integers(2, 9))
def test_pairs_cancel_what_drifts_in_both(make_record, pairs, drift):
    calm = [make_record(p50s) for p50s in zip(*pairs)]
    drifting = [make_record([p50 * (1 + number * drift) for number, p50 in enumerate(p50s)]) for p50s in zip(*pairs)]
    assert series.ratios(*drifting).values == pytest.approx(series.ratios(*calm).values)


@given(p50s=times)
def test_nothing_is_no_faster_than_itself(make_record, p50s):
    found = series.ratios(make_record(p50s), make_record(p50s)).interval
    assert (found.low, found.middle, found.high, found.p) == (1, 1, 1, 1)


@given(p50s=times)
def test_the_interval_of_a_metric_is_that_of_its_rounds(make_record, p50s):
    assert series.interval(make_record(p50s), "p50") == log_interval(p50s)
    assert series.interval(make_record(p50s[:9]), "p50") is None


def test_asked_for_is_the_metric_where_there_is_nothing_to_compare_with(make_record):
    record = make_record(range(100, 120))
    for base in (None, record, make_record([])):
        assert series.stopping_interval(record, base, "e2e_p50") == ("e2e_p50", log_interval(range(200, 240, 2)))


def test_asked_for_is_the_speed_up_where_there_is_a_baseline(make_record):
    base, new = make_record(range(300, 320)), make_record(range(100, 120))
    expected = log_interval([(300 + number) / (100 + number) for number in range(20)])
    assert series.stopping_interval(new, base, "p50") == ("speedup", expected)
    assert series.stopping_interval(new, make_record(range(300, 309)), "p50") == ("speedup", None)


def test_a_rows_interval_of_p50_is_as_far_from_it_as_that_of_the_rounds_from_their_typical_value(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    p50s = [MS * (100 + number * number % 7) for number in range(12)]
    folder.series(cell, p50s)
    row, interval = row_of(folder), log_interval(p50s)
    assert row["p50_ms"] == sorted(p50s)[5] / MS
    bounds = (row["p50_ms"] * interval.low / interval.middle, row["p50_ms"] * interval.high / interval.middle)
    assert (row["p50_ci_low_ms"], row["p50_ci_high_ms"]) == pytest.approx(bounds)
    assert row["p50_ci_low_ms"] < row["p50_ms"] < row["p50_ci_high_ms"]


def test_a_row_of_fewer_than_ten_rounds_has_figures_without_intervals_and_verdict(run_folder, make_cell):
    new, base = make_cell(), make_cell(backend="torch-cpu")
    folder = run_folder(new, base)
    folder.measured(base, 4 * MS, rounds=9)
    folder.measured(new, 2 * MS, rounds=9)
    row = row_of(folder, baseline="torch-cpu")
    assert (row["p50_ms"], row["speedup"], row["rounds"]) == (2.0, pytest.approx(2.0), 9)
    missing = ("p50_ci_low_ms", "p50_ci_high_ms", "speedup_ci_low", "speedup_ci_high", "verdict")
    assert [row[name] for name in missing] == [None] * 5


@pytest.mark.parametrize(("clean", "rounds", "p50"), [(10, 10, 1.0), (9, 19, 3.0)])
def test_a_row_counts_what_was_disturbed_and_leaves_it_out_where_it_can(run_folder, make_cell, clean, rounds, p50):
    cell = make_cell()
    folder = run_folder(cell)
    folder.series(cell, [MS] * clean + [3 * MS] * 10, disturbed=range(clean, clean + 10))
    row = row_of(folder)
    assert (row["disturbed"], row["rounds"], row["samples"], row["p50_ms"]) == (10, rounds, rounds * 40, p50)


def test_throughput_is_over_the_rounds_that_count(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    for number in range(11):
        noise = {"throughput": {"major_faults": 1}} if number == 4 else None
        folder.block(cell, number, [MS], calls=7 if number == 4 else 100, noise=noise)
    assert row_of(folder)["throughput_per_s"] == 100.0


@pytest.fixture
def series_of(run_folder, make_cell):
    """A run with one cell that had twelve rounds, two of them disturbed, and the cell."""
    cell = make_cell()
    folder = run_folder(cell)
    folder.series(cell, [MS * (100 + number) for number in range(12)], disturbed=(3, 4))
    return folder, cell


def write_pooled(folder, cell, **changes):
    """What a run writes at its end, but for some changes."""
    (held,) = read_run(folder.path).cells
    folder.add("pooled", cell, **{**to_wire(series.pool(held)), **changes})


def without_samples(monkeypatch):
    """From now on nobody opens a file of samples."""

    def refuse(path, kind):
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(record, "load_times", refuse)


def test_pooled_are_the_percentiles_of_all_calls_of_the_rounds_that_count(mixed):
    calls = {"samples": 200, "p50_ns": 67.0, "p90_ns": 160.0, "p95_ns": 180.0, "p99_ns": None}
    calls |= {"min_ns": 1.0, "max_ns": 200.0, "mean_ns": float(np.mean(series.samples(mixed, "latency")))}
    assert series.pool(mixed).rounds == (0, 1)
    assert series.pool(mixed).kinds["latency"] == Percentiles(**calls)
    assert series.pool(mixed).kinds["device"] == Percentiles(samples=0)


def test_figures_are_the_same_with_and_without_what_was_pooled(series_of):
    folder, cell = series_of
    before = row_of(folder)
    write_pooled(folder, cell)
    assert read_run(folder.path).cells[0].pooled.rounds == (0, 1, 2, *range(5, 12))
    assert row_of(folder) == before


def test_a_table_of_what_was_pooled_opens_no_samples(run_folder, make_cell, monkeypatch):
    cell = make_cell()
    folder = run_folder(cell)
    folder.opened(cell)
    folder.warm(cell)
    for number in range(12):
        folder.block(cell, number, [MS] * 40, [2 * MS] * 40)
    journal = folder.path / "journal.jsonl"
    told = '"round": {0}, "p50_ns": {{"latency": 1e6, "end_to_end": 2e6}}'
    text = journal.read_text()
    for number in range(12):
        text = text.replace(f'"round": {number},', told.format(number) + ",")
    journal.write_text(text)
    folder.finished(cell)
    before = row_of(folder)
    write_pooled(folder, cell)
    without_samples(monkeypatch)
    assert row_of(folder) == before
    assert (before["p50_ms"], before["e2e_p50_ms"], before["samples"]) == (1.0, 2.0, 480)


def later_block(folder, cell):
    folder.block(cell, 12, [MS] * 40, [MS] * 40)


def round_again(folder, cell):
    folder.block(cell, 11, [9 * MS] * 40, [9 * MS] * 40)


def disturbed_block(folder, cell):
    folder.block(cell, 11, [MS] * 40, [MS] * 40, noise={"latency": {"steal_ns": 10**9}})


def lost_samples(folder, cell):
    (folder.path / f"samples/{cell.key}-11.npz").unlink()


@pytest.mark.parametrize("happen", [later_block, round_again, disturbed_block, lost_samples])
def test_what_was_pooled_of_other_calls_than_count_is_not_used(series_of, happen):
    folder, cell = series_of
    write_pooled(folder, cell)
    (before,) = read_run(folder.path).cells
    happen(folder, cell)
    (held,) = read_run(folder.path).cells
    assert series.pooled(held) == series.pool(held) != before.pooled


def test_what_was_pooled_last_counts(series_of):
    folder, cell = series_of
    write_pooled(folder, cell, rounds=[0])
    write_pooled(folder, cell)
    (held,) = read_run(folder.path).cells
    assert series.pooled(held) is held.pooled
    assert held.pooled == series.pool(held)


def test_a_cell_that_begins_anew_keeps_nothing_that_was_pooled(series_of):
    folder, cell = series_of
    write_pooled(folder, cell)
    folder.add("failed", cell, status="failed", reason="x")
    folder.opened(cell)
    assert read_run(folder.path).cells[0].pooled is None


def test_a_run_says_at_its_end_what_each_measured_cell_pooled(bench):
    found = bench(FP32, INT8, plot=only("open", "int8/1", 0, raised=RuntimeFailed("no kernel"))).infer(batches=(1, 8))
    told = [key for key, event in found.events if isinstance(event, Pooled)]
    assert sorted(told) == sorted(found.rows[name].key for name in ("fp32/1", "fp32/8", "int8/8"))
    assert all(series.pool(row) == row.pooled for row in found.rows.values() if row.measured)


def test_a_run_that_is_gone_on_with_pools_only_what_is_new(bench):
    found = bench(FP32).infer(batches=(1,)).infer(batches=(1, 8), resume=True)
    told = [key for key, event in found.events if isinstance(event, Pooled)]
    assert told == [found.rows[name].key for name in ("fp32/1", "fp32/8")]


def test_a_run_that_the_user_stops_has_pooled_what_it_has(bench):
    found = bench(FP32, plot=only("latency", "fp32/1", 0, stop=True))
    with pytest.raises(Interrupted):
        found.infer(batches=(1,), budget=replace(TINY, looks=(3,)))
    (row,) = found.rows.values()
    assert (len(row.blocks), row.pooled) == (1, series.pool(row))
