"""Distances of outputs by part, from small arrays whose scales are known."""

import warnings

import numpy as np
import pytest
from onnxbench.runners.worker.distances import measure_parts, scale_groups

RNG = np.random.default_rng(0)


def boxes_and_scores(items=2, places=64, classes=80):
    """Boxes of 0..640 and scores of 0..1 side by side: [items, places, 4 + classes]."""
    boxes, scores = RNG.uniform(0, 640, (items, places, 4)), RNG.uniform(0, 1, (items, places, classes))
    return np.concatenate([boxes, scores], axis=2)


def parts_of(output, expected, batch=None):
    return {part.slices: part for part in measure_parts({"y": output}, {"y": expected}, batch)}


def labels(array, batch=None):
    return [group.label for group in scale_groups(array, batch)]


def test_scores_beside_boxes_are_a_part_of_their_own_and_dead_where_they_are_all_zero():
    expected = boxes_and_scores()
    output = expected.copy()
    output[..., 4:] = 0
    found = parts_of(output, expected)
    boxes, scores = found["axis 2: 0-3"], found["axis 2: 4-83"]
    assert (boxes.sqnr_db, boxes.dead) == (200.0, False)
    assert (scores.sqnr_db, scores.dead, scores.name) == (pytest.approx(0.0), True, "y (axis 2: 4-83)")


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_slices_are_found_on_any_axis_but_that_of_the_items(axis):
    scale = np.ones(16)
    scale[[3, 4, 9]] = 1e-4
    array = np.moveaxis(RNG.standard_normal((8, 12, 12, 16)) * scale, 3, axis)
    assert labels(array)[1] == f"axis {axis}: 3-4,9"
    assert labels(np.moveaxis(array, axis, 0)) == []
    assert labels(np.moveaxis(array, axis, 0), batch=8)[1] == "axis 0: 3-4,9"


def test_slices_are_grouped_by_the_decade_of_their_rms():
    scale = np.array([1.0, 1.0, 0.05, 0.05, 0.004, 0.004])
    noise = np.array([1.0, -1.0]).repeat(16)[:, None] * scale
    assert labels(noise) == ["axis 1: 0-1", "axis 1: 2-3", "axis 1: 4-5"]


def test_a_group_begins_at_its_largest_slice():
    """At 1e-4 of the largest slice, some slices have more and some less than that."""
    scale = np.where(np.arange(16) < 8, 1.0, 1e-4)
    assert labels(RNG.standard_normal((64, 16)) * scale) == ["axis 1: 0-7", "axis 1: 8-15"]


def test_scales_that_are_less_than_100_apart_are_one():
    array = RNG.choice([-1.0, 1.0], (32, 4)) * np.array([1.0, 1.0, 0.02, 0.02])
    assert labels(array) == []


@pytest.mark.parametrize("items", [1, 2, 32])
def test_logits_near_zero_are_no_scale_of_their_own(items):
    """Equal items: the logits of 1000 classes, of which some are near 0 in every item."""
    logits = RNG.standard_normal((1, 1000)) + 0.01 * RNG.standard_normal((items, 1000))
    assert np.abs(logits).max() / np.sqrt((logits**2).mean(0)).min() > 100
    assert labels(logits) == []


def test_channels_that_are_rarely_active_are_no_scale_of_their_own():
    features = np.maximum(RNG.standard_normal((8, 64, 16)) - np.where(np.arange(16) < 14, 0, 2.9), 0)
    features[..., 15] = 0
    features[0, 0, 14:] = 1e-3
    assert labels(features) == []
    assert labels(features + RNG.uniform(1e-4, 2e-4, features.shape) * (np.arange(16) > 14))[1] == "axis 2: 15"


def test_one_vector_has_scales_if_too_many_values_are_small_for_chance():
    boxes, scores = RNG.uniform(100, 640, (1, 4)), RNG.uniform(0.1, 1, (1, 80))
    groups = scale_groups(np.concatenate([boxes, scores], axis=1))
    assert groups[0].label == "axis 1: 0-3"
    assert sum(len(group.indices) for group in groups) == 84


def test_one_vector_whose_values_fill_many_decades_has_one_scale():
    """States of an LSTM of one item: its small values are no other scale. With a decade between them they are."""
    states = 10.0 ** -np.linspace(0, 5, 32)[None]
    assert labels(states) == []
    apart = np.where(states < 1e-2, states / 10, states)
    assert labels(apart) == ["axis 1: 0-12", "axis 1: 13-31"]


def test_a_distribution_is_not_sliced():
    logits = RNG.standard_normal((16, 10)) * 0.1 - 12 * (np.arange(10) > 4)
    distribution = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert labels(distribution) == []
    assert len(labels(distribution * 2)) > 1


def test_slices_of_zeros_are_compared_with_the_largest_value():
    """An error of 1e-7 of the maximum is none; 1e-3 of it are 60 dB."""
    expected = boxes_and_scores()
    expected[..., 50] = 0
    expected[0, 0, 0] = 1000.0
    for error, sqnr_db in ((1e-4, 200.0), (1.0, 60.0), (np.inf, -200.0)):
        output = expected.copy()
        output[0, 3, 50] = error
        assert parts_of(output, expected)["axis 2: 50"].sqnr_db == pytest.approx(sqnr_db)


def test_a_part_is_dead_if_it_is_constant_and_its_reference_is_not():
    varied = RNG.standard_normal((4, 10))
    assert parts_of(np.full((4, 10), 0.3), varied)[""].dead
    assert not parts_of(np.full((4, 10), 0.3), np.full((4, 10), 0.2))[""].dead
    assert not parts_of(varied, np.zeros((4, 10)))[""].dead


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (), (1,), (1, 1), (3, 1, 2)])
@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_any_shape_and_value_equals_itself(shape, value):
    array = np.full(shape, value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {part.sqnr_db for part in parts_of(array, array).values()} == {200.0}


def test_long_lists_of_slices_are_cut():
    scale = np.where(np.arange(64) % 2, 1e-3, 1.0)
    found = labels(RNG.choice([-1.0, 1.0], (32, 64)) * scale)
    assert found[0] == "axis 1: 0,2,4,6,8,10,..."
