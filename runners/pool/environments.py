"""Targets of a sweep, and the interpreter of each. Loads no framework.

An environment without an interpreter of its own is a name for other options. It uses the interpreter of its backend.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from ... import backends
from ...errors import BadInput, one_line
from ...spec import ALL, Sweep, Target
from ..worker.clock import Clock
from .process import end_group

PYTHON_TEST = "import sys; print(6 * 7 if sys.version_info[0] == 3 else 0)"  # an answer that only a Python 3 has
ANSWER_TIMEOUT_S, ANSWER_BYTES = 60, 64
PYTHON_HINT = "give a Python, or the folder of a virtual environment"


def interpreters(sweep: Sweep) -> dict[Target, str]:
    """Interpreter of every target to probe. Raises `BadInput` for an unknown name, and for a path without a Python."""
    targets = targets_of(sweep)
    pythons = {Target.parse(label): interpreter(path) for label, path in sweep.pythons}
    return {target: pythons.get(_home(target, pythons), sys.executable) for target in targets}


def targets_of(sweep: Sweep) -> tuple[Target, ...]:
    """Targets that the user named; without any, the default backends and every environment that has an interpreter."""
    own = [_parse_target(label) for label, _ in sweep.pythons]
    everything, default = (
        _side_by_side([*(Target(backend=name) for name in names), *own]) for names in (backends.targets(), backends.defaults())
    )
    named = [everything if name == ALL else [_parse_target(name)] for name in sweep.backends] or [default]
    targets = tuple(dict.fromkeys(target for group in named for target in group))
    _check_interpreters(own, targets)
    for target in targets:
        _check_environment(target, own, sweep)
    return targets


def _parse_target(text: str) -> Target:
    target = Target.parse(text)
    backends.check_name(target.backend)
    return target


def _side_by_side(targets: Sequence[Target]) -> list[Target]:
    """`targets` with the environments of one backend side by side."""
    names = [target.backend for target in targets]
    return sorted(targets, key=lambda target: names.index(target.backend))


def _home(target: Target, own: Collection[Target]) -> Target:
    """Target whose interpreter `target` uses: itself, or its backend without an environment."""
    return target if target in own else Target(backend=target.backend)


def _check_interpreters(own: Sequence[Target], targets: Sequence[Target]) -> None:
    """Raise `BadInput` for an interpreter that is given twice, or that no target uses."""
    used = {_home(target, own) for target in targets}
    for target in own:
        if own.count(target) > 1:
            raise BadInput(f"--python {target} is given {own.count(target)} times", "give it once")
        if target not in used:
            raise BadInput(f"--python {target} names no backend of this run", f"add {target} to --backend")


def _check_environment(target: Target, own: Collection[Target], sweep: Sweep) -> None:
    """Raise `BadInput` for an environment that has neither an interpreter nor an option."""
    with_options = any(name.startswith(f"{target}.") for name, _ in sweep.options)
    if target.environment and target not in own and not with_options:
        raise BadInput(f"{target} names no environment", f"give --python {target}=PATH, or --option {target}.KEY=VALUE")


def interpreter(text: str) -> str:
    """Path of the interpreter `text`, or of the interpreter in the virtual environment `text`. Raises `BadInput` for none."""
    # Links stay: a virtual environment's Python finds its packages by the link that starts it.
    path = Path(text).expanduser().absolute()
    path = path / "bin" / "python" if path.is_dir() else path
    if not path.exists():
        raise BadInput(f"there is no {path}", PYTHON_HINT)
    if not os.access(path, os.X_OK):
        raise BadInput(f"{path} cannot be executed", PYTHON_HINT)
    _check_is_python(path)
    return str(path)


def _check_is_python(path: Path) -> None:
    try:
        output = _read_answer([str(path), "-I", "-S", "-c", PYTHON_TEST])
    except OSError as error:
        raise BadInput(f"{path} is not a Python 3 ({one_line(error)})", PYTHON_HINT) from error
    if output.strip() != b"42":
        raise BadInput(f"{path} is not a Python 3", PYTHON_HINT)


def _read_answer(command: Sequence[str]) -> bytes:
    """Output of `command`, up to ANSWER_BYTES and ANSWER_TIMEOUT_S. Then kill the command and its children.

    Raises OSError if `command` cannot be run.
    """
    output, end = b"", Clock().now_ns() + ANSWER_TIMEOUT_S * 10**9
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        bufsize=0,
    ) as process:
        try:
            while process.stdout and len(output) < ANSWER_BYTES and (left_ns := end - Clock().now_ns()) > 0:
                if not select.select([process.stdout], [], [], left_ns / 1e9)[0]:
                    break
                data = process.stdout.read(ANSWER_BYTES)
                if not data:
                    break
                output += data
        finally:
            end_group(process.pid)
    return output
