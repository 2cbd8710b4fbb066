import numpy as np
import pytest
from onnxbench.backends.null import Null
from onnxbench.errors import RuntimeFailed
from onnxbench.spec import PRECISIONS, Concurrency, Settings, TensorSpec


@pytest.fixture
def opened(make_cell, make_artifact):
    """A session of a cell with some options."""

    def make(batch=1, outputs=None, **options):
        artifact = make_artifact(**({"outputs": outputs} if outputs else {}))
        cell = make_cell(backend="null", batch=batch, settings=Settings(threads=1, options=tuple(options.items())))
        assert Null().supports(cell, artifact) is None
        return Null().open(artifact, cell)

    return make


def inputs(batch=1):
    return {"input": np.zeros((batch, 3, 48, 48), np.float32)}


def test_it_is_an_instrument_that_is_always_here():
    found = Null().probe()
    assert (Null.instrument, found.available, found.devices, found.version) == (True, True, ("cpu",), np.__version__)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_takes_every_precision_and_says_so(make_cell, make_artifact, precision):
    cell = make_cell(precision=precision)
    assert Null().supports(cell, make_artifact()) is None
    assert Null().open(make_artifact(), cell).info.executed == precision


def test_a_call_gives_zeros_of_the_outputs_shapes(opened):
    tensors = (
        TensorSpec(name="logits", dtype="float32", shape=("batch", 10)),
        TensorSpec(name="label", dtype="int64", shape=(None,)),
        TensorSpec(name="scale", dtype="float16", shape=()),
    )
    with opened(batch=4, outputs=tensors) as session:
        session.bind(inputs(4))
        session.start()
        session.wait()
        found = session.fetch()
    assert {name: (array.dtype.name, array.shape) for name, array in found.items()} == {
        "logits": ("float32", (4, 10)),
        "label": ("int64", (4,)),
        "scale": ("float16", ()),
    }
    assert not any(array.any() for array in found.values())


def test_each_answer_is_a_fresh_array(opened):
    session = opened()
    first = session.fetch()["logits"]
    first += 1
    assert not session.fetch()["logits"].any()


def test_an_input_that_is_missing_is_told(opened):
    with pytest.raises(RuntimeFailed, match="'input'"):
        opened().bind({})


def test_a_slot_can_be_forked(opened):
    session = opened(batch=2)
    other = session.fork()
    other.bind(inputs(2))
    assert other is not session
    assert other.fetch()["logits"].shape == (2, 10)


def test_it_can_be_opened_for_several_calls_at_once(make_cell, make_artifact):
    session = Null().open(make_artifact(), make_cell(), Concurrency(lanes=2, threads=1))
    lanes = [session.fork(), session.fork()]
    assert not session.asynchronous
    assert len({id(lane) for lane in (session, *lanes)}) == 3


def test_it_has_no_clock_of_its_own(opened):
    assert opened().device_ns() is None


def test_work_is_what_was_asked_for(opened):
    session = opened(work="1000")
    session.start()
    assert session.info.settings == (("work", "1000"),)
    assert opened().info.settings == (("work", "0"),)


def test_work_that_is_no_number_fails_when_it_is_opened(opened):
    with pytest.raises(RuntimeFailed, match="null cannot load the model: invalid literal"):
        opened(work="much")


def test_an_option_that_it_has_not_is_refused(make_cell, make_artifact):
    cell = make_cell(settings=Settings(threads=1, options=(("speed", "high"),)))
    reason = Null().supports(cell, make_artifact())
    assert all(word in reason for word in ("speed", "work", "fault"))


def test_it_can_be_asked_to_fail_when_it_is_opened(opened):
    with pytest.raises(RuntimeFailed, match="option fault"):
        opened(fault="raise@open")


def test_it_can_be_asked_to_fail_at_a_step(opened):
    session = opened(fault="raise@fetch")
    session.bind(inputs())
    session.start()
    with pytest.raises(RuntimeFailed, match="option fault"):
        session.fetch()


def test_it_can_be_asked_to_fail_at_a_later_call_and_only_then(opened):
    session = opened(fault="raise@start:3")
    session.start()
    session.start()
    with pytest.raises(RuntimeFailed, match="option fault"):
        session.start()
    session.start()


def test_it_can_be_asked_to_fail_in_cells_of_one_batch(opened):
    opened(batch=1, fault="raise@open/8")
    with pytest.raises(RuntimeFailed, match="option fault"):
        opened(batch=8, fault="raise@open/8")


def test_it_can_be_asked_to_print(opened, capfd):
    session = opened(fault="print@start:2")
    session.start()
    assert capfd.readouterr().out == ""
    session.start()
    assert capfd.readouterr().out == "a stray print\n"
