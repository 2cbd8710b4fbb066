"""Execution providers of ONNX Runtime: the arithmetic and the placement that they are seen to have. With fakes."""

import ast
import re
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import numpy as np
import onnx
import onnxruntime as real
import pytest
from onnxbench import backends
from onnxbench.backends import ort_trial
from onnxbench.backends.ort_ep import make_class
from onnxbench.backends.ort_providers import PROVIDERS, Provider
from onnxbench.devices import Device
from onnxbench.errors import RuntimeFailed, Unavailable
from onnxbench.runners.worker.blocks import gpu_of
from onnxbench.spec import Concurrency, Settings


def round_to(bits, x, largest=None):
    """`x` with so many bits of its significand, the way a tensor core reads it."""
    drop = 23 - bits
    raw = (x.view(np.uint32) + np.uint32((1 << drop) >> 1)) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    rounded = raw.view(np.float32)
    return np.where(abs(rounded) > largest, np.inf, rounded) if largest else rounded


ROUNDED = {
    "fp32": lambda x: x,
    "tf32": lambda x: round_to(10, x),
    "fp16": lambda x: round_to(10, x, 65504),
    "bf16": lambda x: round_to(7, x),
    "12-bit": lambda x: round_to(12, x),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_the_digits_of_a_product_name_its_type(name):
    assert ort_trial.float_types(lambda model, x: ROUNDED[name](x)) == name


def test_a_convolution_may_have_another_type_than_a_product():
    types = ort_trial.float_types(lambda model, x: ROUNDED["tf32" if b"Conv" in model else "fp32"](x))
    assert sorted(types.split("+")) == ["fp32", "tf32"]


def run_really(model, x):
    """Each node alone, as the file says."""
    onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
    options = real.SessionOptions()
    options.graph_optimization_level = real.GraphOptimizationLevel.ORT_DISABLE_ALL
    return real.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_the_graphs_are_valid_and_onnx_runtime_computes_them_in_fp32():
    assert ort_trial.float_types(run_really) == "fp32"
    assert not ort_trial.computes_int8(run_really)


def test_integers_sum_up_to_zero():
    def run_in_integers(model, x):
        left = np.rint(x / np.float32(0.1)).astype(np.int64)
        weights = next(item for item in onnx.load_model_from_string(model).graph.initializer if item.name == "weights")
        return left @ onnx.numpy_helper.to_array(weights).astype(np.int64)

    assert ort_trial.computes_int8(run_in_integers)


@dataclass
class Runtime:
    """A fake ONNX Runtime with one plug-in, whose arithmetic is `computes` of the provider's options."""

    computes: object = lambda options: "fp32"
    hardware: str = "CPU"
    wrong_version: bool = False
    gets: str = "FakeExecutionProvider"
    built_in: bool = False
    refused_vendor: str = ""
    opened: list = field(default_factory=list)
    __version__ = "1.31.1"

    def register_execution_provider_library(self, name, path):
        if self.wrong_version:
            raise RuntimeError("The requested API version [31] is not available")

    def get_ep_devices(self):
        device = SimpleNamespace(type=SimpleNamespace(name=self.hardware), vendor="Maker")
        own = [SimpleNamespace(ep_name="FakeExecutionProvider", device=device)]
        other = SimpleNamespace(type=SimpleNamespace(name=self.hardware), vendor=self.refused_vendor)
        return [SimpleNamespace(ep_name="CPUExecutionProvider", device=other)] if self.refused_vendor else own

    def get_available_providers(self):
        return ["FakeExecutionProvider", "CPUExecutionProvider"] if self.built_in else ["CPUExecutionProvider"]

    def SessionOptions(self):
        options = SimpleNamespace(chosen=None, add_session_config_entry=lambda *_: None)
        options.add_provider_for_devices = lambda devices, settings: setattr(options, "chosen", settings)
        options.add_free_dimension_override_by_name = lambda *_: None
        return options

    def InferenceSession(self, model, options, enable_fallback=1, providers=()):
        assert enable_fallback == 0
        options.chosen = dict(providers[0][1]) if providers else options.chosen
        self.opened.append((model, options.chosen))
        name = self.computes(options.chosen)

        def run(_, inputs):
            if name == "int8" and b"QuantizeLinear" in model:
                return [np.zeros_like(inputs["x"])]
            return [ROUNDED["fp32" if name == "int8" else name](inputs["x"])]

        nodes = [SimpleNamespace(ep_name=self.gets, get_nodes=lambda: [1, 2, 3])]
        return SimpleNamespace(
            run=run,
            get_providers=lambda: [self.gets, "CPUExecutionProvider"],
            get_provider_options=lambda: {self.gets: options.chosen},
            get_session_options=lambda: options,
            get_outputs=list,
            io_binding=lambda: None,
            get_provider_graph_assignment_info=lambda: nodes,
        )


PINS = {"fp32": "f32", "bf16": "bf16", "fp16": "f32", "int8": "f32"}


@pytest.fixture
def fake(monkeypatch):
    """A maker of the backend of one plug-in, in a fake ONNX Runtime."""

    def make(runtime, **facts):
        plugin = ModuleType("fake_plugin")
        plugin.get_library_path = lambda: "/lib/fake.so"
        monkeypatch.setitem(sys.modules, "fake_plugin", plugin)
        monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
        given = {"module": "fake_plugin", "precisions": PINS, "on_request": ("fp16",), "default": "bf16", **facts}
        entry = Provider(
            provider="FakeExecutionProvider",
            package="numpy",  # an installed package, whose version is read
            install="pip install fake",
            arguments=lambda pin, concurrency: {"precision": pin, "threads": str(concurrency.threads)},
            **given,
        )
        return make_class("ort-fake", entry)()

    return make


def follow(options):
    return {"f32": "fp32", "": "bf16"}.get(options["precision"], options["precision"])


@pytest.fixture
def opened(make_cell, make_artifact):
    def open_cell(backend, precision="fp32", **options):
        settings = Settings(threads=2, options=tuple(options.items()))
        return backend.open(make_artifact(), make_cell(backend=backend.name, precision=precision, settings=settings))

    return open_cell


def test_a_session_reports_the_types_that_were_seen_and_the_placement_of_its_nodes(fake, opened):
    runtime = Runtime(computes=follow)
    info = opened(fake(runtime, tested=True)).info
    assert (info.executed, info.placement, info.remarks) == ("fp32", "3/3 Fake", ())
    assert dict(info.settings) == {"precision": "f32", "threads": "2"}
    assert runtime.opened[-1][1] == {"precision": "f32", "threads": "2"}


def test_a_pin_that_the_provider_ignores_is_seen(fake, opened):
    assert opened(fake(Runtime(computes=lambda options: "bf16"))).info.executed == "bf16"


def test_a_users_option_gives_the_providers_own_default(fake, opened):
    backend = fake(Runtime(computes=follow))
    assert "bf16" in backend.options["arithmetic"]
    assert opened(backend, arithmetic="default").info.executed == "bf16"
    assert opened(backend, arithmetic="strict").info.executed == "fp32"


def test_a_lower_precision_that_is_not_computed_has_no_row(fake, opened):
    backend = fake(Runtime())
    with pytest.raises(Unavailable, match="computes in fp32 here, and not in bf16"):
        opened(backend, "bf16")
    with pytest.raises(Unavailable, match="not in int8"):
        opened(backend, "int8")
    assert opened(backend, "fp16").info.executed == "fp32"


def test_a_file_in_fp16_is_computed_in_its_own_type_unless_the_table_says_otherwise(fake, opened):
    assert opened(fake(Runtime()), "fp16").info.executed == "fp32"
    assert opened(fake(Runtime(), on_request=()), "fp16").info.executed == "fp16"


@pytest.mark.parametrize("kind", sorted({entry.device_kind for entry in PROVIDERS.values()} - {"cpu", "cuda"}))
def test_a_device_of_a_provider_has_a_name_and_is_no_gpu_of_nvidia(kind, make_cell):
    device = Device.parse(f"{kind}:1")
    assert (device.kind, device.index, str(device), device.several) == (kind, 1, f"{kind}:1", False)
    assert str(Device.parse(kind)) == f"{kind}:0"
    assert gpu_of(make_cell(device=str(device))) is None


def test_integers_are_seen_beside_the_float_type(fake, opened):
    assert opened(fake(Runtime(computes=lambda options: "int8")), "int8").info.executed == "int8+fp32"


def test_a_provider_that_gets_no_graph_fails(fake, opened):
    with pytest.raises(RuntimeFailed, match="fell back to CPUExecutionProvider"):
        opened(fake(Runtime(gets="CPUExecutionProvider")))


def test_a_provider_that_nobody_ran_and_a_device_with_copies_are_remarked(fake, make_cell, make_artifact):
    backend = fake(Runtime(hardware="GPU"), device_kind="webgpu")
    remarks = backend.open(make_artifact(), make_cell(backend="ort-fake", device="webgpu:0")).info.remarks
    assert len(remarks) == 2
    assert backend.probe().devices == ("webgpu:0 Maker",)


def test_a_provider_is_available_with_both_versions(fake):
    probe = fake(Runtime(computes=follow)).probe()
    assert (probe.available, probe.version, probe.devices) == (True, f"1.31.1+{np.__version__}", ("cpu",))


def test_a_provider_inside_the_wheel_needs_no_plugin(fake, opened):
    backend = fake(Runtime(computes=follow, built_in=True), module="no_such_plugin_here")
    assert (backend.probe().version, backend.probe().available) == ("1.31.1", True)
    assert opened(backend).info.executed == "fp32"
    assert dict(opened(backend).info.settings) == {"precision": "f32", "threads": "2"}


def test_a_plugin_that_refuses_the_cpu_of_a_vendor_names_the_wheel_that_takes_it(fake):
    probe = fake(Runtime(refused_vendor="Other"), wheel="onnxruntime-fake").probe()
    assert not probe.available
    assert "Other" in probe.reason
    assert "onnxruntime-fake" in probe.install
    assert "--python ort-fake=" in probe.install


@pytest.mark.parametrize(
    ("runtime", "facts", "says"),
    [
        (Runtime(), {"module": "no_such_plugin_here"}, "numpy is not installed"),
        (Runtime(wrong_version=True), {}, r"numpy \S+ does not load in onnxruntime 1.31.1: The requested API version \[31\]"),
        (Runtime(hardware="GPU"), {}, "finds no CPU here"),
        (Runtime(gets="CPUExecutionProvider"), {}, "fell back to CPUExecutionProvider"),
        (Runtime(), {"systems": ("Darwin",)}, "is for macOS, and this is "),
        (Runtime(), {"module": ""}, "onnxruntime 1.31.1 was built without FakeExecutionProvider"),
        (SimpleNamespace(__version__="1.20.0", get_available_providers=list), {}, "onnxruntime 1.20.0 loads no plug-ins"),
    ],
)
def test_a_provider_that_is_not_here_says_why(fake, runtime, facts, says):
    probe = fake(runtime, **facts).probe()
    assert not probe.available
    assert re.search(says, probe.reason)


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_entry_is_a_backend_that_no_plain_sweep_measures(name):
    entry, backend = PROVIDERS[name], backends.get(name)
    assert (backend.name, backend.device_kind, dict(backend.precisions)) == (name, entry.device_kind, dict(entry.precisions))
    assert backend.install == entry.install != ""
    assert not backends.BUILT_IN[name].default
    assert bool(backend.options) == any(entry.precisions.values()) == bool(entry.default)
    for pin in {*entry.precisions.values(), ""}:
        given = entry.arguments(pin, Concurrency(threads=2))
        assert all(isinstance(text, str) for pair in given.items() for text in pair)
        assert not pin or pin in "".join(given.values())


@pytest.mark.parametrize("name", PROVIDERS)
def test_its_program_to_paste_is_python_and_names_the_provider(name, make_cell, make_artifact):
    backend = backends.get(name)
    cell = make_cell(backend=name, device="cpu" if backend.device_kind == "cpu" else f"{backend.device_kind}:0")
    text = backend.snippet(make_artifact(), cell, Concurrency(lanes=2, threads=1))
    ast.parse(text)
    assert repr(backend.provider) in text
    assert PROVIDERS[name].module in text
