import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from onnxbench.results.stats.intervals import (
    LIFE,
    Repeated,
    drift,
    drop_interval,
    holm,
    images_needed,
    least_drop_shown,
    log_interval,
    mcnemar,
    trimmed,
    values_of_lives,
)
from onnxbench.results.stats.percentiles import nearest_rank, percentile, samples_needed

positive = st.floats(1e-3, 1e9)
rounds = st.lists(positive, min_size=10, max_size=25)


def simulated(many, count, noise, seed=0):
    """`many` series of `count` rounds around 1, whose logs are normal with the deviation `noise`."""
    return np.exp(np.random.default_rng(seed).normal(0, noise, (many, count))).tolist()


def share(outcomes):
    outcomes = list(outcomes)
    return sum(map(bool, outcomes)) / len(outcomes)


def covers(interval, truth=1.0):
    return interval.low <= truth <= interval.high


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


@pytest.mark.parametrize(("samples", "which", "value"), [([7], 99, 7), ([4, 1], 50, 1), ([3, 1, 2], 50, 2), ([1, 2, 3], 90, 3)])
def test_a_nearest_rank_is_taken_of_however_few_samples(samples, which, value):
    assert nearest_rank(np.array(samples), which) == value


@pytest.mark.parametrize(
    ("values", "middle"),
    [
        ([4.0], 4.0),
        ([2.0, 8.0], 4.0),
        ([1.0, 2.0, 4.0, 1024.0], 2.0**3.25),  # too few to leave one out
        ([1.0, 2.0, 4.0, 8.0, 1024.0], 4.0),  # the highest and the lowest of five are left out
        ([2.0**power for power in (0, 0, 1, 2, 3, 4, 5, 6, 90, 99)], 2.0**3.5),
    ],
)
def test_a_typical_value_is_the_geometric_mean_without_the_lowest_and_the_highest_fifth(values, middle):
    assert Repeated(values).typical == pytest.approx(middle)


def test_nothing_has_no_typical_value():
    assert Repeated([]).typical is None


@given(values=st.lists(positive, min_size=1, max_size=25))
def test_a_typical_value_is_scipys_trimmed_mean_of_the_logs(values):
    assert math.log(Repeated(values).typical) == pytest.approx(scipy.stats.trim_mean(np.log(values), 0.2), abs=1e-9)


def test_an_interval_is_yuens():
    """By hand, for logs 1 to 10: the middle six have the mean 5.5. Winsorized they are 3 3 3 4 5 6 7 8 8 8, whose squared
    distances from 5.5 add up to 42.5, so the standard error is sqrt(42.5 / (6 * 5)). Student's t of 5 degrees of freedom
    at 0.98 is 2.7565, and with a = atan(t / sqrt(5)) the share of it within t is 2 / pi (a + sin a (cos a + 2/3 cos^3 a)).
    """
    error = math.sqrt(42.5 / 30)
    angle = math.atan(5.5 / error / math.sqrt(5))
    within = 2 / math.pi * (angle + math.sin(angle) * (math.cos(angle) + 2 / 3 * math.cos(angle) ** 3))
    found = log_interval([math.exp(log) for log in range(1, 11)])
    assert math.log(found.middle) == pytest.approx(5.5)
    assert math.log(found.low) == pytest.approx(5.5 - 2.7565 * error, abs=1e-4)
    assert math.log(found.high) == pytest.approx(5.5 + 2.7565 * error, abs=1e-4)
    assert found.p == pytest.approx((1 - within) * 0.05 / 0.04)


