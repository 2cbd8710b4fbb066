import ast

import pytest
from onnxbench import backends
from onnxbench.backends import snippets
from onnxbench.spec import Concurrency, Settings, Source, TensorSpec

SPECS = (
    TensorSpec(name="image", dtype="float16", shape=("batch", 3)),
    TensorSpec(name='odd "name"', dtype="int64", shape=(), high=7),
    TensorSpec(name="mask", dtype="bool", shape=("batch",)),
)
SHAPES = (("image", (4, 3)), ('odd "name"', ()), ("mask", (4,)))
HOW = Concurrency(lanes=3, streams=2, threads=5)


@pytest.fixture
def snippet(make_artifact, make_cell):
    def of(name, source=None, **changes):
        backend = backends.get(name)
        device = "cpu" if backend.device_kind == "cpu" else "cuda:1"
        cell = make_cell(**{"backend": name, "device": device, "batch": 4, "shapes": SHAPES, **changes})
        artifact = make_artifact(inputs=SPECS, path="some where/it's.onnx", source=source)
        return backend.snippet(artifact, cell, HOW)

    return of


PROGRAMS = (
    "ort-cpu",
    "openvino-cpu",
    "torch-cpu",
    "ort-cuda",
    "torch-cuda",
    "tensorrt",
    "torch-compile-cpu",
    "torch-compile-cuda",
    "ncnn-cpu",
    "mnn-cpu",
)
SOURCE = Source(factory="nets:build", weights="deep/weights.safetensors")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_python_that_opens_the_file_that_was_measured(snippet, name):
    text = snippet(name, SOURCE)
    names = {
        node.targets[0].id: node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and hasattr(node.targets[0], "id")
    }
    assert ast.literal_eval(names["MODEL"]) == "some where/it's.onnx"
    assert "LANES, THREADS, BATCH = 3, 5, 4" in text
    assert "onnxbench" not in text


@pytest.mark.parametrize("backend", ["torch-cpu", "torch-cuda", "torch-compile-cpu", "torch-compile-cuda"])
@pytest.mark.parametrize(
    ("factory", "line"),
    [
        ("torchvision:resnet50", "from torchvision.models import get_model"),
        ("timm:resnet18.a1_in1k", "NAME, WEIGHTS = 'resnet18.a1_in1k', 'w.safetensors'"),
        ("hf:org/bert", "import transformers"),
    ],
)
def test_a_librarys_model_is_made_by_the_library(snippet, backend, factory, line):
    text = snippet(backend, Source(factory=factory, weights="w.safetensors"))
    ast.parse(text)
    assert line in text.splitlines()
    assert "onnxbench" not in text


@pytest.mark.parametrize("name", PROGRAMS)
def test_text_from_outside_is_not_code(snippet, name):
    text = snippet(name, SOURCE, model='x\nimport os; os.abort()\r"""$file')
    assert "import os" in text.splitlines()[0]
    assert not any(isinstance(node, ast.Import) and node.names[0].name == "os" for node in ast.walk(ast.parse(text)))


def test_inputs_have_their_shapes_types_and_range(snippet):
    text = snippet("ort-cpu")
    body = ast.parse(text).body
    upto = next(
        index for index, node in enumerate(body) if isinstance(node, ast.Import) and node.names[0].name == "onnxruntime"
    )
    scope = {}
    exec(compile(ast.Module(body[:upto], []), "snippet", "exec"), scope)
    drawn = {name: (array.dtype.name, array.shape) for name, array in scope["inputs"].items()}
    assert drawn == {"image": ("float16", (4, 3)), 'odd "name"': ("int64", ()), "mask": ("bool", (4,))}
    assert 0 <= scope["inputs"]['odd "name"'] < 7


def test_no_source_no_program_for_pytorch_and_none_for_what_has_none(snippet):
    assert snippet("torch-cpu") == snippet("null") == ""


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "openvino-cpu",
            {"precision": "bf16"},
            "'INFERENCE_PRECISION_HINT': 'bf16', 'NUM_STREAMS': 2, 'INFERENCE_NUM_THREADS': 10",
        ),
        ("ort-cpu", {}, "{'batch': 4}"),
        ("torch-cpu", {"precision": "bf16"}, "to(torch.bfloat16)"),
        ("torch-cpu", {}, "FACTORY, WEIGHTS = 'nets:build', 'deep/weights.safetensors'"),
        (
            "ort-cuda",
            {"precision": "tf32"},
            "{**{'device_id': '1', 'use_tf32': '1', 'prefer_nhwc': '1'}, \"user_compute_stream\"",
        ),
        ("torch-cuda", {"precision": "tf32"}, "allow_tf32 = True"),
        ("torch-cuda", {}, "memory_format=torch.preserve_format"),
        ("torch-compile-cuda", {"precision": "fp32"}, "allow_tf32 = False"),
        ("torch-compile-cpu", {}, "'cpp.threads': 5"),
        ("torch-compile-cuda", {}, "--exclude-libs"),
        ("ort-cuda", {}, "if not False:"),
        ("tensorrt", {"precision": "int8+fp16"}, "if name in ('INT8', 'FP16') else"),
        ("tensorrt", {}, "if not True:"),
    ],
)
def test_what_was_measured_is_set(snippet, name, changes, said):
    options = (("cuda_graph", "off"), ("prefer_nhwc", "1")) if name == "ort-cuda" else ()
    assert said in snippet(name, SOURCE, settings=Settings(threads=5, options=options), **changes)


