"""The worker's job that counts the operations and bytes of a file for the shapes of one call. onnx, inside functions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import installed
from ...exporters.lowering_fixed import fix
from ...models.onnx_file import model_of
from ...models.work import count_work
from ...spec import Shapes
from ...work import GraphWork
from .file_jobs import CountWork
from .jobs import Reporter
from .serve import State

if TYPE_CHECKING:
    import onnx


def count(state: State, report: Reporter, job: CountWork) -> GraphWork:
    """Work of one call of the file. `Unavailable` without onnx."""
    with installed("onnx", "pip install onnx"):
        import onnx  # noqa: F401
    return work_of(Path(job.artifact.path), job.shapes)


def work_of(path: Path, shapes: Shapes) -> GraphWork:
    """Work of one call of the ONNX file at `path`, with `shapes` for its inputs. Its nodes have the names of the file."""
    return count_work(sized(model_of(path), shapes, path.parent))


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
