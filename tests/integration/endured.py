"""What must hold of the tool for whatever file it is given: the three things that are fuzzed, and how they are judged."""

import resource
import time
import unicodedata
from pathlib import Path

import hostile
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.errors import BenchError

LIMIT_S, LIMIT_MB = 5.0, 300
COMMANDS = (
    ("show", "{run}"),
    ("show", "{run}", "--format", "markdown"),
    ("show", "{run}", "--format", "csv"),
    ("show", "{run}", "--format", "json"),
    ("compare", "{good}", "{run}"),
    ("recommend", "{run}"),
)
CONTROLS = ("Cc", "Cf", "Cs")  # what a terminal acts on: control, format (as text from right to left), halves of characters


def run_folder(seed, place):
    """Every command that reads a run folder, on a hostile one. What is wrong, or nothing."""
    folder = hostile.run_folder(seed, place / str(seed))
    found = []
    for words in COMMANDS:
        words = [word.format(run=folder, good=hostile.SEEDS / "run") for word in words]
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


def dataset(seed, place):
    """The loader of datasets on a hostile one."""
    from onnxbench.models import datasets

    name = hostile.dataset(seed, place / str(seed))
    return _call(lambda: datasets.load(name))


def model(worker, seed, place):
    """A worker that describes a hostile ONNX file. `worker(job, **request)` asks one."""
    path = hostile.model(seed, place / str(seed))
    return _call(lambda: worker("describe", path=str(path), model="m"))


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
