"""The unit tests with 100 examples of each property: the gate has 30.

python benchmarks/examples.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    command = [sys.executable, "-m", "pytest", "tests/unit", "-p", "no:cacheprovider"]
    environment = {**os.environ, "BENCH_EXAMPLES": "100"}
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment).returncode)


if __name__ == "__main__":
    main()
