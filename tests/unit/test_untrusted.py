import errno
import os
import re

import numpy as np
import pytest
from onnxbench.errors import BadInput, StorageFailed
from onnxbench.evidence import Opened
from onnxbench.exporters import cache
from onnxbench.runners.pool.watchdog import Watchdog, limit_mb
from onnxbench.runners.sweep import journal as journals
from onnxbench.runners.sweep.journal import Journal
from onnxbench.runners.worker.clock import Clock
from onnxbench.untrusted import check_archive, is_sample_name, load_times, parse, read_bytes, understood


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: None])
def test_only_a_plain_file_is_read(tmp_path, make):
    make(tmp_path / "a")
    with pytest.raises(OSError, match="a"):
        read_bytes(tmp_path / "a")


def test_json_that_is_too_deep_is_no_json():
    with pytest.raises(ValueError, match="nested too deep"):
        parse(b"[" * 200_000)


@pytest.mark.parametrize(
    "name", ["../samples/a.npz", "/a.npz", "samples/../a.npz", "samples/..", "samples/", "samples/x\0", "", "a.npz"]
)
def test_samples_are_found_in_their_folder_alone(name):
    assert not is_sample_name(name, "samples")
    assert is_sample_name("samples/a.npz", "samples")


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 2), np.int64), np.array([-1])])
def test_samples_are_times(tmp_path, array):
    np.savez(tmp_path / "a.npz", latency=array)
    with pytest.raises(BadInput, match=r"a\.npz") as caught:
        load_times(tmp_path / "a.npz", "latency")
    assert caught.value.__cause__ is None  # it was read


def test_times_of_one_kind_are_read_alone(tmp_path):
    np.savez(tmp_path / "a.npz", latency=np.array([3, 1]), device=np.array([], np.int64), x=np.zeros(3))
    assert load_times(tmp_path / "a.npz", "latency").tolist() == [3, 1]
    assert [load_times(tmp_path / "a.npz", kind).tolist() for kind in ("device", "end_to_end")] == [[], []]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"no archive"])
def test_a_damaged_file_of_samples_is_bad_input(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(BadInput, match=r"cannot read .*a\.npz"):
        load_times(tmp_path / "a.npz", "latency")


def test_an_archive_that_expands_without_end_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1 << 29, np.uint8))
    with pytest.raises(ValueError, match="537 MB"):
        check_archive(tmp_path / "a.npz")


def test_data_that_is_not_what_it_should_be_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=f"^{re.escape(str(tmp_path))} ") as caught, understood([tmp_path]):
        {}["missing"]
    assert type(caught.value.__cause__) is KeyError


def test_a_process_over_its_limit_is_found():
    assert "1 MB is the limit" in Watchdog(pid=os.getpid(), most_mb=1).excess()
    assert Watchdog(pid=os.getpid(), most_mb=1e9).excess() == ""


@pytest.mark.parametrize("text", ["much", "0", "-3"])
def test_a_limit_is_a_number(monkeypatch, text):
    monkeypatch.setenv("ONNXBENCH_MEMORY_MB", text)
    with pytest.raises(BadInput, match="ONNXBENCH_MEMORY_MB"):
        limit_mb()


def test_a_folder_that_becomes_read_only_keeps_the_journal(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with Journal(tmp_path / "run") as journal:
        journal.add("a", Opened())
        monkeypatch.setattr(journals.os, "fsync", refuse)
        with pytest.raises(StorageFailed, match="Read-only file system"):
            journal.add("b", Opened())
    assert b'"a"' in (tmp_path / "run/journal.jsonl").read_bytes()


def test_a_clock_that_is_set_back_changes_no_span():
    clock = Clock(now_ns=iter([0, 3_000_000_000]).__next__, wall_s=iter([2000.0, 1000.0]).__next__)
    begin = clock.now_ns()
    clock.wall_s()
    assert clock.since_s(begin) == 3.0


def test_a_cache_whose_folder_is_a_file_is_a_sentence(cache_folder):
    cache_folder.write_text("")
    with pytest.raises(StorageFailed, match="cannot write to the cache"):
        cache.find_or_make("exports", "a", lambda place: None)
