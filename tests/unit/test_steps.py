"""Steps in a series: where they are, how large they are, and how seldom one is found in noise."""

import numpy as np
import pytest
from onnxbench.results.stats.steps import ALPHA, find_steps
from onnxbench.results.stats.steps import LEAST_SERIES as LEAST


def noise(seed, count):
    return np.random.default_rng(seed).normal(0, 1, count)


@pytest.mark.parametrize("count", [4, 6, 10, 30])
def test_noise_has_a_step_less_often_than_the_stated_probability(count):
    tries = 300
    assert sum(bool(find_steps(noise(seed, count))) for seed in range(tries)) / tries <= ALPHA


@pytest.mark.parametrize(("levels", "places"), [((0, 8), [5]), ((0, 12, 0), [4, 8]), ((0, 12, 24, 12), [4, 8, 12])])
def test_steps_are_found_where_they_are(levels, places):
    values = noise(1, places[0] * len(levels)) + np.repeat(levels, places[0])
    steps = find_steps(values)
    assert [step.at for step in steps] == places
    for step, before, after in zip(steps, levels, levels[1:]):
        assert step.low < after - before < step.high
        assert step.p < ALPHA
        assert step.runs == (places[0], places[0])
        assert (step.before, step.after) == pytest.approx((before, after), abs=1.5)


def test_a_series_that_is_too_short_or_constant_has_no_step():
    assert find_steps([]) == find_steps([1.0]) == find_steps([1, 2, 3]) == find_steps([5.0] * 20) == []
    assert LEAST == 4


def test_a_single_run_that_differs_is_no_step():
    values = noise(2, 12)
    values[7] += 100
    assert find_steps(values) == []


def test_exact_figures_have_an_exact_step():
    (step,) = find_steps([1.0, 1.0, 1.0, 2.0, 2.0])
    assert (step.at, step.low, step.high, step.p) == (3, 1.0, 1.0, 0.0)


def test_the_scatter_is_at_least_that_of_the_rounds():
    """Runs that agree by luck: their own rounds allow more."""
    values = [1.0, 1.001, 0.999, 1.05, 1.051, 1.049]
    assert len(find_steps(values)) == 1
    assert find_steps(values, error=0.05) == []


def test_many_series_need_more_evidence_each():
    values = [0.0, 0.1, -0.1, 0.05, 1.0, 1.1, 0.9, 1.02]
    (alone,) = find_steps(values)
    (among,) = find_steps(values, series=3)
    assert among.p == pytest.approx(3 * alone.p)
    assert find_steps(values, series=10**6) == []
