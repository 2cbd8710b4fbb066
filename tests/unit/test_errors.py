import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench import errors
from onnxbench.errors import BenchError, OutOfMemory, RuntimeFailed, decode_error, encode_error, failure, one_line

KINDS = (BenchError, *BenchError.__subclasses__())


@given(kind=st.sampled_from(KINDS), message=st.text(), hint=st.text())
def test_an_error_comes_back_from_the_wire_as_it_was(kind, message, hint):
    back = decode_error(encode_error(kind(message, hint)))
    assert type(back) is kind
    assert (back.message, back.hint) == (message, hint)


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "CUDA out of memory. Tried to allocate 2.00 GiB.",
        ),
        (OutOfMemoryError("tried to allocate"), "tried to allocate"),
        (RuntimeError("CUDA error: out of memory\nCompile with"), "CUDA error: out of memory Compile with"),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: the API call failed"), "CUDA_ERROR_OUT_OF_MEMORY: the API call failed"),
        (
            RuntimeError("Failed to allocate memory for requested buffer of size 123"),
            "Failed to allocate memory for requested buffer of size 123",
        ),
        (
            RuntimeError("bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t) Failed to allocate memory"),
            "bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t) Failed to allocate memory",
        ),
        (
            RuntimeError("Error Code 2: OutOfMemory (Requested size was 8 bytes.)"),
            "Error Code 2: OutOfMemory (Requested size was 8 bytes.)",
        ),
        (RuntimeError("std::bad_alloc"), "std::bad_alloc"),
        (MemoryError(), "out of memory"),
        (MemoryError("Unable to allocate 10. GiB for an array"), "Unable to allocate 10. GiB for an array"),
    ],
)
def test_memory_that_is_used_up_is_told_apart_in_whosever_words(error, words):
    found = failure("cannot load", error)
    assert (type(found), found.message, found.hint) == (OutOfMemory, f"cannot load: {words}", "try a smaller batch")
    assert type(decode_error(encode_error(found))) is OutOfMemory


@pytest.mark.parametrize(
    "error",
    [
        IndexError("index 5 is out of range"),
        RuntimeError("unsupported memory layout"),
        RuntimeError("an illegal memory access was encountered"),
        RuntimeError("bad allocator name"),
        KeyError("memory"),
    ],
    ids=str,
)
def test_words_that_are_like_those_are_not(error):
    found = failure("cannot load", error)
    assert (type(found), found.message) == (RuntimeFailed, f"cannot load: {error}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_is_spoilt_where_it_is_gone_or_its_memory_is(kind):
    assert kind.spoils_worker is (kind in (OutOfMemory, errors.WorkerDied, errors.WorkerTimeout))


def test_the_wire_holds_plain_names_and_texts():
    assert encode_error(errors.BadInput("no file", "give one")) == {
        "type": "BadInput",
        "message": "no file",
        "hint": "give one",
    }


def test_an_unknown_kind_comes_back_as_a_bench_error():
    back = decode_error({"type": "FromTheFuture", "message": "m", "hint": "h"})
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
        (errors.OutOfMemory, 3, "failed"),
        (errors.WorkerDied, 3, "failed"),
        (errors.WorkerTimeout, 3, "timeout"),
        (errors.StorageFailed, 3, "failed"),
        (errors.Interrupted, 130, "failed"),
    ],
)
def test_each_kind_has_its_exit_code_and_status(kind, exit_code, status):
    assert (kind.exit_code, kind.status) == (exit_code, status)


def test_what_cannot_be_imported_is_unavailable_with_how_to_get_it():
    with pytest.raises(errors.Unavailable) as caught, errors.installed("the library", "pip install it"):
        import no_such_module_here  # noqa: F401
    assert caught.value.message == "the library is not installed (No module named 'no_such_module_here')"
    assert (caught.value.hint, type(caught.value.__cause__)) == ("pip install it", ModuleNotFoundError)


def test_what_else_goes_wrong_in_an_import_comes_out_as_it_is():
    error = OSError("its shared object is cut short")
    with pytest.raises(OSError, match="cut short") as caught, errors.installed("the library", "pip install it"):
        raise error
    assert caught.value is error


def test_the_lines_of_an_exception_become_one():
    assert one_line(ValueError("\n  \n  first \n\tsecond\r\n")) == "first second"


def test_an_exception_without_words_is_its_type():
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_a_long_line_is_cut_to_the_limit():
    assert one_line(ValueError("x" * 300)) == "x" * 300
    assert one_line(ValueError("x" * 301)) == "x" * 299 + "…"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Load model from a.onnx failed:/src/load.h:46 void onnx::Check(const std::map<std::string, int>&, bool) Opset 28",
            "Load model from a.onnx failed: Opset 28",
        ),
        ("Message: /src/common.h:31 int64_t onnx::Axis(int64_t) axis 6 is not valid", "Message: axis 6 is not valid"),
        (
            "Exception from src/core.cpp:84: Check 'false' failed at src/report.cpp:151: No conversion rule for Tree",
            "Check 'false': No conversion rule for Tree",
        ),
        ("cannot read /home/me/model.onnx", "cannot read /home/me/model.onnx"),
    ],
)
def test_where_in_its_sources_a_runtime_raised_is_left_out(text, told):
    assert one_line(RuntimeError(text)) == told
