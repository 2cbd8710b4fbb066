"""A row counts the processes that were slow in every round, which the mean over lives hides."""

import pytest
from onnxbench.evidence import Reopened
from onnxbench.results.table.lives import of_lives


def found(record):
    return [(each.kind, dict(each.values)) for each in of_lives(record)]


@pytest.mark.parametrize(("slow", "expected"), [((3,), 1), ((1, 4, 6), 3), (range(4), 4)])
def test_lives_that_take_twice_as_long_are_counted(make_record, slow, expected):
    p50s = [2000 + number if number // 5 in slow else 1000 + number for number in range(40)]
    ((kind, values),) = found(make_record(p50s, life_rounds=5))
    assert kind == "slow_lives"
    assert (values["slow"], values["lives"]) == (expected, 8)
    assert values["ratio"] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    "p50s",
    [
        [1000] * 40,
        [2000 if number == 7 else 1000 for number in range(40)],  # one round of a life
        [2000 if 12 <= number < 19 else 1000 for number in range(40)],  # the machine was slow for a while
        [1000 * (1 + 0.04 * (number // 5)) for number in range(40)],  # lives that differ a little
    ],
)
def test_slow_rounds_and_lives_that_differ_a_little_are_none(make_record, p50s):
    assert found(make_record(p50s, life_rounds=5)) == []


def test_one_process_for_the_whole_run_is_compared_with_nothing(make_record):
    assert found(make_record([1000] * 10 + [2000] * 10)) == []


def test_a_record_without_rounds_has_no_finding(make_record):
    assert found(make_record([])) == []


def test_openings_that_reported_the_same_other_settings_are_counted_together(make_record):
    off = Reopened(reports={"cuda_graph": "off"}, usual={"cuda_graph": "on"})
    layout = Reopened(reports={"layout": "NHWC"}, usual={"layout": ""})
    findings = list(of_lives(make_record([1000] * 10, life_rounds=5, reopened=(off, layout, off))))
    assert [finding.kind for finding in findings] == ["reopened", "reopened"]
    assert [finding.sentence.split()[0] for finding in findings] == ["2", "1"]
