"""Where runs are logged to beside their own folder: one file for each library, which imports it when it logs.

They are asked for by `--track`. Whether a library is here is checked before anything is measured. What goes wrong when it logs
is one sentence, and changes neither the table nor the exit code.
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

SECRET = re.compile(r"//[^/@\s]+@")  # a server's address may have a password
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """`needs`: the modules without which `log` cannot work. `log` logs a run and says where it is."""

    needs: Callable[[], tuple[str, ...]]
    log: Callable[[LoggedRun, Say], None]


TRACKERS: Mapping[str, Tracker] = {
    "mlflow": Tracker(needs=to_mlflow.needs, log=to_mlflow.log),
    "wandb": Tracker(needs=to_wandb.needs, log=to_wandb.log),
    "tensorboard": Tracker(needs=to_tensorboard.needs, log=to_tensorboard.log),
}


def check(names: Sequence[str], trackers: Mapping[str, Tracker] = TRACKERS) -> None:
    """`BadInput` for a tracker whose library is not here. Imports nothing."""
    for name in names:
        missing = [module for module in trackers[name].needs() if find_spec(module) is None]
        if missing:
            raise BadInput(f"--track {name} needs {', '.join(missing)}, not found here", f"pip install 'onnxbench[{name}]'")


def track(names: Sequence[str], logged: LoggedRun, say: Say, trackers: Mapping[str, Tracker] = TRACKERS) -> None:
    """Log to each of `names`. A library that fails is told to `say`, and the next one goes on."""
    for name in dict.fromkeys(names):
        try:
            with redirect_stdout(sys.stderr):  # what libraries print is not the result
                trackers[name].log(logged, say)
        except Exception as error:  # a server, a quota, a disk, a version: nothing of it is the run's
            text = SECRET.sub("//", one_line(error))
            say(f"bench: not logged with {name}, and the run itself is whole ({type(error).__name__}: {text})")
