import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.runners.worker.file_jobs import Draw
from onnxbench.runners.worker.jobs import Data, Here, There
from onnxbench.runners.worker.prepare_jobs import draw
from onnxbench.runners.worker.serve import State
from onnxbench.runners.worker.verify import array_folder, load_arrays
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


@pytest.fixture
def several(ask, make_artifact, tmp_path):
    """Draws several arrays, and returns them. With `shape` alone from the dataset; `inputs`: random ones of these specs."""

    def of(count, shape=(3, 5), inputs=(), given=()):
        what = {"folder": There(path=str(tmp_path / "arrays")), "seed": 0, "arrays": count, "given": given}
        if inputs:
            what |= {"artifact": make_artifact(inputs=inputs), "shapes": tuple((spec.name, shape) for spec in inputs)}
        else:
            name = f"tensors:{tmp_path}/d.npz"
            own = (TensorSpec(name="x", dtype="float32", shape=("N", "T")),)
            what |= {"artifact": make_artifact(inputs=own, dataset=name), "data": Data.named(name), "shapes": (("x", shape),)}
        draw(State(), lambda _: None, Draw(**what))
        names = [name for name, _ in what["shapes"]]
        folders = (array_folder(tmp_path / "arrays", number) for number in range(count))
        return [load_arrays(folder, names) for folder in folders]

    return of


@pytest.mark.parametrize(("count", "batch"), [(3, 2), (8, 3), (8, 50)])
def test_several_arrays_of_a_dataset_are_different_and_the_first_is_that_of_one_array(several, count, batch):
    (alone,) = several(1, (batch, 5))
    arrays = several(count, (batch, 5))
    assert np.array_equal(arrays[0]["x"], alone["x"])
    assert len({array["x"].tobytes() for array in arrays}) == count


def test_more_arrays_than_images_are_refused(several):
    with pytest.raises(BadInput, match=r"--inputs 41 needs 41 different images, but .* test images") as caught:
        several(41)
    assert caught.value.hint.startswith("give at most --inputs ")


X, MASK = TensorSpec(name="x", dtype="float32", shape=(3, 5)), TensorSpec(name="m", dtype="int64", shape=(3, 5), role="mask")


def test_several_random_arrays_come_from_several_seeds(several):
    arrays = several(3, inputs=(X, MASK))
    assert len({array["x"].tobytes() for array in arrays}) == 3
    assert np.array_equal(arrays[0]["x"], several(1, inputs=(X, MASK))[0]["x"])


def test_inputs_that_are_all_fixed_are_not_several(several):
    with pytest.raises(BadInput, match=r"--inputs 3 needs different arrays, but the values of each input of .* are fixed"):
        several(3, inputs=(MASK,))


def test_the_first_axis_of_a_file_counts_its_arrays(several, tmp_path):
    stack = np.arange(60, dtype=np.float32).reshape(4, 3, 5)
    np.save(tmp_path / "x.npy", stack)
    arrays = several(3, inputs=(X, MASK), given=(("x", Here(path=str(tmp_path / "x.npy"))),))
    assert [array["x"].tolist() for array in arrays] == stack[:3].tolist()
