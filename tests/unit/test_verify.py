import json
import math
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnxbench.backends.protocol import Session, SessionInfo
from onnxbench.errors import RuntimeFailed
from onnxbench.evidence import Accuracy, Distance, PartDistance
from onnxbench.runners.worker.jobs import ProgressReport
from onnxbench.runners.worker.verify import accuracy, distance, load_arrays, predictions, save_arrays
from onnxbench.spec import TensorSpec, from_wire, to_wire

INPUT = TensorSpec(name="input", dtype="float32", shape=("batch", 10))
OUTPUT = TensorSpec(name="logits", dtype="float32", shape=("batch", 10))
finite = arrays.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))


def out(*values, dtype=np.float32):
    return {"logits": np.array(values, dtype)}


def test_the_distance_of_hand_computed_outputs():
    """Signal 3^2 + 4^2 = 25, noise 0.5^2 = 0.25, so 10 log10(100) = 20 dB."""
    whole = PartDistance(output="logits", sqnr_db=pytest.approx(20.0))
    figures = Distance(sqnr_db=pytest.approx(20.0), max_abs_err=0.5, rel_err=0.125, parts=(whole,))
    assert distance(out(3.0, 4.5), out(3.0, 4.0)) == figures


def test_the_worst_output_counts():
    """Pooled over both outputs the figure would be 120 dB: the error of the small one is 10 % of its values."""
    large, small = np.full((4, 8), 1000.0), np.full((4, 8), 0.01)
    found = distance({"large": large, "small": 0.9 * small}, {"large": large, "small": small})
    assert found.sqnr_db == pytest.approx(20.0)
    assert [(part.output, part.sqnr_db) for part in found.parts] == [("large", 200.0), ("small", pytest.approx(20.0))]
    assert (found.max_abs_err, found.rel_err) == (pytest.approx(0.001), pytest.approx(0.1))


def test_what_is_not_expected_is_not_compared():
    assert distance({**out(1.0), "more": np.array([7.0])}, out(1.0)).max_abs_err == 0.0


@given(array=finite)
def test_equal_outputs_are_exact(array):
    found = distance({"y": array}, {"y": array.copy()})
    assert (found.sqnr_db, found.max_abs_err, found.agreement) == (200.0, 0.0, 100.0)


@given(found=finite, expected=finite)
def test_a_distance_is_data_that_json_has(found, expected):
    figures = distance({"y": found}, {"y": expected})
    assert -200 <= figures.sqnr_db <= 200
    assert from_wire(Distance, json.loads(json.dumps(to_wire(figures), allow_nan=False))) == figures


def test_zeros_are_as_far_as_the_signal():
    assert distance(out(0.0, 0.0), out(3.0, 4.0)).sqnr_db == pytest.approx(0.0)


def test_noise_without_a_signal_is_as_far_as_can_be():
    found = distance(out(1.0), out(0.0))
    assert (found.sqnr_db, found.max_abs_err, found.rel_err, found.undetermined) == (-200.0, 1.0, None, None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_same_values_that_are_not_finite_are_equal(value):
    assert distance(out(1.0, value), out(1.0, value)).sqnr_db == 200.0


@pytest.mark.parametrize(
    ("found", "expected"),
    [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, -math.inf), (math.inf, -math.inf), (math.nan, math.inf)],
)
def test_other_values_that_are_not_finite_are_as_far_as_can_be(found, expected):
    far = distance(out(2.0, found), out(2.0, expected))
    assert (far.sqnr_db, far.max_abs_err, far.rel_err) == (-200.0, None, None)


def test_integers_and_booleans_are_compared():
    assert distance(out(1, 5, dtype=np.int64), out(1, 3, dtype=np.int64)).max_abs_err == 2.0
    assert distance(out(0, dtype=np.uint8), out(255, dtype=np.uint8)).max_abs_err == 255.0
    assert distance(out(True, False, dtype=bool), out(True, False, dtype=bool)).sqnr_db == 200.0


def test_items_that_answer_the_same_agree():
    expected = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = np.array([[0.1, 0.9], [0.4, 0.6], [0.3, 0.7], [9.0, 0.0]])
    assert distance({"y": found}, {"y": expected}).agreement == 75.0


@pytest.mark.parametrize("array", [np.ones((4, 1)), np.ones(4), np.ones((1, 2, 3)), np.ones((4, 3), np.int64)])
def test_agreement_is_for_classes_only(array):
    assert distance({"y": array}, {"y": array}).agreement is None


