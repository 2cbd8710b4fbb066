"""Programs to paste into a deployment: the part that all runtimes share. Standard library only.

A runtime's file has a template that defines `open_lane()`. With the loop `THREADED` it returns a function that makes one
blocking call on inputs that are in place. With the loop `QUEUED` it returns two functions: one starts a call, one waits for
it. A template may use `MODEL`, `THREADS` and `inputs` (arrays by name).
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import Any, NamedTuple

from ..spec import Artifact, Cell, Concurrency, Shape, TensorSpec

HEAD = """\
# $title
import time
$imports
import numpy as np

MODEL = $file  # the file that was measured
LANES, THREADS, BATCH = $lanes, $threads, $batch
WARM_UP_S, SECONDS = 1.0, 3.0

generator = np.random.default_rng(0)
inputs = {
$inputs
}

"""


class Loop(NamedTuple):
    """The loop of a program: its own `imports`, and the `code` after the runtime's template."""

    imports: str
    code: str


THREADED = Loop(
    imports="from concurrent.futures import ThreadPoolExecutor\n",
    code="""

def rate(_):
    call = open_lane()
    for seconds in (WARM_UP_S, SECONDS):
        calls, begin = 0, time.perf_counter()
        while not calls or time.perf_counter() - begin < seconds:
            call()
            calls += 1
        elapsed = time.perf_counter() - begin
    return calls / elapsed


with ThreadPoolExecutor(LANES) as pool:  # one call in flight per thread; a single lane stays in the main thread
    rates = list((pool.map if LANES > 1 else map)(rate, range(LANES)))
print(f"{BATCH * sum(rates):.1f} items/s")
""",
)
QUEUED = Loop(
    imports="",
    code="""

lanes = [open_lane() for _ in range(LANES)]
for start, _ in lanes:
    start()
for seconds in (WARM_UP_S, SECONDS):
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for start, wait in lanes:  # wait for the oldest call, then start the next call in its lane
            wait()
            start()
        calls += LANES
    elapsed = time.perf_counter() - begin
for _, wait in lanes:
    wait()
print(f"{BATCH * calls / elapsed:.1f} items/s")
""",
)

FLOATS = {"mask": "np.ones({shape})", "positive": "abs(generator.standard_normal({shape})) + 0.1"}
"""Expressions by the role of a float input; the measured inputs are drawn in the same way (models/inputs)."""


class ProgramCase(NamedTuple):
    """The file, the cell and the concurrency that a program reproduces. The program opens the file that was measured."""

    artifact: Artifact
    cell: Cell
    concurrency: Concurrency


class Call(NamedTuple):
    """Two forms of a template's call: `plain`, and `feeding`, which hands outputs named in FEEDBACK to the next call."""

    plain: str
    feeding: str

    def code(self, cell: Cell) -> Code:
        """The form that `cell` needs, for one place in the body of `open_lane`."""
        text = f"FEEDBACK = {dict(cell.feedback)!r}\n{self.feeding}" if cell.feedback else self.plain
        return Code("\n    ".join(text.rstrip().splitlines()).replace("\n    \n", "\n\n"))


class Code(str):
    """Text that stands in a program as it is. Every other value stands there as its `repr`."""

    __slots__ = ()


def write_program(template: str, case: ProgramCase, loop: Loop, /, **values: Any) -> str:
    """Write the whole program: the head, `template`, the loop. `values` replace the template's `$names`.

    Values from outside (paths, names of inputs) go through `repr`. They cannot become code.
    """
    artifact, cell, concurrency = case
    shapes = dict(cell.shapes)
    shared = {
        "imports": Code(loop.imports),
        "title": Code(" ".join(cell.id.split())),  # on one line: a line break would end the comment
        "file": artifact.converted or artifact.path,
        "lanes": concurrency.lanes,
        "threads": concurrency.threads,
        "batch": cell.batch,
        "inputs": Code("\n".join(f"    {spec.name!r}: {_draw_expression(spec, shapes)}," for spec in artifact.inputs)),
    }
    texts = {name: value if isinstance(value, Code) else repr(value) for name, value in {**shared, **values}.items()}
    return Template(HEAD + template + loop.code).substitute(texts)


def _draw_expression(spec: TensorSpec, shapes: Mapping[str, Shape]) -> str:
    """Write the expression that draws an input of `spec`, with its shape, dtype and range.

    An input that sets a shape or a size cannot be drawn; the program loads it from `NAME.npy`.
    """
    if spec.setting:
        return f"np.load({f'{spec.name}.npy'!r})"
    low, high = (int(spec.role == "mask"), 2) if spec.dtype == "bool" else spec.integers(shapes)
    if spec.dtype.startswith("float"):
        draw = FLOATS.get(spec.role, "generator.standard_normal({shape})")
    else:
        draw = f"generator.integers({low}, {high}, {{shape}})"
    return f"np.asarray({draw.format(shape=shapes[spec.name])}, {spec.dtype!r})"
