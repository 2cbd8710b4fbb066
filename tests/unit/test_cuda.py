"""What sessions on a GPU have in common, on a stream that is an array of bytes here."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from onnxbench.backends import cuda
from onnxbench.backends.protocol import SessionInfo
from onnxbench.errors import RuntimeFailed, Unavailable

INFO = SessionInfo(executed="fp32", settings=(("tf32", "false"),), remarks=("an old remark",))
INSTALL = "pip install 'onnxbench[ort-gpu]'"
ONES = {"input": np.ones((2, 3), np.float32)}
TWOS = {"input": np.full((2, 3), 2, np.float32)}


class Script:
    """What is called in which order. `fails`: in which call (from 1) which of them raises `error`."""

    def __init__(self, error=None, **fails):
        self.log, self._error, self._fails = [], error or RuntimeError("stream is\n capturing"), fails

    def _said(self, what):
        self.log.append(what)
        if self._fails.get(what) == self.log.count(what):
            raise self._error

    def run(self):
        self._said("run")

    def replay(self):
        self._said("replay")

    def capture(self):
        self._said("capture")
        return self.replay


def graphed(mode, script):
    return cuda.use_graph(mode, script.run, script.capture, INFO)


def test_calls_without_a_graph_are_made_as_the_first_one():
    script = Script()
    call, info = graphed("off", script)
    assert (call, script.log) == (script.run, [])
    assert (info.settings, info.remarks) == ((*INFO.settings, ("cuda_graph", "off")), INFO.remarks)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_calls_are_a_graph_that_is_captured_when_they_have_settled(mode):
    script = Script()
    call, info = graphed(mode, script)
    assert (call, script.log) == (script.replay, ["run"] * cuda.CALLS_BEFORE_CAPTURE + ["capture"])
    assert (info.settings, info.remarks) == ((*INFO.settings, ("cuda_graph", "on")), INFO.remarks)


def test_where_no_graph_can_be_captured_a_call_is_made_again_and_that_is_said():
    script = Script(capture=1)
    call, info = graphed("auto", script)
    assert (call, script.log) == (script.run, [*["run"] * cuda.CALLS_BEFORE_CAPTURE, "capture", "run", "run"])
    assert info.settings == (*INFO.settings, ("cuda_graph", "off"))
    assert info.remarks == ("an old remark", "no CUDA graph could be captured: stream is capturing")


def test_an_error_that_the_capture_left_behind_is_not_the_next_calls():
    script = Script(capture=1, run=cuda.CALLS_BEFORE_CAPTURE + 1)
    assert graphed("auto", script)[0] == script.run
    assert script.log[-2:] == ["run", "run"]


class Capturing:
    """cuda-core's stream and builder: what fails while it is captured leaves a capture that only `close` ends."""

    def __init__(self):
        self.state = "none"

    def create_graph_builder(self):
        return self

    def begin_building(self, mode):
        self.state = f"active {mode}"

    def end_building(self):
        if self.state == "broken":
            raise RuntimeError("it has been invalidated and must now be ended")
        self.state = "built"
        return self

    def complete(self):
        return SimpleNamespace(upload=lambda _: None, launch=lambda stream: stream)

    def close(self):
        self.state = "none"
        raise RuntimeError("operation failed due to a previous error during capture")


@pytest.mark.parametrize("raises", [True, False])
def test_a_capture_that_fails_is_ended_and_raises_what_it_failed_with(raises):
    stream = cuda.Stream.__new__(cuda.Stream)
    stream._stream = Capturing()

    def call():
        stream._stream.state = "broken"
        if raises:
            raise RuntimeError("not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted" if raises else "must now be ended"):
        stream.graph(call)
    assert stream._stream.state == "none"
    assert stream.graph(lambda: None)() is stream._stream


def test_where_a_graph_is_wanted_in_any_case_none_is_a_failure():
    script = Script(capture=1)
    with pytest.raises(RuntimeFailed, match="no CUDA graph could be captured: stream is capturing"):
        graphed("on", script)
    assert script.log[-1] == "capture"


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_nothing_is_captured_of_calls_that_fail(mode):
    script = Script(run=2)
    if mode == "auto":
        assert graphed(mode, script)[0] == script.run
    else:
        with pytest.raises(RuntimeFailed):
            graphed(mode, script)
    assert "capture" not in script.log


