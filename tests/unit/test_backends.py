"""The registry of backends, and what the base classes do for each of them."""

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench import backends
from onnxbench.backends.null import Null
from onnxbench.backends.ort_providers import PROVIDERS
from onnxbench.backends.protocol import Availability, Backend, join_types
from onnxbench.errors import BadInput, RuntimeFailed, Unavailable, Unsupported
from onnxbench.spec import PRECISIONS, Concurrency, Settings


class Fake(Backend):
    name = "fake"
    precisions = MappingProxyType({"fp32": "float", "fp16": "half"})
    options = MappingProxyType({"graph": "on or off"})
    install = "pip install fake"

    def __init__(self, error=None, reason=None):
        self.error, self.reason = error, reason

    def _probe(self):
        if self.error:
            raise self.error
        return Availability(available=True, version="1.0", devices=("cpu",))

    def _open(self, artifact, cell, concurrency):
        if self.error:
            raise self.error
        return concurrency

    def _supports(self, cell, artifact):
        return self.reason


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Installs a distribution whose entry point names a backend."""

    def install(name, target):
        folder = tmp_path / "plugin-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[onnxbench.backends]\n{name} = {target}\n")
        monkeypatch.syspath_prepend(tmp_path)
        backends.registrations.cache_clear()

    yield install
    backends.registrations.cache_clear()


@pytest.mark.parametrize("name", backends.BUILT_IN)
def test_every_built_in_backend_is_what_its_line_says(name):
    found = backends.get(name)
    assert (found.name, found.instrument) == (name, backends.BUILT_IN[name].instrument)
    kind = "cuda" if name.endswith("-cuda") or name == "tensorrt" else "cpu"
    assert found.device_kind == (PROVIDERS[name].device_kind if name in PROVIDERS else kind)
    assert "fp32" in found.precisions


def test_targets_are_all_but_instruments():
    assert "null" in backends.registrations()
    assert set(backends.registrations()) - set(backends.targets()) == {"null"}


def test_a_misspelt_backend_is_guessed():
    with pytest.raises(BadInput, match="'nul' is not a backend; did you mean 'null'"):
        backends.get("nul")


def test_a_backend_of_another_package_is_found(plugin):
    plugin("theirs", "onnxbench.backends.null:Null")
    assert backends.check_name("theirs") == "theirs"
    assert "theirs" in backends.targets()
    assert backends.get("theirs").name == "null"


def test_another_package_cannot_replace_a_built_in_backend(plugin):
    plugin("ort-cpu", "onnxbench.backends.null:Null")
    assert backends.registrations()["ort-cpu"] == backends.BUILT_IN["ort-cpu"]


@pytest.mark.parametrize(
    ("target", "says"), [("no_such_module_here:X", "ModuleNotFoundError"), ("onnxbench.backends.null:X", "AttributeError")]
)
def test_a_backend_that_cannot_be_imported_is_unavailable(plugin, target, says):
    plugin("theirs", target)
    with pytest.raises(Unavailable, match=rf"theirs cannot be imported \({says}: "):
        backends.get("theirs")


def test_a_probe_tells_what_is_here():
    assert Fake().probe() == Availability(available=True, version="1.0", devices=("cpu",))


@pytest.mark.parametrize(
    ("error", "reason", "install"),
    [
        (ImportError("no fake\nmore"), "ImportError: no fake more", "pip install fake"),
        (Unavailable("too old", "get a new one"), "too old", "get a new one"),
        (Unavailable("no GPU"), "no GPU", ""),
    ],
)
def test_a_probe_never_raises(error, reason, install):
    assert Fake(error).probe() == Availability(available=False, reason=reason, install=install)


def test_a_foreign_exception_comes_out_as_a_failed_runtime(make_cell, make_artifact):
    error = KeyError("conv1")
    with pytest.raises(RuntimeFailed, match="fake cannot load the model: 'conv1'") as caught:
        Fake(error).open(make_artifact(), make_cell())
    assert caught.value.__cause__ is error


def test_an_error_of_ours_comes_out_as_it_is(make_cell, make_artifact):
    with pytest.raises(Unsupported, match="no such operator"):
        Fake(Unsupported("no such operator")).open(make_artifact(), make_cell())


def test_a_session_is_opened_for_one_call_on_all_threads_unless_it_is_said(make_cell, make_artifact):
    cell, way = make_cell(settings=Settings(threads=6)), Concurrency(lanes=3, streams=3, threads=2)
    assert Fake().open(make_artifact(), cell) == Concurrency(lanes=1, streams=1, threads=6)
    assert Fake().open(make_artifact(), cell, way) == way


class Gpu(Fake):
    device_kind = "cuda"


def ways(backend, threads):
    return [(way.lanes, way.threads) for way in backend.concurrencies(threads)]


@pytest.mark.parametrize(
    ("threads", "tried"),
    [
        (1, [(1, 1), (2, 1)]),
        (2, [(1, 2), (2, 1), (2, 2)]),
        (4, [(1, 4), (2, 2), (4, 1), (2, 4)]),
        (6, [(1, 6), (2, 3), (4, 1), (6, 1), (2, 6)]),
    ],
)
def test_on_a_cpu_calls_share_the_threads_or_two_have_them_all(threads, tried):
    assert ways(Fake(), threads) == tried


@given(threads=st.integers(1, 256))
def test_every_way_is_tried_once_and_the_latency_sessions_own_first(threads):
    for backend in (Fake(), Gpu()):
        tried = backend.concurrencies(threads)
        assert tried[0] == Concurrency(lanes=1, streams=1, threads=threads)
        assert len(set(tried)) == len(tried)


@given(threads=st.integers(1, 256))
def test_on_a_cpu_no_more_threads_are_asked_for_than_two_calls_on_all(threads):
    tried = Fake().concurrencies(threads)
    assert all(way.lanes * way.threads <= threads for way in tried[:-1])
    assert tried[-1] == Concurrency(lanes=2, threads=threads)
    assert {1, threads} <= {way.threads for way in tried}


def test_on_another_device_lanes_alone_are_tried():
    assert ways(Gpu(), 8) == [(1, 8), (2, 8), (4, 8)]


def test_a_concurrency_can_be_told_to_people():
    assert Fake().deploy(Concurrency(lanes=4, threads=2)).startswith("4 calls in parallel, 2 threads")


def test_a_session_need_not_know_of_threads_nor_return_before_it_is_done(make_cell, make_artifact):
    session = Null().open(make_artifact(), make_cell())
    assert (session.enter(), session.asynchronous) == (None, False)


def test_a_session_need_not_tell_its_kernels(make_cell, make_artifact):
    session = Null().open(make_artifact(), make_cell())
    assert (session.kernels(), session.kernels(timed=True)) == ((), ())


@pytest.mark.parametrize("name", backends.BUILT_IN)
def test_what_is_measured_on_request_is_a_precision_that_the_backend_takes(name):
    found = backends.get(name)
    assert set(found.on_request) <= set(found.precisions) <= set(PRECISIONS)
    assert "fp32" not in found.on_request


@pytest.mark.parametrize(
    "change",
    [{}, {"settings": Settings(threads=1, options=(("graph", "off"),))}],
)
def test_a_backend_has_no_reason_against_a_cell_that_it_can_run(make_cell, make_artifact, change):
    assert Fake().supports(make_cell(**change), make_artifact()) is None


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"device": "cuda:0"}, ("fake", "cpu", "cuda:0")),
        ({"precision": "int8"}, ("fake", "int8", "fp32", "fp16")),
        ({"settings": Settings(threads=1, options=(("speed", "high"),))}, ("fake", "speed", "graph")),
    ],
)
def test_a_backend_names_what_it_cannot_run_of_a_cell(make_cell, make_artifact, change, names):
    reason = Fake().supports(make_cell(**change), make_artifact())
    assert [name for name in names if name not in reason] == []


def test_a_backend_may_have_reasons_of_its_own(make_cell, make_artifact):
    assert Fake(reason="no such operator").supports(make_cell(), make_artifact()) == "no such operator"


def test_types_are_told_by_their_share():
    assert join_types(["fp32", "int8", "int8"]) == "int8+fp32"
    assert join_types(["fp32"]) == "fp32"
    assert join_types([]) == ""


@pytest.mark.parametrize(
    ("name", "version", "opset"),
    [
        *(("tensorrt", version, 17) for version in ("8.5.3", "8.6.0", "8.6.1.post1")),
        *(("tensorrt", version, opset) for version, opset in {"10.0.1": 20, "10.14": 20, "10.15.1": 24, "11.5": 25}.items()),
        *(("tensorrt", version, opset) for version, opset in {"12.0+cu13": 25, "8.4": 0, "": 0}.items()),
        *(("ort-cpu", "1.31.1", 26), ("ort-cuda", "1.20.0", 21), ("torch-cpu", "2.13.0+cpu", 0)),
    ],
)
def test_a_backend_says_which_opset_a_version_takes(name, version, opset):
    assert backends.get(name).highest_opset(version) == opset
