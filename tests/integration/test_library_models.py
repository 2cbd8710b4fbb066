"""Models of libraries from the command line, with packages that have the interface of torchvision and timm."""

import os
from dataclasses import replace
from importlib.util import find_spec

import fake_libraries
import pytest
from onnxbench.exporters import manifest

TINY = ("--backend", "torch-cpu,ort-cpu", "--batch", "2", "--budget", "quick")


@pytest.fixture
def libraries(shell, tmp_path):
    """A shell in which both packages are installed."""
    site = fake_libraries.write(tmp_path / "site")
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", ""))))
    return replace(shell, environment={"PYTHONPATH": path})


def test_a_librarys_model_is_exported_and_measured_on_pytorch_too(libraries):
    rows = libraries.rows("infer", "--model", "torchvision:tinynet", "--random-weights", "--precision", "fp32", *TINY)
    assert [(row["model"], row["backend"], row["status"]) for row in rows] == [
        ("torchvision:tinynet", "torch-cpu", "ok"),
        ("torchvision:tinynet", "ort-cpu", "ok"),
    ]
    assert all("random" in row["notes"] and row["top1"] is None for row in rows)
    (item,) = manifest.read_manifest(libraries.folder / "artifacts")
    assert (item.artifact.source.factory, item.artifact.source.random) == ("torchvision:tinynet", True)
    assert item.made.versions["torchvision"] == "9.1"


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        ("torchvision:tinynets", ("--random-weights",), "did you mean 'tinynet'?"),
        ("timm:tiny_vit", (), "--random-weights"),
        ("hf:./nowhere", (), "there is no folder" if find_spec("transformers") else "onnxbench[hf]"),
        ("net.onnx", ("--random-weights",), "torchvision:resnet50"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_sentence(libraries, model, options, text):
    done = libraries.bench("export", "--model", model, *options)
    assert (done.returncode, text in done.stderr, done.stderr.count("bench: ")) == (2, True, 1)
