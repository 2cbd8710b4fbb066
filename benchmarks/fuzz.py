"""Hostile ONNX files, datasets and run folders, for as long as one likes: `python benchmarks/fuzz.py [SECONDS [SEED]]`.

Prints how many of each kind were tried, and the seed of everything that is wrong; exits with 1 if anything is.
The files are made, and judged, as in tests/integration/test_fuzz.py.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integration"))
import endured

SECONDS, PIECE = 60.0, 25


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    end, tried, found = time.monotonic() + seconds, dict.fromkeys(endured.KINDS, 0), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for begin in itertools.count(first, PIECE):
            for kind in endured.KINDS:
                for seed, wrong in endured.wrong(kind, range(begin, begin + PIECE), Path(folder)):
                    print(f"{kind} {seed}: {wrong}", flush=True)
                    found += 1
                tried[kind] += PIECE
            if time.monotonic() > end:
                break
    told = ", ".join(f"{count} of {kind}" for kind, count in tried.items())
    print(f"tried {told} (seeds from {first}); wrong: {found}; peak memory {endured._peak_mb():.0f} MB")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
