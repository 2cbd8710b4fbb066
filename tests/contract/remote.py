"""Both ends of a wire to an interpreter that has one runtime and NumPy, and neither pytest nor torch.

The suite's end hands out stand-ins that forward every public method. The other end is this file, run as a program by the
other interpreter, so the top of it is the standard library alone. What the other process prints on its standard output is
printed on the suite's after each call, where a test can catch it.
"""

import ctypes
import itertools
import os
import pickle
import runpy
import subprocess
import sys
import tempfile
import threading
import traceback
import weakref
from collections import deque
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

HERE = Path(__file__).resolve().parent
FACTS = ("info", "asynchronous", "handover")  # of a session; everything else that is public is a method
_numbers = itertools.count()


class Interpreters(ExitStack):
    """The interpreters that `BENCH_PYTHON` names (`tensorrt=/path/to/python,...`), each started when it is first needed."""

    def __init__(self, text):
        super().__init__()
        self.pythons = {name: python for name, _, python in (pair.partition("=") for pair in filter(None, text.split(",")))}
        self._running = {}

    def backend(self, name):
        """The backend called `name`, or its stand-in. A process that died in another test is started again."""
        from onnxbench import backends

        local, python = backends.get(name), self.pythons.get(name)
        if python is None:
            return local
        if python not in self._running or not self._running[python].alive:
            self._running[python] = Interpreter(python)
            self.callback(self._running[python].close)
        return RemoteBackend(local, self._running[python])


class Interpreter:
    """A process of another interpreter. Calls from several threads are made one after the other."""

    def __init__(self, python):
        self._python, self._lock, self._dropped, self._shown = python, threading.Lock(), deque(), 0
        self._prints = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        self._wire, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [python, "-u", __file__, str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=self._prints,
                start_new_session=True,  # Ctrl-C in a terminal is for the suite alone
            )

    @property
    def alive(self):
        return self._process.poll() is None

    def ask(self, owner, name, *args, **kwargs):
        """Call `name` of a backend (by name) or of a session (by number) over there."""
        with self._lock:
            dropped = [self._dropped.popleft() for _ in range(len(self._dropped))]
            place = (os.getcwd(), tempfile.tempdir)  # noqa: PTH109 (a test that looks for files there would find none)
            answer = self._exchange(pickle.dumps((dropped, place, owner, name, args, kwargs)))
        kind, found = pickle.loads(answer)
        if kind == "session":
            session = RemoteSession(self, found)
            weakref.finalize(session, self._dropped.append, found)  # nothing refers to it there either, from then on
            return session
        if kind == "refused":
            from onnxbench.errors import decode_error

            raise decode_error(found)
        if kind == "raised":
            raise found
        return found

    def _exchange(self, request):
        from onnxbench.errors import RuntimeFailed

        try:
            self._wire.send_bytes(request)
            return self._wire.recv_bytes()
        except (EOFError, OSError) as error:
            self._process.kill()
            code = self._process.wait()
            raise RuntimeFailed(f"the process of {self._python} has ended (exit code {code})") from error
        except BaseException:  # a time limit: the answer may still come, and would be taken for that to the next request
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._show()

    def _show(self):
        """Print here what was printed there. `pread`, because the other process shares the file's position."""
        printed = os.pread(self._prints.fileno(), 1 << 20, self._shown)
        self._shown += len(printed)
        os.write(1, printed)

    def close(self):
        """End the process, by the end of its input if that is enough."""
        self._wire.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._prints.close()


class RemoteBackend:
    """A backend whose facts are its class's, which needs no runtime, and whose methods run in another interpreter."""

    def __init__(self, local, interpreter):
        self._local, self._interpreter = local, interpreter

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        fact = getattr(self._local, name)
        return partial(self._interpreter.ask, self._local.name, name) if callable(fact) else fact


class RemoteSession:
    """A session in another interpreter."""

    def __init__(self, interpreter, number):
        self._interpreter, self._number = interpreter, number

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        ask = partial(self._interpreter.ask, self._number, name)
        return ask() if name in FACTS else ask

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def serve(wire):
    """Answer what comes over `wire` until its other end is closed."""
    sessions, libc = {}, ctypes.CDLL(None)
    while True:
        try:
            request = wire.recv_bytes()
        except (EOFError, OSError):
            return
        answer = _answer(request, sessions)
        libc.fflush(None)  # what a runtime printed belongs to this call
        wire.send_bytes(answer)


def _answer(request, sessions):
    from onnxbench import backends, errors
    from onnxbench.backends.protocol import Session

    try:
        dropped, (folder, tempfile.tempdir), owner, name, args, kwargs = pickle.loads(request)
        os.chdir(folder)
        for number in dropped:
            del sessions[number]
        member = getattr(sessions[owner] if isinstance(owner, int) else backends.get(owner), name)
        found = member(*args, **kwargs) if callable(member) else member
        if isinstance(found, Session):
            number = next(_numbers)
            sessions[number] = found
            return pickle.dumps(("session", number))
        answer = pickle.dumps(("value", found))
        _spoil(*args, *kwargs.values(), found)
    except errors.BenchError as error:
        return pickle.dumps(("refused", errors.encode_error(error)))
    except KeyError as error:
        return pickle.dumps(("raised", KeyError(*map(str, error.args))))
    except Exception:  # a runtime's own class is unknown on the other side
        return pickle.dumps(("raised", RuntimeError(traceback.format_exc())))
    return answer


def _spoil(*values):
    """Overwrite arrays that are the caller's own: the wire copies them, which would hide a backend that does not."""
    import numpy as np

    for mapping in values:
        for array in mapping.values() if isinstance(mapping, dict) else ():
            if isinstance(array, np.ndarray):
                array[...] = 0


def main():
    """Become the other end: `remote.py WIRE_FD PARENT_PID`."""
    bootstrap = runpy.run_path(str(HERE.parents[1] / "runners/worker/bootstrap.py"))
    bootstrap["_die_with_parent"](int(sys.argv[2]))
    sys.path[:] = [*sys.path[1:], str(HERE)]  # the factories of `zoo` are found here, and shadow nothing that is installed
    bootstrap["load_package"]()
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