def test_agreement_is_about_the_first_output():
    classes, image = np.eye(3), np.ones((1, 3, 2, 2))
    assert distance({"i": image, "c": classes}, {"c": classes, "i": image}).agreement == 100.0
    assert distance({"i": image, "c": classes}, {"i": image, "c": classes}).agreement is None


def test_another_shape_is_as_far_as_can_be_and_keeps_the_figures_of_other_outputs():
    shapes = {"boxes": np.ones((7, 4)), "count": np.array([8.0])}
    found = distance({**shapes, "boxes": np.ones((8, 4))}, {**shapes, "count": np.array([4.0])})
    boxes, count = found.parts
    assert (boxes.output, boxes.sqnr_db, boxes.shape) == ("boxes", -200.0, "8x4 instead of 7x4")
    assert (count.shape, found.sqnr_db, found.max_abs_err) == ("", -200.0, 4.0)


def test_a_missing_output_fails():
    with pytest.raises(RuntimeFailed, match="'logits'"):
        distance({"other": np.ones(1)}, out(1.0))


def test_random_outputs_are_not_compared():
    expected = {"audio": np.array([1.0, 2.0]), "length": np.array([2.0])}
    found = distance({"audio": np.array([5.0, 0.0]), "length": np.array([2.0])}, expected, random=("audio", "gone"))
    assert (found.sqnr_db, found.random, found.undetermined) == (200.0, ("audio",), None)


def test_outputs_that_are_all_random_prove_nothing_and_keep_their_figures():
    found = distance(out(0.0, 0.0), out(3.0, 4.0), random=("logits",))
    assert (found.sqnr_db, found.max_abs_err, found.random) == (0.0, 4.0, ("logits",))
    assert found.undetermined


@pytest.mark.parametrize("array", [np.array([b"a"]), np.array([1j])])
def test_what_is_no_number_cannot_be_compared(array):
    with pytest.raises(RuntimeFailed, match="cannot be compared"):
        distance({"y": array}, {"y": array})


def test_arrays_are_kept_by_their_order_whatever_their_names(tmp_path):
    arrays = {"a/b": np.arange(3), "../c": np.ones((2, 2), np.float16), "0": np.array(7)}
    save_arrays(tmp_path / "new" / "folder", arrays)
    found = load_arrays(tmp_path / "new" / "folder", arrays)
    assert list(found) == list(arrays)
    assert all((found[name] == arrays[name]).all() and found[name].dtype == arrays[name].dtype for name in arrays)


class Echo(Session):
    """Its outputs are its inputs."""

    info = SessionInfo(executed="fp32")

    def __init__(self):
        self.batches = []

    def bind(self, inputs):
        self.batches.append(inputs["input"].copy())

    def start(self):
        self.answer = self.batches[-1]

    def wait(self):
        pass

    def fetch(self):
        return {"logits": self.answer}

    def fork(self):
        raise NotImplementedError


LABELS = np.zeros(5, np.int64)


def ignore(_):
    """Whoever is told, does not listen."""


def test_the_last_batch_is_filled_up_and_its_filling_is_left_out(make_artifact):
    session, images = Echo(), np.eye(10, dtype=np.float32)[[3, 1, 4, 1, 5]]
    assert predictions(session, make_artifact(), images, LABELS, batch=3, report=ignore).first.tolist() == [3, 1, 4, 1, 5]
    assert [batch.argmax(1).tolist() for batch in session.batches] == [[3, 1, 4], [1, 5, 1]]


@pytest.mark.parametrize("batch", [1, 5, 8])
def test_predictions_do_not_depend_on_the_batch(make_artifact, batch):
    images = np.eye(10, dtype=np.float32)[[3, 1, 4, 1, 5]]
    assert predictions(Echo(), make_artifact(), images, LABELS, batch=batch, report=ignore).first.tolist() == [3, 1, 4, 1, 5]


@pytest.mark.parametrize(("batch", "calls"), [(1, 5), (2, 3), (5, 1), (8, 1)])
def test_every_call_is_told(make_artifact, batch, calls):
    heard = []
    images = np.eye(10, dtype=np.float32)[[3, 1, 4, 1, 5]]
    predictions(Echo(), make_artifact(), images, LABELS, batch=batch, report=heard.append)
    assert heard == [ProgressReport()] * calls


def write_samples(folder, found, expected, labels):
    """Images that Echo answers with `found`."""
    np.save(folder / "images.npy", np.eye(10, dtype=np.float32)[found])
    np.save(folder / "labels.npy", labels)
    np.save(folder / "reference.npy", expected)


