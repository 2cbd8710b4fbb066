"""Duration of the default sweep at each budget, beside the estimate of `--dry-run`.

    python benchmarks/duration.py [BUDGET ...]

Three CPU backends, fp32, batch 1, 8 and 32, latency and throughput, of the CNN that is exported already.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = (sys.executable, "-m", "onnxbench.cli")


def run(*arguments: str) -> tuple[float, str]:
    """Seconds, and what was printed."""
    begin = time.monotonic()
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True)
    return time.monotonic() - begin, done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        artifacts = str(Path(folder) / "artifacts")
        run("export", "--precision", "fp32", "--out", artifacts)
        for budget in sys.argv[1:] or ["quick", "normal"]:
            how = ("infer", "--artifacts", artifacts, "--budget", budget)
            _, said = run(*how, "--dry-run")
            took, _ = run(*how, "--out", str(Path(folder) / budget))
            expected = re.search(r"about [0-9]+( to [0-9]+)? s", said)
            print(f"{budget}: {took:.0f} s ({expected.group() if expected else 'nothing'} was expected)", flush=True)


if __name__ == "__main__":
    main()
