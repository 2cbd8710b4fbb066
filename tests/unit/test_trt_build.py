"""What TensorRT's builder is told, by a module of each generation that writes it down."""

from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace

import pytest
from onnxbench.backends import trt_build
from onnxbench.backends.trt_build import EngineRecipe
from onnxbench.errors import RuntimeFailed, Unavailable, Unsupported

SHAPES = (("input", (8, 3, 48, 48)), ("mask", (8, 4)))
RECIPE = EngineRecipe(path=Path("cnn.onnx"), shapes=SHAPES, precision="fp32")
INPUTS = ("mask", "input")  # in another order than the recipe's
OLD = {
    "version": "8.6.1",
    "flags": ("FP16", "INT8", "DEBUG", "GPU_FALLBACK", "TF32"),
    "networks": ("EXPLICIT_BATCH", "EXPLICIT_PRECISION"),
    "sources": ("CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
}
NEW = {
    "version": "11.0.0",
    "flags": ("DEBUG", "GPU_FALLBACK", "REFIT", "TF32"),
    "networks": ("STRONGLY_TYPED",),
    "sources": ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
}
TEN = {**OLD, "version": "10.3.0", "flags": (*OLD["flags"], "BF16"), "networks": ("STRONGLY_TYPED",)}


class Severity(IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Fault:
    """An error of the parser, as versions from 10 on tell it."""

    def desc(self):
        return "Unsupported\n type"

    def node_name(self):
        return "/conv1"


class OldFault:
    """As 8.6 tells it: the node is a number, and the text has everything."""

    def __str__(self):
        return "In node 3 (importConv): UNSUPPORTED_NODE:\n zero point"


class Config:
    """Keeps the attributes that it is given, and what it is told (`told`)."""

    def __init__(self, trt):
        self.told, self._trt = {"set": [], "cleared": [], "sources": 0, "cache": None, "profiles": []}, trt

    def set_flag(self, flag):
        self.told["set"].append(flag.name)

    def clear_flag(self, flag):
        self.told["cleared"].append(flag.name)

    def set_tactic_sources(self, bits):
        self.told["sources"] = {source.name for source in self._trt.TacticSource if bits >> source & 1}

    def create_timing_cache(self, known):
        return SimpleNamespace(serialize=lambda: bytearray(known + b"+learned"))

    def set_timing_cache(self, cache, ignore_mismatch):
        self.told["cache"], self.told["mismatch"] = cache, ignore_mismatch
        return True

    def get_timing_cache(self):
        return self.told["cache"]

    def add_optimization_profile(self, profile):
        self.told["profiles"].append(profile.shapes)


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, least, best, most):
        self.shapes[name] = (least, best, most)


class Module:
    """TensorRT's module. `faults`: what its parser finds; `engine`: what its builder makes; what fails
    logs `says` before."""

    def __init__(self, version, flags, networks, sources, faults=(), engine=b"plan", says=()):
        self.__version__, self.config, self.faults = version, Config(self), faults
        self.BuilderFlag = IntEnum("BuilderFlag", flags, start=0)
        self.NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", networks, start=0)
        self.TacticSource = IntEnum("TacticSource", sources, start=0)
        self.ILogger = type("ILogger", (), {"Severity": Severity})
        self.IProfiler = type("IProfiler", (), {})
        self.ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
        self._engine, self._says = engine, says

    def Builder(self, log):
        self.log = log
        tensors = [SimpleNamespace(name=name) for name in INPUTS]
        network = SimpleNamespace(num_inputs=len(tensors), get_input=tensors.__getitem__)

        def create(bits):
            self.network = {flag.name for flag in self.NetworkDefinitionCreationFlag if bits >> flag & 1}
            return network

        return SimpleNamespace(
            create_network=create,
            create_builder_config=lambda: self.config,
            create_optimization_profile=Profile,
            build_serialized_network=self._build,
        )

    def OnnxParser(self, network, log):
        def parse(path):
            self.parsed = path
            if self.faults:
                self._tell()
            return not self.faults

        return SimpleNamespace(parse_from_file=parse, num_errors=len(self.faults), get_error=lambda nth: self.faults[nth])

    def _tell(self):
        for severity, text in self._says:
            self.log.log(severity, text)

    def _build(self, network, config):
        self._tell()
        return None if self._engine is None else bytearray(self._engine)


@pytest.fixture
def module():
    return lambda generation=OLD, **changes: Module(**{**generation, **changes})


@pytest.mark.parametrize(
    ("generation", "precision", "wanted", "cleared"),
    [
        (OLD, "fp32", [], ["FP16", "INT8", "TF32"]),
        (OLD, "tf32", ["TF32"], ["FP16", "INT8"]),
        (OLD, "fp16", ["FP16"], ["INT8", "TF32"]),
        (OLD, "int8", ["INT8"], ["FP16", "TF32"]),
        (OLD, "int8+fp16", ["FP16", "INT8"], ["TF32"]),
        (TEN, "bf16", ["BF16"], ["FP16", "INT8", "TF32"]),
        (TEN, "fp16", ["FP16"], ["BF16", "INT8", "TF32"]),
        (NEW, "fp32", [], ["TF32"]),
        (NEW, "tf32", ["TF32"], []),
        (NEW, "fp16", [], ["TF32"]),
        (NEW, "int8", [], ["TF32"]),
    ],
)
def test_every_flag_of_the_arithmetic_is_set_or_cleared_and_no_other_is_touched(module, generation, precision, wanted, cleared):
    trt = module(generation)
    trt_build.build_engine(trt, replace(RECIPE, precision=precision))
    assert (trt.config.told["set"], trt.config.told["cleared"]) == (wanted, cleared)


@pytest.mark.parametrize(
    ("generation", "network"), [(OLD, {"EXPLICIT_BATCH"}), (TEN, set()), (NEW, {"STRONGLY_TYPED"})], ids=["8.6", "10", "11"]
)
def test_a_network_has_strong_types_only_where_there_are_no_flags(module, generation, network):
    trt = module(generation)
    trt_build.build_engine(trt, RECIPE)
    assert (trt.network, trt.parsed) == (network, "cnn.onnx")


@pytest.mark.parametrize("generation", [OLD, TEN, NEW], ids=["8.6", "10", "11"])
def test_every_version_has_the_same_sources_of_kernels(module, generation):
    trt = module(generation)
    trt_build.build_engine(trt, RECIPE)
    assert trt.config.told["sources"] == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}


