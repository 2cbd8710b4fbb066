import json
import os
import stat

import pytest
from onnxbench.errors import BadInput
from onnxbench.models.preprocessing import absolute_name
from onnxbench.runners.prepare.checkpoints import checkpoint_path, find_checkpoint, prepare_path, read_record

pytestmark = pytest.mark.usefixtures("cache_folder")


def write(path, header, cut=None):
    """A safetensors file without tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(header).encode()
    path.write_bytes((len(text).to_bytes(8, "little") + text)[:cut])
    return path


def test_a_checkpoint_lies_in_the_cache_by_model_and_dataset(cache_folder):
    path = checkpoint_path("cnn", "digits")
    assert path.parent == cache_folder / "checkpoints" / "cnn"
    assert (path.name.startswith("digits-"), path.suffix) == (True, ".safetensors")


def test_a_checkpoint_is_written_where_its_user_alone_can_read_it(cache_folder):
    assert prepare_path("cnn", "digits") == checkpoint_path("cnn", "digits")
    folders = (cache_folder, cache_folder / "checkpoints", cache_folder / "checkpoints" / "cnn")
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_each_dataset_has_a_checkpoint_of_its_own(tmp_path):
    names = ["digits", f"npz:{tmp_path}/a.npz", f"npz:{tmp_path}/b.npz", f"idx:{tmp_path}/a.npz", f"npz:{tmp_path}/a-npz"]
    assert len({checkpoint_path("cnn", name) for name in names}) == len(names)
    assert checkpoint_path("cnn", "digits") != checkpoint_path("other", "digits")


def test_a_long_path_makes_no_long_name():
    assert len(checkpoint_path("cnn", f"npz:{'/very-long-folder' * 30}/a.npz").name) < 80


def test_a_relative_path_has_the_checkpoint_of_its_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoint_path("cnn", "npz:a.npz") == checkpoint_path("cnn", absolute_name("npz:a.npz"))


def test_nothing_trained_is_nothing_found():
    assert find_checkpoint("cnn", "digits") is None
    assert find_checkpoint("cnn", None) is None


def test_the_checkpoint_of_a_dataset_is_found(tmp_path):
    path = write(checkpoint_path("cnn", "digits"), {})
    assert find_checkpoint("cnn", "digits") == path
    assert find_checkpoint("cnn", f"npz:{tmp_path}/a.npz") is None
    assert find_checkpoint("other", None) is None


def test_without_a_dataset_the_last_one_trained_is_found():
    old, new = write(checkpoint_path("cnn", "digits"), {}), write(checkpoint_path("cnn", "npz:/a.npz"), {})
    os.utime(old, (1000, 1000))
    os.utime(new, (2000, 2000))
    assert find_checkpoint("cnn", None) == new
    os.utime(old, (3000, 3000))
    assert find_checkpoint("cnn", None) == old


def test_a_checkpoint_that_is_being_written_is_not_found():
    path = checkpoint_path("cnn", "digits")
    write(path.with_name(f".{path.name}"), {})
    assert find_checkpoint("cnn", None) is None


def test_a_checkpoint_tells_how_it_was_trained(tmp_path):
    path = write(tmp_path / "a.safetensors", {"__metadata__": {"onnxbench": json.dumps({"epochs": 10})}})
    assert read_record(path) == {"epochs": 10}


@pytest.mark.parametrize(
    "header",
    [{}, {"__metadata__": {"format": "pt"}}, {"__metadata__": {"onnxbench": "{"}}, [], 5, {"__metadata__": {"onnxbench": "5"}}],
    ids=repr,
)
def test_a_file_of_others_is_no_checkpoint(tmp_path, header):
    with pytest.raises(BadInput, match=r"a\.safetensors is not a checkpoint.*bench train"):
        read_record(write(tmp_path / "a.safetensors", header))


@pytest.mark.parametrize("cut", [0, 4, 8, 20])
def test_a_checkpoint_that_is_cut_short_is_refused(tmp_path, cut):
    path = write(tmp_path / "a.safetensors", {"__metadata__": {"onnxbench": "{}"}}, cut)
    with pytest.raises(BadInput, match="is not a checkpoint"):
        read_record(path)


def test_a_header_longer_than_its_file_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 8 + b"{}x")
    with pytest.raises(BadInput, match="is not a checkpoint"):
        read_record(tmp_path / "a.safetensors")


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(BadInput, match="is not a checkpoint"):
        read_record(tmp_path / "none.safetensors")
