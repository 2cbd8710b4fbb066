"""INT8 files of many models, through onnx.checker and through TensorRT's parser and builder.

    python benchmarks/int8_builder.py --state FILE.jsonl [--nodes] [--only WORD] [--seconds N] [--page FILE.md] [MODEL.onnx ...]

Each model is exported as `bench export` does it, in FP32 and in the INT8 schemes that TensorRT takes. The models are those of
the census, a CNN, a residual network, a transformer and the named files. `--nodes` adds onnx's tests of single operators, of
those that have a layer. The builder is that of TensorRT for RTX: it needs no GPU, and an engine is not run. A refusal of the
FP32 file too is not a fault of INT8. FILE.jsonl has a line for each finished model, and a second call goes on where the first
one ended.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as Late
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import onnx
from census_models import Case, cases
from census_pool import LendingPool
from int8_builder_page import STEPS, Outcome, page, read_outcomes, write_outcomes
from onnxbench.backends.trt_build import EngineRecipe, build_engine
from onnxbench.errors import BenchError, Unsupported, one_line
from onnxbench.exporters.schemes import LAYERS
from onnxbench.models.shapes import batch_rule, cell_shapes
from onnxbench.runners.pool.context import Context
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.prepare.exports import export_model
from onnxbench.runners.prepare.request import ExportRequest
from onnxbench.spec import Artifact, Shapes, TensorSpec

SCHEMES = ("portable", "layers")
BATCH, EXPORT_S, BUILD_S = 2, 240.0, 120.0
NETWORKS = {
    "cnn": ("onnxbench.models.cnn:cnn", (1, 3, 48, 48)),
    "residual-network": ("networks:make_residual", (1, 3, 64, 64)),
    "transformer": ("networks:make_transformer", (1, 32, 64)),
}


def build(path: str, shapes: Shapes, precision: str) -> tuple[str, str | None]:
    """Refusals of TensorRT's parser and of its builder. In a process of its own, because TensorRT may end it."""
    import tensorrt_rtx

    try:
        build_engine(tensorrt_rtx, EngineRecipe(path=Path(path), shapes=shapes, precision=precision))
    except Unsupported as error:
        return str(error), None
    except Exception as error:  # an error of TensorRT's Python part is a refusal too
        return "", one_line(error)
    return "", ""


def check(path: str) -> str:
    """The refusal of onnx.checker."""
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:  # C++ errors of onnx have no common base
        return one_line(error)
    return ""


@dataclass
class Builder:
    """A process that checks and builds, and that is replaced when it ends or takes too long."""

    pool: ProcessPoolExecutor | None = None

    def outcome(self, artifact: Artifact, shapes: Shapes) -> dict[str, str | None]:
        """Refusals of the three steps for a file."""
        try:
            parser, builder = self._start().submit(build, artifact.path, shapes, artifact.precision).result(BUILD_S)
        except (BrokenProcessPool, Late) as error:
            self.close()
            parser, builder = "", f"the process ended ({type(error).__name__})"
        return {"checker": check(artifact.path), "parser": parser, "builder": builder}

    def _start(self) -> ProcessPoolExecutor:
        self.pool = self.pool or ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return self.pool

    def close(self) -> None:
        if self.pool:
            for process in list(getattr(self.pool, "_processes", {}).values()):
                process.kill()
            self.pool.shutdown(cancel_futures=True)
        self.pool = None


