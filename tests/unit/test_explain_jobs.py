import numpy as np
import pytest
from onnxbench.runners.worker.convert_jobs import calibration_of
from onnxbench.runners.worker.explain_jobs import _held_out, fewest, standing_out
from onnxbench.runners.worker.file_jobs import Explain
from onnxbench.runners.worker.jobs import Data, Here
from onnxbench.spec import Conversion, TensorSpec

EXACT = 200.0
INT8 = Conversion(scheme="portable", method="minmax")
X = TensorSpec(name="x", dtype="float32", shape=("N", 4))


def job(source, **changes):
    return Explain(artifact=source, precision="int8", how=INT8, data=Data.of(source.dataset), **changes)


def held_out(wanted):
    return _held_out(wanted, calibration_of(wanted))


@pytest.fixture
def data(tmp_path):
    """A file of 40 items."""
    np.savez(tmp_path / "data.npz", x=np.arange(160, dtype=np.float32).reshape(40, 4), y=np.arange(40) % 3)
    return tmp_path / "data.npz"


@pytest.mark.parametrize(
    ("sqnr_db", "count"),
    [
        ([], 0),
        ([20.0], 0),
        ([20.0, 40.0], 1),
        ([20.0, 22.0, 40.0, 42.0], 2),
        ([20.0, 30.0, 50.0, 51.0], 2),
        ([20.0, 40.0, 50.0, 51.0], 1),
        ([40.0, 42.0, 44.0, 46.0], 0),
        ([40.0, 46.0], 1),
        ([40.0, 45.9], 0),
        ([-200.0, 40.0, 41.0], 1),
    ],
)
def test_the_nodes_before_the_widest_gap_stand_out(sqnr_db, count):
    assert standing_out(sqnr_db) == count


@pytest.mark.parametrize(("sqnr_db", "count"), [([40.0, 80.0], 0), ([40.0, 41.0, 95.0, 130.0], 0), ([20.0, 40.0, 81.0], 1)])
def test_nodes_whose_error_is_rounding_make_no_gap(sqnr_db, count):
    assert standing_out(sqnr_db) == count


def test_nodes_without_an_error_make_no_gap():
    assert standing_out([40.0, 41.0, EXACT, EXACT]) == 0
    assert standing_out([40.0, EXACT]) == 0
    assert standing_out([EXACT, EXACT]) == 0
    assert standing_out([20.0, 40.0, EXACT]) == 1


def test_a_gap_behind_more_nodes_than_may_be_excluded_does_not_count():
    assert standing_out([20.0] * 8 + [40.0] * 3) == 8
    assert standing_out([20.0] * 9 + [40.0] * 3) == 0


@pytest.mark.parametrize(
    ("gains", "count"),
    [
        ([], 0),
        ([5.9], 0),
        ([6.0], 1),
        ([-3.0, -1.0], 0),
        ([20.0, 21.0, 22.0], 1),
        ([10.0, 20.0, 30.0], 3),
        ([1.0, 27.0, 30.0], 2),
        ([1.0, 26.9, 30.0], 3),
        ([-4.0, 12.0, 8.0], 2),
    ],
)
def test_the_fewest_exclusions_that_bring_nine_tenths_of_the_gain_are_chosen(gains, count):
    assert fewest(gains) == count


@pytest.mark.parametrize("inputs", [(X,), (TensorSpec(name="s", dtype="float32", shape=()), X)], ids=["items", "scalar first"])
def test_without_data_the_proof_is_on_new_random_inputs(make_artifact, inputs):
    wanted = job(make_artifact(inputs=inputs), seed=3)
    found, known = held_out(wanted), calibration_of(wanted)
    assert (found.data, found.items) == ("new random inputs", 64)
    assert not {arrays["x"].tobytes() for arrays in found.feeds} & {arrays["x"].tobytes() for arrays in known.feeds}


def test_with_a_small_dataset_the_proof_is_on_its_few_test_images(make_artifact, data):
    wanted = job(make_artifact(inputs=(X,), dataset=f"tensors:{data}"))
    found, known = held_out(wanted), calibration_of(wanted)
    assert (found.data, found.items) == (f"test images of tensors:{data}", 8)
    seen = [{item.tobytes() for arrays in feeds for item in arrays["x"]} for feeds in (found.feeds, known.feeds)]
    assert len(seen[0]) == 8
    assert not seen[0] & seen[1]


def test_with_given_arrays_the_proof_is_on_them_and_says_so(make_artifact, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((20, 4), np.float32))
    found = held_out(job(make_artifact(inputs=(X,)), calibration=Here(path=str(tmp_path / "x.npz"))))
    assert (found.data, found.items) == ("items that it was calibrated on", 20)
