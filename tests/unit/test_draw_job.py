import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.runners.worker.prepare_jobs import draw
from onnxbench.runners.worker.serve import State
from onnxbench.runners.worker.verify import load_arrays
from onnxbench.spec import TensorSpec, to_wire


@pytest.fixture
def ask(make_artifact, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.arange(200, dtype=np.float32).reshape(40, 5), y=np.arange(40) % 2)
    inputs = (TensorSpec(name="x", dtype="float32", shape=("N", "T")),)
    artifact = to_wire(make_artifact(inputs=inputs, dataset=f"tensors:{tmp_path}/d.npz"))
    folder = str(tmp_path / "arrays")
    job = {"artifact": artifact, "seed": 0, "given": {}, "folder": folder}
    return lambda *shape: draw(State(), lambda event: None, shapes=[("x", shape)], **job)


def test_real_samples_are_drawn_where_there_is_a_dataset(ask, tmp_path):
    assert ask(3, 5)["data"] == f"tensors:{tmp_path}/d.npz"
    assert load_arrays(tmp_path / "arrays", ["x"])["x"].shape == (3, 5)


def test_a_shape_that_the_dataset_does_not_have_is_refused(ask):
    with pytest.raises(BadInput, match=r"input 'x' is to be 3x7, and tensors:.* gives 3x5; leave --shape out, or --dataset"):
        ask(3, 7)
