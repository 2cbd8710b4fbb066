"""The commands as functions of Python: `import onnxbench as ob`. Everything is imported late.

An option has the name that it has on the command line: `--max-batch 8` is `max_batch=8`. Errors are those of errors.py, with
the sentences of the command line. __init__.pyi has the types of all options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .errors import BadInput, Interrupted, check_platform, of_system

if TYPE_CHECKING:
    import click

    from .commands.runs import RunRequest
    from .results.bisect.steps import BisectedVersions
    from .results.compare.judged import ComparedRuns
    from .results.recommend.recommendation import Recommendation
    from .results.store.record import Run
    from .results.table.values import Measurement, Rows
    from .runners.pool.progress import Progress

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _public(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Refuse Windows, and turn an error of the system into a `BenchError`."""

    @wraps(function)
    def call(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        check_platform()
        try:
            return function(*arguments, **options)
        except OSError as error:
            raise of_system(error) from error

    return call


@_public
def infer(model: Any = None, *, progress: bool = False, **options: Any) -> Measurement:
    """Measure a model on every runtime of this machine, as `bench infer` does.

    Without `model`, measure the files of the last export. `progress`: show notes and a bar on stderr. Returns the table;
    a row that could not be measured has a status and a reason.
    """
    return _carried_out("infer", progress, model=model, **options)


@_public
def check(model: Any = None, *, progress: bool = False, **options: Any) -> Measurement:
    """Compare the outputs with FP32 outputs and with labels, without timing, as `bench check` does."""
    return _carried_out("check", progress, model=model, **options)


@_public
def export(model: Any = None, *, progress: bool = False, **options: Any) -> Rows:
    """Write and check ONNX files in FP32, FP16 and INT8, as `bench export` does. Returns a row for each file."""
    from .commands.export import exported
    from .commands.output import logs
    from .results.table.values import Rows
    from .runners.prepare.export_table import tabulate

    params = _context("export", model=model, **options).params
    with logs(debug=False) as folder, _listener(progress) as (listener, notes):
        made = exported(params, folder, listener)
    return Rows(table=tabulate(made), notes=(*notes, *(item.describe() for item in made)))


@_public
def train(model: Any = None, *, progress: bool = False, **options: Any) -> Rows:
    """Train a named model on one or several devices, as `bench train` does. Returns a row for each device and precision."""
    from .commands.output import logs
    from .commands.train import requested, trained
    from .results.table.values import Rows

    request = requested(_context("train", model=model, **options))
    with logs(debug=False) as folder, _listener(progress) as (listener, notes):
        _, table, interrupted = trained(request, folder, listener)
    if interrupted:
        raise Interrupted("the training was interrupted", "train again to start over")
    return Rows(table=table, notes=tuple(notes))


@_public
def read(run: Any, *, baseline: str | None = None) -> Measurement:
    """Read the run or the check in a folder, with speed-ups against the target `baseline`."""
    from .results.store.head import CHECK, read_head
    from .results.store.nodes import is_of_nodes
    from .results.table.values import checked, measured, of_nodes
    from .untrusted import understood

    folder = Path(_folder(run))
    with understood([folder]):
        if is_of_nodes(folder):
            return of_nodes(folder, baseline)
        return checked(folder) if read_head(folder).kind == CHECK else measured(folder, baseline)


@_public
def table(*runs: Any, baseline: str | None = None, columns: Any = ()) -> Rows:
    """Put stored runs into one table, as `bench show` does. `columns`: names of the columns to keep."""
    from .results.table.table import build
    from .results.table.values import Rows
    from .untrusted import understood

    folders = _some(runs)
    with understood(folders):
        rows = Rows(table=build(_runs(folders), baseline))
    names = columns.split(",") if isinstance(columns, str) else columns
    return rows.columns(*names) if names else rows


@_public
def compare(base: Any, new: Any, **options: Any) -> ComparedRuns:
    """Compare two runs, or two lists of runs, cell by cell, as `bench compare` does."""
    from .commands.compare import requested
    from .results.compare.judged import compared, judge
    from .untrusted import understood

    params = _context("compare", base=_folders(base), new=_folders(new), **options).params
    old, now, gates = requested(*(params[name] for name in ("runs", "base", "new", "limits", "inconclusive")))
    with understood([*old, *now]):
        return compared(judge(_runs(old), _runs(now), gates, params["control"]))


@_public
def recommend(*runs: Any, **options: Any) -> Recommendation:
    """Recommend the best row within limits, as `bench recommend` does. `pick` has it, with its settings and a program."""
    from .commands.recommend import decided
    from .results.recommend.recommendation import Recommendation
    from .untrusted import understood

    params = _context("recommend", *_some(runs), **options).params
    with understood(params["runs"]):
        return Recommendation(decisions=decided(_runs(dict.fromkeys(params["runs"])), params))


@_public
def history(*runs: Any, **options: Any) -> Rows:
    """Follow one metric over many runs, and find the runs at which it changed, as `bench history` does."""
    from .commands.history import distinct, subject_of
    from .results.history.history import gather
    from .results.history.timeline import tabulate
    from .results.table.values import Rows
    from .untrusted import understood

    params = _context("history", *_some(runs), **options).params
    folders = distinct(params["runs"])
    with understood(folders):
        return Rows(table=tabulate(gather(_runs(folders), subject_of(params))))


@_public
def bisect(model: Any = None, *, good: str, bad: str, progress: bool = False, **options: Any) -> BisectedVersions:
    """Find the first version of a runtime that is slower, as `bench bisect` does. Installs each version with pip."""
    from .commands.bisect import requested
    from .commands.output import logs
    from .results.bisect.steps import bisected

    params = _context("bisect", model=model, good=good, bad=bad, **options).params
    with logs(debug=False) as folder, _listener(progress) as (listener, notes):
        bisector, _ = requested(params, folder, listener)
        result = bisector.run()
    return bisected(result, notes)


@_public
def report(*runs: Any, out: Any, **options: Any) -> tuple[Path, ...]:
    """Write runs into one file that others can open, as `bench report` does. Returns the paths: plots are a file each."""
    from .commands.report import made, write

    params = _context("report", *_some(runs), out=out, **options).params
    if params["out"] is None:
        raise BadInput("out is missing", "write out='report.html', or another file")
    files, _ = made(params, _runs)
    for path, content in files.items():
        write(path, content)
    return tuple(files)


def _carried_out(name: str, progress: bool, **options: Any) -> Measurement:
    """Do the work that the command `name` would do, and read its result."""
    from .results import trackers
    from .results.trackers.logged import of_run

    request: RunRequest = import_module(f".commands.{name}", __package__).requested(_context(name, **options))
    with _listener(progress) as (listener, notes):
        request.work(request.sweep, request.around(listener))
        result = request.result()
        if request.trackers:
            for run in result.runs or (result.run,):
                trackers.track(request.trackers, of_run(run, request.baseline), listener.note)
    return replace(result, notes=tuple(notes))


def _context(name: str, *arguments: Any, **options: Any) -> click.Context:
    """Options of the command `name` as the command line would parse them."""
    from .commands import keywords

    command: click.Command = getattr(import_module(f".commands.{name}", __package__), name)
    return keywords.context(name, command, arguments, options)


@contextmanager
def _listener(progress: bool) -> Iterator[tuple[Progress, list[str]]]:
    """A listener, and the notes that it keeps: none where it shows `progress` on stderr."""
    from .runners.pool.progress import Notes, terminal

    if not progress:
        silent = Notes()
        yield silent, silent.lines
        return
    with terminal().live() as live:
        yield live, []


def _some(runs: tuple[Any, ...]) -> list[Path]:
    """Folders of at least one run. A list of runs counts as its runs."""
    folders = [folder for run in runs for folder in _folders(run)]
    if not folders:
        raise BadInput("no run is given", "write the folder of a run, such as 'runs/mine'")
    return [Path(folder) for folder in folders]


def _folders(runs: Any) -> list[Any]:
    """Folders of one run, or of a list of runs."""
    return [_folder(runs)] if hasattr(runs, "folder") or isinstance(runs, str | PathLike) else [*map(_folder, runs)]


def _folder(run: Any) -> Any:
    """Folder of `run`, which may be the result of a measurement."""
    return getattr(run, "folder", run)


def _runs(folders: Any) -> list[Run]:
    from .commands.runs import read_runs

    return read_runs(folders)