def test_a_call_that_fails_without_a_graph_too_raises_what_it_raises():
    class Broken(Script):
        def run(self):
            raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        graphed("auto", Broken())


class Memory:
    """Memory on the device."""

    def __init__(self, nbytes, handle):
        self.bytes, self.handle = np.zeros(nbytes, np.uint8), handle


class FakeStream:
    """A stream that does at once what is put on it; a call takes 250 ns there. While it is captured, kernels do nothing."""

    def __init__(self):
        self.log, self.rooms, self.capturing, self.refuses = [], [], False, None

    def enter(self):
        self.log.append("enter")

    def sync(self):
        self.log.append("sync")

    def allocate(self, nbytes):
        self.rooms.append(Memory(nbytes, 4096 * (len(self.rooms) + 1)))
        return self.rooms[-1]

    def pinned(self, shape, dtype):
        self.log.append("pinned")
        array = np.empty(shape, dtype)
        return cuda.Pinned(array=array, buffer=array)

    def upload(self, source, target):
        self.log.append("upload")
        target.bytes[:] = np.frombuffer(source.buffer.tobytes(), np.uint8)

    def download(self, source, target):
        self.log.append("download")
        np.copyto(target.buffer, source.bytes.view(target.array.dtype).reshape(target.array.shape))

    def copy(self, source, target):
        self.log.append("copy")
        target.bytes[:] = source.bytes

    def poison(self, buffer):
        self.log.append("poison")
        buffer.bytes[:] = cuda.POISON

    def flush_bytes(self):
        return 2 * 50_000_000

    def flush(self):
        self.log.append("flush")

    def free_flushed(self):
        self.log.append("free")

    def elapsed_ns(self, call):
        self.log.append("begin")
        call()
        self.log.append("end")
        return 250

    def graph(self, call):
        self.log.append("capture")
        if self.refuses:
            raise self.refuses
        self.capturing = True
        call()
        self.capturing = False

        def replay():
            self.log.append("replay")
            self.graph_does()

        return replay


class Doubling(cuda.CudaSession):
    """Twice its input. `in_graph`: whether a captured call computes too."""

    def __init__(self, stream, graph="auto", in_graph=True, outputs=("twice",), nothing=False):
        super().__init__(stream, graph, INFO)
        self._names, self._nothing = outputs, nothing
        stream.graph_does = self._compute if in_graph else lambda: None

    def _typed(self, inputs):
        return {"input": inputs["input"]}

    def _place(self):
        self._stream.log.append("place")
        for name in self._names:
            shape = (0, 3) if self._nothing else next(iter(self._inputs.on_host().values())).shape
            self._outputs[name] = cuda.make_output(self._stream, shape, np.float32)

    def _run(self):
        self._stream.log.append("run")
        if not self._stream.capturing:
            self._compute()

    def _compute(self):
        given = next(room for room in self._stream.rooms if room.handle == self._inputs.address("input"))
        for item in self._outputs.values():
            item.buffer.bytes[:] = (2 * given.bytes.view(np.float32)).view(np.uint8)[: item.buffer.bytes.size]

    def fork(self):
        return Doubling(FakeStream(), self._graph)


@pytest.fixture
def stream():
    return FakeStream()


def log_of(stream, call):
    """What `call` did on the stream."""
    stream.log.clear()
    call()
    return list(stream.log)


def answer(session):
    session.start()
    session.wait()
    return session.fetch()["twice"].tolist()


def test_the_first_call_places_runs_and_captures_and_the_next_are_one_launch(stream):
    session = Doubling(stream)
    session.bind(ONES)
    first = log_of(stream, session.start)
    assert [what for what in first if what in ("place", "run", "capture", "poison", "replay")] == [
        *("place", "run"),
        *["run"] * cuda.CALLS_BEFORE_CAPTURE,
        *("capture", "run"),
        *("run", "poison", "replay", "replay"),  # with other inputs, and with those that are bound
    ]
    assert "sync" in first[: first.index("capture")]
    assert session.fetch()["twice"].tolist() == [[2, 2, 2]] * 2  # of the first call, as of any
    assert log_of(stream, session.start) == ["replay"]
    assert dict(session.info.settings)["cuda_graph"] == "on"


