import errno
import io
import os

import pytest
from onnxbench.errors import RuntimeFailed
from onnxbench.runners.worker import State, answer


class Raises(dict):
    """Slots whose use raises."""

    def __init__(self, error):
        self.error = error

    def pop(self, *_):
        raise self.error


class FullDisk(io.StringIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ask(error, **request):
    return answer(State(slots=Raises(error)), {"job": "close", "key": "a", **request}, lambda _: None)


@pytest.fixture
def full_log(monkeypatch):
    monkeypatch.setattr("sys.stderr", FullDisk())


def test_a_job_answers_in_data():
    assert answer(State(), {"job": "close", "key": "a"}, lambda _: None) == ("ok", {})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_a_full_disk_is_the_storages_failure_even_where_the_log_is_on_it(full_log, code):
    kind, error = ask(OSError(code, "no room", "samples/a.npz"))
    assert (kind, error["type"]) == ("error", "StorageFailed")
    assert error["message"] == "cannot write samples/a.npz (no room)"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(errno.ENOENT, "no such file"), "RuntimeFailed", "FileNotFoundError: [Errno 2] no such file"),
        (ValueError("line one\nline two"), "RuntimeFailed", "ValueError: line one line two"),
        (MemoryError(), "RuntimeFailed", "out of memory"),
        (RuntimeFailed("its own words", "a hint"), "RuntimeFailed", "its own words"),
    ],
)
def test_what_a_job_raises_is_an_answer(error, kind, message):
    assert ask(error)[1]["type"] == kind
    assert ask(error)[1]["message"] == message


def test_a_job_that_there_is_not_is_an_answer_too():
    assert answer(State(), {"job": "dance"}, lambda _: None)[0] == "error"


def test_a_request_with_too_much_in_it_is_an_answer_too():
    assert ask(ValueError(), more=1)[0] == "error"
