"""What must hold of the tool for whatever file it is given: the four things that are fuzzed, and how they are judged.

The fuzzer is our own, a seeded mutation of good files and of their fields: every input is seen again from its number.
"""

import resource
import shutil
import time
import unicodedata
from pathlib import Path

import hostile
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.errors import BenchError
from onnxbench.runners.pool.process import ProcessWorker
from onnxbench.runners.worker.clock import Clock
from onnxbench.runners.worker.file_jobs import Describe
from onnxbench.runners.worker.jobs import Here

LIMIT_S, LIMIT_MB = 5.0, 300
COMMANDS = (
    ("show", "{run}"),
    ("show", "{run}", "--format", "markdown"),
    ("show", "{run}", "--format", "csv"),
    ("show", "{run}", "--format", "json"),
    ("compare", "{good}", "{run}"),
    ("recommend", "{run}"),
    ("history", "{good}", "{run}"),
    ("history", "{run}", "--format", "bencher"),
)
CONTROLS = ("Cc", "Cf", "Cs")  # what a terminal acts on: control, format (as text from right to left), halves of characters


def run_folder(seed, place, worker=None):
    """Every command that reads a run folder, on a hostile one. What is wrong, or nothing."""
    folder = hostile.run_folder(seed, place / str(seed))
    found = []
    for command in COMMANDS:
        words = [word.format(run=folder, good=hostile.SEEDS / "run") for word in command]
        found += [f"{words[0]} {' '.join(words[2:])}: {wrong}" for wrong in _command(words)]
    return found


def _command(words):
    before, begin = _peak_mb(), time.monotonic()
    done = CliRunner().invoke(main, words)
    return [*_ending(done), *_clean(done, "json" in words), *_within(begin, before)]


def _ending(done):
    if done.exception and not isinstance(done.exception, SystemExit):
        yield f"{type(done.exception).__name__}: {str(done.exception)[:200]}"
    elif done.exit_code not in (0, 1, 2, 3):
        yield f"exit code {done.exit_code}"
    elif done.exit_code == 2 and not (done.stderr.startswith("bench: ") and len(done.stderr.splitlines()) == 1):
        yield f"more than a sentence: {done.stderr[:200]!r}"
    elif done.exit_code == 2 and len(done.stderr) > 1000:
        yield f"a sentence of {len(done.stderr)} characters"


def _clean(done, escaped):
    odd = {char for char in done.stdout + done.stderr if unicodedata.category(char) in CONTROLS and char != "\n"}
    if odd:
        yield f"control characters {sorted(map(ascii, odd))}"


def _within(begin, before_mb):
    took, grown = time.monotonic() - begin, _peak_mb() - before_mb
    if took > LIMIT_S:
        yield f"{took:.1f} s"
    if grown > LIMIT_MB:
        yield f"{grown:.0f} MB more"


def _peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def artifacts(seed, place, worker=None):
    """The reader of a manifest on a hostile one: what it takes lies in the manifest's folder."""
    from onnxbench.exporters import manifest

    folder = hostile.artifacts(seed, place / str(seed))
    outside = []

    def read():
        paths = [Path(item.artifact.path) for item in manifest.read_manifest(folder)]
        outside.extend(path for path in paths if not path.resolve().is_relative_to(folder.resolve()))

    return [*_call(read), *(f"{path} is outside" for path in outside)]


def dataset(seed, place, worker=None):
    """The loader of datasets on a hostile one."""
    from onnxbench.models import datasets

    name = hostile.dataset(seed, place / str(seed))
    return _call(lambda: datasets.load(name))


SAID = ("--backend", "ort-cpu", "--model", "m", "--device", "cpu", "--batch", "1")  # what some files do not say


def imported(seed, place, worker=None):
    """The import of a hostile file, with and without what a user says of it, and the tables of what became of it."""
    file, found = hostile.imported(seed, place / str(seed)), []
    for number, said in enumerate(((), SAID)):
        run = place / str(seed) / f"run-{number}"
        found += _command(["import", str(file), "--out", str(run), "--precision", "fp32", *said])
        found += _command(["show", str(run), "--format", "json"]) if run.exists() else []
    return found


def model(seed, place, worker):
    """A worker that describes a hostile ONNX file."""
    path = hostile.model(seed, place / str(seed))
    before = worker.peak_mb()
    wrong = _call(lambda: worker.ask(Describe(file=Here(path=str(path)), model="m")))
    grown = worker.peak_mb() - before
    return [*wrong, *([f"{grown:.0f} MB more in the worker"] if grown > LIMIT_MB else [])]


def _call(function):
    before, begin = _peak_mb(), time.monotonic()
    try:
        function()
    except BenchError as error:
        wrong = [] if len(str(error)) < 1000 and "\n" not in str(error) else [f"no sentence: {str(error)[:200]!r}"]
        if type(error).__name__ not in ("BadInput", "Unsupported"):
            wrong.append(f"{type(error).__name__}: {error}")
    except Exception as error:  # what is looked for
        wrong = [f"{type(error).__name__}: {str(error)[:200]}"]
    else:
        wrong = []
    return [*wrong, *_within(begin, before), *(["code was run"] if Path(hostile.OWNED).exists() else [])]


class Hands:
    """A worker with a limit of time, replaced where it was lost."""

    def __init__(self, log):
        self._log, self._worker = log, None

    def peak_mb(self):
        """The most that the worker had resident; 0 if it was lost."""
        status = Path(f"/proc/{self._hired()._process.pid}/status").read_text()
        return max([int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")], default=0.0)

    def ask(self, job):
        try:
            return self._hired().ask(job, LIMIT_S)
        except BenchError as error:
            if error.spoils_worker:
                self.dismiss()
            raise

    def _hired(self):
        self._worker = self._worker or ProcessWorker(self._log, Clock(), network=False)
        return self._worker

    def dismiss(self):
        if self._worker:
            self._worker.dismiss()
        self._worker = None


KINDS = {"model": model, "artifacts": artifacts, "dataset": dataset, "run_folder": run_folder, "imported": imported}


def wrong(kind, seeds, place):
    """Every seed of `seeds` with what is wrong with it, if anything is. Files are made in the folder `place`, and removed."""
    hands = Hands(place / "worker.log")
    try:
        for seed in seeds:
            yield from ((seed, text) for text in KINDS[kind](seed, place, hands))
            shutil.rmtree(place / str(seed))
    finally:
        hands.dismiss()
