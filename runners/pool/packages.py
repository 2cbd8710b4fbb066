"""Versions of a package and an environment for each, by pip. The environments stay in the user's cache."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ...errors import BadInput, Unavailable, one_line
from ...exporters.cache import find_or_make
from ...spec import digest

KIND = "environments"  # the cache's folder
LIST_TIMEOUT_S, INSTALL_TIMEOUT_S = 120, 1800
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ERROR = re.compile(r"^ERROR: (.*)$", re.MULTILINE)
KEY_DIGITS = 12


class Installer(Protocol):
    """Source of environments with one version of a package each."""

    def versions(self, package: str) -> Sequence[str]:
        """Versions of `package` that this Python can install. `BadInput` for a package without any."""

    def environment(self, package: str, version: str) -> Path:
        """Folder or interpreter of an environment with that version. `Unavailable` if it cannot be installed."""


class Pip:
    """Environments of this Python, made by venv and pip. Indexes and proxies are those of pip's own configuration."""

    def versions(self, package: str) -> Sequence[str]:
        if not NAME.fullmatch(package):
            raise BadInput(f"{package!r} is not the name of a package", "write it as for pip install, such as onnxruntime")
        output = _pip(sys.executable, ("index", "versions", package), LIST_TIMEOUT_S)
        match = re.search(r"^Available versions: (.+)$", output, re.MULTILINE)
        if not match:
            raise Unavailable(f"pip lists no versions of {package}", "run pip index versions to see its answer")
        return [version.strip() for version in match[1].split(",")]

    def environment(self, package: str, version: str) -> Path:
        # Another interpreter, such as that of another virtual environment, makes another environment.
        maker = digest({"python": sys.executable, "version": sys.version})[:KEY_DIGITS]
        return find_or_make(KIND, f"{package}-{version}-{maker}", lambda folder: _make(folder, package, version))[0]


def _make(folder: Path, package: str, version: str) -> None:
    """Make a virtual environment in `folder` with NumPy and that version."""
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], LIST_TIMEOUT_S, "a virtual environment")
    # A build from source could take an hour, and would not be the version that users get.
    packages = ("--only-binary", package, f"{package}=={version}", "numpy")
    _pip(str(folder / "bin/python"), ("install", "--quiet", *packages), INSTALL_TIMEOUT_S)


def _pip(python: str, arguments: Sequence[str], timeout_s: float) -> str:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    return _run(command, timeout_s, f"pip {arguments[0]}")


def _run(command: Sequence[str], timeout_s: float, what: str) -> str:
    """Output of `command`. `Unavailable` with its own error if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=timeout_s, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{what} took more than {timeout_s:g} s", "check the network, and the index that pip uses") from error
    except OSError as error:
        raise Unavailable(f"{what} cannot be run ({one_line(error)})") from error
    if done.returncode:
        errors = ERROR.findall(done.stderr) or done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise Unavailable(f"{what} failed ({one_line(errors[-1])})", "check the network, and the index that pip uses")
    return done.stdout
