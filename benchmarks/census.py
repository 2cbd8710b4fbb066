"""Census of the models that the tool takes: all of the onnx package, and graphs of the kinds that users bring, on every CPU
backend. Each model goes through `bench check`, whose reading, drawing, parity and limits are those of `bench infer`.

    python benchmarks/census.py --state FILE.jsonl [--large] [--only WORD] [--seconds N] [--page docs/census.md]

Where no values can be drawn that a model takes, its own inputs are given, as a user would with --input. Every mismatch is
measured again with the bare runtimes (census_bare). FILE.jsonl has a line for each finished model, and a second call goes on
where the first one ended. The page is written when no model is left.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from census_bare import Bare, Question
from census_models import Case, cases
from census_pool import LendingPool
from census_result import OK, Result, Row, better, read_results, row_of, write_results
from onnxbench.budgets import BUDGETS
from onnxbench.errors import BadInput, BenchError
from onnxbench.results.store.record import CellRecord, read_run
from onnxbench.runners.check import check
from onnxbench.runners.infer import Surroundings
from onnxbench.runners.pool.progress import Silent
from onnxbench.runners.worker.file_jobs import Describe, Draw
from onnxbench.runners.worker.jobs import Here, There
from onnxbench.runners.worker.verify import load_arrays
from onnxbench.spec import Sweep, TensorSpec

BACKENDS = ("ort-cpu", "openvino-cpu")
TORCH = "torch-cpu"
TIMEOUT_S = 20.0


@dataclass
class Notes(Silent):
    """Progress that keeps the notes of one check."""

    texts: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.texts.append(text)


@dataclass
class Census:
    """Works through cases in `folder`."""

    folder: Path
    bare: Bare = field(default_factory=Bare)
    checks: int = 0

    def __post_init__(self) -> None:
        self.pool = LendingPool(logs=self.folder / "logs")

    def __enter__(self) -> Census:
        # Floors and conversions of the census are not the user's.
        os.environ["ONNXBENCH_CACHE"] = str(self.folder / "cache")
        # Workers import the modules of census_torch.
        here = str(Path(__file__).parent)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), here)))
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()
        self.bare.close()

    def result(self, case: Case) -> Result:
        """Rows of a case with drawn inputs, else with its own; and the bare runtimes' figures for each mismatch."""
        rows = self._rows(case, {})
        own = _save(case, self.folder)
        if own and any(row.state != OK for row in rows):
            rows = better(rows, self._rows(case, own))
        refused, differs = self.bare.plain(case)
        return Result(rows=tuple(rows), plain=refused, differs=differs)

    def _rows(self, case: Case, own: Mapping[str, str]) -> list[Row]:
        """Rows of `bench check`, one for each backend and precision. `own`: files of the inputs that are given."""
        self.checks += 1
        folder, notes = self.folder / f"check-{self.checks}", Notes()
        backends = (*BACKENDS, TORCH) if case.module else BACKENDS
        try:
            check(_sweep(case, own, backends, folder), Surroundings(out=folder / "run", progress=notes, pool=self.pool))
            return [self._row(case, item, own, notes.texts) for item in read_run(folder / "run").cells]
        except BenchError as error:
            state = "refused" if isinstance(error, BadInput) else error.status
            names = {"case": case.name, "kind": case.kind, "state": state, "reason": str(error)}
            return [Row(**names, backend=backend) for backend in backends]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _row(self, case: Case, item: CellRecord, own: Mapping[str, str], notes: Sequence[str]) -> Row:
        row = row_of(case.name, case.kind, item, notes)
        if row.state != "mismatch" or not item.opened or not item.opened.file:
            return row
        file = Path(item.opened.file)
        base, expected = file if case.module else case.file, case.expected if own else ()
        question = Question(base=base, file=file, inputs=self._inputs(base, item, own), expected=expected)
        measured = self.bare.distances(question)
        return replace(row, bare=measured.figures, against=measured.against)

    def _inputs(self, base: Path, item: CellRecord, own: Mapping[str, str]) -> Mapping[str, Any]:
        """Inputs of a row, drawn again with the seed of the check."""
        folder = self.folder / "arrays"
        given = tuple((name, Here(path=path)) for name, path in own.items())
        with self.pool.start(self.folder / "prepare.log") as worker:
            artifact = worker.ask(Describe(file=Here(path=str(base)), model="m"), TIMEOUT_S)
            draw = Draw(artifact=artifact, shapes=item.cell.shapes, seed=0, given=given, folder=There(path=str(folder)))
            worker.ask(draw, TIMEOUT_S)
        return load_arrays(folder, [spec.name for spec in artifact.inputs])


def _sweep(case: Case, own: Mapping[str, str], backends: tuple[str, ...], folder: Path) -> Sweep:
    is_made = case.precisions or case.module
    return Sweep(
        model=case.module or str(case.file),
        artifacts=str(folder / "artifacts") if is_made else "",
        backends=backends,
        precisions=case.precisions,
        signature=tuple(TensorSpec(name=name, dtype="float32", shape=shape) for name, shape in case.shapes.items()),
        dims=tuple((name, (size,)) for name, size in case.dims.items()),
        inputs=tuple(own.items()),
        budget=BUDGETS["quick"],
        timeout_s=TIMEOUT_S,
    )


def _save(case: Case, folder: Path) -> dict[str, str]:
    """The case's own inputs as files, as --input takes them."""
    files = {}
    for number, (name, value) in enumerate(case.given.items()):
        if isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.kind in "fiub":
            files[name] = str(folder / f"given-{number}.npy")
            np.save(files[name], np.asarray(value))
    return files


def work(found: Iterator[Case], folder: Path, report: Callable[[Result], None]) -> list[Result]:
    """The result of each case. `report` is called for each result when its case is done."""
    results = []
    with Census(folder) as census:
        for case in found:
            results.append(census.result(case))
            report(results[-1])
    return results


def _print(result: Result) -> None:
    for row in result.rows:
        if row.state != OK:
            print(f"{row.case:55} {row.backend:13} {row.precision:5} {row.state:16} {row.reason} {row.bare}", flush=True)


def _until(found: Iterator[Case], seconds: float) -> Iterator[Case]:
    """Cases, until `seconds` are over."""
    end = time.monotonic() + seconds
    for case in found:
        if time.monotonic() > end:
            raise Unfinished
        yield case


class Unfinished(Exception):
    """The time of this call is over, and there are more cases."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--state", type=Path, required=True, help="results of earlier calls, and of this one")
    options.add_argument("--large", action="store_true", help="a file of more than 2 GB too")
    options.add_argument("--only", default="", help="models with this in their name, measured again")
    options.add_argument("--seconds", type=float, default=math.inf, help="stop then; another call goes on")
    options.add_argument("--page", type=Path)
    given = options.parse_args()
    done = {result.rows[0].case: result for result in read_results(given.state)}
    with tempfile.TemporaryDirectory() as name:
        every = cases(Path(name), given.large)
        left = (case for case in every if (given.only in case.name if given.only else case.name not in done))

        def report(result: Result) -> None:
            write_results(given.state, [result])
            _print(result)

        try:
            work(_until(left, given.seconds), Path(name), report)
        except Unfinished:
            sys.exit(f"not finished: {len(read_results(given.state))} models so far")
    if given.page:
        from census_page import page

        given.page.write_text(page(list({result.rows[0].case: result for result in read_results(given.state)}.values())))


if __name__ == "__main__":
    main()
