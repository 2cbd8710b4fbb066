import json
from dataclasses import FrozenInstanceError, dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxbench.errors import BadInput
from onnxbench.exporters.manifest import relocate
from onnxbench.factories import resolve
from onnxbench.spec import (
    BUDGETS,
    PRECISIONS,
    STOPPING_METRICS,
    Artifact,
    Budget,
    Cell,
    Concurrency,
    Conversion,
    Derived,
    Device,
    Precision,
    Settings,
    Source,
    Sweep,
    TensorSpec,
    digest,
    from_wire,
    gpu_count,
    nearest,
    to_wire,
)

sizes = st.integers(0, 10**6)
names = st.text(max_size=8)
options = st.lists(st.tuples(names, names), max_size=3).map(tuple)
settings = st.builds(Settings, threads=sizes, options=options)
tensors = st.builds(
    TensorSpec,
    name=names,
    dtype=names,
    shape=st.lists(st.one_of(sizes, names, st.none()), max_size=4).map(tuple),
    high=st.one_of(st.none(), sizes),
)
sources = st.builds(Source, factory=names, weights=st.one_of(st.none(), names))
shapes = st.lists(st.tuples(names, st.lists(sizes, max_size=4).map(tuple)), max_size=3).map(tuple)
cells = st.builds(
    Cell,
    model=names,
    sha256=names,
    backend=names,
    device=names,
    precision=names,
    batch=sizes,
    shapes=shapes,
    settings=settings,
    environment=names,
    scheme=names,
)
derived_files = st.builds(Derived, origin=names, recipe=names, revision=sizes, tool=names, versions=options, options=options)
artifacts = st.builds(
    Artifact,
    model=names,
    precision=names,
    path=names,
    sha256=names,
    nbytes=sizes,
    opset=sizes,
    inputs=st.lists(tensors, max_size=2).map(tuple),
    outputs=st.lists(tensors, max_size=2).map(tuple),
    nodes=sizes,
    source=st.one_of(st.none(), sources),
    dataset=st.one_of(st.none(), names),
    derived=st.one_of(st.none(), derived_files),
)
sweeps = st.builds(
    Sweep,
    model=st.one_of(st.none(), names),
    backends=st.lists(names, max_size=2).map(tuple),
    batches=st.lists(sizes, max_size=2).map(tuple),
    threads=st.one_of(st.none(), sizes),
    signature=st.lists(tensors, max_size=2).map(tuple),
    inputs=options,
    options=options,
    budget=st.sampled_from(list(BUDGETS.values())),
    baseline=st.one_of(st.none(), names),
    metric=st.sampled_from(STOPPING_METRICS),
    cold=st.booleans(),
    seed=sizes,
)
concurrencies = st.builds(Concurrency, lanes=sizes, streams=sizes, threads=sizes)


@given(value=st.one_of(cells, artifacts, sweeps, concurrencies))
def test_a_value_comes_back_from_json_as_it_was(value):
    back = from_wire(type(value), json.loads(json.dumps(to_wire(value))))
    assert back == value
    assert hash(back) == hash(value)


def test_names_of_newer_data_are_left_out(make_cell):
    data = {**to_wire(make_cell()), "colour": "blue", "settings": {"threads": 2, "mood": 1}}
    assert from_wire(Cell, data) == make_cell()


def test_what_older_data_lacks_takes_its_default():
    assert from_wire(Settings, {"threads": 4}) == Settings(threads=4, options=())


def test_missing_data_without_a_default_is_an_error():
    with pytest.raises(TypeError, match="threads"):
        from_wire(Settings, {})


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("cpu", Device(kind="cpu")),
        ("cuda", Device(kind="cuda", index=0)),
        ("cuda:0", Device(kind="cuda", index=0)),
        ("cuda:12", Device(kind="cuda", index=12)),
        ("cuda:0-3", Device(kind="cuda", index=0, last=3)),
        ("cuda:all", Device(kind="cuda", every=True)),
    ],
)
def test_a_device_is_read(text, device):
    assert Device.parse(text) == device


@pytest.mark.parametrize("text", ["", "gpu", "cpu:0", "CUDA", "cuda:x", "cuda:-1", "cuda:1.5", "cuda:0:1", "cuda:", "cuda:²"])
def test_anything_else_is_not_a_device(text):
    with pytest.raises(BadInput, match="is not a device; use cpu, cuda or cuda:N"):
        Device.parse(text)


