"""A worker without a process, for tests of what asks workers."""

import json
from dataclasses import replace

from onnxbench.errors import decode_error
from onnxbench.runners.worker.serve import answer
from onnxbench.runners.worker.tasks import task_of
from onnxbench.spec import from_wire, to_wire


def name_of(cell):
    """What tests call a cell: `fp32/8`."""
    return f"{cell.precision}/{cell.batch}"


def only(*request, **what):
    """A plot in which this happens to one request: (job, name, how many such there were before)."""
    return lambda *asked: what if asked == request else {}


AS_A_TARGET = {"open": {"instrument": False}, "verify": {"undetermined": None}}
RESIDENT_MB = 100.0


class InProcess:
    """Answers in this process. Everything goes through JSON, as over a pipe.

    `begin(name, job)` is called before each job. `answers`: functions for jobs that are not done, by the job's name. `changed`:
    fields of an answer that are replaced, by job; the null backend passes for a target whose answers tell something.
    """

    network, begin_ns, can_pause = "isolated", 0, False

    def __init__(self, state, begin, *, answers=None, changed=None, log="", python=""):
        self.state, self.begin, self.log, self.python, self.alive = state, begin, log, python, True
        self.answers, self.changed = answers or {}, {**AS_A_TARGET, **(changed or {})}

    def resident_mb(self):
        return RESIDENT_MB

    def pause(self):
        raise AssertionError("this worker cannot be stopped")

    def ask(self, job, timeout_s, on_report=None):
        assert self.alive
        name, job = task_of(type(job)).name, from_wire(type(job), json.loads(json.dumps(to_wire(job))))
        self.begin(name, job)
        found = self._answer(name, job)
        return from_wire(type(job).answer(), json.loads(json.dumps(to_wire(found), allow_nan=False)))

    def _answer(self, name, job):
        if name in self.answers:
            return self.answers[name](job)
        kind, content = answer(self.state, {"job": name, "asked": to_wire(job)}, lambda _: None)
        if kind == "error":
            raise decode_error(content)
        return replace(from_wire(type(job).answer(), content), **self.changed.get(name, {}))

    def send(self, job):
        self.sent = job

    def receive(self, job, timeout_s, on_report=None):
        assert job == self.sent
        return self.ask(job, timeout_s)

    def kill(self):
        self.alive = False

    def dismiss(self):
        self.alive = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.dismiss()