@given(values=rounds)
def test_an_interval_is_the_one_of_scipys_trimmed_t_test(values):
    """Against zeros, Yuen's test of two samples is one of a single sample."""
    logs, found = np.log(values), log_interval(values)
    assume(np.ptp(np.sort(logs)[len(logs) // 5 : -(len(logs) // 5)]) > 1e-3)
    test = scipy.stats.ttest_ind(logs, np.zeros(len(logs)), equal_var=False, trim=0.2)
    bounds = test.confidence_interval(0.96)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((bounds.low, bounds.high), abs=1e-6)
    assert found.p == pytest.approx(min(1, test.pvalue * 0.05 / 0.04), rel=1e-6)


@given(st.lists(st.lists(positive, min_size=3, max_size=3), min_size=2, max_size=12))
def test_the_values_of_lives_have_the_trimmed_mean_of_all_rounds(lives):
    logs = np.log(values_of_lives(lives, 0.25))
    assert logs.mean() == pytest.approx(scipy.stats.trim_mean(np.log(lives).ravel(), 0.25), abs=1e-9)


@given(rounds)
def test_the_error_of_lives_of_one_round_is_yuens(values):
    assume(np.ptp(np.sort(np.log(values))[len(values) // 5 : -(len(values) // 5)]) > 1e-3)
    ours = trimmed(values_of_lives([[value] for value in values], 0.2), 0).error
    size = len(values) - 2 * (len(values) // 5)
    assert ours == pytest.approx(trimmed(values, 0.2).error * math.sqrt((size - 1) / size * len(values) / (len(values) - 1)))


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.08])
@pytest.mark.parametrize("jumps", [0.0, 0.3])
def test_the_interval_over_lives_covers_the_truth(spread, jumps):
    """Six lives of six rounds that scatter by 2 %. `spread`: of the lives. `jumps`: share of rounds that scatter by 15 %."""
    draw, covered = np.random.default_rng(7), 0
    for _ in range(1500):
        scatter = np.where(draw.random((6, 6)) < jumps, 0.15, 0.02) * draw.standard_normal((6, 6))
        lives = np.exp(scatter + spread * draw.standard_normal((6, 1)))
        covered += covers(Repeated(values_of_lives(lives.tolist()), LIFE).interval)
    assert covered / 1500 > 0.93


def test_an_interval_needs_ten_rounds():
    assert log_interval([1.0] * 9) is None
    assert log_interval([]) is None
    assert log_interval([1.0] * 10) is not None


def test_the_half_width_is_half_of_the_interval_as_a_share():
    found = log_interval([0.9, 1.1] * 5)
    assert found.middle * (1 + found.half_width) == pytest.approx(found.high)
    assert found.middle / (1 + found.half_width) == pytest.approx(found.low)


@pytest.mark.parametrize(("value", "p"), [(1.0, 1.0), (1.25, 0.0), (0.5, 0.0)])
def test_rounds_without_any_noise_are_known_exactly(value, p):
    found = log_interval([value] * 10)
    assert (found.middle, found.low, found.high) == pytest.approx((value, value, value))
    assert found.half_width == pytest.approx(0, abs=1e-12)
    assert found.p == pytest.approx(p)


@given(values=rounds, factor=st.floats(1e-3, 1e3))
def test_a_constant_factor_scales_the_interval(values, factor):
    one, other = log_interval(values), log_interval([value * factor for value in values])
    scaled = (one.low * factor, one.middle * factor, one.high * factor)
    assert (other.low, other.middle, other.high) == pytest.approx(scaled, rel=1e-6)
    assert other.half_width == pytest.approx(one.half_width, rel=1e-6, abs=1e-9)


@given(values=rounds)
def test_the_reciprocals_have_the_reciprocal_interval_and_are_as_far_from_1(values):
    one, other = log_interval(values), log_interval([1 / value for value in values])
    assert (other.low, other.middle, other.high) == pytest.approx((1 / one.high, 1 / one.middle, 1 / one.low), rel=1e-6)
    assert other.p == pytest.approx(one.p, rel=1e-6, abs=1e-9)


@given(values=rounds, seed=st.integers(0, 99))
def test_the_order_of_the_rounds_does_not_matter(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values).tolist()
    assert log_interval(shuffled) == log_interval(values)


@given(values=rounds)
def test_an_interval_holds_its_middle_and_excludes_1_where_p_is_under_5_percent(values):
    found = log_interval(values)
    assume(abs(found.p - 0.05) > 1e-6)
    assert found.low <= found.middle <= found.high
    assert 0 <= found.p <= 1
    assert covers(found) == (found.p > 0.05)


@pytest.mark.parametrize("count", [10, 20])
@pytest.mark.parametrize("noise", [0.003, 0.05])
def test_an_interval_covers_the_truth_as_often_as_it_says(count, noise):
    found = share(covers(log_interval(values)) for values in simulated(2000, count, noise))
    assert 0.94 <= found <= 0.98


@pytest.mark.parametrize("noise", [0.01, 0.02, 0.03, 0.04])
def test_it_does_so_too_where_a_narrow_interval_ends_the_measurement(noise):
    """The looks and the half-width of the normal budget."""

    def stopped(values):
        looks = [log_interval(values[:count]) for count in (10, 14, 20)]
        return next((found for found in looks if found.half_width <= 0.02), looks[-1])

    assert 0.925 <= share(covers(stopped(values)) for values in simulated(2000, 20, noise)) <= 0.98


def test_an_interval_covers_the_truth_where_every_tenth_round_jumps():
    jumps = np.random.default_rng(1).random((2000, 20)) < 0.1
    sides = np.random.default_rng(2).choice([0.7, 1.4], (2000, 20))
    series = np.where(jumps, sides, 1.0) * np.array(simulated(2000, 20, 0.01))
    assert 0.94 <= share(covers(log_interval(values)) for values in series.tolist()) <= 0.985


@pytest.mark.parametrize("outlier", [0.01, 0.5, 3.0, 1000.0])
def test_one_wild_round_of_twenty_hardly_widens_the_interval(outlier):
    calm = simulated(200, 20, 0.01)
    wild = [[*values[:7], outlier, *values[8:]] for values in calm]
    before, after = ([log_interval(values).half_width for values in series] for series in (calm, wild))
    assert np.median(np.divide(after, before)) < 1.15
    assert np.max(after) < 0.02
    assert share(covers(log_interval(values)) for values in wild) >= 0.9


def conditional_interval(lost, gained, images):
    """What McNemar's test by itself would give: exact for the share of the lost ones, given how many changed."""
    if lost + gained == 0:
        return 0.0, 0.0
    share = scipy.stats.binomtest(lost, lost + gained).proportion_ci(0.95, method="exact")
    return tuple(100 * (lost + gained) / images * (2 * end - 1) for end in share)


def coverage(interval, images, rates):
    """How probable it is that the interval holds the true drop, summed up over everything that `images` can show."""
    lose, gain = rates
    counts = [(lost, gained) for lost in range(images + 1) for gained in range(images + 1 - lost)]
    same = [(lost, gained, images - lost - gained) for lost, gained in counts]
    likely = scipy.stats.multinomial.pmf(same, images, [lose, gain, 1 - lose - gain])
    ends = np.array([interval(lost, gained, images) for lost, gained in counts])
    drop = 100 * (lose - gain)
    assert likely.sum() == pytest.approx(1)
    return likely[(ends[:, 0] <= drop + 1e-9) & (drop - 1e-9 <= ends[:, 1])].sum()


RATES = [(0, 0), (0.01, 0), (0, 0.02), (0.03, 0.03), (0.05, 0.01), (0.1, 0.1), (0.2, 0.05), (0.3, 0.3), (0.5, 0.5), (1, 0)]


@pytest.mark.parametrize("images", [1, 20, 37, 60])
@pytest.mark.parametrize("rates", RATES)
def test_the_interval_of_a_drop_covers_the_truth_whatever_it_is(images, rates):
    assert coverage(drop_interval, images, rates) >= 0.95


def test_an_interval_given_how_many_changed_would_not():
    """Where nothing changed it is the point 0, and of 30 images with 3 % lost that is so 4 times of 10."""
    assert coverage(conditional_interval, 30, (0.03, 0)) < 0.65
    assert coverage(drop_interval, 30, (0.03, 0)) >= 0.95


@pytest.mark.parametrize(("lost", "gained", "images"), [(0, 0, 360), (3, 1, 360), (0, 7, 50), (50, 0, 50), (12, 40, 10_000)])
def test_the_ends_of_a_drop_are_those_of_clopper_and_pearson(lost, gained, images):
    """At 97.5 % each, which together leave 5 %."""
    ci = [scipy.stats.binomtest(count, images).proportion_ci(0.975, method="exact") for count in (lost, gained)]
    ends = (100 * (ci[0].low - ci[1].high), 100 * (ci[0].high - ci[1].low))
    assert drop_interval(lost, gained, images) == pytest.approx(ends, abs=1e-9)


@pytest.mark.parametrize(
    ("counts", "ends"),
    [
        ((0, 0, 100), (-100 * (1 - 0.0125**0.01), 100 * (1 - 0.0125**0.01))),
        ((100, 0, 100), (100 * (0.0125**0.01 - 1 + 0.0125**0.01), 100.0)),
        ((0, 1, 1), (-100.0, 100 * (0.9875 - 0.0125))),
        ((0, 0, 0), (-100.0, 100.0)),
    ],
)
def test_the_interval_of_a_drop_at_its_edges_by_hand(counts, ends):
    """p^n = 0.0125 where all of n images are one way, and (1 - p)^n where none is."""
    assert drop_interval(*counts) == pytest.approx(ends)


changes = st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 2000)).filter(any)  # lost, gained, and neither


@given(counts=changes)
def test_the_interval_of_a_drop_holds_the_drop_and_is_that_of_the_gain_turned_around(counts):
    lost, gained, images = *counts[:2], sum(counts)
    low, high = drop_interval(lost, gained, images)
    assert -100 <= low <= 100 * (lost - gained) / images <= high <= 100
    assert drop_interval(gained, lost, images) == pytest.approx((-high, -low))
    assert "-0.0" not in (str(low), str(high))


@given(counts=changes)
def test_more_images_of_which_as_many_changed_are_surer(counts):
    lost, gained, same = counts
    ends = [drop_interval(n * lost, n * gained, n * (lost + gained + same)) for n in (1, 2)]
    assert np.ptp(ends[1]) < np.ptp(ends[0])


@pytest.mark.parametrize(("points", "images"), [(50, 7), (5, 86), (1, 437), (0.5, 875), (0.1, 4380)])
def test_so_many_images_are_needed_for_a_drop_of_at_most_so_many_points(points, images):
    assert images_needed(points) == images


@given(points=st.floats(0.01, 98))
def test_the_images_needed_show_the_drop_and_one_less_does_not(points):
    images = images_needed(points)
    assert least_drop_shown(images) <= points * (1 + 1e-9)
    assert least_drop_shown(images - 1) > points * (1 - 1e-9)


@given(lost=st.integers(0, 2000), gained=st.integers(0, 2000))
def test_how_uneven_a_change_is_by_chance_is_scipys_binomial_test(lost, gained):
    expected = scipy.stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 5, 1.0), (6, 0, 2 / 64), (0, 6, 2 / 64), (8, 1, 20 / 512)]
)
def test_how_uneven_a_change_is_by_chance_by_hand(lost, gained, p):
    assert mcnemar(lost, gained) == pytest.approx(p)


