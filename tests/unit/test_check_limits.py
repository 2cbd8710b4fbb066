"""Which limits `bench check` refuses, since no answer could keep them."""

import re
from dataclasses import replace

import pytest
from onnxbench.errors import BadInput

from .in_process import FP32, OTHER, UNLABELLED

HIGH = "top1_drop_ci_high"


def asked(found):
    return {job for job, _, _ in found.works.requests}


def test_a_limit_that_too_few_images_cannot_show_is_refused_with_the_number_that_can(bench):
    few = bench(images=360)
    with pytest.raises(BadInput, match=r"360 test images of digits cannot show a drop of at most 0\.5 points") as caught:
        few.check((HIGH, "0.5"))
    needed = int(re.search(r"give (\d+) images or more", str(caught.value))[1])
    assert not {"open", "draw"} & asked(few)
    assert not few.out.exists()
    with pytest.raises(BadInput, match=f"{needed - 1} test images"):
        bench(images=needed - 1).check((HIGH, "0.5"))
    assert bench(images=needed).check((HIGH, "0.5")).states["int8/8"] == "ok"


def test_the_drop_that_so_many_images_leave_possible_is_said(bench):
    """1 - (0.05 / 4)^(1 / 360) is 1.21 %."""
    with pytest.raises(BadInput, match=r"95 % interval reaches 1\.21"):
        bench(images=360).check((HIGH, "1.2"))
    assert bench(images=360).check((HIGH, "1.22")).states["int8/8"] == "ok"


def test_images_that_the_user_does_not_want_show_nothing(bench):
    with pytest.raises(BadInput, match="10 test images of digits cannot show"):
        bench(images=10_000).check((HIGH, "0.5"), images=10)
    assert bench(images=10_000).check((HIGH, "0.5"), images=5000).states["int8/8"] == "ok"


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_no_number_of_images_can_show_that_nothing_changed(bench, limit):
    with pytest.raises(BadInput, match="cannot show") as caught:
        bench(images=10**6).check((HIGH, limit))
    assert caught.value.hint.startswith("a limit above 0.000")


@pytest.mark.parametrize("metric", ["top1", "top1_drop", "top1_drop_ci_low", HIGH])
def test_a_limit_on_labels_without_labels_is_refused(bench, metric):
    found = bench(UNLABELLED)
    with pytest.raises(BadInput, match=f"--max {metric}=5 needs labelled images.*give --dataset"):
        found.check((metric, "5"))
    assert not {"open", "draw", "count"} & asked(found)


def test_a_limit_on_labels_needs_them_for_every_model(bench):
    with pytest.raises(BadInput, match="--dataset"):
        bench(FP32, replace(OTHER, dataset=None)).check(("top1_drop", "5"))


@pytest.mark.parametrize("metric", ["sqnr", "agreement", "artifact"])
def test_a_limit_on_something_else_needs_no_labels(bench, metric):
    assert bench(UNLABELLED).check((metric, "5")).states == {"fp32/8": "ok"}


def test_an_interval_that_must_be_wide_needs_no_number_of_images(bench):
    assert "count" not in asked(bench(images=1).check(least=[(HIGH, "0.5")]))


@pytest.mark.parametrize("metric", ["p50", "p99_ms", "throughput", "speedup_ci_low", "lanes", "cold", "peak_rss", "energy"])
def test_a_limit_on_what_a_check_does_not_find_out_is_refused_before_any_work(bench, metric):
    for limits in ({"least": [(metric, "1")]}, {"least": [("sqnr", "30"), (metric, "1")]}):
        found = bench()
        with pytest.raises(BadInput, match=f"--min {metric}=1: .*{metric}\\w*; use bench infer"):
            found.check(**limits)
        assert asked(found) == set()
        assert not found.out.exists()


@pytest.mark.parametrize("metric", ["load", "first", "artifact", "batch"])
def test_a_limit_on_what_a_check_finds_out_by_the_way_is_none_on_time(bench, metric):
    assert set(bench().check((metric, "9")).states.values()) == {"ok"}


def test_a_drop_without_its_interval_needs_no_number_of_images(bench):
    assert "count" not in asked(bench(images=1).check(("top1_drop", "0.5")))
