"""The geometric mean of speed-ups over several models."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.results.stats.intervals import LEAST_RUNS, difference, of_runs
from onnxbench.results.store.record import read_run
from onnxbench.results.table.speedups import mean_speedups
from onnxbench.results.table.table import build, lines
from scipy.stats import t

BASE, FAST = "ort-cpu", "openvino-cpu"


@pytest.fixture
def run_of(run_folder, make_cell):
    """A run in which the baseline takes 1 ms, and FAST `1 / speed-up` ms. `speedups`: by model, batch and precision."""

    def make(speedups, mismatch=(), failed=(), name="run", **head):
        batches = {(model, batch) for model, batch, _ in speedups}
        bases = [make_cell(model=model, batch=batch, sha256=digest(model)) for model, batch in sorted(batches)]
        fast = {}
        for model, batch, precision in speedups:
            where = {"batch": batch, "precision": precision, "backend": FAST}
            fast[model, batch, precision] = make_cell(model=model, sha256=digest(model), **where)
        folder = run_folder(*bases, *fast.values(), name=name, **head)
        for cell in bases:
            folder.measured(cell, 10**6)
        for key, cell in fast.items():
            if key in failed:
                folder.add("failed", cell, status="unsupported", reason="because")
                continue
            folder.measured(cell, round(10**6 / speedups[key]))
            if key in mismatch:
                folder.verified(cell, sqnr_db=0.0)
        return read_run(folder.path)

    def digest(model):
        return f"{ord(model):02x}" * 32

    return make


def means(run, baseline=BASE):
    return {mean.name: mean for mean in mean_speedups(lines([run], baseline))}


def test_the_mean_is_that_of_the_models_on_the_log_scale(run_of):
    found = means(run_of({("a", 1, "fp32"): 2.0, ("b", 1, "fp32"): 4.0, ("c", 1, "fp32"): 8.0}))
    (mean,) = found.values()
    assert (mean.name, mean.models, mean.left_out) == (f"{FAST} fp32", ("a", "b", "c"), ())
    assert mean.mean == pytest.approx(4)
    half = t.ppf(0.975, 2) * math.log(2) / math.sqrt(3)  # the standard deviation of log 2, log 4 and log 8 is log 2
    assert mean.interval.low == pytest.approx(4 * math.exp(-half))
    assert mean.interval.high == pytest.approx(4 * math.exp(half))


def test_each_model_counts_once_however_many_batches_it_has(run_of):
    speedups = {("a", batch, "fp32"): 2.0 for batch in (1, 8, 32)} | {("b", 1, "fp32"): 8.0}
    (mean,) = means(run_of(speedups)).values()
    assert mean.mean == pytest.approx(4)


@pytest.mark.parametrize("count", [2, 3])
def test_the_interval_is_withheld_below_three_models_and_the_reason_is_given(run_of, count):
    run = run_of({(model, 1, "fp32"): 2.0 for model in "abc"[:count]})
    (mean,) = means(run).values()
    kinds = [finding.kind for finding in mean.findings]
    assert (mean.interval is None, kinds) == ((True, ["mean_speedup_few"]) if count < LEAST_RUNS else (False, ["mean_speedup"]))
    assert dict(mean.findings[0].values).get("needed") == (LEAST_RUNS if count < LEAST_RUNS else None)


def test_precisions_have_means_of_their_own(run_of):
    speedups = {("a", 1, "fp32"): 2.0, ("b", 1, "fp32"): 2.0, ("a", 1, "bf16"): 3.0, ("b", 1, "bf16"): 3.0}
    assert {name: round(mean.mean, 3) for name, mean in means(run_of(speedups)).items()} == {
        f"{FAST} fp32": 2,
        f"{FAST} bf16": 3,
    }


def test_rows_that_are_not_ok_are_left_out_and_named(run_of):
    speedups = {(model, 1, "fp32"): 2.0 for model in "abcd"}
    (mean,) = means(run_of(speedups, mismatch=[("b", 1, "fp32")], failed=[("c", 1, "fp32")])).values()
    assert (mean.models, mean.left_out) == (("a", "d"), ("b", "c"))
    assert [finding.kind for finding in mean.findings] == ["mean_speedup_few", "mean_speedup_lacks"]


def test_a_table_without_a_baseline_or_of_one_model_has_no_means(run_of):
    assert means(run_of({("a", 1, "fp32"): 2.0, ("a", 8, "fp32"): 2.0}, name="one")) == {}
    several = run_of({("a", 1, "fp32"): 2.0, ("b", 1, "fp32"): 2.0}, name="several")
    assert means(several, None) == {}
    assert "mean_speedups" not in build([several]).head


def test_a_table_has_the_means_below_it_and_in_json(run_of):
    run = run_of({(model, 1, "fp32"): 2.0 for model in "abc"})
    built = build([run], BASE)
    (wire,) = built.head["mean_speedups"]
    assert (wire["backend"], wire["precision"], wire["models"]) == (FAST, "fp32", ("a", "b", "c"))
    assert wire["ci_low"] <= wire["mean"] <= wire["ci_high"]
    assert "mean_speedup" in {finding.kind for finding in built.findings}
    assert "mean_speedup" in {finding["kind"] for finding in built.head["findings"]}


def test_rows_of_several_models_are_named_with_their_model(run_of):
    run = run_of({("a", 1, "fp32"): 2.0, ("b", 1, "fp32"): 2.0}, failed=[("b", 1, "fp32")])
    (failure,) = [finding for finding in build([run], BASE).findings if finding.kind == "status"]
    assert failure.rows == (f"b {FAST} fp32 b1",)


@given(figures=st.lists(st.floats(0.01, 100), min_size=LEAST_RUNS, max_size=12), factor=st.floats(0.1, 10))
def test_a_baseline_that_is_twice_as_slow_doubles_the_mean_and_both_ends(figures, factor):
    one, other = difference([of_runs(figures)], []), difference([of_runs([factor * value for value in figures])], [])
    for end in ("middle", "low", "high"):
        assert getattr(other, end) == pytest.approx(factor * getattr(one, end), rel=1e-6)
