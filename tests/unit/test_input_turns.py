"""Several arrays in turn: outside the clock, on every lane, and findings where latency depends on them."""

import random
from dataclasses import replace

import numpy as np
import pytest
from onnxbench.backends.null import Null, NullSession
from onnxbench.backends.protocol import Session, SessionInfo
from onnxbench.backends.rotation import Rotation
from onnxbench.errors import BadInput
from onnxbench.evidence import Answered, ByArray
from onnxbench.results.store.record import read_run
from onnxbench.results.table import table
from onnxbench.results.table.arrays import of_arrays
from onnxbench.runners.sweep.arrays import check_conditions, given_shapes
from onnxbench.runners.worker.array_turns import Turns
from onnxbench.runners.worker.jobs import There, TimeLatency
from onnxbench.runners.worker.lanes import Length, throughput
from onnxbench.runners.worker.measure import end_to_end, latency
from onnxbench.spec import Concurrency, Sweep

from .conftest import CELL, hold
from .in_process import TINY, UNLABELLED, Bench, Works

ARRAYS = [{"x": np.full(1, number, np.float32)} for number in range(3)]


class Echo(Session):
    """A call takes 10 ns, a copy 1000, and 5 more for each unit of the input."""

    info = SessionInfo(executed="fp32")

    def __init__(self):
        self.ns, self.seen, self.value = 0, [], 0.0

    def now(self):
        return self.ns

    def bind(self, inputs):
        self.ns += 1000
        self.value = float(inputs["x"][0])

    def start(self):
        self.ns += 10 + 5 * int(self.value)
        self.seen.append(self.value)

    def wait(self):
        pass

    def fetch(self):
        return {"y": np.full(1, self.value)}

    def fork(self):
        return Echo()


class Lane(Echo):
    asynchronous = True


def turning(kind=Echo, turn=0):
    session = kind()
    session.rotation = Rotation(inputs=ARRAYS, turn=turn)
    return session


def test_calls_get_the_arrays_in_turn_and_no_copy_is_in_their_latency():
    session = turning(turn=1)
    samples = latency(session, session.now, least_ns=0, least_calls=5)
    assert session.seen == [1, 2, 0, 1, 2]
    assert samples.tolist() == [15, 20, 10, 15, 20]
    assert (session.rotation.turn, session.rotation.last) == (6, 2)


def test_end_to_end_copies_each_array_inside_the_clock():
    session = turning()
    samples = end_to_end(session, ARRAYS[0], session.now, least_ns=0, least_calls=4)
    assert session.seen == [0, 1, 2, 0]
    assert samples.tolist() == [1010, 1015, 1020, 1010]


@pytest.mark.parametrize("kind", [Echo, Lane])
def test_every_lane_has_turns_of_its_own(kind):
    sessions = [turning(kind, turn) for turn in range(2)]
    clock = iter(range(0, 10**9, 1000))
    throughput(sessions, lambda: next(clock), Length(least_ns=50_000))
    for turn, session in enumerate(sessions):
        assert session.seen[:4] == [(turn + number) % 3 for number in range(4)]


def test_one_array_is_repeated_in_a_block_of_its_own_and_the_turns_go_on():
    session = turning()
    turns = Turns.of(session, TimeLatency(key="k", block_ms=1, calls=1, samples=There(path=""), turn=4, round=5))
    turns.repeat(session.now, least_ns=0, least_calls=3)
    samples = latency(session, session.now, least_ns=0, least_calls=4)
    assert session.seen == [2, 2, 2, 1, 2, 0, 1]
    found = turns.by_array(samples)
    assert (found.p50_ns, found.repeated, found.repeated_ns) == ((10, 15, 20), 2, 20)
    assert turns.by_array(samples[:1]).p50_ns == (None, 15, None)


def test_a_cell_with_one_array_has_no_turns():
    assert Turns.of(Echo(), TimeLatency(key="k", block_ms=1, calls=1, samples=There(path=""))) is None


def test_a_file_needs_as_many_arrays_as_are_requested(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 1, 3), np.float32))
    asked = Sweep(inputs=(("x", str(tmp_path / "x.npy")),))
    assert given_shapes(asked) == {"x": (4, 1, 3)}
    assert given_shapes(replace(asked, input_count=4)) == {"x": (1, 3)}
    with pytest.raises(BadInput, match=r"--inputs 5 needs 5 arrays for input 'x', but the first axis of .*x.npy has 4"):
        given_shapes(replace(asked, input_count=5))


