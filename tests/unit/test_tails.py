"""Intervals of percentiles from calls in groups."""

import numpy as np
import pytest
from onnxbench.results.stats.tails import tail_interval
from onnxbench.results.store import series
from onnxbench.results.store.record import read_run

MS = 10**6


def test_the_interval_of_a_percentile_is_woodruffs():
    """By hand: of 10, 20, ..., 100 twice, 90 is p90 in both groups, and equal shares leave no width."""
    group = np.arange(10, 101, 10)
    assert tail_interval([group, group], 90) == (90, 90)


def test_an_upper_end_beyond_the_longest_call_is_none():
    groups = [np.array([1, 1, 1, 9]), np.array([1, 1, 1, 1]), np.array([1, 9, 9, 9])]
    assert tail_interval(groups, 60) == (1, None)


def lives(generator, count, calls, spread):
    """Durations of calls in lives that differ: log-normal, with a tail of slow calls."""
    slow = (generator.random((count, calls)) < 0.03) * generator.exponential(0.3, (count, calls))
    logs = generator.normal(0, spread, (count, 1)) + generator.normal(0, 0.03, (count, calls)) + slow
    return (MS * np.exp(logs)).astype(np.int64)


@pytest.mark.parametrize(("which", "spread"), [(90, 0.0), (90, 0.02), (99, 0.0), (99, 0.02)])
def test_the_interval_covers_the_percentile_where_lives_differ(which, spread):
    generator = np.random.default_rng(7)
    true = np.quantile(lives(generator, 4000, 400, spread), which / 100)
    covered = 0
    for _ in range(500):
        low, high = tail_interval(list(lives(generator, 6, 300, spread)), which)
        covered += low <= true and (high is None or true <= high)
    assert covered >= 0.92 * 500


def test_a_record_has_the_spread_of_its_calls_and_intervals_over_its_lives(make_record):
    record = make_record([100, 400, 100, 100, 200, 200, 100, 100, 100, 100], life_rounds=2)
    latency = series.pool(record).kinds["latency"]
    assert (latency.min_ns, latency.mean_ns, latency.max_ns) == (100, 150, 400)
    assert (latency.p90_low_ns, latency.p99_low_ns, latency.p999_ns) == (None, None, None)  # ten calls carry neither


def test_a_percentile_has_an_interval_where_calls_and_lives_are_enough(run_folder, make_cell):
    cell = make_cell()
    folder = run_folder(cell)
    folder.opened(cell)
    for number in range(10):
        folder.block(cell, number, [1000] * 90 + [2000 + number] * 10, life=number // 2)
    folder.finished(cell)
    (record,) = read_run(folder.path).cells
    latency = series.pool(record).kinds["latency"]
    assert latency.p90_low_ns == latency.p90_ns == 1000
    assert (latency.p99_low_ns, latency.p99_ns, latency.p99_high_ns) == (2006, 2008, None)
