"""Build a TensorRT engine from an ONNX file. Functions take the module `tensorrt` as the argument `trt`.

Up to version 10 a network may be weakly typed: flags of the builder choose its precision. From version 11 on, and in TensorRT
for RTX, networks are strongly typed: the types of the file choose it. Both get the same files.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import BenchError, Unavailable, Unsupported, failure, one_line
from ..spec import Shapes

FLAGS: dict[str, tuple[str, ...]] = {
    "fp32": (),
    "tf32": ("TF32",),
    "bf16": ("BF16",),
    "fp16": ("FP16",),
    "int8": ("INT8",),
    "int8+fp16": ("INT8", "FP16"),
}
"""Builder flags of each precision in a weakly typed network. TF32 is on by default: the other precisions clear it."""

PRECISION_FLAGS = {"TF32", "FP16", "BF16", "INT8", "FP8", "INT4"}
STRONGLY_TYPED = ("fp32", "tf32", "fp16", "int8")
"""Precisions of a strongly typed network: those for which `bench export` makes a file of these types."""

LOGGED_NODE = re.compile(
    r'While parsing node number \d+ \[(?P<node>[^\n]*)\]:(?:(?!^name:|--- End node).)*(?:^name: "(?P<name>[^"]*)")?',
    re.M | re.S,
)
"""A node in the log of 8.6's parser: one line, then the node as protobuf text, whose own fields are not indented."""

LIBRARY_SOURCES = {"CUBLAS", "CUBLAS_LT", "CUDNN"}
"""Kernel sources that are separate libraries. They are switched off: versions after 8.6 do so by default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRecipe:
    """Values that decide an engine: the ONNX file at `path`, the shapes of its inputs, and the precision.

    `level`: the builder's optimization level, 0 to 5; None for TensorRT's default. `aux_streams`: as `level`, the most streams
    beside the main one.
    """

    path: Path
    shapes: Shapes
    precision: str
    level: int | None = None
    aux_streams: int | None = None


@cache
def get_logger(trt: Any) -> Any:
    """Get the logger of this process. It prints warnings and errors to standard error, and keeps the errors.

    TensorRT uses the first logger of a process for all objects, therefore there is one.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.WARNING:
                sys.stderr.write(f"{message}\n")
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message)

    return Logger()


def logged_error(trt: Any, message: str) -> BenchError:
    """Make an error from `message` and the last error in the logger: TensorRT returns None and raises nothing."""
    errors = get_logger(trt).errors
    return failure(message, RuntimeError(errors[-1] if errors else "TensorRT logged no reason"))


def is_weakly_typed(trt: Any) -> bool:
    """Tell if flags choose the precision in this version."""
    return hasattr(trt.BuilderFlag, "FP16")


def check_precision(trt: Any, precision: str) -> None:
    """Raise `Unavailable` if this version of TensorRT cannot compute in `precision`."""
    if is_weakly_typed(trt):
        missing = [flag for flag in FLAGS[precision] if not hasattr(trt.BuilderFlag, flag)]
        if missing:
            raise Unavailable(f"TensorRT {trt.__version__} does not support {precision}")
    elif precision not in STRONGLY_TYPED:
        raise Unavailable(
            f"TensorRT {trt.__version__} computes in the types of the file, and there is no file in the types of {precision}"
        )


def build_engine(trt: Any, recipe: EngineRecipe, timings: bytes = b"") -> tuple[bytes, bytes]:
    """Build an engine; return it with the builder's timing cache, which makes the next build faster (as `timings`).

    Raise `Unsupported`, with the parser's reason, for a file that the parser refuses.
    """
    check_precision(trt, recipe.precision)
    logger = get_logger(trt)
    logger.errors.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    # parse_from_file and not parse: with the path, the parser finds external data beside the file
    if not parser.parse_from_file(str(recipe.path)):
        raise Unsupported(f"TensorRT {trt.__version__} cannot parse the file: {_parser_error(parser, logger.errors)}")
    config = _make_config(trt, builder, network, recipe)
    timing_cache = config.create_timing_cache(timings)
    config.set_timing_cache(timing_cache, ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise logged_error(trt, f"TensorRT {trt.__version__} could not build an engine")
    return bytes(engine), bytes(config.get_timing_cache().serialize())


def _network_flags(trt: Any) -> int:
    """Bit mask of the network: explicit batch in versions with an implicit one, strong types in versions without weak ones."""
    names = ("EXPLICIT_BATCH",) if is_weakly_typed(trt) else ("STRONGLY_TYPED",)
    flags = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(flags, name)) for name in names if hasattr(flags, name))


def _parser_error(parser: Any, logged: Sequence[str]) -> str:
    """First error of the parser on one line, with the name of the node."""
    error = parser.get_error(0)
    # 8.6's error has the number of the node only; its name is in the log
    name = error.node_name() if hasattr(error, "node_name") else _logged_node("\n".join(logged))
    reason = error.desc() if hasattr(error, "node_name") and name else str(error)
    return one_line(RuntimeError(f"{reason} (node {name})" if name else reason))


def _logged_node(log: str) -> str:
    """Name of the first node in the parser's log; its operator and output for a node without a name."""
    match = LOGGED_NODE.search(log)
    return (match["name"] or match["node"]) if match else ""


def _make_config(trt: Any, builder: Any, network: Any, recipe: EngineRecipe) -> Any:
    """Make the builder's configuration: one profile with the cell's shapes, the precision, and detailed layer names."""
    config = builder.create_builder_config()
    for name in sorted(PRECISION_FLAGS):
        if hasattr(trt.BuilderFlag, name):
            change = config.set_flag if name in FLAGS[recipe.precision] else config.clear_flag
            change(getattr(trt.BuilderFlag, name))
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if recipe.level is not None:
        config.builder_optimization_level = recipe.level
    if recipe.aux_streams is not None:
        config.max_aux_streams = recipe.aux_streams
    sources = [source for name, source in trt.TacticSource.__members__.items() if name not in LIBRARY_SOURCES]
    config.set_tactic_sources(sum(1 << int(source) for source in sources))
    # minimum, optimum and maximum are the same shape: the engine is for one shape
    profile, shapes = builder.create_optimization_profile(), dict(recipe.shapes)
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.name not in shapes:  # the parser renames an input that is an output too
            problem = f"TensorRT {trt.__version__} calls an input of the file {tensor.name!r}"
            raise Unsupported(problem, "export the model so that no output is an input")
        profile.set_shape(tensor.name, *(shapes[tensor.name] for _ in range(3)))
    config.add_optimization_profile(profile)
    return config


def list_flags(trt: Any, precision: str) -> tuple[str, ...]:
    """List the flags that are set for `precision`, for the record."""
    if is_weakly_typed(trt):
        return FLAGS[precision]
    return ("STRONGLY_TYPED", *(flag for flag in FLAGS[precision] if flag == "TF32"))


def make_profiler(trt: Any) -> Any:
    """Make a TensorRT profiler with `times_ns`: the times of each layer in ns, by the layer's name."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times_ns: dict[str, list[int]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ns.setdefault(layer_name, []).append(int(ms * 1e6))

    return Profiler()
