"""Trackers, which log a run beside its own folder: one module for each library, which imports the library when it logs.

`--track` selects them. The command checks that the libraries are installed before it measures. An error of a library is a
single sentence, and changes neither the table nor the exit code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec

from ...errors import BadInput, one_line
from . import to_mlflow, to_tensorboard, to_wandb
from .logged import LoggedRun

SECRET = re.compile(r"//[^/@\s]+@")  # the address of a server may contain a password
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """A library. `needs` returns the modules that `log` imports. `log` logs a run and reports the place."""

    needs: Callable[[], tuple[str, ...]]
    log: Callable[[LoggedRun, Say], None]


TRACKERS: Mapping[str, Tracker] = {
    "mlflow": Tracker(needs=to_mlflow.needs, log=to_mlflow.log),
    "wandb": Tracker(needs=to_wandb.needs, log=to_wandb.log),
    "tensorboard": Tracker(needs=to_tensorboard.needs, log=to_tensorboard.log),
}


def check(names: Sequence[str], trackers: Mapping[str, Tracker] = TRACKERS) -> None:
    """`BadInput` for a tracker without its library. Imports nothing."""
    for name in names:
        missing = [module for module in trackers[name].needs() if find_spec(module) is None]
        if missing:
            raise BadInput(f"--track {name} needs {', '.join(missing)}, not installed here", f"pip install 'onnxbench[{name}]'")


def track(names: Sequence[str], logged: LoggedRun, say: Say, trackers: Mapping[str, Tracker] = TRACKERS) -> None:
    """Log to each of `names`. Calls `say` with the error of a library that fails, and continues with the next library."""
    for name in dict.fromkeys(names):
        try:
            with redirect_stdout(sys.stderr):  # standard output has the result alone
                trackers[name].log(logged, say)
        except Exception as error:  # a server, a quota, a disk: no such error is the run's
            text = SECRET.sub("//", one_line(error))
            say(f"bench: {name} could not log the run ({type(error).__name__}: {text}); the run folder is complete")