def test_a_device_is_shown_with_its_index():
    texts = ("cpu", "cuda", "cuda:3", "cuda:1-2", "cuda:all")
    assert [str(Device.parse(text)) for text in texts] == ["cpu", "cuda:0", "cuda:3", "cuda:1-2", "cuda:all"]


@pytest.mark.parametrize("text", ["cpu:all", "cpu:0-1", "cuda:1-1", "cuda:3-1", "cuda:0-x", "cuda:all-1"])
def test_several_devices_are_gpus_in_their_order(text):
    with pytest.raises(BadInput) as refused:
        Device.parse(text)
    assert refused.value.hint


def test_one_of_several_devices_has_a_name_of_its_own():
    assert [str(each) for each in Device.parse("cuda:1-3").each] == ["cuda:1", "cuda:2", "cuda:3"]
    assert [str(each) for each in Device.parse("cuda:2").each] == ["cuda:2"]


@pytest.mark.parametrize("text", ["cuda:all", "cuda:0-1"])
def test_a_command_for_one_device_refuses_several(text):
    assert str(Device.one("cuda:1", "instead")) == "cuda:1"
    with pytest.raises(BadInput, match=r"; instead$"):
        Device.one(text, "instead")


@pytest.mark.parametrize(
    ("device", "count"), [("cpu", None), ("unknown", None), ("gpu:1", 1), ("cuda:0", 1), ("cuda:0-3", 4), ("a-b:0-1", None)]
)
def test_gpus_are_counted_in_the_device_of_a_cell(device, count):
    assert gpu_count(device) == count


def test_a_cell_on_several_gpus_has_a_twin_on_the_first(make_cell):
    assert make_cell(device="cuda:2-3").alone == make_cell(device="cuda:2")
    assert make_cell(device="gpu:1").alone == make_cell(device="gpu:1")


def test_a_precision_is_found_by_its_name():
    assert [Precision.parse(name) for name in PRECISIONS] == list(PRECISIONS.values())
    with pytest.raises(BadInput, match="'fp31' is not a precision; did you mean 'fp32'"):
        Precision.parse("fp31")


def test_each_precision_runs_a_file_in_some_arithmetic():
    table = {name: (row.file, row.arithmetic, row.floor_db) for name, row in PRECISIONS.items()}
    assert table == {
        "fp32": ("fp32", "fp32", 80),
        "tf32": ("fp32", "tf32", 55),
        "bf16": ("fp32", "bf16", 35),
        "fp16": ("fp16", "fp16", 50),
        "int8": ("int8", "int8", 20),
        "int8+fp16": ("int8", "int8", 20),
    }


def test_equal_cells_have_equal_keys(make_cell):
    assert make_cell().key == make_cell().key == from_wire(Cell, json.loads(json.dumps(to_wire(make_cell())))).key
    assert len(make_cell().key) == 16


@dataclass(frozen=True, kw_only=True, slots=True)
class LaterSettings(Settings):
    """Settings of a version that knows one more of them."""

    streams: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LaterCell(Cell):
    """A cell of a version that has two more axes."""

    layout: str = ""
    dims: tuple[tuple[str, int], ...] = ()


