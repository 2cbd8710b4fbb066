import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench import errors
from onnxbench.errors import BenchError, from_wire, one_line, to_wire

KINDS = (BenchError, *BenchError.__subclasses__())


@given(kind=st.sampled_from(KINDS), message=st.text(), hint=st.text())
def test_an_error_comes_back_from_the_wire_as_it_was(kind, message, hint):
    back = from_wire(to_wire(kind(message, hint)))
    assert type(back) is kind
    assert (back.message, back.hint) == (message, hint)


def test_the_wire_holds_plain_names_and_texts():
    assert to_wire(errors.BadInput("no file", "give one")) == {"type": "BadInput", "message": "no file", "hint": "give one"}


def test_an_unknown_kind_comes_back_as_a_bench_error():
    back = from_wire({"type": "FromTheFuture", "message": "m", "hint": "h"})
    assert type(back) is BenchError
    assert str(back) == "m; h"


def test_an_error_without_a_hint_is_its_message():
    assert str(BenchError("what was found")) == "what was found"


@pytest.mark.parametrize(
    ("kind", "exit_code", "status"),
    [
        (errors.BenchError, 3, "failed"),
        (errors.BadInput, 2, "failed"),
        (errors.Unavailable, 3, "unavailable"),
        (errors.Unsupported, 3, "unsupported"),
        (errors.RuntimeFailed, 3, "failed"),
        (errors.WorkerDied, 3, "failed"),
        (errors.WorkerTimeout, 3, "timeout"),
        (errors.StorageFailed, 3, "failed"),
        (errors.Interrupted, 130, "failed"),
    ],
)
def test_each_kind_has_its_exit_code_and_status(kind, exit_code, status):
    assert (kind.exit_code, kind.status) == (exit_code, status)


def test_the_lines_of_an_exception_become_one():
    assert one_line(ValueError("\n  \n  first \n\tsecond\r\n")) == "first second"


def test_an_exception_without_words_is_its_type():
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_a_long_line_is_cut_to_the_limit():
    assert one_line(ValueError("x" * 300)) == "x" * 300
    assert one_line(ValueError("x" * 301)) == "x" * 299 + "…"
