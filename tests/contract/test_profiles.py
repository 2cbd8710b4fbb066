"""The profiler of every backend that has one: its calls, its kernels, and their place in the graph."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import remote
import zoo
from onnxbench.backends.protocol import Session
from onnxbench.errors import Unsupported
from onnxbench.models import graph_nodes
from onnxbench.models import inputs as random_inputs
from onnxbench.results.profile.mapping import mapped
from onnxbench.runners.worker import profiling
from onnxbench.runners.worker.jobs import There
from onnxbench.runners.worker.profile_jobs import Profile
from onnxbench.runners.worker.serve import State

MODELS = ("seeded_cnn", "masked", "recurrent")
BATCHES = {"recurrent": 256}  # OpenVINO's times are whole microseconds, and 0 for layers of a smaller call
PROFILED = ("ort-cpu", "openvino-cpu", "torch-cpu")
"""Backends that must have a profile. Without this list, a profiler that refuses everything would pass."""


@pytest.fixture
def profile_of(artifacts, cell, tmp_path):
    """Profile of a specimen on a backend, the nodes of its file, and the session with its answers before."""

    def make(target, name):
        artifact, wanted = artifacts[name], cell(target, name, batch=BATCHES.get(name, 2))
        if target.supports(wanted, artifact) or name in zoo.REFUSED.get(target.name, {}):
            pytest.skip(f"{target.name} does not run {name}")
        session = target.open(artifact, wanted)
        if isinstance(session, remote.RemoteSession):
            pytest.skip("a profiler stays in the process of its session")
        with session:
            session.bind(random_inputs.draw(artifact.inputs, wanted.shapes, 0))
            session.start()
            session.wait()
            before, state = session.fetch(), State()
            state.open_cells["key"] = SimpleNamespace(session=session)
            folder = tmp_path / "own"
            job = Profile(key="key", folder=There(path=str(folder)), turns=2, turn_ms=5)
            calls = profiling.profile(state, lambda _: None, job)
            session.start()
            session.wait()
            after = session.fetch()
        nodes = graph_nodes.read_nodes(Path(artifact.path), wanted.shapes)
        runtime = graph_nodes.read_nodes(folder / calls.graph) if calls.graph else ()
        return calls, mapped(calls.kernels, calls.links, nodes, runtime), nodes, (before, after)

    return make


def has_profile(target):
    """True if the class of the backend's session has a profiler of its own, or must have one."""
    return target.name in PROFILED


@pytest.mark.parametrize("name", MODELS)
def test_nearly_all_of_the_time_is_mapped_to_nodes(target, profile_of, name):
    try:
        calls, kernels, nodes, _ = profile_of(target, name)
    except Unsupported:
        assert not has_profile(target)
        return
    total = sum(kernel.ns for kernel in kernels)
    assert total > 0
    assert sum(kernel.ns for kernel in kernels if kernel.nodes) >= 0.95 * total
    assert {name for kernel in kernels for name in kernel.nodes} <= {node.name for node in nodes}
    assert calls.calls > 0
    assert calls.p50_ns > 0
    assert calls.kernels_ns < 3 * calls.profiled_p50_ns


@pytest.mark.parametrize("name", MODELS[:1])
def test_each_layer_is_in_the_kernels_of_its_own_node(target, profile_of, name):
    try:
        _, kernels, nodes, _ = profile_of(target, name)
    except Unsupported:
        assert not has_profile(target)
        return
    for node in nodes:
        if node.operator in ("Conv", "Gemm"):
            (layer,) = [kernel for kernel in kernels if kernel.layer and node.name in kernel.nodes]
            others = [other.name for other in nodes if other.operator in ("Conv", "Gemm") and other.name != node.name]
            assert not set(layer.nodes) & set(others)
            assert layer.type == "fp32"


def test_a_profile_changes_no_answer_and_prints_nothing(target, profile_of, capfd):
    try:
        _, _, _, (before, after) = profile_of(target, "seeded_cnn")
    except Unsupported:
        assert not has_profile(target)
        return
    for output in before:
        np.testing.assert_allclose(after[output], before[output], rtol=1e-4, atol=1e-5)
    assert capfd.readouterr().out == ""


def test_a_session_without_a_profiler_says_so(tmp_path):
    class Plain(Session):
        bind = start = wait = fetch = fork = lambda self: None

    with pytest.raises(Unsupported, match="times"):
        Plain().profiler(tmp_path)
