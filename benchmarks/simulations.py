"""The unit tests with whole simulations and 100 examples of each property: the gate has a tenth, and 30.

python benchmarks/simulations.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    command = [sys.executable, "-m", "pytest", "tests/unit", "-p", "no:cacheprovider"]
    environment = {**os.environ, "BENCH_SIMULATIONS": "whole"}
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment).returncode)


if __name__ == "__main__":
    main()
