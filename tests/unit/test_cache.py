import os
import stat
from pathlib import Path

import pytest
from onnxbench.errors import StorageFailed
from onnxbench.exporters import cache

pytestmark = pytest.mark.usefixtures("cache_folder")


def fill(text):
    return lambda scratch: (scratch / "file").write_text(text)


def never(scratch):
    pytest.fail("made again")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    assert cache.root() == tmp_path / "cache"
    monkeypatch.delenv("ONNXBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache.root() == Path("/xdg/onnxbench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache.root() == Path("/home/somebody/.cache/onnxbench")


@pytest.mark.parametrize("name", ["ONNXBENCH_CACHE", "XDG_CACHE_HOME"])
def test_an_empty_variable_says_nothing(monkeypatch, name):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ONNXBENCH_CACHE")
    monkeypatch.setenv(name, "")
    assert cache.root() == Path("/home/somebody/.cache/onnxbench")


def test_an_entry_is_made_once(cache_folder):
    folder, was_there = cache.find_or_make("onnx", "key", fill("one"))
    assert (folder, was_there) == (cache_folder / "onnx" / "key", False)
    assert cache.find_or_make("onnx", "key", never) == (folder, True)
    assert (folder / "file").read_text() == "one"


def test_entries_of_two_kinds_or_keys_are_apart():
    folders = [cache.find_or_make(kind, key, fill(kind + key))[0] for kind in ("a", "b") for key in ("x", "y")]
    assert [(folder / "file").read_text() for folder in folders] == ["ax", "ay", "bx", "by"]


def test_an_entry_that_could_not_be_made_leaves_nothing(cache_folder):
    def half(scratch):
        (scratch / "file").write_text("half")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        cache.find_or_make("onnx", "key", half)
    assert list((cache_folder / "onnx").iterdir()) == []
    assert cache.find_or_make("onnx", "key", fill("whole"))[1] is False


def test_an_entry_is_not_seen_before_it_is_whole(cache_folder):
    def look(scratch):
        (scratch / "file").write_text("half")
        assert not (cache_folder / "onnx" / "key").exists()

    cache.find_or_make("onnx", "key", look)
    assert (cache_folder / "onnx" / "key" / "file").exists()


def test_of_two_who_make_the_same_entry_the_first_keeps_it(cache_folder):
    def slow(scratch):
        (scratch / "file").write_text("second")
        cache.find_or_make("onnx", "key", fill("first"))

    folder, _ = cache.find_or_make("onnx", "key", slow)
    assert (folder / "file").read_text() == "first"
    assert [path.name for path in folder.parent.iterdir()] == ["key"]


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageFailed, match=r"cannot write to the cache .*file .*; set ONNXBENCH_CACHE"):
        cache.find_or_make("onnx", "key", never)


def test_a_dropped_entry_is_made_again():
    cache.find_or_make("onnx", "key", fill("bad"))
    cache.drop("onnx", "key")
    cache.drop("onnx", "never there")
    folder, was_there = cache.find_or_make("onnx", "key", fill("good"))
    assert ((folder / "file").read_text(), was_there) == ("good", False)


def test_sizes_are_told_by_kind():
    assert cache.sizes() == {}
    cache.find_or_make("onnx", "a", fill("12345"))
    cache.find_or_make("onnx", "b", fill("123"))
    cache.find_or_make("engines", "a", fill("1"))
    assert cache.sizes() == {"engines": 1, "onnx": 8}


def test_a_cleared_cache_is_empty():
    cache.clear()
    cache.find_or_make("onnx", "a", fill("x"))
    cache.clear()
    assert cache.sizes() == {}


def modes(root):
    """The modes of `root` and of every folder below it."""
    return {stat.S_IMODE(place.stat().st_mode) for place in (root, *root.rglob("*")) if place.is_dir()}


@pytest.fixture
def open_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def nested(scratch):
    (scratch / "a/b").mkdir(parents=True)


@pytest.mark.usefixtures("open_umask")
def test_folders_of_the_cache_are_for_their_user_alone(cache_folder):
    cache.find_or_make("onnx", "key", nested)
    cache.make_private(cache_folder / "engines")
    cache.make_private(cache_folder / "checkpoints" / "cnn")
    assert modes(cache_folder) == {0o700}


@pytest.mark.usefixtures("open_umask")
def test_folders_of_an_earlier_version_are_closed_when_they_are_used(cache_folder):
    (cache_folder / "onnx" / "key").mkdir(parents=True)
    assert modes(cache_folder) == {0o755}
    assert cache.find_or_make("onnx", "key", never)[1]
    assert modes(cache_folder) == {0o700}


def test_what_is_above_the_cache_stays_as_it_is(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    monkeypatch.setenv("ONNXBENCH_CACHE", str(home / "cache"))
    before = home.stat().st_mode
    cache.make_private(cache.root())
    assert home.stat().st_mode == before


def test_a_folder_that_everybody_shares_stays_so(cache_folder):
    cache_folder.mkdir()
    cache_folder.chmod(0o1777)
    cache.find_or_make("onnx", "key", fill("x"))
    assert stat.S_IMODE(cache_folder.stat().st_mode) == 0o1777
    assert stat.S_IMODE((cache_folder / "onnx").stat().st_mode) == 0o700


def test_a_private_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageFailed, match="cannot write to the cache"):
        cache.make_private(cache.root() / "engines")
