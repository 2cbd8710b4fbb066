"""Each backend in turn, and each model as an artifact. What must be here and is not fails instead of skipping."""

import os
import sys
import time
from dataclasses import replace
from uuid import uuid4

import pytest
import remote
from onnxbench import backends
from onnxbench.backends.protocol import Workshop
from onnxbench.spec import Cell, Settings, Source, digest

REQUIRED = tuple(filter(None, os.environ.get("BENCH_REQUIRE", "").split(",")))


def params(names):
    """Backends as parameters. Those that a sweep measures on request alone take minutes: `make test-runtimes`."""
    slow = {name for name, registration in backends.registrations().items() if not registration.default}
    return [pytest.param(name, marks=pytest.mark.runtimes) if name in slow else name for name in names]


@pytest.fixture(scope="session")
def find():
    """The maker of backends by name: their own, or a stand-in for one whose interpreter BENCH_PYTHON names."""
    with remote.Interpreters(os.environ.get("BENCH_PYTHON", "")) as interpreters:
        yield interpreters.backend


@pytest.fixture(params=list(backends.registrations()))
def any_backend(request, find):
    """Every registered backend, whether it can run here or not."""
    return find(request.param)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """Where engines of all tests are kept: a builder takes seconds for each."""
    return Workshop(folder=tmp_path_factory.mktemp("engines"), now_ns=time.perf_counter_ns)


class Building:
    """A backend that converts and builds what it opens before, as a run does. `origin`: the FP32 file of other precisions.
    `samples`: the calibration samples of INT8."""

    def __init__(self, backend, workshop):
        self._backend, self._workshop, self.origin, self.samples = backend, workshop, None, None

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def open(self, artifact, cell, concurrency=None, engine=None):
        artifact = self._converted(artifact, cell)
        engine = engine or self._backend.build(artifact, cell, self._workshop)
        return self._backend.open(artifact, cell, concurrency, engine)

    def _converted(self, artifact, cell):
        converter = self._backend.converter
        if converter is None:
            return artifact
        source = self.origin if self.origin and cell.precision in converter.from_fp32 else artifact
        key = digest([self._backend.name, source.path, cell.precision, cell.shapes, cell.settings.options])
        folder = self._workshop.folder / f"converted-{key}"
        if not folder.exists():
            scratch = folder.with_name(f"scratch-{uuid4()}")
            scratch.mkdir()
            samples = (self.samples,) if cell.precision in converter.calibrated else ()
            self._backend.convert(source, cell, scratch, *samples)
            scratch.rename(folder)
        return replace(artifact, converted=str(folder))


@pytest.fixture(params=params(backends.registrations()))
def backend(request, find, workshop):
    """Every backend that can run here; one named in BENCH_REQUIRE must."""
    return _available(find(request.param), workshop)


@pytest.fixture(params=params(backends.targets()))
def target(request, find, workshop):
    """Every backend that can run here and computes what the file says: no instruments."""
    return _available(find(request.param), workshop)


@pytest.fixture(params=params(backends.targets()))
def target_alone(request, workshop):
    """`target` in a process of its own.

    After OpenVINO has run with every value of its options, a signal that the same process sends to itself ends it.
    """
    with remote.Interpreters(os.environ.get("BENCH_PYTHON", "")) as interpreters:
        interpreters.pythons.setdefault(request.param, sys.executable)
        yield _available(interpreters.backend(request.param), workshop)


def _available(found, workshop):
    probe = found.probe()
    if not probe.available:
        refuse = pytest.fail if found.name in REQUIRED else pytest.skip
        refuse(f"{found.name} is not here: {probe.reason}")
    return Building(found, workshop)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory):
    """Specimens by name, exported once."""
    import zoo
    from onnxbench.exporters import torch_onnx
    from onnxbench.models import onnx_file

    folder, made = tmp_path_factory.mktemp("zoo"), {}
    for name, specimen in zoo.SPECIMENS.items():
        module = torch_onnx.load_module(Source(factory=f"zoo:{name}"))
        path, weights = folder / f"{name}.onnx", folder / f"{name}.safetensors"
        torch_onnx.export(module, path, specimen.inputs, ())
        torch_onnx.save_weights(module, weights)
        found = onnx_file.describe(path, model=name, full_check=True)
        made[name] = replace(found, source=Source(factory=f"zoo:{name}", weights=str(weights)))
    return made


@pytest.fixture
def cell(artifacts):
    """A maker of cells."""
    import zoo

    def make(backend, name="two_inputs", batch=1, precision="fp32", device=None, options=()):
        artifact = artifacts[name]
        return Cell(
            model=name,
            sha256=artifact.sha256,
            backend=backend.name,
            device=device or ("cpu" if backend.device_kind == "cpu" else f"{backend.device_kind}:0"),
            precision=precision,
            batch=batch,
            shapes=zoo.SPECIMENS[name].shapes(batch),
            settings=Settings(threads=2, options=options),
        )

    return make
