"""Parts of an opening: marks of a backend, times of the worker."""

import pytest
from onnxbench.backends import opening


def test_marks_are_timed_by_the_recorders_clock():
    times = iter([10, 30, 40, 45])
    with opening.recorded(lambda: next(times)) as parts:
        for name in ("parse", "allocate"):
            with opening.part(name):
                pass
    assert [(part.name, part.ns, part.source) for part in parts] == [("parse", 20, "clock"), ("allocate", 5, "clock")]


def test_a_mark_without_a_recorder_reads_no_clock():
    with opening.recorded(lambda: pytest.fail("the recorder has ended")) as parts:
        pass
    with opening.part("parse"):
        pass
    assert parts == []


def test_a_part_that_fails_is_recorded_too():
    times = iter([1, 5])
    with pytest.raises(ValueError, match="broken"), opening.recorded(lambda: next(times)) as parts, opening.part("parse"):
        raise ValueError("broken")
    assert [part.ns for part in parts] == [4]
