"""`bench bisect` over real releases of ONNX Runtime, of which those from FIRST on are slowed: does it find FIRST?

    python benchmarks/slowed_versions.py 1.30.0 0.5 --backend ort-cpu --good 1.29.0 --bad 1.31.0 --model FILE.onnx

Each call of a slowed release spins for so much of the time that it took. The slow-down is a .pth file in the release's
environment, so the tool sees packages as pip installs them.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from onnxbench.exporters.cache import find_or_make
from onnxbench.results.history.order import version_key
from onnxbench.runners.pool.packages import Pip

SLOWED = """
import importlib.abc, importlib.machinery, sys, time
NAME, SHARE = "onnxruntime.capi.onnxruntime_inference_collection", {share}

def slowed(call):
    def run(*args, **named):
        begin = time.perf_counter_ns()
        answer = call(*args, **named)
        end = begin + int((time.perf_counter_ns() - begin) * (1 + SHARE))
        while time.perf_counter_ns() < end:
            pass
        return answer
    return run

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            for which in ("run", "run_with_iobinding", "run_with_ort_values"):
                setattr(module.Session, which, slowed(getattr(module.Session, which)))
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


@dataclass(frozen=True)
class SlowedPip(Pip):
    """Environments as pip makes them; versions from `first` on take `share` longer in each call."""

    first: str
    share: float

    def environment(self, package: str, version: str) -> Path:
        """The environment, or a copy of it with the slow-down."""
        folder = super().environment(package, version)
        if version_key(version) < version_key(self.first):
            return folder
        return find_or_make("slowed", f"{folder.name}-{self.share}", lambda copy: self._slow(folder, copy))[0]

    def _slow(self, folder: Path, copy: Path) -> None:
        shutil.copytree(folder, copy, symlinks=True, dirs_exist_ok=True)
        (packages,) = copy.glob("lib/python*/site-packages")
        (packages / "slowed_calls.py").write_text(SLOWED.format(share=self.share))
        (packages / "slowed_calls.pth").write_text("import slowed_calls\n")


def main() -> None:
    """Run `bench bisect` with the slowed releases."""
    from onnxbench import cli
    from onnxbench.runners import bisect

    first, share, *words = sys.argv[1:]
    make = bisect.Bisector.__init__

    def init(self: bisect.Bisector, **fields: object) -> None:
        make(self, **{"installer": SlowedPip(first, float(share)), **fields})

    bisect.Bisector.__init__ = init  # type: ignore[method-assign,assignment]
    cli.main(["bisect", *words])


if __name__ == "__main__":
    main()
