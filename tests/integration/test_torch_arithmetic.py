"""The code of a model may set the precision of the whole process: FP32 stays FP32 all the same."""

import pytest
import torch
import zoo
from onnxbench import backends
from onnxbench.factories import set_fp32
from onnxbench.spec import Artifact, Cell, Concurrency, Settings, Source, TensorSpec

LOOSE = {
    "matmul": 'torch.set_float32_matmul_precision("medium")',
    "TF32": "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True",
    "everything": 'torch.backends.fp32_precision = "tf32"',
    "oneDNN": 'torch.backends.mkldnn.conv.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "bf16"',
    "mixed": 'torch.set_float32_matmul_precision("medium"); torch.backends.cuda.matmul.allow_tf32 = False',
}
FACTORY = """
import torch
import zoo

{loose}


def build():
    return zoo.two_inputs()
"""


@pytest.fixture(autouse=True)
def as_before():
    """The arithmetic of this process is torch's default again."""
    yield
    torch.backends.fp32_precision = "none"
    set_fp32(torch, tf32=False)
    torch.backends.cudnn.allow_tf32 = True


def precisions():
    """Precision of FP32 in each part of torch that has one."""
    parts = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
    parts += [part for library in (torch.backends.cudnn, torch.backends.mkldnn) for part in (library.conv, library.rnn)]
    return {part.fp32_precision for part in parts}


@pytest.mark.parametrize("name", LOOSE)
def test_code_of_a_model_that_loosens_the_arithmetic_leaves_fp32_exact(tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"loose_{name}.py").write_text(FACTORY.format(loose=LOOSE[name]))
    specimen = zoo.SPECIMENS["two_inputs"]
    artifact = Artifact(
        **{"model": "sum", "precision": "fp32", "path": "sum.onnx", "sha256": "ab" * 32, "nbytes": 1, "opset": 20},
        inputs=specimen.inputs,
        outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3)),),
        source=Source(factory=f"loose_{name}:build"),
    )
    cell = Cell(
        **{"model": "sum", "sha256": artifact.sha256, "backend": "torch-cpu", "device": "cpu", "precision": "fp32", "batch": 2},
        shapes=specimen.shapes(2),
        settings=Settings(threads=1),
    )
    with backends.get("torch-cpu").open(artifact, cell, Concurrency(threads=1)) as session:
        assert dict(session.info.settings)["float32_matmul_precision"] == "highest"
        assert precisions() == {"ieee"}


@pytest.mark.parametrize("name", LOOSE)
@pytest.mark.parametrize("tf32", [False, True])
def test_both_interfaces_of_torch_can_be_read_afterwards(name, tf32):
    exec(LOOSE[name], {"torch": torch})
    set_fp32(torch, tf32)
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is tf32
