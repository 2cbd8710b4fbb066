import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.results.stats import percentile, samples_needed, speed_up


@pytest.mark.parametrize(("which", "needed"), [(50, 6), (90, 36), (10, 36), (99, 368)])
def test_a_percentile_needs_enough_samples_for_an_interval(which, needed):
    assert samples_needed(which) == needed


@pytest.mark.parametrize(("which", "count"), [(50, 6), (90, 36), (99, 368)])
def test_a_percentile_of_too_few_samples_is_withheld(which, count):
    assert percentile(np.arange(count - 1), which) is None
    assert percentile(np.arange(count), which) is not None
    assert percentile(np.array([], np.int64), which) is None


@pytest.mark.parametrize(("which", "value"), [(50, 200.0), (90, 360.0), (99, 396.0)])
def test_a_percentile_is_the_nearest_rank(which, value):
    assert percentile(np.arange(400, 0, -1), which) == value


@given(count=st.integers(368, 2000), seed=st.integers(0, 99), which=st.sampled_from([50, 90, 99]))
def test_a_percentile_is_a_value_that_was_measured(count, seed, which):
    samples = np.random.default_rng(seed).integers(0, 10**9, count)
    rank = math.ceil(Fraction(count * which, 100))
    assert percentile(samples, which) == sorted(samples.tolist())[rank - 1]


def test_a_speed_up_is_the_geometric_mean_of_paired_ratios():
    assert speed_up([200.0, 800.0], [100.0, 100.0]) == pytest.approx(4.0)
    assert speed_up([100.0], [200.0]) == 0.5


def test_pairs_cancel_what_drifts_in_both():
    assert speed_up([100.0, 300.0, 900.0], [50.0, 150.0, 450.0]) == pytest.approx(2.0)


def test_nothing_is_no_faster_than_itself():
    assert speed_up([3.0, 5.0, 7.0], [3.0, 5.0, 7.0]) == 1.0


def test_without_pairs_there_is_no_speed_up():
    assert speed_up([], []) is None
    assert speed_up([1.0], []) is None
