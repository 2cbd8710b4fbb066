import numpy as np
import pytest
from onnxbench.evidence import Distance, PartDistance, Proof
from onnxbench.runners.worker.convert_jobs import calibration_of
from onnxbench.runners.worker.explain_jobs import _held_out, _judged, is_confirmed
from onnxbench.runners.worker.file_jobs import Explain
from onnxbench.runners.worker.jobs import Data, Here
from onnxbench.spec import Conversion, TensorSpec

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


def test_a_dataset_has_labels_for_the_choice_and_for_the_proof(make_artifact, data):
    wanted = job(make_artifact(inputs=(X,), dataset=f"tensors:{data}"))
    for part in (held_out(wanted), calibration_of(wanted)):
        items = np.concatenate([arrays["x"][:, 0] / 4 for arrays in part.feeds])
        assert np.concatenate(part.labels).tolist() == (items % 3).tolist()


def test_of_given_arrays_half_of_the_calls_choose_and_the_others_prove(make_artifact, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(160, dtype=np.float32).reshape(40, 4))
    wanted = job(make_artifact(inputs=(X,)), calibration=Here(path=str(tmp_path / "x.npz")))
    judged, proof = _judged(wanted, calibration_of(wanted)), held_out(wanted)
    assert (judged.items, proof.items, proof.data) == (20, 20, "calibration items that did not choose the nodes")
    seen = [{item.tobytes() for arrays in part.feeds for item in arrays["x"]} for part in (judged, proof)]
    assert not seen[0] & seen[1]


def test_with_one_call_of_given_arrays_the_proof_is_on_it_and_says_so(make_artifact, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((8, 4), np.float32))
    found = held_out(job(make_artifact(inputs=(X,)), calibration=Here(path=str(tmp_path / "x.npz"))))
    assert (found.data, found.items) == ("items that it was calibrated on", 8)


def distance(**outputs):
    parts = tuple(PartDistance(output=name, sqnr_db=value) for name, value in outputs.items())
    return Distance(sqnr_db=min(outputs.values()), parts=parts)


@pytest.mark.parametrize(
    ("before", "after", "points", "confirmed"),
    [
        ({"a": 5.0}, {"a": 30.0}, 0, True),
        ({"a": 5.0}, {"a": 6.0}, 0, False),
        ({"a": 5.0}, {"a": 6.0}, 2, True),
        ({"a": 0.0, "b": 5.0}, {"a": 0.0, "b": 30.0}, 0, True),
    ],
    ids=["gain", "too little", "more right answers", "of one output"],
)
def test_a_choice_is_confirmed_by_other_data(before, after, points, confirmed):
    top1 = {"top1_before": 90.0, "top1_after": 90.0 + points} if points else {}
    assert is_confirmed(Proof(before=distance(**before), after=distance(**after), data="d", items=9, **top1)) == confirmed