def test_an_engine_is_for_the_cells_own_shapes_and_tells_its_layers(module):
    trt = module()
    trt_build.build_engine(trt, RECIPE)
    assert trt.config.told["profiles"] == [{name: (shape, shape, shape) for name, shape in SHAPES}]
    assert trt.config.profiling_verbosity == "detailed"


def test_an_input_that_the_parser_renames_is_unsupported(module):
    with pytest.raises(Unsupported, match="'mask'"):
        trt_build.build_engine(module(), replace(RECIPE, shapes=tuple(pair for pair in SHAPES if pair[0] != "mask")))


@pytest.mark.parametrize(
    ("level", "found"), [(None, {}), (0, {"builder_optimization_level": 0}), (5, {"builder_optimization_level": 5})]
)
def test_the_builder_tries_as_long_as_it_does_by_itself_unless_it_is_told(module, level, found):
    trt = module()
    trt_build.build_engine(trt, replace(RECIPE, level=level))
    assert {name: value for name, value in vars(trt.config).items() if "level" in name} == found


def test_the_engine_comes_as_bytes_with_what_was_learned_beside_what_was_known(module):
    trt = module()
    found = trt_build.build_engine(trt, RECIPE, b"known")
    assert (found, {type(part) for part in found}) == ((b"plan", b"known+learned"), {bytes})
    assert trt.config.told["mismatch"] is False
    assert trt_build.build_engine(module(), RECIPE) == (b"plan", b"+learned")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(), "Unsupported type (node /conv1)"),
        (OldFault(), "In node 3 (importConv): UNSUPPORTED_NODE: zero point"),
    ],
    ids=["with a name", "without"],
)
def test_what_the_parser_refuses_is_unsupported_in_its_words(module, fault, words):
    with pytest.raises(Unsupported) as caught:
        trt_build.build_engine(module(faults=[fault, OldFault()]), RECIPE)
    assert caught.value.message.startswith("TensorRT 8.6.1 ")
    assert caught.value.message.endswith(f": {words}")