@pytest.mark.parametrize(
    ("what", "expression"),
    [
        ({"dtype": "float32", "role": "mask"}, "np.asarray(np.ones((2, 3)), 'float32')"),
        ({"dtype": "bool", "role": "mask"}, "np.asarray(generator.integers(1, 2, (2, 3)), 'bool')"),
        ({"dtype": "bool"}, "np.asarray(generator.integers(0, 2, (2, 3)), 'bool')"),
        ({"dtype": "int64", "role": "mask"}, "np.asarray(generator.integers(1, 2, (2, 3)), 'int64')"),
        ({"dtype": "int32", "of": ("frames", 0), "role": "length"}, "np.asarray(generator.integers(7, 8, (2, 3)), 'int32')"),
        ({"dtype": "float32", "role": "positive"}, "np.asarray(abs(generator.standard_normal((2, 3))) + 0.1, 'float32')"),
        ({"dtype": "int64", "setting": "shape of Reshape"}, "np.load('x.npy')"),
    ],
)
def test_a_program_draws_its_inputs_as_what_was_measured(what, expression):
    spec = TensorSpec(name="x", shape=(2, 3), **what)
    assert snippets._draw_expression(spec, {"x": (2, 3), "frames": (7, 4)}) == expression


CALLERS = """
import threading

here, callers = threading.current_thread(), set()


def open_lane():
    return lambda: callers.add(threading.current_thread() is here)
"""


@pytest.mark.parametrize(("lanes", "in_the_same_thread"), [(1, True), (2, False)])
def test_one_lane_is_called_where_the_measurement_called_it(make_artifact, make_cell, lanes, in_the_same_thread):
    # PyTorch's calls take half as long again in a second thread that has an OpenMP team of its own
    case = snippets.ProgramCase(make_artifact(inputs=()), make_cell(shapes=()), Concurrency(lanes=lanes, threads=1))
    text = snippets.write_program(CALLERS, case, snippets.THREADED).replace(
        "WARM_UP_S, SECONDS = 1.0, 3.0", "WARM_UP_S, SECONDS = 0, 0"
    )
    names: dict = {}
    exec(text, names)
    assert names["callers"] == {in_the_same_thread}


@pytest.mark.parametrize(
    ("name", "option", "value", "line"),
    [
        ("ort-cpu", "graph_optimization_level", "extended", "GraphOptimizationLevel.ORT_ENABLE_EXTENDED"),
        ("ort-cpu", "enable_cpu_mem_arena", "0", "options.enable_cpu_mem_arena = False"),
        ("ort-cpu", "allow_spinning", "0", 'options.add_session_config_entry("session.intra_op.allow_spinning", "0")'),
        ("ort-cpu", "inter_op_num_threads", "2", "options.intra_op_num_threads = 4\n"),
        ("openvino-cpu", "performance_hint", "THROUGHPUT", "'PERFORMANCE_HINT': 'THROUGHPUT'"),
        ("openvino-cpu", "enable_cpu_pinning", "YES", "'ENABLE_CPU_PINNING': True"),
        ("openvino-cpu", "enable_hyper_threading", "NO", "'ENABLE_HYPER_THREADING': False"),
        ("openvino-cpu", "scheduling_core_type", "PCORE_ONLY", "'SCHEDULING_CORE_TYPE': 'PCORE_ONLY'"),
        ("openvino-cpu", "enable_mmap", "NO", "core.set_property({'ENABLE_MMAP': False})\nmodel = core.read_model"),
        ("torch-cpu", "channels_last", "on", "memory_format=torch.channels_last"),
        ("torch-cuda", "channels_last", "on", "memory_format=torch.channels_last"),
        ("torch-cuda", "cudnn_benchmark", "on", "torch.backends.cudnn.benchmark = True"),
        ("torch-cuda", "sdpa", "flash", "torch.backends.cuda.enable_math_sdp(False)\n"),
        ("ort-cpu", "free_dimensions", "open", "for symbol, size in {}.items()"),
        ("ort-cuda", "free_dimensions", "open", "for symbol, size in {}.items()"),
        ("ort-cuda", "arena_extend_strategy", "kSameAsRequested", "'arena_extend_strategy': 'kSameAsRequested'"),
        ("tensorrt", "max_aux_streams", "4", "    config.max_aux_streams = 4"),
    ],
)
def test_a_program_sets_the_options_that_were_found(snippet, name, option, value, line):
    text = snippet(name, SOURCE, settings=Settings(threads=5, options=((option, value),)))
    ast.parse(text)
    assert line in text


def test_a_hint_leaves_the_number_of_streams_to_openvino(snippet):
    options = (("performance_hint", "LATENCY"),)
    assert "NUM_STREAMS" not in snippet("openvino-cpu", settings=Settings(threads=5, options=options))
    assert "NUM_STREAMS" in snippet("openvino-cpu", settings=Settings(threads=5, options=(("performance_hint", "none"),)))


def test_the_default_options_are_not_in_a_program(snippet):
    assert "graph_optimization_level" not in snippet("ort-cpu")
    assert "set_property" not in snippet("openvino-cpu")
    assert "_sdp" not in snippet("torch-cuda", SOURCE)
