import numpy as np
import pytest
from onnxbench.errors import BadInput
from onnxbench.runners.worker.convert_jobs import calibration_of
from onnxbench.runners.worker.data_parts import BATCHES, count_parts, part_of
from onnxbench.runners.worker.jobs import Data, Here
from onnxbench.runners.worker.search_jobs import CountParts
from onnxbench.runners.worker.serve import State
from onnxbench.spec import Conversion, TensorSpec

X = TensorSpec(name="x", dtype="float32", shape=("N", 4))


@pytest.fixture
def job(make_artifact):
    def make(images=0, inputs=(X,), dataset=None, **changes):
        how = Conversion(scheme="portable", method="minmax", images=images)
        source = make_artifact(inputs=inputs, dataset=dataset)
        return CountParts(artifact=source, precision="int8", how=how, data=Data.of(dataset), **changes)

    return make


@pytest.fixture
def arrays(tmp_path):
    def write(items, **more):
        np.savez(tmp_path / "data.npz", x=np.arange(items * 4, dtype=np.float32).reshape(items, 4), **more)
        return str(tmp_path / "data.npz")

    return write


def counted(job):
    return count_parts(State(), lambda report: None, job)


def items(part):
    """All items of a part, each once, with their labels."""
    calls = list(part.calls())
    rows = [row.tobytes() for call in calls for row in call.arrays["x"][: call.count]]
    labels = [label for call in calls if call.labels is not None for label in call.labels[: call.count]]
    assert {len(call.arrays["x"]) for call in calls} == {part.batch}
    return rows, labels


def check_disjoint(job):
    calibration = {row.tobytes() for feed in calibration_of(job).feeds for row in feed["x"]}
    (search, _), (proof, _) = (items(part_of(job, proof=proof)) for proof in (False, True))
    sizes = len(calibration), len(search), len(proof)
    assert len(calibration | {*search, *proof}) == sum(sizes)
    return sizes


@pytest.mark.parametrize("images", [0, 50])
def test_of_a_dataset_the_rest_searches_and_the_test_part_proves(job, arrays, images):
    wanted = job(images, dataset=f"tensors:{arrays(500, y=np.arange(500) % 3)}")
    found = counted(wanted)
    assert (found.calibration, found.search, found.proof) == check_disjoint(wanted)
    assert (found.proof, found.labelled, found.images) == (100, True, 0)
    rows, labels = items(part_of(wanted, proof=True))
    assert [np.frombuffer(row, np.float32)[0] // 4 % 3 for row in rows] == labels


def test_a_dataset_that_only_calibrates_leaves_nothing_to_search(job, arrays):
    with pytest.raises(BadInput, match="--calibration-images"):
        counted(job(400, dataset=f"tensors:{arrays(500, y=np.arange(500) % 3)}"))


def test_of_arrays_half_calibrates_and_each_quarter_has_a_use(job, arrays):
    wanted = job(calibration=Here(path=arrays(41)), calibrated_on="data.npz")
    found = counted(wanted)
    assert (found.calibration, found.search, found.proof, found.labelled) == (20, 10, 11, False)
    assert check_disjoint(job(found.images, calibration=wanted.calibration, calibrated_on="data.npz")) == (20, 10, 11)


@pytest.mark.parametrize(("count", "images"), [(3, 0), (10, 9), (10, 10)])
def test_too_few_arrays_for_three_parts_are_refused(job, arrays, count, images):
    with pytest.raises(BadInput, match="too few are left"):
        counted(job(images, calibration=Here(path=arrays(count)), calibrated_on="data.npz"))


def test_random_inputs_differ_from_part_to_part(job):
    wanted = job(seed=3)
    assert check_disjoint(wanted) == (64, 64, 64)
    assert counted(wanted).proof == 64


def test_calls_have_one_shape_and_count_each_item_once(job, arrays):
    fixed = TensorSpec(name="x", dtype="float32", shape=(7, 4))
    wanted = job(inputs=(fixed,), calibration=Here(path=arrays(45)), calibrated_on="data.npz")
    part = part_of(wanted, proof=True)
    assert (part.batch, part.items, len(items(part)[0])) == (7, 12, 12)
    assert part_of(job(), proof=True).batch == BATCHES[0]
