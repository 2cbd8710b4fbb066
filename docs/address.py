"""The project's address, which pyproject.toml has once. Standard library only: the site's hooks run without the package."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def address() -> str:
    """Owner and name of the project at github.com."""
    match = re.search(r'^Repository = "https://github\.com/([^"]+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    if match is None:
        raise LookupError("pyproject.toml has no Repository at github.com")
    return match[1]
