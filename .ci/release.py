"""Check before a release: `make release-check`. The gate does not run it: until there is an address, a placeholder is right.

Exits with 1 and a sentence for each fault.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACEHOLDER = "OWNER/"


def faults(root: Path) -> list[str]:
    """Sentences on all that hinders a release of the files in `root`."""
    texts = {name: (root / name).read_text() for name in ("pyproject.toml", "__init__.py", "CHANGELOG.md", "CITATION.cff")}
    version = _first(r'^__version__ = "([^"]+)"$', texts["__init__.py"])
    cited = _first(r"^version: (\S+)$", texts["CITATION.cff"])
    dated = re.findall(r"^## \[([^]]+)\] - \d{4}-\d\d-\d\d$", texts["CHANGELOG.md"], re.MULTILINE)
    sentences = {
        "pyproject.toml has a placeholder as address; write Repository, then make reference": f"github.com/{PLACEHOLDER}"
        in texts["pyproject.toml"],
        f"{version} is no release; write __version__ in __init__.py": not re.fullmatch(r"\d+\.\d+\.\d+", version),
        f"CHANGELOG.md has no section with the date of {version}": version not in dated[:1],
        f"CITATION.cff has version {cited}; write {version}": cited != version,
    }
    return [sentence for sentence, is_fault in sentences.items() if is_fault]


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""


if __name__ == "__main__":
    found = faults(ROOT)
    print("\n".join(found) or "ready for a release", file=sys.stderr if found else sys.stdout)
    sys.exit(1 if found else 0)
