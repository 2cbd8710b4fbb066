"""A terminal of a given size, in which a command is run as a user would run it."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios


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


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux: the other end is closed
        return b""
