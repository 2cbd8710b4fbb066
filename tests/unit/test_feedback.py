"""Outputs that are fed back to inputs: steps, lanes, resets, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from onnxbench.backends.protocol import Session, SessionInfo
from onnxbench.backends.recurrence import RESET_STEPS, Recurrence, starter
from onnxbench.errors import BadInput
from onnxbench.models.feedback import check_arrays, check_names, check_specs, feedback_of
from onnxbench.runners.worker.lanes import Length, throughput
from onnxbench.runners.worker.measure import end_to_end, latency, on_device
from onnxbench.runners.worker.walk import PARITY_STEPS, answer_all, answers, find_divergence, walk_names
from onnxbench.spec import TensorSpec

FEEDBACK = {"h_out": "h"}
ZERO = {"x": np.ones(1), "h": np.zeros(1)}


class Counter(Session):
    """Adds x to its state h. A call takes 10 ns, a copy of any kind 1000 ns. `wait` has no time of its own."""

    info = SessionInfo(executed="fp32")

    def __init__(self, limit=np.inf):
        self.ns, self.limit, self.inputs, self.outputs, self.seen = 0, limit, {}, {}, []

    def now(self):
        return self.ns

    def bind(self, inputs):
        self.ns += 1000
        self.inputs = {name: array.copy() for name, array in inputs.items()}

    def start(self):
        self.ns += 10
        self.seen.append(float(self.inputs["h"][0]))
        state = self.inputs["h"] + self.inputs["x"]
        self.outputs = {"y": 2 * state, "h_out": np.where(state < self.limit, state, np.inf)}

    def wait(self):
        pass

    def fetch(self):
        self.ns += 1000
        return {name: array.copy() for name, array in self.outputs.items()}

    def fork(self):
        return Counter(self.limit)


class Lane(Counter):
    asynchronous = True


def stateful(kind=Counter, **options):
    session = kind(**options)
    session.recurrence = Recurrence(feedback=FEEDBACK, inputs=ZERO)
    return session


def steps(count):
    """The states that `count` calls have to see."""
    return [float(number % RESET_STEPS) for number in range(count)]


def test_each_call_sees_the_state_of_the_last_one_and_no_copy_is_in_its_latency():
    session = stateful()
    samples = latency(session, session.now, least_ns=0, least_calls=2 * RESET_STEPS + 5)
    assert session.seen == steps(2 * RESET_STEPS + 5)
    assert set(samples.tolist()) == {10}


def test_blocks_go_on_with_the_state_of_the_block_before():
    session = stateful()
    for _ in range(3):
        latency(session, session.now, least_ns=0, least_calls=100)
    assert session.seen == steps(300)


def test_end_to_end_has_the_copies_and_feeds_the_state_too():
    session = stateful()
    samples = end_to_end(session, ZERO, session.now, least_ns=0, least_calls=RESET_STEPS + 3)
    assert session.seen == steps(RESET_STEPS + 3)
    assert set(samples.tolist()) == {2010}
    latency(session, session.now, least_ns=0, least_calls=2)
    assert session.seen[-2:] == [0.0, 1.0]


def test_pinned_memory_that_a_session_writes_to_does_not_change_the_initial_state():
    session = stateful()
    pinned = {name: array.copy() for name, array in ZERO.items()}

    def bind(inputs):
        session.inputs = {name: array.copy() for name, array in inputs.items()}
        pinned["h"][...] = inputs["h"]

    session.pin, session.bind = lambda inputs: pinned, bind
    end_to_end(session, ZERO, session.now, least_ns=0, least_calls=RESET_STEPS + 3)
    assert session.seen == steps(RESET_STEPS + 3)


def test_a_session_without_a_device_clock_makes_no_call_and_hands_nothing_over():
    session = stateful()
    latency(session, session.now, least_ns=0, least_calls=3)
    assert len(on_device(session, session.now, least_ns=1000)) == 0
    latency(session, session.now, least_ns=0, least_calls=2)
    assert session.seen == [0.0, 1.0, 2.0, 0.0, 1.0]


@pytest.mark.parametrize("kind", [Counter, Lane])
@pytest.mark.parametrize("count", [1, 3])
def test_every_lane_has_a_state_of_its_own(kind, count):
    sessions = [stateful(kind) for _ in range(count)]
    clock = iter(range(0, 10**9, 1000))
    rate = throughput(sessions, lambda: next(clock), Length(least_ns=50_000, lead_ns=10_000))
    assert rate.lanes == count
    for session in sessions:
        assert session.seen == steps(len(session.seen))
        assert len(session.seen) > 3


def test_a_session_without_a_state_is_started_as_it_is():
    session = Counter()
    assert starter(session) == session.start
    session.bind(ZERO)
    latency(session, session.now, least_ns=0, least_calls=3)
    assert session.seen == [0.0, 0.0, 0.0]


def test_parity_has_the_outputs_of_each_step_from_the_initial_state():
    session = stateful()
    latency(session, session.now, least_ns=0, least_calls=5)
    outputs = answers(session)
    assert list(outputs) == walk_names(["y", "h_out"], FEEDBACK)
    assert [float(outputs[name][0]) for name in walk_names(["h_out"], FEEDBACK)] == list(range(1, PARITY_STEPS + 1))
    assert walk_names(iter(["y", "h_out"]), FEEDBACK) == list(outputs)
    reference = answer_all(Counter(), ZERO, FEEDBACK)
    assert {name: array.tolist() for name, array in reference.items()} == {n: a.tolist() for n, a in outputs.items()}


def test_parity_without_feedback_has_one_call():
    assert list(answer_all(Counter(), ZERO, {})) == walk_names(["y", "h_out"], {}) == ["y", "h_out"]


@pytest.mark.parametrize(("limit", "step"), [(4, 4), (RESET_STEPS, RESET_STEPS), (RESET_STEPS + 1, None)])
def test_a_state_that_is_not_finite_before_its_reset_is_found(limit, step):
    session = stateful(limit=limit)
    assert find_divergence(session, lambda: 0) == (("h_out", step) if step else None)
    latency(session, session.now, least_ns=0, least_calls=1)
    assert session.seen[-1] == 0.0


def test_the_search_for_such_a_state_has_a_limit_of_time():
    session = stateful()
    assert find_divergence(session, iter(range(0, 10**12, 10**9)).__next__) is None
    assert len(session.seen) == 1


def spec(name, *shape, dtype="float32"):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def model(state, output, make_artifact):
    return make_artifact(inputs=(spec("x", "batch", 3), state), outputs=(spec("y", "batch", 2), output))


@pytest.mark.parametrize(
    ("state", "output"),
    [
        (spec("h", "batch", 8), spec("h_out", "batch", 8)),
        (spec("h", None, 8), spec("h_out", None, 8)),
        (spec("h", "batch", 8), spec("h_out", "rows", 8)),
        (spec("h", 1, "cache_length", 8), spec("h_out", 1, "cache_length", 8)),
        (spec("h", 1, 8), spec("h_out", None, None)),
        (spec("h", "n", 8), spec("h_out", "2*n-n", 8)),
    ],
)
def test_a_state_that_may_have_the_shape_of_its_input_is_taken(state, output, make_artifact):
    check_specs(model(state, output, make_artifact), (("h_out", "h"),))


@pytest.mark.parametrize(
    ("state", "output", "says"),
    [
        (spec("h", "batch", 8), spec("h_out", "batch", 9), "batchx9.*batchx8"),
        (spec("h", "batch", 8), spec("h_out", 8), "'h_out' is 8"),
        (spec("h", "batch", 8), spec("h_out", "batch", 8, dtype="float16"), "float16.*float32"),
        (spec("h", 1, "past", 8), spec("h_out", 1, "past + 1", 8), "static cache.*--dim past="),
        (spec("h", 1, "past", 8), spec("h_out", 1, "past + seq", 8), "static cache.*--dim past="),
        (spec("h", 1, "past_length", 8), spec("h_out", 1, "total_length", 8), "static cache.*--dim past_length="),
    ],
)
def test_a_state_that_cannot_be_its_input_is_refused(state, output, says, make_artifact):
    with pytest.raises(BadInput, match=says):
        check_specs(model(state, output, make_artifact), (("h_out", "h"),))


@pytest.mark.parametrize(
    ("feedback", "says"),
    [
        ((("hout", "h"),), "'hout'.*'h_out'"),
        ((("h_out", "hh"),), "'hh'.*'h'"),
        ((("h_out", "h"), ("y", "h")), "twice"),
        ((("h_out", "other"),), "no model has both"),
    ],
)
def test_names_that_no_model_has_are_refused(feedback, says, make_artifact):
    first = model(spec("h", "batch", 8), spec("h_out", "batch", 8), make_artifact)
    second = make_artifact(inputs=(spec("other", 1),), outputs=(spec("z", 1),))
    with pytest.raises(BadInput, match=says):
        check_names(feedback, [first, second])


def test_a_model_without_the_pair_has_no_feedback(make_artifact):
    pairs = (("h_out", "h"),)
    assert feedback_of(model(spec("h", 1), spec("h_out", 1), make_artifact), pairs) == pairs
    assert feedback_of(make_artifact(), pairs) == ()


def array(*shape, dtype="float32"):
    return SimpleNamespace(shape=shape, dtype=dtype)


@pytest.mark.parametrize(
    ("made", "taken", "says"),
    [
        (array(1, 5, 8), array(1, 4, 8), "static cache.*--dim.*axis 1 of 'h'"),
        (array(1, 3, 8), array(1, 4, 8), "1x3x8.*1x4x8"),
        (array(5, 5), array(4, 4), "5x5.*4x4"),
        (array(4), array(4, dtype="float64"), "float32.*float64"),
    ],
)
def test_the_answer_of_the_reference_decides_where_the_file_is_silent(made, taken, says):
    with pytest.raises(BadInput, match=says):
        check_arrays(FEEDBACK, {"h": taken}, {"h_out": made})
    check_arrays(FEEDBACK, {"h": taken}, {"h_out": taken})
