"""`--dataset images:DIR` as a user gives it: folders of small images, and a model that tells red from green and blue."""

import json
import stat

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxfiles import write
from PIL import Image

CLASSES, SIDE = 7, 8


def colours(folder, count=60):
    """`count` noisy images, each with one channel that is brighter: the class is its channel."""
    draw = np.random.default_rng(0)
    for number in range(count):
        label = number % 3
        pixels = draw.integers(0, 120, (12, 10, 3), np.uint8)
        pixels[..., label] += 100
        place = folder / ["red", "green", "blue"][label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    return folder


def classifier(path, classes=CLASSES):
    """Mean of each channel, through a 1x1 convolution, as `classes` scores."""
    weight = numpy_helper.from_array(np.eye(classes, 3, dtype=np.float32).reshape(classes, 3, 1, 1) * 4, "w")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
            helper.make_node("GlobalAveragePool", ["c"], ["p"], "pool"),
            helper.make_node("Flatten", ["p"], ["y"], "flat"),
        ],
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes])],
        [weight],
    )
    return write(path, graph)


@pytest.fixture
def here(shell):
    colours(shell.folder / "set")
    classifier(shell.folder / "net.onnx")
    return shell


HOW = ("--dataset", "images:set", "--preprocess", f"size={SIDE},mean=0.5,std=0.25")


def test_images_calibrate_int8_and_give_both_accuracies(here):
    done = here.bench("export", "--model", "net.onnx", "--precision", "int8", *HOW)
    assert done.returncode == 0, done.stderr
    assert f"images:{here.folder}/set?size=8,mean=0.5,std=0.25" in done.stdout
    rows = here.rows("check", "--backend", "ort-cpu", "--out", "run", "--artifacts", "artifacts")
    assert {row["precision"] for row in rows} == {"fp32", "int8"}
    assert all((row["status"], row["top1"], row["top5"], row["images"]) == ("ok", 100.0, 100.0, 12) for row in rows)
    (facts,) = json.loads((here.folder / "run/run.json").read_text())["images"].values()
    assert (facts["images"], facts["test"], facts["calibration"], facts["train"]) == (60, 12, 24, 24)
    place = next((here.cache / "images").iterdir())
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--dataset", "images:set"), "is float32 of shape [3, 224, 224], but the model takes 'x'"),
        (("--dataset", "images:set", "--preprocess", "size=8,layuot=NHWC"), "did you mean 'layout'"),
        (("--dataset", "images:none"), "there is no folder"),
        (("--dataset", "images:"), "names no folder"),
        (("--preprocess", "size=8"), "add --dataset images:DIR"),
    ],
)
def test_wrong_options_end_with_one_sentence(here, options, says):
    done = here.bench("infer", "--model", "net.onnx", "--backend", "null", *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_images_without_classes_calibrate(here):
    for path in list((here.folder / "set").rglob("*.png")):
        path.rename(here.folder / path.name)
    done = here.bench("export", "--model", "net.onnx", "--precision", "int8", "--calibration", "images:.", *HOW[2:])
    assert done.returncode == 0, done.stderr
    assert f"minmax over 24 of images:{here.folder}?size=8,mean=0.5,std=0.25" in done.stdout


@pytest.mark.long
def test_a_named_model_trains_on_images_of_its_size_alone(here):
    what = ("train", "--dataset", "images:set", "--epochs", "1", "--preprocess")
    (row,) = here.rows(*what, "size=48,mean=0.5,std=0.25")
    assert row["status"] == "ok"
    done = here.bench(*what, "size=32")
    assert (done.returncode, len(done.stderr.splitlines()) <= 2) == (2, True)
    assert "the model takes 'input' float32 ['batch', 3, 48, 48]; write --preprocess size=48" in done.stderr


def test_classes_that_the_model_lacks_end_the_command(here):
    classifier(here.folder / "few.onnx", classes=2)
    done = here.bench("check", "--model", "few.onnx", "--backend", "null", *HOW)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "the model has only 2 classes; beyond them: 'blue'" in done.stderr


def test_images_that_do_not_decode_end_the_command_with_their_names(here):
    (here.folder / "set/red/0.png").write_bytes(b"no image")
    done = here.bench("check", "--model", "net.onnx", "--backend", "null", *HOW)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "1 of 60 images" in done.stderr
    assert "'red/0.png' (it is none of JPEG" in done.stderr
