import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.runners.worker.file_jobs import Draw
from onnxbench.runners.worker.jobs import Data, There
from onnxbench.runners.worker.prepare_jobs import draw
from onnxbench.runners.worker.serve import State
from onnxbench.runners.worker.verify import load_arrays
from onnxbench.spec import TensorSpec


@pytest.fixture
def ask(make_artifact, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.arange(200, dtype=np.float32).reshape(40, 5), y=np.arange(40) % 2)
    inputs = (TensorSpec(name="x", dtype="float32", shape=("N", "T")),)
    name = f"tensors:{tmp_path}/d.npz"
    what = {"artifact": make_artifact(inputs=inputs, dataset=name), "data": Data.named(name)}
    folder = There(path=str(tmp_path / "arrays"))
    return lambda *shape: draw(State(), lambda _: None, Draw(shapes=(("x", shape),), seed=0, folder=folder, **what))


def test_real_samples_are_drawn_where_there_is_a_dataset(ask, tmp_path):
    ask(3, 5)
    drawn = load_arrays(tmp_path / "arrays", ["x"])["x"]
    with np.load(tmp_path / "d.npz") as data:
        real = {row.tobytes() for row in data["x"]}
    assert (drawn.shape, {row.tobytes() for row in drawn} <= real) == ((3, 5), True)


def test_a_shape_that_the_dataset_does_not_have_is_refused(ask):
    with pytest.raises(BadInput, match=r"'x' 3x7.* tensors:.* 3x5; .*--shape.*--dataset"):
        ask(3, 7)
