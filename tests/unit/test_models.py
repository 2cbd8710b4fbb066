import pytest
from onnxbench.errors import BadInput
from onnxbench.models import MODELS, kind_of


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("cnn", "named"),
        ("net.onnx", "file"),
        ("some dir/NET.ONNX", "file"),
        ("pkg:make", "factory"),
        ("pkg.sub.module:make", "factory"),
    ],
)
def test_a_model_is_told_by_its_text(model, kind):
    assert kind_of(model) == kind


@pytest.mark.parametrize("model", ["", "cn", "net.pt", "pkg:", ":make", "pkg.:make", "./dir/pkg:make", "pkg:make()"])
def test_anything_else_is_no_model(model):
    with pytest.raises(BadInput, match="is not a model"):
        kind_of(model)


def test_a_misspelt_model_is_guessed():
    with pytest.raises(BadInput, match="did you mean 'cnn'"):
        kind_of("cn")


def test_the_cnn_takes_any_batch_of_48x48_colour_images():
    (tensor,) = MODELS["cnn"].inputs
    assert (tensor.name, tensor.dtype, tensor.shape) == ("input", "float32", ("batch", 3, 48, 48))
    assert (MODELS["cnn"].outputs, MODELS["cnn"].dataset) == (("logits",), "digits")


@pytest.mark.parametrize(
    ("model", "right"),
    [
        ("tim:resnet18", "timm:resnet18"),
        ("torchvison:resnet50", "torchvision:resnet50"),
        ("Timm:vit-tiny", "timm:vit-tiny"),
        ("HF:google/bert", "hf:google/bert"),
        ("transformers:bert", "hf:bert"),
        ("huggingface:bert", "hf:bert"),
    ],
)
def test_a_library_that_is_nearly_named_is_proposed(tmp_path, monkeypatch, model, right):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=f"did you mean {right}"):
        kind_of(model)


def test_a_module_that_is_here_is_no_mistake(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tim.py").write_text("")
    assert [kind_of(model) for model in ("tim:net", "my.timm:net", "nets:net")] == ["factory"] * 3