def test_holms_procedure_stops_at_the_first_p_that_is_too_high():
    """5 % over 4, 3, 2 and 1 are 0.0125, 0.0167, 0.025 and 0.05: 0.03 is over its share, and so 0.04 does not count."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == {"a", "d"}


@pytest.mark.parametrize(
    ("p_values", "shown"),
    [
        ([], []),
        ([0.049], [0]),
        ([0.051], []),
        ([0.013, 0.9, 0.9, 0.9], []),
        ([0.012, 0.016, 0.024, 0.049], [0, 1, 2, 3]),
        ([0.024, 0.024], [0, 1]),
        ([0.026, 0.026], []),
        ([0.0, 0.0, 1.0], [0, 1]),
    ],
)
def test_several_comparisons_share_the_5_percent(p_values, shown):
    assert holm(dict(enumerate(p_values))) == set(shown)


@given(p_values=st.lists(st.floats(0, 1), max_size=12))
def test_holm_shows_what_has_an_adjusted_p_of_5_percent(p_values):
    ranked = sorted(p_values)
    steps = [min(1.0, (len(ranked) - rank) * p) for rank, p in enumerate(ranked)]
    adjusted = dict(zip(ranked, np.maximum.accumulate(steps))) if ranked else {}
    assume(all(abs(p - 0.05) > 1e-9 for p in steps))
    assert holm(dict(enumerate(p_values))) == {index for index, p in enumerate(p_values) if adjusted[p] <= 0.05}


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_shows_all_that_bonferroni_shows_and_nothing_above_5_percent(p_values):
    shown = holm(dict(enumerate(p_values)))
    assert {index for index, p in enumerate(p_values) if p <= 0.05 / len(p_values)} <= shown
    assert all(p_values[index] <= 0.05 + 1e-12 for index in shown)


@pytest.mark.parametrize("count", [10, 20])
def test_of_27_comparisons_without_a_difference_seldom_one_shows_any(count):
    tables = np.array(simulated(27 * 600, count, 0.02)).reshape(600, 27, count).tolist()
    found = [[log_interval(values) for values in table] for table in tables]
    shown = [[table[key] for key in holm({key: item.p for key, item in enumerate(table)})] for table in found]
    assert share(shown) <= 0.08
    assert share([item for item in items if item.middle > 1] for items in shown) <= 0.05


def test_one_difference_of_10_percent_among_27_without_any_is_shown():
    tables = np.array(simulated(27 * 100, 10, 0.02)).reshape(100, 27, 10)
    tables[:, 13] *= 1.1
    shown = [holm({key: log_interval(values).p for key, values in enumerate(table)}) for table in tables.tolist()]
    assert share(13 in keys for keys in shown) >= 0.95


@pytest.mark.parametrize("count", [10, 20, 60])
@pytest.mark.parametrize("change", [0.9, 1.1])
def test_a_drift_of_10_percent_in_noise_of_1_percent_is_found(count, change):
    trend = np.geomspace(1, change, count)
    found = [drift((values * trend).tolist()) for values in np.array(simulated(200, count, 0.01))]
    assert all(found)
    assert np.mean(found) == pytest.approx(change - 1, abs=0.005)


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("count", [10, 20, 60])
def test_rounds_without_a_trend_seldom_drift(count, noise):
    assert share(drift(values) for values in simulated(1000, count, noise)) <= 0.025


@given(values=st.lists(st.floats(0.8, 1.25), min_size=10, max_size=25))
def test_a_drift_is_a_significant_line_through_the_logs_that_explains_more_than_5_percent(values):
    line = scipy.stats.linregress(np.arange(len(values)), np.log(values)) if len(set(values)) > 1 else None
    change = math.expm1(line.slope * (len(values) - 1)) if line else 0.0
    assume(line is None or (abs(line.pvalue - 0.01) > 1e-6 and abs(abs(change) - 0.05) > 1e-6))
    significant = line is not None and line.pvalue < 0.01 and abs(change) > 0.05
    assert drift(values) == pytest.approx(change if significant else 0.0, abs=1e-9)


@pytest.mark.parametrize(("last", "found"), [(1.051, 0.051), (1.049, 0.0), (0.952, -0.048), (0.953, 0.0), (1.0, 0.0)])
def test_a_drift_of_up_to_5_percent_is_none(last, found):
    assert drift(np.geomspace(1, last, 20).tolist()) == pytest.approx(found)


def test_backwards_a_drift_is_the_other_way():
    trend = np.geomspace(1, 1.25, 20).tolist()
    assert (drift(trend), drift(trend[::-1])) == pytest.approx((0.25, -0.2))


def test_a_drift_needs_ten_rounds():
    assert drift(np.geomspace(1, 2, 9).tolist()) == 0
    assert drift(np.geomspace(1, 2, 10).tolist()) == pytest.approx(1)
    assert drift([]) == 0


def test_a_jump_in_a_single_round_is_no_drift():
    assert drift([1.0] * 19 + [1.5]) == 0