def test_a_graph_computes_on_what_is_bound_after_it_was_captured(stream):
    session = Doubling(stream)
    session.bind(ONES)
    session.start()
    session.bind(TWOS)
    assert answer(session) == [[4, 4, 4]] * 2


@pytest.mark.parametrize("graph", ["off", "auto"])
def test_without_a_graph_every_call_runs(stream, graph):
    session, stream.refuses = Doubling(stream, graph), RuntimeError("a copy from pageable memory")
    session.bind(ONES)
    assert answer(session) == [[2, 2, 2]] * 2
    assert log_of(stream, session.start) == ["run"]
    assert dict(session.info.settings)["cuda_graph"] == "off"
    assert len(session.info.remarks) == (2 if graph == "auto" else 1)


def test_a_graph_that_leaves_an_output_as_it_was_is_not_used(stream):
    session = Doubling(stream, in_graph=False)
    session.bind(ONES)
    assert answer(session) == [[2, 2, 2]] * 2
    assert log_of(stream, session.start) == ["run"]
    assert "output 'twice'" in session.info.remarks[-1]


def test_a_graph_that_leaves_an_output_as_it_was_is_a_failure_where_one_is_wanted(stream):
    session = Doubling(stream, "on", in_graph=False)
    session.bind(ONES)
    with pytest.raises(RuntimeFailed, match="output 'twice'"):
        session.start()


def test_a_graph_that_answers_as_when_it_was_captured_is_not_used(stream):
    """What the runtime computed on the host is not in it."""
    session = Doubling(stream)
    session.bind({"input": np.arange(6, dtype=np.float32).reshape(2, 3)})
    kept = np.arange(0, 12, 2, dtype=np.float32)
    stream.graph_does = lambda: session._outputs["twice"].buffer.bytes.__setitem__(slice(None), kept.view(np.uint8))
    assert answer(session) == [[0, 2, 4], [6, 8, 10]]
    assert "output 'twice'" in session.info.remarks[-1]


def test_an_output_with_nothing_in_it_cannot_be_left_as_it_was(stream):
    session = Doubling(stream, "on", nothing=True)
    session.bind(ONES)
    assert answer(session) == []


def test_what_is_pinned_is_uploaded_from_where_it_is(stream):
    session = Doubling(stream)
    session.bind(ONES)
    pinned = session.pin(TWOS)
    assert log_of(stream, lambda: session.bind(pinned)) == ["upload"]
    assert answer(session) == [[4, 4, 4]] * 2
    assert pinned["input"] is not TWOS["input"]
    assert ONES["input"].max() == 1


def test_other_arrays_are_copied_first_when_nothing_is_on_its_way(stream):
    session = Doubling(stream)
    assert log_of(stream, lambda: session.bind(ONES)) == ["sync", "pinned", "upload"]
    assert log_of(stream, lambda: session.bind(TWOS)) == ["sync", "upload"]
    assert answer(session) == [[4, 4, 4]] * 2


def test_an_input_stays_in_its_place(stream):
    session = Doubling(stream)
    session.bind(ONES)
    place = session._inputs.address("input")
    session.bind(session.pin(TWOS))
    assert (session._inputs.address("input"), len(stream.rooms)) == (place, 1)


def test_an_input_of_another_shape_is_refused(stream):
    session = Doubling(stream)
    session.bind(ONES)
    with pytest.raises(RuntimeFailed, match=r"'input' .*\(1, 3\).*\(2, 3\)"):
        session.bind({"input": np.ones((1, 3), np.float32)})


def test_inputs_are_known_by_name(stream):
    inputs = cuda.Inputs(stream)
    inputs.upload({"a": np.float32([1, 2]), "b": np.int64([[3]])})
    assert {name: array.tolist() for name, array in inputs.on_host().items()} == {"a": [1, 2], "b": [[3]]}
    assert inputs.address("a") != inputs.address("b")
    assert [room.bytes.size for room in stream.rooms] == [8, 8]


def test_every_fetch_gives_arrays_of_its_own_when_all_are_on_the_host(stream):
    session = Doubling(stream, outputs=("twice", "again"))
    session.bind(ONES)
    session.start()
    stream.log.clear()
    first, second = session.fetch(), session.fetch()
    assert stream.log == ["download", "download", "sync"] * 2
    first["twice"][:] = 0
    assert (second["twice"].tolist(), list(second)) == ([[2, 2, 2]] * 2, ["twice", "again"])


