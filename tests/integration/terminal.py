"""A terminal of a given size, in which a command is run as a user would run it."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import traceback
from pathlib import Path

from onnxbench.cli import main


def run(*words, width, folder=None, **environment):
    """The text that `bench WORDS` prints in a terminal of `width` columns, and its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "onnxbench.cli", *map(str, words)]
    env = {**known, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, cwd=folder, env=env) as process:
        os.close(theirs)
        text = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
        process.stderr.read()
    return text.decode().replace("\r\n", "\n"), process.returncode


def run_here(*words, width, folder=None, prepare=lambda: None, **environment):
    """`run` in a child of this process, which has imported the package: it saves a second.

    `prepare`: called in the child before the command.
    """
    child, ours = pty.fork()
    if not child:
        code = 1
        try:
            _become(width, folder, environment)
            prepare()
            main([*map(str, words)])
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    text = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    _, status = os.waitpid(child, 0)
    return text.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(status)


def _become(width, folder, environment):
    """Make this child what a command is in a terminal: its streams, size, folder and environment."""
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.chdir(folder or Path.cwd())
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        os.environ.pop(name, None)
    os.environ.update({"TERM": "xterm-256color", **environment})


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux: the other end is closed
        return b""
