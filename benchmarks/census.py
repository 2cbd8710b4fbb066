"""Census of the models that the tool takes: all of the onnx package, and graphs of the kinds that users bring, on every CPU
backend: read, shapes planned, inputs drawn, opened, called once, and compared with the reference, by the tool's own jobs.

    python benchmarks/census.py [--large] [--only WORD] [--page docs/census.md]

Where no values can be drawn that a model takes, its own inputs are given, as a user would with --input. Plain ONNX Runtime
runs the same inputs apart from us, so that what it takes and we do not can be told, and what it computes otherwise than
ONNX's authors expect. Prints what was not ok as it goes; the page is written at the end.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from census_models import Case, cases
from onnxbench.errors import BadInput, BenchError, WorkerDied, WorkerTimeout
from onnxbench.models.shapes import batch_rule, cell_shapes, check_shapes
from onnxbench.runners.pool.pool import Local, Worker
from onnxbench.runners.worker.file_jobs import Describe, Draw, Refer, ReferenceCall
from onnxbench.runners.worker.jobs import Close, Here, Job, Open, There, Verify
from onnxbench.runners.worker.threads import usable_threads
from onnxbench.spec import PRECISIONS, Artifact, Cell, Settings, Shapes

BACKENDS = ("ort-cpu", "openvino-cpu")
TIMEOUT_S = 20.0
FRESH_AFTER = 300  # models: compiled ones are not all given back
Answer = TypeVar("Answer")
OK, OWN_INPUTS, NO_PARITY = "ok", "ok with --input", "ok, no parity"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Outcome of a case on a backend: `state`, and the `reason` where it is not OK."""

    case: str
    kind: str
    backend: str
    state: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The rows of a case, and how plain ONNX Runtime did with the case's own inputs: empty where it did, and None where there
    are none; `differs` says that its answers are not those that ONNX's authors expect."""

    rows: tuple[Row, ...]
    plain: str | None = None
    differs: str = ""


class Hand:
    """A worker that is replaced when it dies, hangs or has worked enough."""

    def __init__(self, folder: Path, name: str) -> None:
        self._log, self._served = folder / f"{name}.log", 0
        self._worker: Worker | None = None

    def ask(self, job: Job[Answer]) -> Answer:
        """The answer to `job`; raises as Worker does."""
        if self._worker is None:
            self._worker = Local().start(self._log, network=True)
        try:
            return self._worker.ask(job, TIMEOUT_S)
        except (WorkerDied, WorkerTimeout):
            self.dismiss()
            raise

    def rest(self) -> None:
        """A case is done."""
        self._served += 1
        if self._served % FRESH_AFTER == 0:
            self.dismiss()

    def dismiss(self) -> None:
        if self._worker is not None:
            self._worker.dismiss()
        self._worker = None


@dataclass
class Census:
    """Works through cases in `folder`."""

    folder: Path
    backends: tuple[str, ...] = BACKENDS
    hands: dict[str, Hand] = field(default_factory=dict)

    def __enter__(self) -> Census:
        self.hands = {name: Hand(self.folder, name) for name in ("prepare", *self.backends)}
        return self

    def __exit__(self, *_: object) -> None:
        for hand in self.hands.values():
            hand.dismiss()

    def rows(self, case: Case) -> tuple[Row, ...]:
        """A row for each backend: with drawn inputs, else with the case's own."""
        found = {name: self._row(case, name, given=False) for name in self.backends}
        if case.given and any(row.state != OK for row in found.values()):
            again = {name: self._row(case, name, given=True) for name in self.backends}
            found = {name: _better(found[name], again[name]) for name in self.backends}
        for hand in self.hands.values():
            hand.rest()
        return tuple(found.values())

    def _row(self, case: Case, backend: str, given: bool) -> Row:
        about = {"case": case.name, "kind": case.kind, "backend": backend}
        try:
            state, reason = self._measured(case, backend, given)
        except BadInput as error:
            return Row(**about, state="refused", reason=str(error))
        except BenchError as error:
            return Row(**about, state=error.status, reason=str(error))
        return Row(**about, state=state, reason=reason)

    def _measured(self, case: Case, backend: str, given: bool) -> tuple[str, str]:
        """Status that a row of `bench infer` would have, with its reason."""
        place, prepare = self.folder / "arrays", self.hands["prepare"].ask
        artifact = prepare(Describe(file=Here(path=str(case.file)), model=case.name))
        arrays = _saved(case, artifact, self.folder) if given else {}
        shapes = _shapes(artifact, case, arrays)
        cell = _cell(artifact, backend, shapes)
        own = tuple((name, Here(path=path)) for name, path in arrays.items())
        prepare(Draw(artifact=artifact, shapes=shapes, seed=0, given=own, folder=There(path=str(place))))
        inputs, outputs = Here(path=str(place)), str(place / "reference")
        call = ReferenceCall(shapes=shapes, batch=cell.batch, inputs=inputs, outputs=There(path=outputs))
        ask, known = self.hands[backend].ask, ""
        try:
            prepare(Refer(artifact=artifact, calls=(call,), samples=There(path=str(place / "samples")), images=0))
        except BenchError as error:
            known = str(error)
        ask(Open(cell=cell, artifact=artifact, inputs=inputs))
        try:
            sqnr_db = None if known else ask(Verify(key=cell.key, reference=Here(path=outputs))).sqnr_db
        finally:
            with suppress(BenchError):
                ask(Close(key=cell.key))
        return _judged(sqnr_db, known, PRECISIONS[artifact.precision].floor_db)


