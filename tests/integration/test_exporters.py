"""FP32 -> FP16 and INT8, and what INT8 costs, with the real converters on small graphs. The jobs run in this process."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxfiles
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench.errors import BadInput
from onnxbench.exporters import cache, graph
from onnxbench.exporters.calibration import METHODS
from onnxbench.exporters.int8 import convert as quantize
from onnxbench.exporters.schemes import SCHEMES
from onnxbench.models import onnx_file, quantized
from onnxbench.runners.worker import convert_jobs, explain_jobs
from onnxbench.runners.worker.convert_jobs import calibration_of
from onnxbench.runners.worker.file_jobs import Convert, Explain
from onnxbench.runners.worker.jobs import Data, Here, ProgressReport
from onnxbench.runners.worker.serve import State
from onnxbench.spec import Conversion

CHANNELS = 8
EXTERNAL = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """A cache and a place for temporary files, both of this test alone."""
    monkeypatch.setenv("ONNXBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))


def layer(name, source, target, seed, channels, size=3, scale=1.0):
    """A convolution with bias and its constants; `scale` is of its channels."""
    generator = np.random.default_rng(seed)
    shape = (CHANNELS, channels, size, size)
    weights = generator.normal(0, (channels * size * size) ** -0.5, shape) * np.reshape(scale, (-1, 1, 1, 1))
    bias = generator.normal(0, 0.1, CHANNELS) * scale
    arrays = {f"{name}.w": weights, f"{name}.b": bias}
    tensors = [numpy_helper.from_array(array.astype(np.float32), key) for key, array in arrays.items()]
    return helper.make_node("Conv", [source, *arrays], [target], name, pads=[size // 2] * 4), tensors


def network(batch="N", rescaled=None):
    """Three convolutions and a dense layer. `rescaled`: the outputs of some channels of the first convolution are so many
    times larger, and the second one's weights for them so many times smaller, so that the answers are the same."""
    large = np.where(np.arange(CHANNELS) < 2, rescaled or 1.0, 1.0)
    nodes, tensors = [], []
    for number, channels in ((1, 3), (2, CHANNELS), (3, CHANNELS)):
        source = "x" if number == 1 else f"r{number - 1}"
        conv, constants = layer(f"conv{number}", source, f"c{number}", number, channels, scale=large if number == 1 else 1.0)
        nodes += [conv, helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"relu{number}")]
        tensors += constants
    second = numpy_helper.to_array(tensors[2]) / large.reshape(1, -1, 1, 1)
    tensors[2] = numpy_helper.from_array(second.astype(np.float32), tensors[2].name)
    nodes += [
        helper.make_node("GlobalAveragePool", ["r3"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["y"], "fc"),
    ]
    tensors += [onnxfiles.weights("fc.w", CHANNELS, 5), numpy_helper.from_array(np.ones(5, np.float32), "fc.b")]
    ends = onnxfiles.value("x", Type.FLOAT, [batch, 3, 12, 12]), onnxfiles.value("y", Type.FLOAT, [batch, 5])
    return helper.make_graph(nodes, "g", [ends[0]], [ends[1]], tensors)


def chain(*kinds):
    """Operators without weights and without names, one after the other."""
    nodes = [helper.make_node(kind, [f"v{number}"], [f"v{number + 1}"]) for number, kind in enumerate(kinds)]
    ends = [onnxfiles.value(name, Type.FLOAT, ["N", 4]) for name in ("v0", f"v{len(kinds)}")]
    return helper.make_graph(nodes, "g", ends[:1], ends[1:])


def normalized(variance):
    """A batch normalization that is the identity, whatever the variance."""
    arrays = {"scale": variance**0.5, "bias": 0.0, "mean": 0.0, "var": variance}
    tensors = [numpy_helper.from_array(np.full(3, number, np.float32), name) for name, number in arrays.items()]
    node = helper.make_node("BatchNormalization", ["x", *arrays], ["y"], "norm")
    ends = [onnxfiles.value(name, Type.FLOAT, ["N", 3, 4, 4]) for name in "xy"]
    return helper.make_graph([node], "g", ends[:1], ends[1:], tensors)


def rescaling(blocks, between):
    """A chain of convolutions with folded normalisations, `blocks` of which make one channel 1000 times as large as the others.

    The convolution behind each divides by that again, as in a network whose scales were moved between layers: one scale of 8
    bits for all channels loses the others. `between`: ordinary convolutions behind each of them.
    """
    draw, nodes, tensors, last = np.random.default_rng(0), [], [], "x"

    def add(name, weight, **how):
        nonlocal last
        tensors.append(numpy_helper.from_array(weight.astype(np.float32).reshape(*weight.shape, 1, 1), f"{name}.w"))
        nodes.append(helper.make_node("Conv", [last, f"{name}.w"], [name], name, **how))
        last = name

    for block in range(blocks):
        gain = np.ones(8)
        gain[block % 8] = 1000
        add(f"norm{block}", gain[:, None], group=8)
        add(f"conv{block}", draw.standard_normal((8, 8)) / 8**0.5 / gain)
        for number in range(between):
            add(f"plain{block}.{number}", draw.standard_normal((8, 8)) / 8**0.5)
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["y"], "flatten"))
    ends = onnxfiles.value("x", Type.FLOAT, ["N", 8, 6, 6]), onnxfiles.value("y", Type.FLOAT, ["N", 8])
    return helper.make_graph(nodes, "g", [ends[0]], [ends[1]], tensors)


