"""Links to models and to their weights: those of the hub's cache are followed, and no others."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench.errors import BadInput
from onnxbench.models import onnx_file
from onnxbench.models.hub_links import find_root

value = helper.make_tensor_value_info


def save(folder, name="model.onnx", data="model.onnx_data"):
    """A dense layer whose weights are in a file of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = [value(name, Type.FLOAT, ["N", 8]) for name in "xy"]
    weights = numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / name, save_as_external_data=True, location=data, size_threshold=0)
    return folder / name


@pytest.fixture(params=["", "onnx"], ids=["top", "folder"])
def hub(tmp_path, request):
    """A snapshot of a hub's cache, with the model in the snapshot's folder or in a folder below."""
    root = tmp_path / "models--acme--tiny"
    path = save(root / "blobs")
    snapshot = root / "snapshots/0123abcd" / request.param
    snapshot.mkdir(parents=True)
    up = "../../" + "../" * bool(request.param)
    for number, part in enumerate((path, path.with_name("model.onnx_data"))):
        part.rename(root / f"blobs/blob{number}")
        (snapshot / part.name).symlink_to(f"{up}blobs/blob{number}")
    return snapshot / "model.onnx"


def test_links_of_the_hub_lead_to_the_model_and_its_weights(hub, tmp_path):
    plain = save(tmp_path / "plain")
    assert onnx_file.describe(hub, model="m").nbytes == onnx_file.describe(plain, model="m").nbytes
    assert onnx_file.file_hash(hub) == onnx_file.file_hash(plain)
    assert find_root(hub) == tmp_path / "models--acme--tiny"
    assert find_root(plain) is None


def test_a_relative_path_is_followed_too(hub, monkeypatch):
    monkeypatch.chdir(hub.parent)
    assert onnx_file.describe(type(hub)("model.onnx"), model="m").nodes == 1


def relink(link, target):
    link.unlink()
    link.symlink_to(target)


def outside(hub, root):
    target = root.parent / "elsewhere"
    (root / "blobs/blob1").rename(target)
    relink(hub.with_name("model.onnx_data"), target)


def other_model(hub, root):
    other = root.parent / "models--acme--other/blobs"
    other.mkdir(parents=True)
    (root / "blobs/blob1").rename(other / "blob1")
    relink(hub.with_name("model.onnx_data"), other / "blob1")


def through_a_blob(hub, root):
    (root / "blobs/blob1").rename(root.parent / "elsewhere")
    (root / "blobs/blob1").symlink_to(root.parent / "elsewhere")


def folder_of_blobs(hub, root):
    (root / "blobs").rename(root.parent / "blobs")
    (root / "blobs").symlink_to(root.parent / "blobs")


def below_blobs(hub, root):
    (root / "blobs/deep").mkdir()
    (root / "blobs/blob1").rename(root / "blobs/deep/blob1")
    relink(hub.with_name("model.onnx_data"), root / "blobs/deep/blob1")


@pytest.mark.parametrize("damage", [outside, other_model, through_a_blob, folder_of_blobs, below_blobs])
def test_links_to_other_places_are_refused_as_links(hub, tmp_path, damage):
    damage(hub, tmp_path / "models--acme--tiny")
    with pytest.raises(BadInput, match="link to"):
        onnx_file.describe(hub, model="m")


def test_a_link_in_the_hub_to_nothing_is_refused(hub, tmp_path):
    (tmp_path / "models--acme--tiny/blobs/blob1").unlink()
    with pytest.raises(BadInput, match=r"model\.onnx_data"):
        onnx_file.describe(hub, model="m")


def test_links_in_other_folders_are_refused_with_their_target(tmp_path):
    path = save(tmp_path / "plain")
    path.with_name("model.onnx_data").rename(tmp_path / "moved")
    path.with_name("model.onnx_data").symlink_to("../moved")
    with pytest.raises(BadInput, match=r"a link to '../moved'"):
        onnx_file.describe(path, model="m")


def test_a_folder_of_weights_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "plain/deep").mkdir(parents=True)
    path = save(tmp_path / "plain", data="deep/data")
    (tmp_path / "plain/deep").rename(tmp_path / "moved")
    (tmp_path / "plain/deep").symlink_to(tmp_path / "moved")
    with pytest.raises(BadInput, match="link"):
        onnx_file.describe(path, model="m")


def test_a_model_that_is_a_link_is_refused_with_the_path_to_write(tmp_path):
    path = save(tmp_path / "plain")
    (tmp_path / "latest.onnx").symlink_to(path)
    with pytest.raises(BadInput, match="a link to") as refused:
        onnx_file.describe(tmp_path / "latest.onnx", model="m")
    assert str(path.resolve()) in refused.value.hint
