"""Programs for a GPU run here on fakes that know one thing: a graph must find alive what was used while it was captured."""

import gc
import hashlib
import sys
import weakref
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from onnxbench import backends
from onnxbench.backends.protocol import Engine
from onnxbench.spec import Concurrency, Settings, Source, TensorSpec

SPECS = (TensorSpec(name="x", dtype="float32", shape=("batch", 3)),)


class Graphs:
    """Which objects a call used while a graph was captured, and how often graphs were launched on them."""

    def __init__(self):
        self.capturing, self.used, self.launched = False, [], 0

    def use(self, *objects):
        if self.capturing:
            self.used += map(weakref.ref, objects)

    def launch(self, *_):
        gc.collect()
        assert self.used
        assert all(reference() is not None for reference in self.used), "a graph works on memory that was freed"
        self.launched += 1

    @contextmanager
    def capture(self, *_, **__):
        self.capturing = True
        yield
        self.capturing = False


class Thing:
    """Anything that may be freed while a graph needs it."""

    handle = 4096

    def __init__(self, *_, **__):
        pass

    def copy_from(self, *_, **__):
        pass


def fake_core(graphs):
    """cuda.core."""

    class Builder:
        def begin_building(self, mode):
            self.scope = graphs.capture()
            self.scope.__enter__()
            return self

        def end_building(self):
            self.scope.__exit__(None, None, None)
            return self

        def complete(self):
            return SimpleNamespace(launch=graphs.launch)

    device = MagicMock()
    device.create_stream = lambda: MagicMock(handle=1, create_graph_builder=Builder)
    device.allocate = Thing
    memory = SimpleNamespace(allocate=lambda size: SimpleNamespace(handle=np.zeros(size, "u1").ctypes.data))
    return SimpleNamespace(Device=lambda index: device, LegacyPinnedMemoryResource=lambda: memory)


def fake_ort(graphs):
    class Session(Thing):
        def io_binding(self):
            return Binding()

        def get_outputs(self):
            return []

        def run_with_iobinding(self, binding, how=None):
            graphs.use(self, binding)

    class Binding(Thing):
        bind_ortvalue_input = bind_output = Thing.copy_from

        def get_outputs(self):
            return []

    return MagicMock(InferenceSession=Session)


def fake_tensorrt(graphs):
    class Context(Thing):
        set_input_shape = set_tensor_address = Thing.copy_from

        def execute_async_v3(self, stream):
            graphs.use(self)

    engine = MagicMock(num_io_tensors=1, get_tensor_name=lambda index: "x", create_execution_context=Context)
    engine.get_tensor_dtype.return_value, engine.get_tensor_location.return_value = "DataType.FLOAT", "DEVICE"
    runtime = MagicMock(deserialize_cuda_engine=lambda plan: engine)
    return MagicMock(Runtime=lambda logger: runtime, TacticSource=SimpleNamespace(__members__={}))


def fake_torch(graphs):
    class Tensor(Thing):
        def to(self, *_, **__):
            return Tensor()

        def is_floating_point(self):
            return True

        def dim(self):
            return 4

    torch = MagicMock(tensor=Tensor)
    torch.cuda.graph = graphs.capture
    torch.cuda.CUDAGraph = lambda: SimpleNamespace(replay=graphs.launch)
    return torch


def fake_nets(graphs):
    module = MagicMock()
    module.eval().to.return_value = graphs.use
    return SimpleNamespace(build=lambda: module)


FAKES = {"onnxruntime": fake_ort, "tensorrt": fake_tensorrt, "torch": fake_torch, "nets": fake_nets}


@pytest.mark.parametrize("graph", ["auto", "off"])
@pytest.mark.parametrize("name", ["ort-cuda", "torch-cuda", "tensorrt"])
def test_what_a_graph_works_on_lives_as_long_as_the_program(name, graph, make_artifact, make_cell, monkeypatch, capsys):
    graphs = Graphs()
    for module, fake in FAKES.items():
        monkeypatch.setitem(sys.modules, module, fake(graphs))
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(core=fake_core(graphs)))
    settings = Settings(threads=1, options=(("cuda_graph", graph),))
    cell = make_cell(backend=name, device="cuda:0", batch=4, shapes=(("x", (4, 3)),), settings=settings)
    artifact = make_artifact(inputs=SPECS, source=Source(factory="nets:build"))
    text = backends.get(name).snippet(artifact, cell, Concurrency(lanes=2, threads=1))
    exec(compile(text.replace("= 1.0, 3.0", "= 0.0, 0.01"), "program", "exec"), {})
    assert capsys.readouterr().out.endswith(" items/s\n")
    assert bool(graphs.launched) == (graph == "auto")


@pytest.fixture
def loading(tmp_path, make_artifact, make_cell, monkeypatch):
    """Runs the program that loads a kept engine, after `change` of the engine's file. `trt`: the fake of TensorRT."""
    graphs = Graphs()
    trt = fake_tensorrt(graphs)
    trt.__version__ = "9.9"
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace(core=fake_core(graphs)))
    cell = make_cell(backend="tensorrt", device="cuda:0", batch=4, shapes=(("x", (4, 3)),))
    file = tmp_path / 'it\'s "mine".engine'
    file.write_bytes(b"plan")
    sha256 = hashlib.sha256(b"plan").hexdigest()
    engine = Engine(path=file, seconds=1, sha256=sha256, maker="TensorRT 8.6 on it's {card}")
    how = (make_artifact(inputs=SPECS, path="gone.onnx"), cell, Concurrency(lanes=2, threads=1), engine)
    text = backends.get("tensorrt").engine_snippet(*how)

    def run():
        exec(compile(text.replace("= 1.0, 3.0", "= 0.0, 0.01"), "program", "exec"), {})

    return SimpleNamespace(run=run, trt=trt, file=file, text=text)


def test_a_program_loads_the_kept_engine_and_builds_none(loading, capsys):
    loading.run()
    assert capsys.readouterr().out.endswith(" items/s\n")
    assert not loading.trt.Builder.called


def test_a_program_refuses_another_engine_than_the_one_that_was_measured(loading):
    loading.file.write_bytes(b"other")
    with pytest.raises(SystemExit, match="SHA-256"):
        loading.run()


def test_a_program_names_the_maker_of_an_engine_that_does_not_load(loading):
    loading.trt.Runtime = lambda logger: MagicMock(deserialize_cuda_engine=lambda plan: None)
    with pytest.raises(SystemExit) as raised:
        loading.run()
    for words in ("TensorRT 9.9", str(loading.file), "TensorRT 8.6 on it's {card}"):
        assert words in str(raised.value)


def test_a_state_on_the_gpu_has_no_program_with_an_engine_either(make_artifact, make_cell):
    cell = make_cell(backend="tensorrt", device="cuda:0", feedback=(("h_out", "h"),))
    engine = Engine(path=Path("x.engine"), seconds=1)
    assert backends.get("tensorrt").engine_snippet(make_artifact(), cell, Concurrency(), engine) == ""
