"""INT8 schemes on graphs with parts that 8 bits ruin."""

import json

import numpy as np
import onnx
import onnxfiles
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from onnxbench import devices
from onnxbench.exporters import int8
from onnxbench.exporters.schemes import LAYERS, SCHEMES
from onnxbench.models import onnx_file
from onnxbench.runners.worker import convert_jobs
from onnxbench.runners.worker.file_jobs import Convert
from onnxbench.runners.worker.serve import State
from onnxbench.spec import Conversion

PAIR = ("QuantizeLinear", "DequantizeLinear")
SIZE = 32


def node(line):
    left, right = line.split(" -> ")
    name, kind, *inputs = left.split()
    return helper.make_node(kind, inputs, right.split(), name)


def graph(lines, arrays, shape=("N", SIZE), out=("N", SIZE)):
    ends = onnxfiles.value("x", Type.FLOAT, shape), onnxfiles.value("y", Type.FLOAT, out)
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    return helper.make_graph([node(line) for line in lines], "g", ends[:1], ends[1:], tensors)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_layer_norm():
    """A layer, a LayerNorm of single nodes of values far from 0, and a layer."""
    lines = (
        *("first MatMul x w1 -> h", "far Add h offset -> a", "mean ReduceMean a -> m", "centre Sub a m -> c"),
        *("square Mul c c -> s", "variance ReduceMean s -> v", "shift Add v eps -> e", "root Sqrt e -> r", "norm Div c r -> n"),
        *("scale Mul n g -> k", "move Add k b -> z", "last MatMul z w2 -> y"),
    )
    arrays = {"w1": 0.1 * normal(SIZE, SIZE), "w2": normal(SIZE, SIZE, seed=1), "g": normal(SIZE), "b": normal(SIZE)}
    return graph(lines, {**arrays, "offset": np.float32(50), "eps": np.float32(1e-5)})


def with_shared_bias():
    """Two layers with one bias `b`, and a value with the name that the quantizer's copy of the bias would have."""
    lines = "one Conv x w1 b -> b2", "relu Relu b2 -> h", "two Conv h w2 b -> y"
    arrays = {"w1": normal(4, 4, 1, 1), "w2": normal(4, 4, 1, 1, seed=1), "b": normal(4)}
    return graph(lines, arrays, ("N", 4, 6, 6), ("N", 4, 6, 6))


def with_residual():
    """A residual block, a Concat and a dense layer."""
    lines = (
        *("one Conv x w1 -> a", "relu1 Relu a -> r", "two Conv r w2 -> c", "sum Add r c -> s", "relu2 Relu s -> t"),
        *("join Concat t r -> j", "pool GlobalAveragePool j -> p", "flat Flatten p -> f", "fc Gemm f w3 b -> y"),
    )
    arrays = {"w1": normal(8, 3, 3, 3), "w2": 0.2 * normal(8, 8, 1, 1, seed=1), "w3": normal(16, 4), "b": normal(4)}
    made = graph(lines, arrays, ("N", 3, 8, 8), ("N", 4))
    next(each for each in made.node if each.name == "join").attribute.append(helper.make_attribute("axis", 1))
    return made


@pytest.fixture
def convert(tmp_path):
    """The made file's graph, its description and its parity."""

    def of(made, scheme):
        path = onnxfiles.write(tmp_path / "net.onnx", made)
        order = {"precision": "int8", "how": Conversion(scheme=scheme, method="minmax")}
        answer = convert_jobs.convert(
            State(), lambda told: None, Convert(artifact=onnx_file.describe(path, model="net"), **order)
        )
        return onnx.load(f"{answer.folder.path}/{answer.artifact.path}").graph, answer.artifact, answer.made.parity

    return of