def test_a_call_is_timed_between_two_events_on_the_stream(stream):
    session = Doubling(stream)
    session.bind(ONES)
    session.start()
    stream.log.clear()
    assert (session.device_ns(), stream.log) == (250, ["begin", "replay", "end"])


def test_a_thread_that_enters_has_the_gpu_and_waits_for_the_stream(stream):
    session = Doubling(stream)
    assert (log_of(stream, session.enter), log_of(stream, session.wait)) == (["enter"], ["sync"])
    assert session.asynchronous


@pytest.fixture
def core(monkeypatch):
    """In place of cuda-core, or of its absence (None), a module that finds these devices, or raises."""

    def install(found):
        def devices():
            if isinstance(found, Exception):
                raise found
            return found

        kinds = SimpleNamespace(get_all_devices=devices)
        module = found if found is None else SimpleNamespace(core=SimpleNamespace(Device=kinds))
        monkeypatch.setitem(sys.modules, "cuda", module)
        monkeypatch.delitem(sys.modules, "cuda.core", raising=False)

    return install


@pytest.mark.parametrize("ask", [cuda.import_core, cuda.devices, lambda install: cuda.identity(0, install)])
def test_without_cuda_core_it_is_said_what_to_install(core, ask):
    core(None)
    with pytest.raises(Unavailable, match="cuda-core is not installed") as caught:
        ask(INSTALL)
    assert caught.value.hint == INSTALL


def test_devices_are_told_by_number_and_name(core):
    core([SimpleNamespace(device_id=number, name="NVIDIA H100") for number in (0, 1)])
    assert cuda.devices(INSTALL) == ("cuda:0 NVIDIA H100", "cuda:1 NVIDIA H100")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "NVIDIA GPU"),
        (RuntimeError("CUDA_ERROR_NO_DEVICE:\n no device"), r"\(CUDA_ERROR_NO_DEVICE: no device\)"),
    ],
)
def test_where_there_is_no_gpu_the_driver_says_why(core, found, words):
    core(found)
    with pytest.raises(Unavailable, match=words):
        cuda.devices(INSTALL)


@pytest.mark.parametrize("graph", ["auto", "off"])
def test_a_state_is_copied_on_the_device_and_the_graph_stays_valid(stream, graph):
    session, given = Doubling(stream, graph), {"input": np.ones(3, np.float32)}
    session.bind(given)
    session.start()
    for power in (4, 8):
        log = log_of(stream, lambda: session.feed({"twice": "input"}, given))
        assert log == ["copy"]
        session.start()
        session.wait()
        assert session.fetch()["twice"].tolist() == [power] * 3


def test_a_state_of_another_type_on_the_device_moves_through_the_host(stream):
    class Halves(Doubling):
        def _typed(self, inputs):
            return {"input": inputs["input"].astype(np.float64)}

    session, given = Halves(stream, "off", nothing=True), {"input": np.ones(3, np.float32)}
    session.bind({"input": np.ones((0, 3), np.float32)})
    session.start()
    log = log_of(stream, lambda: session.feed({"twice": "input"}, given))
    assert "copy" not in log
    assert "upload" in log


def test_a_session_flushes_the_cache_of_its_gpu_on_its_own_stream(stream):
    session = Doubling(stream)
    assert session.flush_bytes() == 100_000_000
    assert log_of(stream, session.flush) == ["flush"]
    assert log_of(stream, session.close)[-1] == "free"


class CoreStream:
    def __init__(self, log):
        self.sync = lambda: log.append("sync")


def test_a_stream_overwrites_twice_the_l2_cache_and_keeps_the_buffer():
    log = []

    class Buffer:
        def fill(self, value, stream):
            log.append(("fill", value))

    class Device:
        properties = SimpleNamespace(l2_cache_size=1000)

        def allocate(self, nbytes, stream):
            log.append(("allocate", nbytes))
            return Buffer()

    own = object.__new__(cuda.Stream)
    own._device, own._stream, own._flushed = Device(), CoreStream(log), None
    own.sync = own._stream.sync
    own.flush()
    own.flush()
    assert log == [("allocate", 2000), ("fill", 0), "sync", ("fill", 0), "sync"]
