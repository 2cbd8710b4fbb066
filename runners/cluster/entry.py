"""Program on a node: the ordinary run of an order, in a process of its own. `python -m onnxbench.runners.cluster.entry FOLDER`.

stdout has one JSON object a line: a note, a step, rows of a training, and at the end the error of the run. Everything else
goes to stderr.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ...errors import BenchError, Interrupted, encode_error, of_system
from ...results.table import conditions
from ...results.table.training import Result
from ...spec import Sweep, from_wire, to_wire
from .. import check as checks
from .. import infer as sweeps
from ..infer import Surroundings
from ..prepare.train import Training, run_training
from ..worker.clock import Clock
from .cluster import CHECK, INFER, OUT, TRAIN, WEIGHTS

ORDER = "order.json"
STEP_S = 1.0  # between two lines with steps: each wakes a process beside the measured one


class Lines:
    """Progress as lines of JSON."""

    def __init__(self, stream: IO[str], clock: Clock) -> None:
        self._stream, self._clock, self._last = stream, clock, 0

    def write(self, **data: Any) -> None:
        """Write one line."""
        self._stream.write(json.dumps(data) + "\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Pass a note on."""
        self.write(note=text)

    def step(self, what: str, done: float, total: float) -> None:
        """Pass a step on, one in STEP_S seconds."""
        if not self._last or self._clock.since_s(self._last) >= STEP_S:
            self._last = self._clock.now_ns()
            self.write(step=[what, done, total])

    def results(self, rows: Sequence[Result]) -> None:
        """Pass the rows of a training on."""
        self.write(results=list(map(to_wire, rows)))


def _infer(around: Surroundings, _: Lines, order: Mapping[str, Any]) -> None:
    sweeps.infer(from_wire(Sweep, order["request"]), around)


def _check(around: Surroundings, _: Lines, order: Mapping[str, Any]) -> None:
    most, least = ([(str(name), str(limit)) for name, limit in order[side]] for side in ("most", "least"))
    limits = [*conditions.parse(most, most=True), *conditions.parse(least, most=False)]
    checks.check(from_wire(Sweep, order["request"]), around, limits, bool(order["explain"]))


def _train(around: Surroundings, lines: Lines, order: Mapping[str, Any]) -> None:
    training, logs, weights = from_wire(Training, order["request"]), around.out / "logs", around.out.with_name(WEIGHTS)
    training = replace(training, threads=training.threads or around.pool.threads())
    logs.mkdir(parents=True)
    results, interrupted = run_training(training, logs, around.pool, around.progress, lines.results, weights)
    if interrupted:
        raise KeyboardInterrupt
    lines.results(results)


TASKS: Mapping[str, Callable[[Surroundings, Lines, Mapping[str, Any]], None]] = {
    INFER: _infer,
    CHECK: _check,
    TRAIN: _train,
}


def carry_out_order(folder: Path, lines: Lines) -> BenchError | None:
    """Make the run of the order in `folder`. Returns the error that ended it."""
    order = json.loads((folder / ORDER).read_text())
    around = Surroundings(out=folder / OUT, resume=order["resume"], progress=lines)
    try:
        TASKS[order["task"]](around, lines, order)
    except KeyboardInterrupt:
        return Interrupted("stopped by Ctrl-C")
    except BenchError as error:
        return error
    except OSError as error:
        return of_system(error)
    return None


def main(folder: str) -> None:
    """Make the run of the order in `folder`, with its progress on stdout."""
    # Ray blocks SIGINT in its workers, and a raylet that was started in the background ignores it. Both are inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    # A library may print at any time: the lines have a descriptor of their own.
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lines = Lines(stream, Clock())
    error = carry_out_order(Path(folder), lines)
    lines.write(end=error and encode_error(error))


if __name__ == "__main__":
    main(sys.argv[1])