def with_weights_as_inputs(made):
    """As files of IR 3 are."""
    made.input.extend(onnxfiles.value(tensor.name, tensor.data_type, tensor.dims) for tensor in made.initializer)
    return made


@pytest.fixture
def write(tmp_path):
    return lambda made, **how: onnxfiles.write(tmp_path / "net.onnx", made, **how)


@pytest.fixture
def given(tmp_path):
    """Arrays in an .npz file."""

    def make(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return make


def int8(scheme="portable", method="minmax", exclude=(), calibration=None, **order):
    """What a job is asked beside the file."""
    data = {"calibration": Here(path=calibration), "calibrated_on": calibration} if calibration else {}
    return {"precision": "int8", "how": Conversion(scheme=scheme, method=method, exclude=exclude), **data, **order}


FP16 = {"precision": "fp16", "how": Conversion()}


def described(path):
    return onnx_file.describe(path, model="net")


def entry(path, order):
    """The entry of the file that is made of the one at `path`."""
    return convert_jobs.convert(State(), lambda told: None, Convert(artifact=described(path), **order))


def convert(path, order):
    """What was made of the file at `path`, with its whole path, and how near it is to that."""
    answer = entry(path, order)
    return Path(answer.folder.path) / answer.artifact.path, answer.artifact, answer.made.parity


def how_of(found):
    """What INT8 the file says that it is."""
    return Conversion.of(found.derived.options)


def data_of(found):
    """What the file says that it was calibrated on, and how many items of that."""
    return found.derived.option("data"), found.derived.option("samples")


def explain(path, tell=lambda told: None, data=None, **order):
    """What the nodes of the file at `path`, which is evaluated on `data`, cost."""
    job = Explain(artifact=replace(described(path), dataset=data), data=Data.of(data), **int8(**order))
    return explain_jobs.explain(State(), tell, job)


def loaded(path):
    """The graph in a file that passes every check of onnx."""
    onnx.checker.check_model(str(path), full_check=True)
    return onnx.load(str(path)).graph


def last(made):
    """The kinds of the nodes that make the outputs."""
    return {quantized.makers(made)[output.name].op_type for output in made.output}


def shown(made):
    """What goes in and out of a graph."""
    return [(value.name, value.type.tensor_type.elem_type) for value in (*made.input, *made.output)]


def constants(path):
    """The bytes of each constant, by name."""
    return {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in loaded(path).initializer}


def scale_of(name, path):
    """What one step of 8 bits of an activation is worth."""
    return float(np.frombuffer(constants(path)[f"{name}_scale"], np.float32)[0])


def is_sorted(made):
    """Whether every node comes after those whose outputs it takes."""
    known = {value.name for value in (*made.input, *made.initializer)}
    for node in made.node:
        if not known.issuperset(filter(None, node.input)):
            return False
        known.update(node.output)
    return True


def test_fp16_keeps_its_ends_and_halves_what_is_between(write):
    source = write(network())
    path, found, parity = convert(source, FP16)
    made = loaded(path)
    assert shown(made) == shown(onnx.load(source).graph) == [("x", Type.FLOAT), ("y", Type.FLOAT)]
    assert {tensor.data_type for tensor in made.initializer} == {Type.FLOAT16}
    assert (found.precision, found.inputs, found.opset) == ("fp16", onnx_file.describe(source, model="net").inputs, 17)
    assert path.stat().st_size < 0.8 * source.stat().st_size
    assert 50 < parity.sqnr_db < 100


def test_fp16_is_sorted_though_its_casts_were_added_at_the_end(write):
    assert is_sorted(loaded(convert(write(network()), FP16)[0]))


@pytest.mark.parametrize(("ir", "opset"), [(3, 8), (3, 11), (8, 13), (10, 21), (11, 23)])
def test_fp16_keeps_the_opset(write, ir, opset):
    made = with_weights_as_inputs(network()) if ir == 3 else network()
    path, found, parity = convert(write(made, ir=ir, opset=opset), FP16)
    assert found.opset == opset
    assert [value.name for value in loaded(path).input] == ["x"]
    assert parity.sqnr_db > 50


@pytest.mark.parametrize("made", [onnxfiles.integers(), onnxfiles.integers(Type.INT32)], ids=["int64", "int32"])
def test_a_graph_without_floats_is_refused_as_unchanged(write, made):
    with pytest.raises(BadInput, match=r"net\.onnx holds nothing in FP32, so FP16 would change nothing; run the file as it is"):
        convert(write(made), FP16)
    assert not any(cache.root().rglob("*.onnx"))


def through():
    """A graph whose input is an output too."""
    made = onnxfiles.dense()
    made.output.append(made.input[0])
    return made


def noisy():
    """A random generator, which ONNX Runtime does not have in FP16."""
    made = onnxfiles.dense(y="m")
    made.node.append(helper.make_node("RandomNormal", [], ["r"], dtype=1, shape=[2], seed=1.0))
    made.node.append(helper.make_node("Add", ["m", "r"], ["y"]))
    made.output[0].name = "y"
    return made


@pytest.mark.parametrize("order", [pytest.param(FP16, id="fp16"), pytest.param(int8(), id="int8")])
def test_an_output_that_is_an_input_is_converted_with_all_outputs(write, order):
    path, found, parity = convert(write(through()), order)
    assert len(loaded(path).output) == len(found.outputs) == 2
    assert parity.sqnr_db > 20


def test_what_cannot_be_converted_or_run_is_refused_and_leaves_nothing(write):
    with pytest.raises(BadInput, match=r"net\.onnx cannot be|the fp16 file cannot be run|the converted file would be invalid"):
        convert(write(noisy()), FP16)
    assert not any(cache.root().rglob("*.onnx"))


def test_fp16_is_valid_where_a_constant_that_stays_fp32_has_its_type_in_the_graph(write):
    """The converter changes what the graph says of it all the same."""
    ends = [onnxfiles.value(name, Type.FLOAT, ["N", 3, size, size]) for name, size in (("x", 4), ("y", 8))]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    made = helper.make_graph([helper.make_node("Resize", ["x", "", "scales"], ["y"])], "g", ends[:1], ends[1:], [scales])
    made.value_info.append(onnxfiles.value("scales", Type.FLOAT, [4]))
    path, _, parity = convert(write(made), FP16)
    assert {tensor.name: tensor.data_type for tensor in loaded(path).initializer} == {"scales": Type.FLOAT}
    assert parity.sqnr_db > 50


@pytest.mark.parametrize(("size", "kind"), [(1e4, np.float16), (1e8, np.float32)])
def test_a_constant_beyond_the_range_of_halves_stays_as_it_is(write, size, kind):
    path, _, parity = convert(write(normalized(size)), FP16)
    (variance,) = (numpy_helper.to_array(tensor) for tensor in loaded(path).initializer if tensor.name == "var")
    assert (variance.dtype, parity.sqnr_db > 50) == (kind, True)


KINDS = [(scheme, method) for scheme in SCHEMES for method in METHODS if method != "entropy"]
ENTROPY = pytest.param("portable", "entropy", marks=pytest.mark.long)  # test_recipes.py makes such a file in the gate


@pytest.mark.parametrize(
    ("scheme", "method"), [*KINDS, ENTROPY]
)  # entropy has a histogram for each activation, which no scheme changes
def test_every_scheme_and_method_makes_a_valid_file_near_to_fp32(write, scheme, method):
    path, found, parity = convert(write(network()), int8(scheme, method))
    assert shown(loaded(path)) == [("x", Type.FLOAT), ("y", Type.FLOAT)]
    assert (found.precision, found.quantized_layers, found.float_layers) == ("int8", 4, 0)
    assert how_of(found) == Conversion(scheme=scheme, method=method)
    assert parity.sqnr_db > 30


def test_the_portable_file_has_no_obstacle_and_its_outputs_are_not_rounded(write):
    path, found, _ = convert(write(network()), int8())
    assert found.obstacle is None
    assert last(loaded(path)) == {"Gemm"}
    assert not any(tensor.data_type == Type.INT32 for tensor in loaded(path).initializer)


@pytest.mark.parametrize("scheme", ["ort", "openvino"])
def test_the_other_files_have_an_obstacle(write, scheme):
    path, found, _ = convert(write(network()), int8(scheme))
    assert found.obstacle
    assert last(loaded(path)) == {"DequantizeLinear"}


@pytest.mark.parametrize(("method", "items"), [("percentile", 1024), pytest.param("entropy", 64, marks=pytest.mark.long)])
def test_other_methods_cut_what_minmax_keeps(write, given, method, items):
    data = given(x=np.random.default_rng(0).standard_t(2, (items, 3, 12, 12)).astype(np.float32))
    orders = [int8(method=name, calibration=data) for name in (method, "minmax")]
    path = write(network())
    cut, kept = (scale_of("x", convert(path, order)[0]) for order in orders)
    assert cut < 0.9 * kept


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_the_same_arrays_make_the_same_file(write, tmp_path, method):
    source = write(network())
    feeds = calibration_of(Convert(artifact=described(source), **int8())).feeds[:3]
    for name in ("first", "second"):
        quantize(source, tmp_path / name, int8(method=method)["how"], feeds)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_every_call_counts_for_the_ranges(write, tmp_path):
    """More calls than are in memory at once, of which the first one is the largest, or the last one."""
    calls = [{"x": np.full((1, 3, 12, 12), number, np.float32)} for number in range(1, 11)]
    for feeds in (calls, calls[::-1]):
        quantize(write(network()), tmp_path / "out.onnx", int8()["how"], feeds)
        assert scale_of("x", tmp_path / "out.onnx") == pytest.approx(10 / 127, rel=0.01)


def test_a_refused_graph_leaves_no_file(write, tmp_path):
    with pytest.raises(BadInput):
        quantize(write(chain("Sin")), tmp_path / "out.onnx", int8()["how"], [{"v0": np.ones((1, 4), np.float32)}])
    assert not (tmp_path / "out.onnx").exists()


def test_weights_have_a_scale_for_each_channel(write):
    made = loaded(convert(write(network()), int8())[0])
    scales = {tensor.name: list(tensor.dims) for tensor in made.initializer if tensor.name.endswith("_scale")}
    assert scales["conv2.w_scale"] == [CHANNELS]
    assert scales["x_scale"] == []


def test_onnx_runtimes_file_keeps_the_relus_that_openvinos_loses(write):
    path = write(network())
    relus = {s: [node.op_type for node in loaded(convert(path, int8(s))[0]).node].count("Relu") for s in ("ort", "openvino")}
    assert relus == {"ort": 3, "openvino": 0}


@pytest.mark.parametrize("opset", [8, 9, 10, 11, 12])
def test_an_old_opset_is_raised(write, opset):
    path, found, parity = convert(write(with_weights_as_inputs(network()), ir=3, opset=opset), int8())
    assert [value.name for value in loaded(path).input] == ["x"]
    assert (found.opset, found.obstacle, found.quantized_layers) == (13, None, 4)
    assert parity.sqnr_db > 30


@pytest.mark.parametrize(("ir", "opset"), [(7, 13), (9, 19), (10, 21), (11, 23)])
def test_a_recent_opset_is_kept(write, ir, opset):
    _, found, parity = convert(write(network(), ir=ir, opset=opset), int8())
    assert (found.opset, found.obstacle) == (opset, None)
    assert parity.sqnr_db > 30


def test_a_graph_with_nothing_to_quantize_is_refused_and_leaves_nothing(write, tmp_path):
    with pytest.raises(BadInput, match="nothing can be quantized in a graph of Neg, Sin; run it in FP32 or FP16"):
        convert(write(chain("Sin", "Neg")), int8())
    assert list((tmp_path / "cache").rglob("*.onnx")) == []
    assert [list(kind.iterdir()) for kind in (tmp_path / "cache").iterdir()] == [[]]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_conversion_leaves_its_entry_and_no_temporary_file(write, tmp_path):
    path, _, _ = convert(write(network()), int8())
    assert sorted(file.name for file in path.parent.iterdir()) == ["entry.json", "net.int8.onnx"]
    assert list(path.parent.parent.iterdir()) == [path.parent]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_excluded_node_that_there_is_not_is_refused_with_a_hint(write):
    with pytest.raises(BadInput, match=r"'conv9'.*'conv1'"):
        convert(write(network()), int8(exclude=("conv1", "conv9")))


def test_in_a_large_graph_the_hint_is_how_to_find_the_names(write):
    made = chain(*["Sin"] * 50)
    with pytest.raises(BadInput, match=r"'conv9'.*bench check .*--explain"):
        convert(write(made), int8(exclude=("conv9",)))


def test_excluded_nodes_stay_in_float(write):
    path, found, _ = convert(write(network()), int8(exclude=("conv2", "fc")))
    made = loaded(path)
    assert (found.quantized_layers, found.float_layers) == (2, 2)
    assert {node.name for node in made.node if quantized.is_quantized(node, quantized.makers(made))} >= {"conv1", "conv3"}
    assert {tensor.name: tensor.data_type for tensor in made.initializer}["conv2.w"] == Type.FLOAT
    assert how_of(found).exclude == ("conv2", "fc")


def test_a_second_conversion_comes_from_the_cache(write):
    path = write(network())
    answers = [entry(path, int8()) for _ in range(2)]
    assert [answer.cached for answer in answers] == [False, True]
    assert answers[0].folder == answers[1].folder
    assert answers[0].artifact == answers[1].artifact


@pytest.mark.parametrize(
    "other",
    [
        int8("ort"),
        int8(method="percentile"),
        int8(exclude=("conv1",)),
        int8(seed=1),
        int8(shapes=(("x", (8, 3, 12, 12)),)),
        FP16,
    ],
    ids=["scheme", "method", "exclude", "seed", "shapes", "precision"],
)
def test_a_conversion_that_was_ordered_otherwise_is_another(write, other):
    path = write(network())
    first, second = (entry(path, order) for order in (int8(), other))
    assert (second.cached, second.folder == first.folder) == (False, False)


def test_another_file_is_converted_again(write):
    convert(write(network()), int8())
    assert not entry(write(network(rescaled=2.0)), int8()).cached


def test_a_damaged_conversion_is_made_again(write):
    source = write(network())
    path, found, _ = convert(source, int8())
    path.write_bytes(b"damaged")
    answer = entry(source, int8())
    assert (answer.cached, answer.artifact.sha256) == (False, found.sha256)


@pytest.mark.parametrize("order", [FP16, int8()], ids=["fp16", "int8"])
def test_weights_in_another_file_are_converted_too(write, order):
    whole = convert(write(network()), order)[0]
    path, _, parity = convert(write(network(), **EXTERNAL), order)
    assert constants(path) == constants(whole)
    assert sorted(file.name for file in path.parent.iterdir()) == ["entry.json", path.name]
    assert parity.sqnr_db > 30


def test_nodes_without_a_name_of_their_own_get_one(write):
    made = chain("Sin", "Neg", "Sin")
    made.node[2].name = "Sin_0"
    named = [node.name for node in graph.load(write(made)).graph.node]
    assert named == ["Sin_0", "Neg_1", "Sin_0_2"]


def test_names_that_nodes_have_are_kept(write):
    path = write(network())
    assert [node.name for node in graph.load(path).graph.node] == [node.name for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("order", [FP16, int8()], ids=["fp16", "int8"])
def test_nodes_without_names_are_converted(write, order):
    made = network()
    for node in made.node:
        node.ClearField("name")
    path, _, parity = convert(write(made), order)
    names = [node.name for node in loaded(path).node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert parity.sqnr_db > 30


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_converted(write, batch):
    _, found, parity = convert(write(network(batch)), int8())
    assert found.inputs[0].shape == (batch, 3, 12, 12)
    assert (*data_of(found), parity.samples) == ("random", str(64 // batch * batch), batch)


def test_items_that_are_repeated_to_fill_a_batch_are_counted_once(write, given):
    _, found, parity = convert(write(onnxfiles.dense(batch=8)), int8(calibration=given(x=np.eye(3, 4, dtype=np.float32))))
    assert (data_of(found)[1], parity.samples) == ("3", 3)


def test_a_side_input_of_a_fixed_size_can_be_given(write, given):
    made = onnxfiles.dense(y="m")
    made.node.append(helper.make_node("ReduceSum", ["anchors"], ["r"], keepdims=0))
    made.node.append(helper.make_node("Add", ["m", "r"], ["y"]))
    made.input.append(onnxfiles.value("anchors", Type.FLOAT, [5, 4]))
    made.output[0].name = "y"
    data = given(x=np.random.default_rng(0).random((32, 4), np.float32), anchors=np.ones((5, 4), np.float32))
    _, found, parity = convert(write(made), int8(calibration=data))
    assert (data_of(found)[1], found.quantized_layers) == ("32", 1)
    assert parity.sqnr_db > 30


def test_given_arrays_are_what_the_ranges_come_from(write, given):
    images = np.random.default_rng(0).random((40, 3, 12, 12), np.float32) * 100
    data = given(x=images)
    path, found, parity = convert(write(network()), int8(calibration=data))
    assert scale_of("x", path) == pytest.approx(images.max() / 127, rel=0.01)
    assert (*data_of(found), parity.data) == (data, "40", data)


def test_conversions_know_their_origin(write):
    path = write(network())
    origin = onnx_file.describe(path, model="net").sha256
    for order in (FP16, int8()):
        assert convert(path, order)[1].derived.origin == origin


def test_a_table_and_a_product_are_converted(write):
    made = onnxfiles.lookup()
    made.node.append(helper.make_node("MatMul", ["y", "v"], ["z"]))
    made.initializer.append(onnxfiles.weights("v", 2, 3))
    made.output[0].CopyFrom(onnxfiles.value("z", Type.FLOAT, ["N", 3, 3]))
    for order in (FP16, int8()):
        path, found, parity = convert(write(made), order)
        assert shown(loaded(path)) == [("ids", Type.INT64), ("z", Type.FLOAT)]
        assert found.inputs[0].high == 7
        assert parity.sqnr_db > 30


def test_an_output_that_is_used_again_stays_in_8_bits_for_those_who_use_it(write):
    made = onnxfiles.dense()
    made.node.append(helper.make_node("MatMul", ["y", "v"], ["z"]))
    made.initializer.append(onnxfiles.weights("v", 2, 3))
    made.output.append(onnxfiles.value("z", Type.FLOAT, ["N", 3]))
    path, found, parity = convert(write(made), int8())
    assert [name for name, _ in shown(loaded(path))] == ["x", "y", "z"]
    assert last(loaded(path)) == {"DequantizeLinear", "MatMul"}
    assert (found.quantized_layers, found.float_layers) == (2, 0)
    assert parity.sqnr_db > 20


def test_the_layers_between_which_channels_were_rescaled_are_named_and_what_excluding_them_brings_is_proven(write):
    found = explain(write(network(rescaled=200.0)))
    assert set(found.exclude) == {"conv1", "conv2"}
    assert [name for name, _ in found.nodes[:2]] == list(found.exclude)
    proof = found.proof
    assert proof.after.sqnr_db - proof.before.sqnr_db > 20
    assert (proof.data, proof.items) == ("new random inputs", 64)


def test_a_group_of_sensitive_nodes_is_found_though_parts_of_it_bring_nothing(write):
    found = explain(write(rescaling(blocks=5, between=2)))
    assert set(found.exclude) == {f"{kind}{block}" for kind in ("norm", "conv") for block in range(5)}
    tried = dict(found.tried)
    assert tried[8] < found.sqnr_db + 6
    assert tried[10] > found.sqnr_db + 15
    assert found.proof.after.sqnr_db > found.proof.before.sqnr_db + 15


def test_where_nothing_helps_nothing_is_excluded_and_what_was_tried_is_there(write):
    found = explain(write(rescaling(blocks=6, between=0)))
    assert (found.exclude, found.proof) == ((), None)
    assert [size for size, _ in found.tried][:6] == [1, 2, 3, 4, 5, 6]
    assert all(value < found.sqnr_db + 6 for _, value in found.tried)


def test_where_no_layer_stands_out_nothing_is_to_be_excluded(write):
    found = explain(write(network()))
    assert (found.exclude, found.proof) == ((), None)
    assert {name for name, _ in found.nodes} >= {"conv1", "conv2", "conv3", "fc"}
    assert found.sqnr_db > 30


def test_rescaling_changes_no_answer(write):
    """What the explanation's tests rest on."""
    arrays = [{"x": np.random.default_rng(0).standard_normal((4, 3, 12, 12), np.float32)}]
    plain, rescaled = (
        explain_jobs.answers(onnx_file.describe(write(network(rescaled=by)), model="net"), arrays)[0]["y"]
        for by in (None, 200.0)
    )
    assert np.allclose(plain, rescaled, atol=1e-4)


def test_the_worst_nodes_come_first_and_each_is_told(write):
    told = []
    source = write(network(rescaled=200.0))
    found, tried = explain(source, told.append), quantized.quantized_nodes(onnx_file.graph_of(convert(source, int8())[0]))
    assert [sqnr for _, sqnr in found.nodes] == sorted(sqnr for _, sqnr in found.nodes)
    assert {"conv1", "relu1", "fc"} <= {name for name, _ in tried}
    assert found.exclude == ("conv2", "conv1")
    # all in INT8, each alone, the tried numbers, and each excluded node but one put back
    assert told == [ProgressReport()] * (1 + len(tried) + len(found.tried) + len(found.exclude))


def test_nodes_that_cost_nothing_are_not_named(write):
    assert all(sqnr < explain_jobs.ROUNDING_DB for _, sqnr in explain(write(network())).nodes)


def test_of_very_many_nodes_layers_alone_are_tried(write):
    made = onnxfiles.dense(y="v0")
    made.node[0].name = "dense"
    made.node.extend(chain(*["Relu"] * 110).node)
    made.output[0].name = "v110"
    told = []
    explain(write(made), told.append)
    assert told == [ProgressReport()] * 2  # all in INT8, and the layer alone


def test_what_was_excluded_already_is_not_judged(write):
    found = explain(write(network(rescaled=200.0)), exclude=("conv1", "conv2"))
    assert "conv2" not in {name for name, _ in found.nodes}
    assert (found.exclude, found.proof) == ((), None)


def test_a_recommendation_from_given_data_is_proven_on_the_other_half_of_them(write, given):
    data = given(x=np.random.default_rng(0).standard_normal((64, 3, 12, 12), np.float32))
    found = explain(write(network(rescaled=200.0)), calibration=data)
    assert (found.data, found.proof.data) == (data, "calibration items that did not choose the nodes")


def test_a_recommendation_from_a_dataset_is_proven_on_its_test_images(write, given):
    x = np.random.default_rng(0).standard_normal((200, 3, 12, 12), np.float32)
    name = f"tensors:{given(x=x, y=np.arange(200) % 5)}"
    found = explain(write(network(rescaled=200.0)), data=name)
    assert (found.data, found.proof.data) == (name, f"test images of {name}")
    assert set(found.exclude) == {"conv1", "conv2"}
    assert found.proof.items == 40


def test_an_explanation_leaves_no_temporary_file(write, tmp_path):
    explain(write(network()))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_method_of_an_operator_cuts_its_inputs_alone(write, given):
    data = given(x=np.random.default_rng(0).standard_t(2, (256, 3, 12, 12)).astype(np.float32))
    path = write(network())
    plain, mixed = (convert(path, int8(method=name, calibration=data))[0] for name in ("minmax", "minmax,Gemm=percentile"))
    assert scale_of("x", plain) == scale_of("x", mixed)
    assert scale_of("pooled", mixed) < scale_of("pooled", plain)  # the Flatten before Gemm has the scale of its input


def test_a_method_of_an_operator_that_the_model_lacks_is_refused(write):
    with pytest.raises(BadInput, match="the model has no operator 'Gem'; did you mean 'Gemm'"):
        convert(write(network()), int8(method="minmax,Gem=percentile"))


def test_a_file_has_the_growth_of_its_ranges(write, given):
    x = np.random.default_rng(0).standard_normal((64, 3, 12, 12)).astype(np.float32)
    steady, rising = x.copy(), x.copy()
    steady[32:] = x[:32]
    rising[63] *= 100
    path = write(network())
    found = [entry(path, int8(calibration=given(x=data))).made.growth for data in (steady, rising)]
    assert [(item.half, item.growing == 0, item.is_large) for item in found] == [(32, True, False), (32, False, True)]
