"""From an ONNX file to a TensorRT engine, with either generation of its API. The module comes as an argument.

Up to version 10 a network may be weakly typed, and flags of the builder choose the arithmetic; from 11 on (and in TensorRT
for RTX) it is strongly typed, and the types of the file do. Both are given the same files.
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
"""The flags that let a weakly typed network compute so; TF32 is set unless it is cleared."""

ARITHMETIC = {"TF32", "FP16", "BF16", "INT8", "FP8", "INT4"}
FROM_TYPES = ("fp32", "tf32", "fp16", "int8")
"""What a strongly typed network can be asked for with the files that there are."""

LOGGED_NODE = re.compile(
    r'While parsing node number \d+ \[(?P<node>[^\n]*)\]:(?:(?!^name:|--- End node).)*(?:^name: "(?P<name>[^"]*)")?',
    re.M | re.S,
)
"""As 8.6's parser writes it: a line, then the node in protobuf's text, in which its own fields are not indented."""

OUTSIDE = {"CUBLAS", "CUBLAS_LT", "CUDNN"}
"""Sources of kernels that are libraries of their own; versions after 8.6 leave them out unless told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRecipe:
    """What an engine is made of: the file at `path`, its inputs' shapes, the precision, and how long the builder may try
    (0 to 5, its own default where that is None)."""

    path: Path
    shapes: Shapes
    precision: str
    level: int | None = None


@cache
def logger(trt: Any) -> Any:
    """The process's one logger. Warnings and errors go to standard error; the last errors are kept for people."""

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


def last_words(trt: Any, what: str) -> BenchError:
    """An error of ours that says `what` went wrong, in the words that the logger heard last."""
    errors = logger(trt).errors
    return failure(what, RuntimeError(errors[-1] if errors else "it does not say why"))


def weakly_typed(trt: Any) -> bool:
    """Whether flags choose the arithmetic in this version."""
    return hasattr(trt.BuilderFlag, "FP16")


def check_precision(trt: Any, precision: str) -> None:
    """`Unavailable` if this version of TensorRT has no such arithmetic."""
    if weakly_typed(trt):
        missing = [flag for flag in FLAGS[precision] if not hasattr(trt.BuilderFlag, flag)]
        if missing:
            raise Unavailable(f"TensorRT {trt.__version__} has no {precision}")
    elif precision not in FROM_TYPES:
        raise Unavailable(f"TensorRT {trt.__version__} computes in the file's types, and no file here has those of {precision}")


def build(trt: Any, recipe: EngineRecipe, timings: bytes = b"") -> tuple[bytes, bytes]:
    """The engine and what the builder learned of kernels' times, to be handed to it again. `Unsupported` with the parser's
    words for a file that it does not take."""
    check_precision(trt, recipe.precision)
    log = logger(trt)
    log.errors.clear()
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(recipe.path)):
        raise Unsupported(f"TensorRT {trt.__version__} cannot parse the file: {_parser_error(parser, log.errors)}")
    config = _config(trt, builder, network, recipe)
    known = config.create_timing_cache(timings)
    config.set_timing_cache(known, ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise last_words(trt, f"TensorRT {trt.__version__} built no engine")
    return bytes(engine), bytes(config.get_timing_cache().serialize())


def _network_flags(trt: Any) -> int:
    """Explicit batch where it is a choice still, and strong types where there are no others."""
    names = ("EXPLICIT_BATCH",) if weakly_typed(trt) else ("STRONGLY_TYPED",)
    flags = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(flags, name)) for name in names if hasattr(flags, name))


def _parser_error(parser: Any, logged: Sequence[str]) -> str:
    """The parser's first error, with the node's name: versions that tell only its number write the node to the log."""
    error = parser.get_error(0)
    name = error.node_name() if hasattr(error, "node_name") else _logged_node("\n".join(logged))
    said = error.desc() if hasattr(error, "node_name") and name else str(error)
    return one_line(RuntimeError(f"{said} (node {name})" if name else said))


def _logged_node(log: str) -> str:
    """The name of the first node in the parser's log, or its type and output where it has none."""
    found = LOGGED_NODE.search(log)
    return (found["name"] or found["node"]) if found else ""


def _config(trt: Any, builder: Any, network: Any, recipe: EngineRecipe) -> Any:
    """One profile with the cell's own shapes, the arithmetic, and layers told in detail."""
    config = builder.create_builder_config()
    for name in sorted(ARITHMETIC):
        if hasattr(trt.BuilderFlag, name):
            wanted = name in FLAGS[recipe.precision]
            (config.set_flag if wanted else config.clear_flag)(getattr(trt.BuilderFlag, name))
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if recipe.level is not None:
        config.builder_optimization_level = recipe.level
    own = [source for name, source in trt.TacticSource.__members__.items() if name not in OUTSIDE]
    config.set_tactic_sources(sum(1 << int(source) for source in own))
    profile, shapes = builder.create_optimization_profile(), dict(recipe.shapes)
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        profile.set_shape(tensor.name, *(shapes[tensor.name] for _ in range(3)))
    config.add_optimization_profile(profile)
    return config


def flags(trt: Any, precision: str) -> tuple[str, ...]:
    """What the arithmetic was chosen by, for the record."""
    return FLAGS[precision] if weakly_typed(trt) else ("STRONGLY_TYPED", *(flag for flag in FLAGS[precision] if flag == "TF32"))


def profiler(trt: Any) -> Any:
    """A TensorRT profiler that keeps what it is told, as `times_ns`: nanoseconds by layer."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times_ns: dict[str, list[int]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ns.setdefault(layer_name, []).append(int(ms * 1e6))

    return Profiler()