BEGIN = 'ModelImporter.cpp:726: While parsing node number 3 [Det -> "y"]:', "ModelImporter.cpp:727: --- Begin node ---"
FIELDS = 'input: "x"\noutput: "y"\n{}op_type: "Det"\nattribute {{\n  name: "axis"\n}}\n'


@pytest.mark.parametrize(
    ("log", "node"),
    [
        ((*BEGIN, "ModelImporter.cpp:728: " + FIELDS.format('name: "/head/det"\n'), "--- End node ---"), " (node /head/det)"),
        ((*BEGIN, "ModelImporter.cpp:728: " + FIELDS.format(""), "--- End node ---", 'name: "other"'), ' (node Det -> "y")'),
        (("3: getPluginCreator could not find plugin: Det version: 1",), ""),
    ],
    ids=["named", "without a name", "not logged"],
)
def test_a_version_that_tells_a_number_alone_writes_the_node_to_its_log(module, log, node):
    trt = module(faults=[OldFault()], says=[(Severity.ERROR, text) for text in log])
    with pytest.raises(Unsupported) as caught:
        trt_build.build_engine(trt, RECIPE)
    assert caught.value.message.endswith(f"In node 3 (importConv): UNSUPPORTED_NODE: zero point{node}")


def test_a_fault_of_no_node_is_told_without_one(module):
    class Nowhere(Fault):
        def node_name(self):
            return ""

        def __str__(self):
            return "not a model"

    with pytest.raises(Unsupported, match=r": not a model$"):
        trt_build.build_engine(module(faults=[Nowhere()]), RECIPE)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ([], "no reason"),
        ([(Severity.WARNING, "slow"), (Severity.INFO, "hm")], "no reason"),
        ([(Severity.ERROR, "first"), (Severity.INTERNAL_ERROR, "last\nof all"), (Severity.WARNING, "slow")], "last of all"),
    ],
)
def test_where_there_is_no_engine_the_last_error_says_why(module, capsys, says, words):
    with pytest.raises(RuntimeFailed) as caught:
        trt_build.build_engine(module(engine=None, says=says), RECIPE)
    assert caught.value.message.startswith("TensorRT 8.6.1 ")
    assert caught.value.message.endswith(words)
    assert capsys.readouterr().err == "".join(f"{text}\n" for severity, text in says if severity <= Severity.WARNING)


def test_an_error_of_another_build_is_not_this_ones(module):
    trt = module(engine=None)
    trt_build.get_logger(trt).log(Severity.ERROR, "of another file")
    with pytest.raises(RuntimeFailed, match="no reason"):
        trt_build.build_engine(trt, RECIPE)


def test_a_process_has_one_logger(module):
    trt = module()
    assert trt_build.get_logger(trt) is trt_build.get_logger(trt)


@pytest.mark.parametrize(
    ("generation", "precision", "version"),
    [(OLD, "bf16", "8.6.1"), (NEW, "bf16", "11.0.0"), (NEW, "int8+fp16", "11.0.0")],
)
def test_a_precision_that_a_version_lacks_is_unavailable_before_anything_is_parsed(module, generation, precision, version):
    trt = module(generation)
    with pytest.raises(Unavailable) as caught:
        trt_build.build_engine(trt, replace(RECIPE, precision=precision))
    assert caught.value.message.startswith(f"TensorRT {version} ")
    assert caught.value.message.endswith(precision)
    assert not hasattr(trt, "parsed")


@pytest.mark.parametrize(
    ("generation", "precision", "told"),
    [
        (OLD, "fp32", ()),
        (OLD, "int8+fp16", ("INT8", "FP16")),
        (NEW, "fp32", ("STRONGLY_TYPED",)),
        (NEW, "tf32", ("STRONGLY_TYPED", "TF32")),
        (NEW, "fp16", ("STRONGLY_TYPED",)),
    ],
)
def test_a_record_says_what_the_arithmetic_was_chosen_by(module, generation, precision, told):
    assert trt_build.list_flags(module(generation), precision) == told


def test_a_profiler_keeps_the_times_of_each_layer(module):
    profiler = trt_build.make_profiler(module())
    for name, ms in (("conv1", 0.5), ("relu", 0.25), ("conv1", 0.75)):
        profiler.report_layer_time(name, ms)
    assert profiler.times_ns == {"conv1": [500_000, 750_000], "relu": [250_000]}
