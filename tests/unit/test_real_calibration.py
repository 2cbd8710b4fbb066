"""Lines of benchmarks/real_calibration.py, and the table that it makes of them."""

import pytest
import real_calibration
from real_calibration import names_of, report

LIVES = {"ratios": [[1.0, 1.0], [1.0, 1.0]], "later": [1, -1]}


def row(low, high, speedup=1.0, **changes):
    return {"slower": 0.0, "speedup": speedup, "speedup_ci_low": low, "speedup_ci_high": high, **LIVES, **changes}


def line(*rows, seed=0, code="a1", **changes):
    facts = {"began": "2026", "machine": "Xeon", "threads": 2, "budget": "normal", "baseline": "ort-cpu@b", "code": code}
    return {**facts, "seed": seed, "rows": rows, **changes}


def table_of(*lines):
    """Cells of each row of the table."""
    return [[cell.strip() for cell in text.strip("|").split("|")] for text in list(report(lines))[2:]]


def test_an_interval_without_1_is_a_difference():
    (cells,) = table_of(line(row(0.98, 1.02), row(1.01, 1.05), seed=1), line(row(0.9, 0.99), row(0.99, 1.01), seed=2))
    assert cells[:6] == ["ort-cpu", "Xeon, 2 threads", "`a1`", "`normal`", "none", "2"]
    assert cells[6:8] == ["4", "2"]


def test_the_mean_is_over_runs_since_comparisons_of_one_run_share_their_baseline():
    same = [line(row(0.9, 1.1, speedup), row(0.9, 1.1, speedup), seed=seed) for seed, speedup in enumerate((0.99, 1 / 0.99))]
    single = [line(row(0.9, 1.1, speedup), seed=seed) for seed, speedup in enumerate((0.99, 1 / 0.99))]
    assert table_of(*same)[0][8] == table_of(*single)[0][8]


@pytest.mark.parametrize("level", [1.0, 1.1])
def test_a_place_of_opening_that_is_faster_shows_whatever_the_two_processes_are(level):
    """Two places later are 2 % faster in both lives."""
    lives = {"ratios": [[level * 1.02] * 3, [level / 1.02] * 3], "later": [2, -2]}
    (cells,) = table_of(*(line(row(0.9, 1.1, **lives), seed=seed) for seed in range(3)))
    assert cells[9] == "-0.99 to -0.99 %"


def test_runs_of_other_code_and_other_changes_have_rows_of_their_own():
    rows = table_of(line(row(1, 1)), line(row(1, 1), row(0.9, 0.95, 0.92, slower=0.1), code="b2"))
    assert [cells[2:5] for cells in rows] == [
        ["`a1`", "`normal`", "none"],
        ["`b2`", "`normal`", "none"],
        ["`b2`", "`normal`", "10% slower"],
    ]


def test_the_least_change_is_what_all_but_a_few_intervals_would_show():
    """A slower row is found where the interval, moved by the change, excludes 1: 38 of 40 ends are within 2 %."""
    lines = [line(row(1 / 1.02, 1.02), seed=seed) for seed in range(19)]
    assert table_of(*lines, line(row(1 / 1.2, 1.2), seed=19))[0][-1] == "2.0 %"


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


def test_every_file_that_measures_is_there():
    assert len(real_calibration.code_of("ort-cpu")) == 12
    assert real_calibration.code_of("ort-cpu") != real_calibration.code_of("openvino-cpu")
