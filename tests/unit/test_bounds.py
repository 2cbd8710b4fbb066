import pytest
from onnxbench.errors import BadInput
from onnxbench.exporters.schemes import SCHEMES, by_care
from onnxbench.exporters.searched import Evaluated
from onnxbench.results.stats import intervals
from onnxbench.results.table import conditions
from onnxbench.runners.prepare.bounds import bounds_of, check_data


def bounds(most=(), least=()):
    pairs = [[tuple(text.split("=")) for text in texts] for texts in (most, least)]
    return bounds_of([*conditions.parse(pairs[0], most=True), *conditions.parse(pairs[1], most=False)])


def one(**sides):
    (bound,) = bounds(**sides)
    return bound


SOME = Evaluated(items=1000, sqnr_db=25.0, max_abs_err=0.5, rel_err=0.1, agreed=990, right=900, lost=8, gained=3)


@pytest.mark.parametrize(
    ("sides", "end"),
    [
        ({"most": ["top1_drop=0.5"]}, 0.5),
        ({"most": ["top1_drop_ci_high=2"]}, intervals.drop_interval(8, 3, 1000)[1]),
        ({"least": ["agreement=99"]}, 99.0),
        ({"least": ["top1=80%"]}, 90.0),
        ({"least": ["sqnr=20dB"]}, 25.0),
        ({"most": ["max_abs_err=1"]}, 0.5),
        ({"most": ["rel_err=1"]}, 0.1),
    ],
)
def test_the_first_proof_compares_what_bench_check_compares(sides, end):
    assert one(**sides).end(SOME, 1) == pytest.approx(end)
    assert one(**sides).holds(SOME, 1)


@pytest.mark.parametrize("sides", [{"most": ["top1_drop=0.5"]}, {"most": ["top1_drop_ci_high=2"]}], ids=["drop", "certain"])
def test_each_further_proof_asks_for_more(sides):
    bound = one(**sides)
    ends = [bound.end(SOME, attempt) for attempt in range(1, 5)]
    assert ends == sorted(set(ends))
    assert [bound.alpha(attempt) / bound.alpha(1) for attempt in range(1, 5)] == [1, 0.5, 0.25, 0.125]


def test_a_lower_bound_asks_for_more_too_and_a_distance_does_not():
    agreement, sqnr = one(least=["agreement=99"]), one(least=["sqnr=20"])
    assert agreement.end(SOME, 3) < agreement.end(SOME, 2) < 99.0
    assert {sqnr.end(SOME, attempt) for attempt in (1, 2, 3)} == {25.0}


def test_the_rates_of_the_search_part_are_expected_on_the_proof_part():
    bound, few = one(most=["top1_drop_ci_high=1"]), Evaluated(items=100, lost=0, gained=0)
    assert not bound.holds(few, 1)
    assert bound.holds(few, 1, items=1000)
    assert not bound.holds(Evaluated(items=100, lost=2, gained=0), 1, items=1000)


def test_a_figure_that_the_file_does_not_have_meets_no_bound():
    assert not one(most=["top1_drop=100"]).holds(Evaluated(items=9, sqnr_db=90.0), 1)
    assert not one(least=["sqnr=1"]).holds(Evaluated(failed="no file"), 1)


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        ({"most": ["p50=1ms"]}, ["p50", "top1_drop"]),
        ({"least": ["top1_drop=0.5"]}, ["--max top1_drop=0.5"]),
        ({"most": ["sqnr=20"]}, ["--min sqnr_db=20"]),
        ({"most": ["top1_drop=0.5", "top1_drop=1"]}, ["top1_drop=0.5", "top1_drop=1"]),
    ],
)
def test_a_limit_that_a_search_cannot_use_is_refused(sides, words):
    with pytest.raises(BadInput) as raised:
        bounds(**sides)
    assert all(word in str(raised.value) for word in words)


def check(sides, items=359, labelled=True, classes=True):
    check_data(bounds(**sides), items, labelled=labelled, classes=classes, data="digits")


@pytest.mark.parametrize(
    ("sides", "how", "words"),
    [
        ({"most": ["top1_drop_ci_high=0.5"]}, {}, ["359", "digits", "875 test images", "1.21"]),
        ({"most": ["top1_drop_ci_high=-1"]}, {}, ["359", "1.21"]),
        ({"most": ["top1_drop=-1"]}, {}, ["0 or more"]),
        ({"least": ["agreement=101"]}, {}, ["100 or less"]),
        ({"most": ["top1_drop=1"]}, {"labelled": False}, ["labels", "--dataset"]),
        ({"least": ["agreement=99"]}, {"classes": False}, ["[n, classes]"]),
    ],
)
def test_a_bound_that_the_data_cannot_show_is_refused(sides, how, words):
    with pytest.raises(BadInput) as raised:
        check(sides, **how)
    assert all(word in str(raised.value) for word in words)


def test_a_bound_that_the_data_can_show_is_not():
    check({"most": ["top1_drop_ci_high=0.5"]}, items=875)
    check({"most": ["top1_drop=0.5"], "least": ["sqnr=20"]})
    check({"least": ["sqnr=20"]}, labelled=False, classes=False)


def test_schemes_go_from_the_fastest_of_a_runtime_to_the_most_careful():
    assert by_care("ort", tuple(SCHEMES)) == ("ort", "portable", "layers", "dynamic")
    assert by_care("portable", ("layers", "portable")) == ("portable", "layers")
    assert by_care("other", ("dynamic", "layers")) == ("layers", "dynamic")