@dataclass
class Exporter:
    """Exports cases, and gives each file to the builder."""

    folder: Path
    builder: Builder = field(default_factory=Builder)

    def __post_init__(self) -> None:
        self.pool = LendingPool(logs=self.folder / "logs")
        self.context = Context(logs=self.folder / "logs", progress=Silent(), timeout_s=EXPORT_S, pool=self.pool)

    def outcomes(self, case: Case) -> Iterator[Outcome]:
        """Outcomes of the FP32 file, and of each scheme."""
        for scheme in ("", *SCHEMES):
            try:
                artifact = self._export(case, scheme)
                shapes = _shapes(artifact, case)
            except BenchError as error:
                yield Outcome(case=case.name, kind=case.kind, scheme=scheme or "fp32", export=str(error))
                continue
            steps = self.builder.outcome(artifact, shapes)
            yield Outcome(case=case.name, kind=case.kind, scheme=scheme or "fp32", **steps)

    def _export(self, case: Case, scheme: str) -> Artifact:
        """The file in the cache of this benchmark: as it is without a scheme, else in INT8."""
        specs = tuple(TensorSpec(name=name, dtype="float32", shape=shape) for name, shape in case.shapes.items())
        request = ExportRequest(
            model=case.module or str(case.file),
            dataset=None,
            folder=None,
            inputs=specs,
            precisions=("int8",) if scheme else ("fp32",),
            schemes=(scheme,) if scheme else (),
            dims=tuple((name, (size,)) for name, size in case.dims.items()),
        )
        return export_model(request, self.context)[-1].exported.artifact

    def close(self) -> None:
        self.pool.close()
        self.builder.close()


def _shapes(artifact: Artifact, case: Case) -> Shapes:
    """One shape for each input: TensorRT builds for given shapes."""
    given = {} if case.module else dict(case.shapes)
    rule = batch_rule(artifact.inputs, given, artifact.outputs, dict(case.dims))
    return cell_shapes(artifact.inputs, rule.fixed or BATCH, rule, given, dict(case.dims))


def models(folder: Path, files: Sequence[Path], nodes: bool) -> Iterator[Case]:
    """The networks, the named files, and the models of the census."""
    for name, (module, shape) in NETWORKS.items():
        yield Case(name=name, kind="network", file=Path(), module=module, shapes={"x": shape})
    yield from (Case(name=file.stem, kind="named file", file=file) for file in files)
    for case in cases(folder):
        if case.kind != "node" or (nodes and any(node.op_type in LAYERS for node in onnx.load(case.file).graph.node)):
            yield case


def work(found: Iterable[Case], folder: Path, seconds: float, state: Path) -> bool:
    """Write the outcomes of each case to `state`. Return False if `seconds` were over before the last one."""
    end, exporter = time.monotonic() + seconds, Exporter(folder)
    try:
        for case in found:
            if time.monotonic() > end:
                return False
            outcomes = list(exporter.outcomes(case))
            write_outcomes(state, outcomes)
            for one in outcomes:
                refused = [f"{step}: {why}" for step in STEPS if (why := getattr(one, step))]
                print(f"{one.case:40} {one.scheme:9} {'; '.join(refused)[:150] or 'built'}", flush=True)
    finally:
        exporter.close()
    return True


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--state", type=Path, required=True, help="outcomes of earlier calls, and of this one")
    options.add_argument("--nodes", action="store_true", help="onnx's tests of single operators too")
    options.add_argument("--only", default="", help="models with this in their name, made again")
    options.add_argument("--seconds", type=float, default=math.inf, help="stop then; another call goes on")
    options.add_argument("--page", type=Path)
    options.add_argument("files", type=Path, nargs="*")
    given = options.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (os.environ.get("PYTHONPATH"), here))
    )  # workers import the networks
    done = read_outcomes(given.state)
    with tempfile.TemporaryDirectory() as name:
        os.environ["ONNXBENCH_CACHE"] = str(Path(name) / "cache")
        every = models(Path(name), given.files, given.nodes)
        left = (case for case in every if (given.only in case.name if given.only else case.name not in done))
        is_complete = work(left, Path(name), given.seconds, given.state)
    if given.page:
        given.page.write_text(page(list(itertools.chain(*read_outcomes(given.state).values()))))
    print("finished" if is_complete else f"not finished: {len(read_outcomes(given.state))} models so far")


if __name__ == "__main__":
    main()
