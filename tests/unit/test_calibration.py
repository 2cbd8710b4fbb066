import pytest
from onnxbench.errors import BadInput
from onnxbench.exporters.calibration import GROWN, RangeGrowth, _growth, _half, _parts, parse_method


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("minmax", ("minmax", {})),
        ("percentile,Gemm=minmax", ("percentile", {"Gemm": "minmax"})),
        ("Softmax=minmax,entropy", ("entropy", {"Softmax": "minmax"})),
        ("MatMul=percentile", ("minmax", {"MatMul": "percentile"})),
    ],
)
def test_a_method_may_differ_by_operator(text, method):
    assert parse_method(text) == method


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("minmx", "'minmx', which is not a method; did you mean 'minmax'"),
        ("minmax,Gemm=best", "'best', which is not a method"),
        ("minmax,entropy", "'entropy' where it does not fit"),
        ("=minmax", "where it does not fit"),
        ("Gemm=minmax,Gemm=entropy", "where it does not fit"),
        ("", "is not a method"),
    ],
)
def test_a_wrong_method_is_named(text, says):
    with pytest.raises(BadInput, match=says):
        parse_method(text)


@pytest.mark.parametrize(
    ("count", "minmax", "histogram"), [(1, 0, 0), (2, 1, 0), (7, 3, 0), (8, 4, 4), (17, 8, 8), (20, 10, 8)]
)
def test_half_of_the_feeds_ends_a_part(count, minmax, histogram):
    assert (_half("minmax", count), _half("entropy", count)) == (minmax, histogram)
    for half in (minmax, histogram):
        parts = list(_parts(half, count))
        assert [index for begin, end in parts for index in range(begin, end)] == list(range(count))
        assert half in {0, *(end for _, end in parts)}


@pytest.mark.parametrize("count", range(1, 30))
def test_histograms_get_the_parts_that_they_would_get_without_a_half(count):
    assert list(_parts(_half("percentile", count), count)) == list(_parts(0, count))


def test_the_growth_is_a_share_of_the_whole_range():
    half = {"a": (-1.0, 1.0), "b": (0.0, 3.0), "c": (0.0, 0.0)}
    whole = {"a": (-1.0, 1.0), "b": (0.0, 4.0), "c": (0.0, 0.0)}
    assert _growth(half, whole, 16) == RangeGrowth(half=16, ranges=2, growing=1, largest=0.25, value="b")
    assert _growth({"b": (0.0, 4.0)}, {"b": (1.0, 3.0)}, 8).largest == 0  # percentiles may shrink
    assert _growth({}, whole, 0) is None


@pytest.mark.parametrize(("growing", "large"), [(5, False), (6, True)])
def test_many_growing_ranges_are_worth_a_warning(growing, large):
    assert RangeGrowth(half=8, ranges=10, growing=growing, largest=2 * GROWN, value="v").is_large == large


def test_the_growth_names_the_range_that_grew_most():
    text = str(RangeGrowth(half=64, ranges=40, growing=3, largest=0.123, value="conv_2"))
    assert all(part in text for part in ("3 of 40", "64 samples", "conv_2", "12%"))
    assert "conv_2" not in str(RangeGrowth(half=64, ranges=40, growing=0, largest=0.01, value="conv_2"))