def test_a_model_with_a_state_gets_one_array():
    check_conditions(Sweep(feedback=(("y", "x"),)))
    with pytest.raises(BadInput, match="--inputs 2 cannot be used with --feedback"):
        check_conditions(Sweep(feedback=(("y", "x"),), input_count=2))


SEVERAL = replace(CELL, inputs=4)


def effects_of(medians, count=12, life_rounds=0):
    """Findings of a row by kind, whose rounds have `medians(generator)`: by array, and of each array again and again."""
    record, generator = hold([10**6] * count, cell=SEVERAL, life_rounds=life_rounds), random.Random(0)
    blocks = {}
    for number, block in record.blocks.items():
        in_turn, repeated = medians(generator)
        own = ByArray(p50_ns=tuple(in_turn), repeated=number % 4, repeated_ns=repeated[number % 4])
        blocks[number] = replace(block, by_array=own)
    return {finding.kind: dict(finding.values) for finding in of_arrays(replace(record, blocks=blocks))}


def noisy(generator, *ns):
    """Figures with noise of 2 %."""
    return [each * (1 + generator.gauss(0, 0.02)) for each in ns]


EQUAL = (1e6,) * 4


@pytest.mark.parametrize("life_rounds", [0, 2])
def test_noise_alone_is_no_finding(life_rounds):
    assert effects_of(lambda g: (noisy(g, *EQUAL), noisy(g, *EQUAL)), life_rounds=life_rounds) == {}


@pytest.mark.parametrize("life_rounds", [0, 2])
def test_an_array_that_takes_longer_is_a_finding_with_its_figures(life_rounds):
    slow = (1e6, 1e6, 1.2e6, 1e6)
    found = effects_of(lambda g: (noisy(g, *slow), noisy(g, *slow)), life_rounds=life_rounds)
    effect = found.pop("array_dependent")
    assert (effect["array"], effect["of"], effect["low"] < 20 < effect["high"], found) == (3, 4, True, {})


@pytest.mark.parametrize("life_rounds", [0, 2])
def test_one_array_again_and_again_that_is_faster_is_a_finding(life_rounds):
    found = effects_of(lambda g: (noisy(g, *EQUAL), noisy(g, *[0.7e6] * 4)), life_rounds=life_rounds)
    effect = found.pop("repetition")
    assert (effect["low"] < -30 < effect["high"] < -25, found) == (True, {})


def test_a_few_rounds_decide_nothing():
    assert effects_of(lambda g: ([1e6, 1e6, 2e6, 1e6], [5e5] * 4), count=3) == {}


def test_an_array_without_a_call_in_some_rounds_counts_in_the_others():
    def medians(generator):
        last = None if generator.random() < 0.1 else 1e6
        return [*noisy(generator, 1e6, 1e6, 2e6), last], noisy(generator, *EQUAL)

    assert effects_of(medians, count=20)["array_dependent"]["array"] == 3


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(Null, "concurrencies", lambda _, threads: (Concurrency(lanes=2, threads=1),))

    def of(**asked):
        works = Works((UNLABELLED,), lambda *_: {}, 0, {})
        # each turn takes 10 ns of the run's own clock: on a busy machine the real one would tell another order of the arrays
        monkeypatch.setattr(NullSession, "start", lambda session: setattr(works, "ns", works.ns + 10 * session._turns))
        budget = replace(TINY, looks=(10,), block_ms=4)
        return Bench(tmp_path, works).infer(precisions=("fp32",), batches=(1,), budget=budget, **asked)

    return of


def test_the_null_backend_whose_time_depends_on_the_array_is_flagged(bench):
    found = bench(input_count=3, options=(("by_value", "3000"), ("work", "3000")))
    built = table.build([read_run(found.out)])
    effects = {finding.kind: dict(finding.values) for finding in built.findings}
    # the arrays 0, 1 and 2 cost 3000, 6000 and 9000 turns: the first takes 3000 / sqrt(6000 x 9000) of the others
    assert effects["array_dependent"]["array"] == 1
    assert effects["array_dependent"]["low"] < -59 < effects["array_dependent"]["high"] + 10
    assert "repetition" not in effects
    assert [row["inputs"] for row in built.rows] == [3]


def test_answers_are_compared_with_those_to_their_own_array(bench):
    found = bench(input_count=3)
    (event,) = [event for _, event in found.events if isinstance(event, Answered)]
    assert (event.answers, found.states) == (3, {"fp32/1": "ok"})
    (cell,) = found.rows.values()
    turns = [block.by_array for _, block in sorted(cell.blocks.items())]
    assert [each.repeated for each in turns] == [number % 3 for number in range(10)]
    assert all(len(each.p50_ns) == 3 for each in turns)
