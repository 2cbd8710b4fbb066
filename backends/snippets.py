"""Programs to paste into a deployment: what is the same in those of all runtimes. Standard library only.

A runtime's own part is a template in its file, which defines `open_lane()`. Where a call blocks (`THREADED`) it returns a
function that makes one on inputs that are in place; where one thread keeps all lanes busy (`QUEUED`), one that starts a call
and one that waits for it. `MODEL`, `THREADS` and `inputs` (arrays by name) are there for it.
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
THREADED = (
    "from concurrent.futures import ThreadPoolExecutor\n",
    """

def rate(_):
    call = open_lane()
    for seconds in (WARM_UP_S, SECONDS):
        calls, begin = 0, time.perf_counter()
        while not calls or time.perf_counter() - begin < seconds:
            call()
            calls += 1
        took = time.perf_counter() - begin
    return calls / took


with ThreadPoolExecutor(LANES) as pool:  # one call in flight in each thread; a single lane stays in this one
    rates = list((pool.map if LANES > 1 else map)(rate, range(LANES)))
print(f"{BATCH * sum(rates):.1f} items/s")
""",
)
QUEUED = (
    "",
    """

lanes = [open_lane() for _ in range(LANES)]
for start, _ in lanes:
    start()
for seconds in (WARM_UP_S, SECONDS):
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for start, wait in lanes:  # the oldest call is done, and the next one takes its place
            wait()
            start()
        calls += LANES
    took = time.perf_counter() - begin
for _, wait in lanes:
    wait()
print(f"{BATCH * calls / took:.1f} items/s")
""",
)
"""What is imported, and what comes after a runtime's own part."""

FLOATS = {"mask": "np.ones({shape})", "positive": "abs(generator.standard_normal({shape})) + 0.1"}  # as what is measured


class ProgramCase(NamedTuple):
    """What a program is for."""

    artifact: Artifact
    cell: Cell
    concurrency: Concurrency


class Code(str):
    """Text that stands in a program as it is; every other value stands there as Python writes it."""

    __slots__ = ()


def program(template: str, case: ProgramCase, tail: tuple[str, str], /, **own: Any) -> str:
    """The whole program: `template` with its `$names` from `own`, between what is the same in all that run so."""
    artifact, cell, concurrency = case
    shapes = dict(cell.shapes)
    same = {
        "imports": Code(tail[0]),
        "title": Code(" ".join(cell.id.split())),
        "file": artifact.path,
        "lanes": concurrency.lanes,
        "threads": concurrency.threads,
        "batch": cell.batch,
        "inputs": Code("\n".join(f"    {spec.name!r}: {_drawn(spec, shapes)}," for spec in artifact.inputs)),
    }
    values = {name: value if isinstance(value, Code) else repr(value) for name, value in {**same, **own}.items()}
    return Template(HEAD + template + tail[1]).substitute(values)


def _drawn(spec: TensorSpec, shapes: Mapping[str, Shape]) -> str:
    """An expression for an array of the right type and plausible values; a file to load where none can be guessed."""
    if spec.setting:
        return f"np.load({f'{spec.name}.npy'!r})"
    low, high = (int(spec.role == "mask"), 2) if spec.dtype == "bool" else spec.integers(shapes)
    integers = f"generator.integers({low}, {high}, {{shape}})"
    floats = FLOATS.get(spec.role, "generator.standard_normal({shape})")
    drawn = floats if spec.dtype.startswith("float") else integers
    return f"np.asarray({drawn.format(shape=shapes[spec.name])}, {spec.dtype!r})"
