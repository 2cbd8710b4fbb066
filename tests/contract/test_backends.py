"""What every backend promises, over batch sizes and over models of every kind of input."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import remote
import zoo
from onnxbench import backends
from onnxbench.backends.protocol import Availability, Workshop
from onnxbench.errors import BenchError, RuntimeFailed, Unavailable, Unsupported
from onnxbench.models import inputs as random_inputs
from onnxbench.runners.worker.verify import distance
from onnxbench.spec import PRECISIONS, Conversion

DECLARED = [
    pytest.param(name, precision, marks=() if backends.registrations()[name].default else pytest.mark.runtimes)
    for name in backends.targets()
    for precision in backends.get(name).precisions
]
SCHEMES = ("portable", "layers", "dynamic", "ort", "openvino", "litert", "portable-7bit", "openvino-7bit")
OF_THE_MACHINE = ("enable_hyper_threading", "scheduling_core_type")  # options whose value a CPU may not have
PARITY_DB = 100.0  # the largest rounding noise of correct FP32 runs seen here is 133 dB


def draw(artifact, cell, seed=0):
    return random_inputs.draw(artifact.inputs, cell.shapes, seed)


def expected(name, arrays):
    """What the module itself answers, by position."""
    import torch
    from torch.utils._pytree import tree_leaves

    module = getattr(zoo, name)().eval()
    with torch.inference_mode():
        return [tensor.numpy() for tensor in tree_leaves(module(*map(torch.tensor, arrays.values())))]


def refuses(target, name, wanted, artifact):
    """True for a specimen that the target cannot run, after the proof that it says why."""
    word = zoo.REFUSED.get(target.name, {}).get(name)
    if word is None:
        return False
    reason = target.supports(wanted, artifact)
    if reason is None:
        with pytest.raises((Unsupported, RuntimeFailed)) as caught:
            target.open(artifact, wanted)
        reason = str(caught.value)
    assert word in reason
    return True


def run(session, arrays):
    session.bind(arrays)
    session.start()
    session.wait()
    return session.fetch()


def test_probe_answers_and_never_raises(any_backend):
    probe = any_backend.probe()
    assert isinstance(probe, Availability)
    assert probe.version and probe.devices if probe.available else probe.reason


def test_a_built_in_backend_is_registered_under_its_own_name(any_backend):
    entry = backends.registrations()[any_backend.name]
    assert entry.instrument == any_backend.instrument


def test_naming_a_backend_imports_no_runtime(any_backend):
    code = (
        f"import sys; from onnxbench import backends; backends.get({any_backend.name!r});"
        "print([name for name in ('torch', 'onnxruntime', 'openvino', 'tensorrt', 'onnx') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_required_backends_exist():
    required = [name for name in os.environ.get("BENCH_REQUIRE", "").split(",") if name and not name.startswith("python")]
    others = {
        "tensorrt-rtx",
        "mlflow",
        "wandb",
        "tensorboard",
        "chromium",
        "namespaces",
    }  # a builder, trackers, a browser and what the system allows, for tests/integration
    assert set(required) - others <= set(backends.registrations())
    assert set(remote.Interpreters(os.environ.get("BENCH_PYTHON", "")).pythons) <= set(backends.registrations())


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("name", zoo.SPECIMENS)
def test_outputs_are_the_modules_by_the_files_names(target, cell, artifacts, name, batch):
    artifact, wanted = artifacts[name], cell(target, name, batch, options=zoo.EXACT.get(target.name, ()))
    if refuses(target, name, wanted, artifact):
        return
    arrays = draw(artifact, wanted)
    with target.open(artifact, wanted) as session:
        found = run(session, arrays)
    reference = dict(zip((spec.name for spec in artifact.outputs), expected(name, arrays)))
    assert list(found) == list(reference)
    assert {n: a.dtype for n, a in found.items()} == {n: a.dtype for n, a in reference.items()}
    assert distance(found, reference).sqnr_db > PARITY_DB


def test_binding_again_changes_the_answer(target, cell, artifacts):
    artifact, wanted = artifacts["two_inputs"], cell(target, batch=3)
    with target.open(artifact, wanted) as session:
        first = run(session, draw(artifact, wanted, seed=1))
        second = run(session, draw(artifact, wanted, seed=2))
        again = run(session, draw(artifact, wanted, seed=1))
    name = artifact.outputs[0].name
    assert not np.array_equal(first[name], second[name])
    np.testing.assert_array_equal(first[name], again[name])


def test_a_state_is_fed_to_the_next_call_and_other_inputs_stay(target, cell, artifacts):
    artifact, wanted = artifacts["recurrent"], cell(target, "recurrent", batch=3)
    if refuses(target, "recurrent", wanted, artifact):
        return
    arrays, names = draw(artifact, wanted), [spec.name for spec in artifact.outputs]
    feedback = {names[1]: "h", names[2]: "c"}
    with target.open(artifact, wanted) as session:
        found, state = run(session, arrays), arrays
        for _ in range(5):
            session.feed(feedback, arrays)
            session.start()
            session.wait()
            before, found = found, session.fetch()
            state = {**arrays, "h": before[names[1]], "c": before[names[2]]}
        assert session.handover
    assert distance(found, dict(zip(names, expected("recurrent", state)))).sqnr_db > PARITY_DB
    assert not np.array_equal(found[names[1]], before[names[1]])


def test_binding_copies_what_it_is_given(target, cell, artifacts):
    artifact, wanted = artifacts["two_inputs"], cell(target, batch=2)
    arrays = draw(artifact, wanted)
    with target.open(artifact, wanted) as session:
        session.bind(arrays)
        session.start()
        session.wait()
        before = session.fetch()
        for array in arrays.values():
            array[...] = 0
        session.start()
        session.wait()
        after = session.fetch()
    np.testing.assert_array_equal(*(answer[artifact.outputs[0].name] for answer in (before, after)))


def test_fetched_arrays_are_the_callers_own(target, cell, artifacts):
    artifact, wanted = artifacts["two_inputs"], cell(target, batch=3)
    name = artifact.outputs[0].name
    with target.open(artifact, wanted) as session:
        first = run(session, draw(artifact, wanted, seed=1))
        kept = first[name].copy()
        run(session, draw(artifact, wanted, seed=2))
    np.testing.assert_array_equal(first[name], kept)
    assert first[name].flags.writeable


def test_forks_answer_each_for_its_own_inputs_at_the_same_time(target, cell, artifacts):
    artifact, wanted = artifacts["seeded_cnn"], cell(target, "seeded_cnn", batch=2)
    name = artifact.outputs[0].name
    arrays = [draw(artifact, wanted, seed) for seed in range(3)]
    with target.open(artifact, wanted) as session:
        alone = [run(session, given)[name] for given in arrays]
        lanes = [session, session.fork(), session.fork()]
        for lane, given in zip(lanes, arrays):
            lane.bind(given)
        _all_at_once(lanes, 20)
        together = [lane.fetch()[name] for lane in lanes]
    for one, other in zip(alone, together):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def _all_at_once(lanes, count):
    """As lanes are driven: by one thread where `start` returns at once, else by one each."""
    if lanes[0].asynchronous:
        for _ in range(count):
            for lane in lanes:
                lane.enter()
                lane.start()
            for lane in lanes:
                lane.wait()
        return
    threads = [threading.Thread(target=_calls, args=(lane, count)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _calls(session, count):
    session.enter()
    for _ in range(count):
        session.start()
        session.wait()


def test_pinned_inputs_are_the_same_and_bound_like_others(target, cell, artifacts):
    artifact, wanted = artifacts["two_inputs"], cell(target, batch=3)
    arrays = draw(artifact, wanted)
    with target.open(artifact, wanted) as session:
        session.enter()
        expected_answer = run(session, arrays)
        pinned = session.pin(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(pinned[name], array)
        for _ in range(3):
            found = run(session, pinned)
        (name,) = found
        np.testing.assert_allclose(found[name], expected_answer[name], rtol=1e-5)
        changed = session.pin({name: array + 1 for name, array in arrays.items()})
        assert not np.allclose(run(session, changed)[name], found[name])


def test_the_devices_clock_times_one_inference_and_the_cpu_has_none(target, cell, artifacts):
    artifact, wanted = artifacts["seeded_cnn"], cell(target, "seeded_cnn", batch=2)
    with target.open(artifact, wanted) as session:
        session.enter()
        before = run(session, draw(artifact, wanted, seed=1))
        session.bind(draw(artifact, wanted, seed=2))
        took = [session.device_ns() for _ in range(3)]
        if target.device_kind == "cpu":
            assert took == [None] * 3
            return
        after = session.fetch()
    (name,) = before
    assert all(0 < ns < 10**9 for ns in took)
    assert not np.allclose(after[name], before[name])


@pytest.mark.parametrize("mode", ["on", "off", "auto"])
def test_a_cuda_graph_answers_what_single_calls_do_and_is_told(target, cell, artifacts, mode):
    if "cuda_graph" not in target.options:
        pytest.skip(f"{target.name} has no CUDA graphs")
    artifact = artifacts["seeded_cnn"]
    wanted = cell(target, "seeded_cnn", batch=2, options=(("cuda_graph", mode),))
    with target.open(artifact, wanted) as session:
        session.enter()
        for seed in range(3):
            arrays = draw(artifact, wanted, seed)
            found = run(session, arrays)
            (name,), (expected_answer,) = found, expected("seeded_cnn", arrays)
            assert distance(found, {name: expected_answer}).sqnr_db > PARITY_DB
        assert dict(session.info.settings)["cuda_graph"] == ("off" if mode == "off" else "on")
        assert session.info.remarks == ()


def test_an_option_with_choices_takes_no_other_value(any_backend, cell, artifacts):
    for name in any_backend.choices:
        wanted = cell(any_backend, options=((name, "no such value"),))
        assert "no such value" in any_backend.supports(wanted, artifacts["two_inputs"])


def test_what_is_built_is_found_again_and_opens(target, cell, artifacts, tmp_path):
    if not target.builds:
        pytest.skip(f"{target.name} builds nothing")
    artifact, wanted = artifacts["two_inputs"], cell(target, batch=3)
    workshop = Workshop(folder=tmp_path, now_ns=time.perf_counter_ns)
    first, second = (target.build(artifact, wanted, workshop) for _ in range(2))
    assert (first.cached, second.cached) == (False, True)
    assert first.seconds == second.seconds > 0
    with target.open(artifact, wanted, engine=second) as session:
        arrays = draw(artifact, wanted)
        reference = dict(zip((spec.name for spec in artifact.outputs), expected("two_inputs", arrays)))
        assert distance(run(session, arrays), reference).sqnr_db > PARITY_DB


def test_a_built_file_that_is_damaged_is_built_again_and_said(target, cell, artifacts, tmp_path):
    if not target.builds:
        pytest.skip(f"{target.name} builds nothing")
    artifact, wanted = artifacts["two_inputs"], cell(target, batch=3)
    workshop = Workshop(folder=tmp_path, now_ns=time.perf_counter_ns)
    first = target.build(artifact, wanted, workshop)
    first.path.write_bytes(first.path.read_bytes()[:100])
    again = target.build(artifact, wanted, workshop)
    assert not again.cached
    assert "damaged" in again.remark


def test_further_builds_are_engines_of_their_own_and_open(target, cell, artifacts, tmp_path):
    if not target.builds:
        pytest.skip(f"{target.name} builds nothing")
    artifact, wanted = artifacts["two_inputs"], cell(target, batch=3)
    workshops = [Workshop(folder=tmp_path, now_ns=time.perf_counter_ns, build=number) for number in (0, 1, 0, 1)]
    first, second, again, second_again = (target.build(artifact, wanted, workshop) for workshop in workshops)
    assert [build.cached for build in (first, second, again, second_again)] == [False, False, True, True]
    assert first.path != second.path
    assert (again.sha256, second_again.sha256) == (first.sha256, second.sha256)
    assert hashlib.sha256(second.path.read_bytes()).hexdigest() == second.sha256
    assert first.maker == second.maker != ""
    with target.open(artifact, wanted, engine=second) as session:
        arrays = draw(artifact, wanted)
        reference = dict(zip((spec.name for spec in artifact.outputs), expected("two_inputs", arrays)))
        assert distance(run(session, arrays), reference).sqnr_db > PARITY_DB


def test_a_kept_engine_opens_elsewhere_and_one_of_another_maker_is_refused(target, cell, artifacts, tmp_path):
    if not target.builds:
        pytest.skip(f"{target.name} builds nothing")
    artifact, wanted = artifacts["two_inputs"], cell(target, batch=3)
    engine = target.build(artifact, wanted, Workshop(folder=tmp_path / "one", now_ns=time.perf_counter_ns))
    kept, record = tmp_path / "kept.engine", {name: getattr(engine, name) for name in ("maker", "recipe", "seconds", "sha256")}
    kept.write_bytes(engine.path.read_bytes())
    kept.with_suffix(".json").write_text(json.dumps(record))
    elsewhere = Workshop(folder=tmp_path / "other", now_ns=time.perf_counter_ns, file=kept)
    found = target.build(artifact, wanted, elsewhere)
    assert (found.path, found.cached, (tmp_path / "other").exists()) == (kept, True, False)
    with target.open(artifact, wanted, engine=found) as session:
        run(session, draw(artifact, wanted))
    kept.with_suffix(".json").write_text(json.dumps({**record, "maker": "Builder 0"}))
    with pytest.raises(Unsupported, match="Builder 0"):
        target.build(artifact, wanted, elsewhere)


def test_a_backend_that_searches_says_with_which_of_its_options(any_backend, cell):
    for name, values in any_backend.searches.items():
        assert name in any_backend.options
        assert set(values) - {""} <= set(any_backend.choices[name])
        for value in any_backend.choices[name]:
            assert any_backend.is_searching(cell(any_backend, options=((name, value),))) == (value in values)


def test_options_to_search_are_options_with_values_that_are_accepted(any_backend, cell, artifacts):
    for item in any_backend.tunables:
        assert item.name in any_backend.options
        assert len(set(item.values)) == len(item.values) > 1
        for value in filter(None, item.values):
            assert any_backend.supports(cell(any_backend, options=((item.name, value),)), artifacts["seeded_cnn"]) is None


def test_every_value_to_search_answers_as_the_default_and_is_reported(target_alone, cell, artifacts):
    if target_alone.builds:
        pytest.skip(f"{target_alone.name} builds an engine for each value, which takes minutes")
    artifact = artifacts["seeded_cnn"]
    for name, value in [(item.name, value) for item in target_alone.tunables for value in item.values]:
        wanted = cell(target_alone, "seeded_cnn", batch=2, options=((name, value),))
        arrays = draw(artifact, wanted)
        try:
            with target_alone.open(artifact, wanted) as session:
                session.enter()
                answer, settings = run(session, arrays), dict(session.info.settings)
        except RuntimeFailed:
            # A search drops what this GPU or this precision does not have.
            assert target_alone.device_kind != "cpu", (name, value)
            continue
        assert distance(answer, dict(zip(answer, expected("seeded_cnn", arrays)))).sqnr_db > PARITY_DB, (name, value)
        if target_alone.device_kind == "cpu" and name not in OF_THE_MACHINE:
            assert settings[name] == value
        elif target_alone.device_kind == "cpu":
            assert settings[name] in target_alone.choices[name]


def test_the_session_says_what_really_runs(backend, cell, artifacts):
    with backend.open(artifacts["seeded_cnn"], cell(backend, "seeded_cnn", batch=2)) as session:
        assert session.info.executed == "fp32"
        assert all(isinstance(item, str) for pair in session.info.settings for item in pair)
        placement = session.info.placement
    if placement is not None:
        ours, _, total = placement.partition(" ")[0].partition("/")
        assert ours == total


@pytest.fixture
def loose():
    """A function that gives this process the loosest arithmetic of FP32 that torch knows. It is as before at the end."""
    import torch

    places = ((torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32"))
    matmul, general = torch.get_float32_matmul_precision(), getattr(torch.backends, "fp32_precision", None)
    before = [getattr(*place) for place in places]

    def loosen():
        if general:  # since torch 2.9: the precision of each part that nobody set
            torch.backends.fp32_precision = "tf32"
        torch.set_float32_matmul_precision("medium")
        for place in places:
            setattr(*place, True)

    yield loosen
    if general:
        torch.backends.fp32_precision = general
    torch.set_float32_matmul_precision(matmul)
    for place, value in zip(places, before):
        setattr(*place, value)


def test_arithmetic_does_not_depend_on_what_the_process_had_set(target, cell, artifacts, loose, tmp_path):
    """An engine is built, and opened, after something else has loosened the arithmetic: fp32 stays FP32."""
    exact = zoo.EXACT.get(target.name, ())
    artifact, wanted = artifacts["seeded_cnn"], cell(target, "seeded_cnn", batch=8, options=exact)
    arrays = draw(artifact, wanted)
    reference = dict(zip((spec.name for spec in artifact.outputs), expected("seeded_cnn", arrays)))
    loose()
    engine = target.build(artifact, wanted, Workshop(folder=tmp_path, now_ns=time.perf_counter_ns))
    loose()
    with target.open(artifact, wanted, engine=engine) as session:
        session.enter()
        found = run(session, arrays)
        assert session.info.executed == "fp32"
    assert distance(found, reference).sqnr_db > PARITY_DB


def test_threads_are_what_was_asked_for(target, cell, artifacts):
    one = cell(target, "seeded_cnn", batch=2)
    one = replace(one, settings=replace(one.settings, threads=1))
    with target.open(artifacts["seeded_cnn"], one) as session:
        settings = dict(session.info.settings)
    assert target.device_kind != "cpu" or "1" in (settings.get("threads"), settings.get("inference_num_threads"))


@pytest.mark.parametrize(
    ("change", "word"),
    [({"device": "cuda:0"}, "cuda"), ({"device": "cpu"}, "cpu"), ({"options": (("no_such", "1"),)}, "no_such")],
)
def test_what_cannot_be_is_refused_with_its_name(backend, cell, artifacts, change, word):
    if change.get("device", "").partition(":")[0] == backend.device_kind:
        assert backend.supports(cell(backend, **change), artifacts["two_inputs"]) is None
    else:
        assert word in backend.supports(cell(backend, **change), artifacts["two_inputs"])


def test_every_declared_precision_is_supported_and_no_other(backend, cell, artifacts):
    taken = {name for name in PRECISIONS if backend.supports(cell(backend, precision=name), artifacts["two_inputs"]) is None}
    assert taken == set(backend.precisions)


def test_a_file_that_cannot_be_loaded_is_one_error_of_ours(target, cell, artifacts, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x09 not a model")
    artifact = replace(artifacts["two_inputs"], path=str(broken), sha256="broken", source=None)
    with pytest.raises(BenchError) as caught:
        target.open(artifact, cell(target))
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_input_is_an_error(backend, cell, artifacts):
    with backend.open(artifacts["two_inputs"], cell(backend)) as session, pytest.raises((RuntimeFailed, KeyError)):
        session.bind({"a": np.zeros((1, 4), np.float32)})


def test_nothing_is_printed_on_standard_output(backend, cell, artifacts, capfd):
    with backend.open(artifacts["two_inputs"], cell(backend)) as session:
        run(session, draw(artifacts["two_inputs"], cell(backend)))
    assert capfd.readouterr().out == ""


@pytest.fixture(scope="session")
def converted(artifacts, tmp_path_factory):
    """The CNN by the precision of its file, and by the scheme of INT8, converted once."""
    from onnxbench.exporters import fp16, int8
    from onnxbench.models import onnx_file

    source, folder = artifacts["seeded_cnn"], tmp_path_factory.mktemp("converted")
    made = {name: folder / f"{name}.onnx" for name in ("fp16", *SCHEMES)}
    shapes = zoo.SPECIMENS["seeded_cnn"].shapes(4)
    data = [random_inputs.draw(source.inputs, shapes, seed) for seed in range(10, 14)]
    fp16.convert(Path(source.path), made["fp16"], data)
    samples = folder / "samples.npz"
    np.savez(samples, **{name: np.concatenate([feed[name] for feed in data]) for name in data[0]})
    for name in SCHEMES:
        how = Conversion(scheme=name, method="minmax")
        int8.convert(Path(source.path), made[name], how, data)
    found = {name: replace(onnx_file.describe(path, model="seeded_cnn"), source=source.source) for name, path in made.items()}
    return {"fp32": source, "int8": found["portable"], **found, "samples": samples}


@pytest.fixture
def opened(converted, cell):
    """A session for the CNN in one precision, called once with some arrays; and those arrays."""
    with ExitStack() as stack:

        def make(target, precision, file=None):
            artifact, target.origin = converted[file or PRECISIONS[precision].file], converted["fp32"]
            target.samples = converted["samples"]
            wanted = replace(cell(target, "seeded_cnn", batch=3, precision=precision), sha256=artifact.sha256)
            refused = target.supports(wanted, artifact)
            if refused:
                pytest.skip(refused)
            if refuses(target, precision, wanted, artifact):
                pytest.skip(f"{target.name} refuses {precision}, and says why")
            try:
                session = stack.enter_context(target.open(artifact, wanted))
            except Unavailable as error:
                pytest.skip(f"{target.name} has no {precision} here: {error}")
            arrays = draw(artifact, wanted)
            run(session, arrays)
            return session, arrays

        yield make


def types(kernels):
    return {kernel.type for kernel in kernels} - {""}


def of_declared(test):
    return pytest.mark.parametrize(("target", "precision"), DECLARED, indirect=["target"])(test)


@of_declared
def test_every_declared_precision_is_near_fp32(target, precision, opened):
    cuts_sums_off = precision == "int8" and target.fastest_int8_scheme() != target.int8_scheme
    session, arrays = opened(target, precision, "portable-7bit" if cuts_sums_off else None)
    found, (wanted,) = session.fetch(), expected("seeded_cnn", arrays)
    (name,) = found
    assert found[name].dtype == np.float32
    assert distance(found, {name: wanted}).sqnr_db > PRECISIONS[precision].floor_db


@of_declared
def test_what_runs_is_the_precision_unless_it_is_measured_on_request(target, precision, opened):
    """Parts of it may be FP32."""
    session, _ = opened(target, precision)
    asked, executed = PRECISIONS[precision], session.info.executed.split("+")
    assert executed[0] == ("fp32" if precision in target.on_request else asked.arithmetic)
    assert set(executed) <= {asked.arithmetic, asked.rest, "fp32"}


@of_declared
def test_kernels_compute_in_what_the_session_says(target, precision, opened):
    """What is quantized may have parts that are not."""
    session, _ = opened(target, precision)
    told, executed = types(session.kernels()), set(session.info.executed.split("+"))
    assert not told or executed <= told <= executed | ({"fp32"} if PRECISIONS[precision].file == "int8" else set())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_int8_file_has_layers_that_are_computed_in_int8(target, opened, converted, scheme):
    if "int8" not in target.precisions:
        pytest.skip(f"{target.name} has no int8")
    assert converted[scheme].precision == "int8"
    assert target.int8_scheme in target.int8_schemes
    if scheme not in target.int8_schemes:
        return
    session, _ = opened(target, "int8", scheme)
    layers = [kernel.type for kernel in session.kernels() if kernel.layer]
    computes = "int8" not in target.on_request
    assert not layers or (layers.count("int8") > len(layers) / 2) is computes
    assert ("int8" in session.info.executed.split("+")) is computes


@of_declared
def test_kernels_that_are_timed_are_the_same_and_have_times(target, precision, opened):
    session, _ = opened(target, precision)
    plain, timed = session.kernels(), session.kernels(timed=True)
    assert [replace(kernel, ns=None) for kernel in timed] == [replace(kernel, ns=None) for kernel in plain]
    assert [kernel.node for kernel in timed if kernel.layer and not kernel.ns] == []
    assert [kernel.node for kernel in timed if kernel.type and kernel.ns is None] == []
    assert sum(kernel.ns or 0 for kernel in timed) < 10**9


@of_declared
def test_looking_at_kernels_changes_no_answer(target, precision, opened):
    session, arrays = opened(target, precision)
    (name,) = before = session.fetch()
    for timed in (False, True):
        session.kernels(timed)
        np.testing.assert_array_equal(session.fetch()[name], before[name])
        session.start()
        session.wait()
        np.testing.assert_allclose(session.fetch()[name], before[name], rtol=1e-4, atol=1e-5)
    assert not np.allclose(run(session, {name: array + 1 for name, array in arrays.items()})[name], before[name])


def test_layers_are_those_of_the_model(target, opened):
    """Three convolutions and two matrices."""
    session, _ = opened(target, "fp32")
    kernels = session.kernels()
    assert sum(kernel.layer for kernel in kernels) == (5 if kernels else 0)
    assert all(kernel.node and kernel.operator for kernel in kernels)
    assert all(kernel.type for kernel in kernels if kernel.layer)


def test_a_lane_tells_its_kernels_too(target, opened):
    session, arrays = opened(target, "fp32")
    lane = session.fork()
    lane.bind(arrays)
    assert [replace(kernel, ns=None) for kernel in lane.kernels()] == [replace(kernel, ns=None) for kernel in session.kernels()]


@pytest.mark.parametrize("name", zoo.SPECIMENS)
def test_kernels_are_told_of_models_with_every_kind_of_input(target, cell, artifacts, name):
    wanted = cell(target, name, batch=2)
    if refuses(target, name, wanted, artifacts[name]):
        return
    with target.open(artifacts[name], wanted) as session:
        run(session, draw(artifacts[name], wanted))
        kernels = session.kernels(timed=True)
    assert types(kernels) <= {"fp32"}
    assert len({(kernel.node, kernel.operator) for kernel in kernels}) == len(kernels)


def test_looking_at_kernels_prints_nothing_and_leaves_no_file(target, opened, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    session, _ = opened(target, "fp32")
    session.kernels(timed=True)
    assert capfd.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []
