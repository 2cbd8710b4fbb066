"""A worker without a process, for tests of what asks workers."""

import json
import os

from onnxbench.errors import from_wire
from onnxbench.runners.worker.serve import answer


def name_of(cell):
    """What tests call a cell: `fp32/8`."""
    return f"{cell.precision}/{cell.batch}"


def only(*request, **what):
    """A plot in which this happens to one request: (job, name, how many such there were before)."""
    return lambda *asked: what if asked == request else {}


AS_A_TARGET = {"open": {"instrument": False}, "verify": {"undetermined": None}}


class InProcess:
    """Answers in this process. Everything goes through JSON, as over a pipe.

    `begin(job, request)` is called before each job. `answers`: functions for jobs that are not run. `changed`: parts of an
    answer that are replaced, by job; the null backend passes for a target whose answers tell something.
    """

    pid, network = os.getpid(), "isolated"

    def __init__(self, state, begin, *, answers=None, changed=None, log="", python=""):
        self.state, self.begin, self.log, self.python, self.alive = state, begin, log, python, True
        self.answers, self.changed = answers or {}, {**AS_A_TARGET, **(changed or {})}

    def ask(self, job, timeout_s, **request):
        assert self.alive
        request = json.loads(json.dumps(request))
        self.begin(job, request)
        return json.loads(json.dumps(self._answer(job, request)))

    def _answer(self, job, request):
        if job in self.answers:
            return self.answers[job](**request)
        kind, content = answer(self.state, {"job": job, **request}, lambda _: None)
        if kind == "error":
            raise from_wire(content)
        return {**content, **self.changed.get(job, {})}

    def send(self, job, **request):
        self.sent = request

    def receive(self, job, timeout_s):
        return self.ask(job, timeout_s, **self.sent)

    def dismiss(self):
        self.alive = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.dismiss()