def _judged(sqnr_db: float | None, unknown: str, floor: float) -> tuple[str, str]:
    """`sqnr_db`: None where it is `unknown`, and why."""
    if sqnr_db is None:
        return NO_PARITY, unknown
    if sqnr_db < floor:
        return "mismatch", f"SQNR {sqnr_db:.0f} dB against the reference, under {floor:g} dB"
    return OK, ""


def _better(drawn: Row, own: Row) -> Row:
    """The better outcome of a case that was tried with drawn inputs and with its own."""
    if drawn.state == OK:
        return drawn
    if own.state != OK:
        return own
    return Row(case=own.case, kind=own.kind, backend=own.backend, state=OWN_INPUTS, reason=drawn.reason)


def _saved(case: Case, artifact: Artifact, folder: Path) -> dict[str, str]:
    """The case's own inputs as files, as --input takes them."""
    places = {}
    for number, spec in enumerate(artifact.inputs):
        if isinstance(case.given.get(spec.name), np.ndarray | np.generic):
            places[spec.name] = str(folder / f"given-{number}.npy")
            np.save(places[spec.name], np.asarray(case.given[spec.name]))
    return places


def _shapes(artifact: Artifact, case: Case, arrays: Mapping[str, str]) -> Shapes:
    """Shapes as a sweep of one batch plans them."""
    fixed = {**case.shapes, **{name: tuple(np.load(path, allow_pickle=True).shape) for name, path in arrays.items()}}
    check_shapes(artifact.inputs, fixed)
    rule = batch_rule(artifact.inputs, fixed)
    return cell_shapes(artifact.inputs, 1 if rule.fixed is None else rule.fixed, rule, fixed)


def _cell(artifact: Artifact, backend: str, shapes: Shapes) -> Cell:
    batch = shapes[0][1][0] if shapes and shapes[0][1] else 1
    what = {"model": artifact.model, "sha256": artifact.sha256, "precision": artifact.precision}
    settings = Settings(threads=usable_threads())
    return Cell(**what, backend=backend, device="cpu", batch=batch, shapes=shapes, settings=settings)


class Plain:
    """Bare ONNX Runtime in a process of its own, replaced when it dies."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def run(self, case: Case) -> tuple[str | None, str]:
        """Reason for which it does not take the case with its own inputs (None: there are none), and how its answers differ."""
        if not case.given and case.kind != "node":
            return None, ""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(plainly, case).result(TIMEOUT_S)
        except (BrokenProcessPool, TimeoutError) as error:
            self._pool = None
            return f"{type(error).__name__}", ""

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown()


def plainly(case: Case) -> tuple[str, str]:
    """Refusal of `case` by ONNX Runtime itself, with its own inputs, and the difference from the expected answers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(case.file), options, providers=["CPUExecutionProvider"])
        names = {entry.name for entry in session.get_inputs()}
        found = session.run(None, {name: array for name, array in case.given.items() if name in names})
    except Exception as error:
        return " ".join(str(error).split())[:200], ""
    return "", _difference(found, case)


def _difference(found: list[Any], case: Case) -> str:
    for got, want in zip(found, case.expected):
        if not isinstance(want, np.ndarray) or want.dtype.kind not in "fiub":
            continue
        if np.shape(got) != want.shape:
            return f"shape {np.shape(got)}, expected {want.shape}"
        if not np.allclose(got, want, rtol=case.rtol, atol=max(case.atol, 1e-6), equal_nan=True):
            return f"differs by up to {np.nanmax(np.abs(np.float64(got) - np.float64(want))):.3g}"
    return ""


def work(found: Iterator[Case], folder: Path, tell: Callable[[Found], None]) -> list[Found]:
    """Everything that is known of each case; `tell` hears of each when it is done."""
    done, plain = [], Plain()
    with Census(folder) as census:
        for case in found:
            rows = census.rows(case)
            refused, differs = plain.run(case)
            done.append(Found(rows=rows, plain=refused, differs=differs))
            tell(done[-1])
    plain.close()
    return done


def _told(found: Found) -> None:
    for row in found.rows:
        if row.state != OK:
            print(f"{row.case:55} {row.backend:13} {row.state:16} plain={found.plain!r} {row.reason}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--large", action="store_true", help="a file of more than 2 GB too")
    options.add_argument("--only", default="", help="models with this in their name")
    options.add_argument("--page", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = (case for case in cases(folder, asked.large) if asked.only in case.name)
        found = work(every, folder, _told)
    if asked.page:
        from census_page import page

        asked.page.write_text(page(found))
    sys.stderr.write(f"{len(found)} models\n")


if __name__ == "__main__":
    main()
