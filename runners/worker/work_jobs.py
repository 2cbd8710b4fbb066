"""The worker's jobs for roofs: count the operations and bytes of a file for the shapes of one call, and write the graphs that
measure the machine. onnx, inside functions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import installed
from ...exporters import entries
from ...exporters.lowering_fixed import fix
from ...exporters.manifest import Maker
from ...models import onnx_file, roofs
from ...models.work import count_work
from ...spec import Shapes, digest
from ...work import GraphWork
from .file_jobs import CacheEntry, CountWork, MakeRoof
from .jobs import Reporter
from .prepare_jobs import cache_entry
from .serve import State

if TYPE_CHECKING:
    import onnx

FORMAT = 1  # increase it when the graphs of models/roofs.py change


def count(state: State, report: Reporter, job: CountWork) -> GraphWork:
    """Work of one call of the file. `Unavailable` without onnx."""
    with installed("onnx", "pip install onnx"):
        import onnx  # noqa: F401
    return work_of(Path(job.artifact.path), job.shapes)


def make_roof(state: State, report: Reporter, job: MakeRoof) -> CacheEntry:
    """Cache entry of the ONNX file of a graph that measures the machine. `Unavailable` without onnx."""
    with installed("onnx", "pip install onnx"):
        import onnx
    graph = roofs.RoofGraph(kind=job.kind, size=job.size, precision=job.precision)

    def make(scratch: Path) -> None:
        entries.write_entry(scratch, roofs.write(graph, scratch), Maker(exporter="roof"))

    key = digest([FORMAT, graph.kind, graph.size, graph.precision, onnx.__version__])
    return cache_entry(entries.find_or_make_export(key, make, onnx_file.file_hash))


def work_of(path: Path, shapes: Shapes) -> GraphWork:
    """Work of one call of the ONNX file at `path`, with `shapes` for its inputs. Its nodes have the names of the file."""
    return count_work(sized(onnx_file.model_of(path), shapes, path.parent))


def sized(model: onnx.ModelProto, shapes: Shapes, folder: Path) -> onnx.ModelProto:
    """`model` with all shapes that follow from those of its inputs, and without functions. `folder`: that of its weights."""
    import onnx
    from onnx.inliner import inline_local_functions

    model = inline_local_functions(model) if model.functions else model
    copy = type(model).FromString(model.SerializeToString())
    with suppress(Exception):  # of a file that onnx refuses: its own shapes are then all that is known
        fixed = fix(copy, shapes, folder)
        return onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    return model