def test_a_new_field_at_its_default_changes_no_key(make_cell):
    cell = make_cell(settings=Settings(threads=2, options=(("a", "b"),)))
    fields = {name: getattr(cell, name) for name in to_wire(cell)}
    later = LaterCell(**{**fields, "settings": LaterSettings(threads=2, options=(("a", "b"),))})
    assert later.key == cell.key
    assert replace(later, layout="nhwc").key != cell.key
    assert replace(later, dims=(("tokens", 128),)).key != cell.key
    assert replace(later, settings=LaterSettings(threads=2, options=(("a", "b"),), streams=2)).key != cell.key


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"sha256": "cd" * 32},
        {"backend": "torch-cpu"},
        {"device": "cuda:0"},
        {"precision": "fp16"},
        {"batch": 8},
        {"shapes": (("input", (1, 3, 64, 64)),)},
        {"settings": Settings(threads=4)},
        {"settings": Settings(threads=2, options=(("graph", "off"),))},
        {"environment": "new"},
        {"scheme": "portable"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_sets_a_cell_apart_is_in_its_key(make_cell, change):
    assert make_cell(**change).key != make_cell().key


def test_a_cell_is_named_for_people(make_cell):
    assert make_cell(batch=8).id == "cnn/ort-cpu/cpu/fp32/b8"
    assert make_cell(environment="new").id == "cnn/ort-cpu@new/cpu/fp32/b1"


@given(scheme=names, method=names, exclude=st.lists(names, max_size=3).map(tuple))
def test_what_int8_is_asked_for_is_said_in_texts_and_read_back(scheme, method, exclude):
    how = Conversion(scheme=scheme, method=method, exclude=exclude)
    assert Conversion.of((*how.options, ("data", "digits"))) == how


def of_file(data="digits", exclude=()):
    told = Conversion(scheme="portable", method="minmax", exclude=exclude).options
    options = (*told, ("data", data), ("samples", "128"))
    return Derived(origin="ab", recipe="int8", revision=1, tool="1.0", options=options)


def test_a_derived_file_says_how_it_was_made():
    assert str(of_file()) == "portable, minmax over 128 of digits"
    assert str(of_file(exclude=("a", "b,c"))) == "portable, minmax over 128 of digits, without a,b,c"
    assert str(replace(of_file(), recipe="fp16", options=())) == ""


@pytest.mark.parametrize(("data", "file"), [("digits", None), ("random", None), ("mine.npz", "mine.npz")])
def test_a_derived_file_names_the_users_file_that_it_was_calibrated_on(data, file):
    assert of_file(data).calibration("digits") == file


def test_values_are_frozen(make_cell):
    with pytest.raises(FrozenInstanceError):
        make_cell().batch = 2


def test_a_digest_does_not_depend_on_the_order_of_names():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_budgets_grow():
    ordered = [BUDGETS[name] for name in ("quick", "normal", "thorough")]
    assert Sweep().budget == ordered[1]
    for smaller, larger in pairwise(ordered):
        assert smaller.looks[0] < larger.looks[0]
        assert smaller.rounds < larger.rounds
        assert smaller.half_width > larger.half_width
        assert smaller.cell_s < larger.cell_s
        assert smaller.images <= larger.images


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=lambda budget: budget.name)
def test_a_budget_looks_in_order_and_its_last_look_is_its_last_round(budget):
    assert list(budget.looks) == sorted(set(budget.looks))
    assert budget.rounds == budget.looks[-1]
    assert budget.warmup_ms < budget.warmup_limit_ms
    assert 0 < budget.repeats < 1


def test_a_budget_comes_back_from_json_as_it_was():
    for budget in BUDGETS.values():
        assert from_wire(Budget, json.loads(json.dumps(to_wire(budget)))) == budget


def test_one_call_in_flight_is_the_concurrency_of_who_says_nothing():
    assert Concurrency() == Concurrency(lanes=1, streams=1, threads=1)


def test_metrics_are_those_that_a_series_can_be_made_of():
    from onnxbench.results.store.series import ROUND_METRICS

    assert set(STOPPING_METRICS) == set(ROUND_METRICS)
    assert Sweep().metric in STOPPING_METRICS


def test_an_artifact_is_put_under_a_folder_with_its_weights(make_artifact):
    moved = relocate(make_artifact(path="m.onnx", source=Source(factory="a:b", weights="w.safetensors")), "/there")
    assert (moved.path, moved.source) == ("/there/m.onnx", Source(factory="a:b", weights="/there/w.safetensors"))


def test_a_source_without_weights_stays_without(make_artifact):
    assert relocate(make_artifact(source=Source(factory="a:b")), "/there").source == Source(factory="a:b")
    assert relocate(make_artifact(source=None), "/there").source is None


def test_a_callable_is_found_by_its_name():
    assert resolve("json:dumps") is json.dumps


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("no_such_module_here:f", "cannot import 'no_such_module_here' .ModuleNotFoundError"),
        ("json:dumpss", "'json' has no callable 'dumpss'; did you mean 'dumps'"),
        ("json:__name__", "no callable '__name__'"),
        ("json", "no callable ''"),
        ("", "cannot import ''"),
    ],
)
def test_what_cannot_be_found_is_said(reference, says):
    with pytest.raises(BadInput, match=says):
        resolve(reference)


def test_a_module_that_raises_is_bad_input(tmp_path, monkeypatch):
    (tmp_path / "onnxbench_test_raises.py").write_text("raise RuntimeError('sorry\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match=r"\(RuntimeError: sorry more\)"):
        resolve("onnxbench_test_raises:f")


def test_the_nearest_name_is_meant():
    assert nearest("fp31", ["fp16", "fp32", "int8"]) == "did you mean 'fp32'?"


def test_without_a_near_name_all_are_told():
    assert nearest("zzz", {"b": 1, "a": 2}) == "choose from: a, b"
    assert nearest("zzz", []) == "there is none to choose from"