def quantized(made):
    """Names of the nodes that take values of a pair."""
    rounded = {name for each in made.node if each.op_type == PAIR[1] for name in each.output}
    return {each.name for each in made.node if each.op_type not in PAIR and rounded & set(each.input)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_keeps_a_normalisation(convert, scheme):
    made, found, parity = convert(with_layer_norm(), scheme)
    assert (found.quantized_layers, found.float_layers) == (2, 0)
    assert parity.sqnr_db > 30
    if not SCHEMES[scheme].dynamic:
        assert quantized(made) == {"first", "last"}


def test_layers_that_share_a_weight_are_measured_and_a_cpu_that_cuts_sums_off_says_so(shell):
    lines = "one MatMul x w -> h", "relu Relu h -> r", "two MatMul r w -> y"
    path = onnxfiles.write(shell.folder / "net.onnx", graph(lines, {"w": normal(SIZE, SIZE)}))
    done = shell.bench("check", "--model", path, "--backend", "ort-cpu", "--precision", "int8", "--format", "json")
    (row,) = json.loads(done.stdout)["rows"]
    assert row["executed"].split("+")[0] == "int8"
    assert row["status"] in (("ok", "mismatch") if devices.lacks_vnni() else ("ok",))
    assert ("no VNNI" in done.stdout) is devices.lacks_vnni()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_layers_may_share_a_bias(convert, scheme):
    _, found, parity = convert(with_shared_bias(), scheme)
    assert (found.quantized_layers, found.float_layers, found.invalid) == (2, 0, None)
    assert parity.sqnr_db > 30


def with_spectrum():
    """Filters of very different gains, the power of their results, its logarithm, and a layer."""
    lines = (
        *("filter MatMul x w1 -> f", "power Mul f f -> s", "mel MatMul s w2 -> m", "floor Add m eps -> e", "log Log e -> l"),
        "last MatMul l w3 -> y",
    )
    gains = (10.0 ** -np.linspace(0, 4, SIZE)).astype(np.float32)
    arrays = {"w1": normal(SIZE, SIZE) * gains, "w2": np.eye(SIZE, dtype=np.float32), "w3": normal(SIZE, SIZE, seed=1)}
    return graph(lines, {**arrays, "eps": np.float32(1e-10)})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_keeps_the_filters_before_a_logarithm(convert, scheme):
    _, found, parity = convert(with_spectrum(), scheme)
    assert (found.quantized_layers, found.float_layers, found.invalid) == (1, 2, None)
    assert parity.sqnr_db > 30


def with_transposed_weight():
    """Two dense layers as PyTorch exports them, one with a weight that is not square."""
    lines = "one Gemm x w1 b1 -> h", "relu Relu h -> r", "two Gemm r w2 b2 -> y"
    arrays = {"w1": normal(48, SIZE), "b1": normal(48), "w2": normal(SIZE, 48, seed=1), "b2": normal(SIZE)}
    made = graph(lines, arrays)
    for each in (line for line in made.node if line.op_type == "Gemm"):
        each.attribute.append(helper.make_attribute("transB", 1))
    return made


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_weight_may_be_transposed(convert, scheme):
    _, found, parity = convert(with_transposed_weight(), scheme)
    assert (found.quantized_layers, found.float_layers, found.invalid) == (2, 0, None)
    assert parity.sqnr_db > 30


def test_a_residual_sum_is_in_8_bits_in_the_portable_scheme_and_in_float_in_that_of_layers(convert):
    made, found, parity = convert(with_residual(), "portable")
    assert {"sum", "relu1", "relu2", "join", "pool"} <= quantized(made)
    assert (found.quantized_layers, found.float_layers, found.obstacle) == (3, 0, None)
    assert parity.sqnr_db > 30
    made, found, parity = convert(with_residual(), "layers")
    assert {"one", "two", "fc"} <= quantized(made)
    assert not {"join", "pool"} & quantized(made)
    assert (found.quantized_layers, found.obstacle) == (3, None)
    assert parity.sqnr_db > 30


def test_the_scheme_of_layers_has_pairs_around_layers_alone(convert):
    made, found, _ = convert(with_shared_bias(), "layers")
    assert found.obstacle is None
    assert {each.op_type for each in made.node} <= {*LAYERS, *PAIR, "Relu"}


def test_the_dynamic_scheme_needs_no_ranges_and_has_an_obstacle(convert, tmp_path):
    made, found, _ = convert(with_layer_norm(), "dynamic")
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= {each.op_type for each in made.node}
    assert found.obstacle
    assert int8.find_ranges(tmp_path / "none.onnx", Conversion(scheme="dynamic", method="minmax"), ()) == (None, None)


def test_files_of_several_schemes_are_measured_side_by_side_and_each_backend_chooses(shell):
    path = onnxfiles.write(shell.folder / "model.onnx", onnxfiles.wide(layers=1, columns=64))
    done = shell.bench("export", "--model", path, "--precision", "int8", "--int8", "portable,layers")
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (shell.folder / "artifacts").glob("*.onnx")} == {
        "model.onnx",
        "model.int8.onnx",
        "model.int8-layers.onnx",
    }
    how = ("--backend", "ort-cpu,openvino-cpu", *onnxfiles.MINI, "--batch", "1", "--precision", "int8")
    cuts_off = devices.lacks_vnni()  # then OpenVINO has a mismatch with weights of 8 bits
    rows = shell.rows("infer", *how, code=3 if cuts_off else 0)
    assert {(row["backend"], row["scheme"]) for row in rows} == {
        (backend, scheme) for backend in ("ort-cpu", "openvino-cpu") for scheme in ("portable", "layers")
    }
    rows = shell.rows("check", "--model", path, *how[:2], "--precision", "int8", "--int8", "best")
    of_openvino = "openvino-7bit" if cuts_off else "openvino"
    assert {(row["backend"], row["scheme"]) for row in rows} == {("ort-cpu", "ort"), ("openvino-cpu", of_openvino)}
    rows = shell.rows("check", "--model", path, *how[:2], "--precision", "int8", code=1 if cuts_off else 0)
    assert {row["scheme"] for row in rows} == {"portable"}
