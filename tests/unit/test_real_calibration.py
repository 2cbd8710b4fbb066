"""Lines of benchmarks/real_calibration.py, and the table that it makes of them."""

from dataclasses import replace

import pytest
import real_calibration
from onnxbench.budgets import BUDGETS
from real_calibration import names_of, report, shortened

EVEN = (1, -1) * 4


def row(ratio, spread=0.01, **changes):
    """A row with eight lives, whose ratios are a share of `spread` above and below `ratio` in turn."""
    return {
        "slower": 0.0,
        "ratios": [[ratio * (1 + spread * sign)] * 5 for sign in EVEN],
        "later": [1, 1, -1, -1] * 2,
        **changes,
    }


def line(*rows, seed=0, code="a1", note=""):
    facts = {
        "began": "2026",
        "machine": "Xeon",
        "threads": 2,
        "note": note,
        "budget": "normal",
        "baseline": "ort-cpu@b",
        "code": code,
    }
    return {**facts, "seed": seed, "rows": rows}


def table_of(*lines):
    """Cells of each row of the table, by its heading."""
    head, _, *rows = [[cell.strip() for cell in text.strip("|").split("|")] for text in report(lines)]
    return [dict(zip(head, cells, strict=True)) for cells in rows]


def test_an_interval_without_1_is_a_difference():
    (found,) = table_of(line(row(1.0), row(1.05), seed=1), line(row(0.95), row(1.0), seed=2))
    assert (found["backend"], found["machine"], found["code"]) == ("ort-cpu", "Xeon, 2 threads", "`a1`")
    assert (found["runs"], found["comparisons"], found["different"]) == ("2", "4", "2")


def test_the_mean_is_over_runs_since_comparisons_of_one_run_share_their_baseline():
    several = [line(row(ratio), row(ratio), seed=seed) for seed, ratio in enumerate((0.99, 1.01))]
    single = [line(row(ratio), seed=seed) for seed, ratio in enumerate((0.99, 1.01))]
    assert table_of(*several)[0]["mean difference, 95 %"] == table_of(*single)[0]["mean difference, 95 %"]


@pytest.mark.parametrize("level", [1.0, 1.1])
def test_a_place_of_opening_that_is_faster_shows_whatever_the_two_processes_are(level):
    """Two places later are 2 % faster in all lives."""
    lives = {"ratios": [[level * 1.02**sign] * 5 for sign in EVEN], "later": [2 * sign for sign in EVEN]}
    (found,) = table_of(*(line(row(1, **lives), seed=seed) for seed in range(3)))
    assert found["opened one place later, 95 %"] == "-0.99 to -0.99 %"


def test_runs_of_other_code_and_other_changes_have_rows_of_their_own():
    rows = table_of(line(row(1), seed=1), line(row(1), row(0.91, slower=0.1), seed=2, code="b2"))
    assert [(found["code"], found["change"]) for found in rows] == [("`a1`", "none"), ("`b2`", "none"), ("`b2`", "10% slower")]


def test_runs_beside_other_work_are_apart():
    rows = table_of(line(row(1), seed=1), line(row(1), seed=2, note="other programs at work"))
    assert [found["machine"] for found in rows] == ["Xeon, 2 threads", "Xeon, 2 threads, other programs at work"]


def test_the_least_change_is_what_all_but_a_few_intervals_would_show():
    """Moved by the change, an interval has to exclude 1. One of twenty is wide at both ends, the others are like the first."""
    lines = [line(row(1), seed=seed) for seed in range(19)]
    least = table_of(*lines[:1])[0]["change that 95 % would find"]
    assert table_of(*lines, line(row(1, spread=0.2), seed=19))[0]["change that 95 % would find"] == least


def test_a_report_of_the_first_rounds_of_lives_leaves_the_others_out():
    late = {"ratios": [[1.0] * 5 + [1.5] * 7] * 8}
    short, whole = shortened(line(row(1, **late)), 5), shortened(line(row(1, **late)), None)
    assert short["rows"][0]["ratios"] == [[1.0] * 5] * 8
    assert list(whole["rows"]) == list(line(row(1, **late))["rows"])


def test_the_baseline_is_among_the_names():
    assert names_of("ort-cpu", 3) == ["ort-cpu", "ort-cpu@b", "ort-cpu@c"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"""Other."""\nA = 1  # two\n\n\ndef f():\n    """Other."""\n    return A\n', True),
        ('"""Text."""\nA = 2\n\n\ndef f():\n    """Text."""\n    return A\n', False),
    ],
)
def test_words_are_no_part_of_the_code(tmp_path, text, same):
    files = [tmp_path / "one.py", tmp_path / "other.py"]
    files[0].write_text('"""Text."""\nA = 1\n\n\ndef f():\n    """Text."""\n    return A\n')
    files[1].write_text(text)
    one, other = map(real_calibration._code, files)
    assert (one == other) is same
    one, other = (real_calibration._code(file, ["f"]) for file in files)
    assert one == other


def test_the_schedule_is_a_part_of_the_code_and_every_named_function_exists():
    normal = BUDGETS["normal"]
    code = real_calibration.code_of(normal)
    assert len(code) == 12
    assert real_calibration.code_of(replace(normal, block_ms=21)) != code
    assert real_calibration.code_of(replace(normal, passes=9)) == code