@pytest.fixture
def compared(make_artifact, tmp_path):
    """The accuracy of a session that answers `found`, where the reference answers `expected`."""

    def of(found, expected, labels, batch=2, report=ignore):
        write_samples(tmp_path, found, expected, labels)
        return accuracy(Echo(), make_artifact(), tmp_path, batch, report)

    return of


def test_accuracy_is_against_labels_and_against_the_reference(compared):
    """The session is right about 3 of 5 images, the reference about 4, and they answer the same for 3."""
    assert compared([0, 1, 2, 7, 9], [0, 1, 2, 3, 8], labels=[0, 1, 2, 3, 4]) == Accuracy(
        top1=pytest.approx(60),
        top1_drop=20,
        agreement=pytest.approx(60),
        images=5,
        lost=1,
        gained=0,
        accuracy_batch=2,
    )


@pytest.mark.parametrize(
    ("found", "expected", "counts"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], (0, 0, 0)),
        ([2, 2, 1, 1], [1, 1, 1, 1], (2, 0, 50)),
        ([1, 1, 1, 1], [2, 1, 1, 1], (0, 1, -25)),
        ([2, 1, 1, 1], [1, 2, 2, 1], (1, 2, -25)),
        ([2, 1, 1, 1], [1, 2, 1, 1], (1, 1, 0)),
        ([2, 3, 1, 1], [3, 2, 1, 1], (0, 0, 0)),
    ],
    ids=["the same", "lost", "gained", "both", "evened out", "both wrong, each in its own way"],
)
def test_what_was_lost_and_what_was_gained_are_counted_apart(compared, found, expected, counts):
    told = compared(found, expected, labels=[1, 1, 1, 1])
    assert (told.lost, told.gained, told.top1_drop) == counts


@given(data=st.data())
def test_a_drop_is_exactly_what_the_counts_say(data):
    """Differences of two rounded percentages would not be."""
    images, classifier = data.draw(st.integers(1, 60)), SimpleNamespace(inputs=[INPUT], outputs=[OUTPUT])
    answers = arrays.arrays(np.int64, images, elements=st.integers(0, 9))
    found, expected, labels = (data.draw(answers) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder), found, expected, labels)
        told = accuracy(Echo(), classifier, Path(folder), 7, ignore)
    was, now = int((expected == labels).sum()), int((found == labels).sum())
    assert told.lost - told.gained == was - now
    assert told.top1_drop == 100 * (was - now) / images
    assert told.lost + told.gained <= told.images == images
    assert from_wire(Accuracy, json.loads(json.dumps(to_wire(told)))) == told


def test_accuracy_is_told_while_it_goes_on(compared):
    heard = []
    compared([0, 1, 2], [0, 1, 2], labels=[0, 1, 2], report=heard.append)
    assert heard == [ProgressReport()] * 2


@pytest.mark.parametrize(("found", "equal"), [(["a", "b"], True), (["a", "c"], False)])
def test_texts_are_equal_or_not(tmp_path, found, equal):
    save_arrays(tmp_path, {"y": np.array(["a", "b"], object)})
    expected = load_arrays(tmp_path, ["y"])
    assert (distance({"y": np.array(found, object)}, expected).sqnr_db == 200.0) is equal


def within5(make_artifact, scores, labels):
    scores = np.array(scores, np.float32)
    return predictions(Echo(), make_artifact(), scores, np.array(labels), batch=2, report=ignore).within5


def test_the_five_best_answers_include_the_label_or_not(make_artifact):
    scores = [[6, 5, 4, 3, 2, 1]] * 3
    assert within5(make_artifact, scores, [0, 4, 5]).tolist() == [True, True, False]


def test_of_equal_scores_the_first_classes_are_the_best(make_artifact):
    assert within5(make_artifact, [[1.0] * 8] * 3, [0, 4, 5]).tolist() == [True, True, False]


def test_a_score_that_is_no_number_is_not_among_the_best(make_artifact):
    assert within5(make_artifact, [[np.nan] * 8, [3, np.nan, 1, 1, 1, 1, 1, 1]], [0, 1]).tolist() == [False, False]


def test_a_model_of_five_classes_has_no_five_best(make_artifact):
    assert within5(make_artifact, [[1, 2, 3, 4, 5]], [0]) is None


def test_the_drop_of_the_five_best_is_against_the_reference(make_artifact, tmp_path):
    write_samples(tmp_path, found=[1, 1, 1, 1], expected=[0, 0, 0, 0], labels=np.array([0, 1, 9, 8]))
    np.save(tmp_path / "reference5.npy", np.array([True, True, True, False]))
    told = accuracy(Echo(), make_artifact(), tmp_path, 2, ignore)
    assert (told.top5, told.top5_drop) == (50, 25)
