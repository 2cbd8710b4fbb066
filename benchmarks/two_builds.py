"""Does `bench compare` call the same build the same, and a slower one slower? Real runtimes on this machine.

    python benchmarks/two_builds.py ARTIFACTS [RUNS [BUDGET]]

ARTIFACTS is what `bench export` made. Three builds are measured in turns, RUNS times each (12, at `normal`: about 33 minutes on
two cores): ort-slower with nothing added, the same once more, and with every call made 10 % longer. OpenVINO stands beside
each, is always the same, and is the control. The first two are one build, so no cell may be slower or faster; the last
must fail `--fail-on "p50>5%"`. Runs that are in ./two_builds are not measured again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slowed_ort

BUILDS = {"base": 0.0, "same": 0.0, "slower": 0.1}
RUNS = Path("two_builds")
MEASURED = ("--backend", "ort-slower,openvino-cpu", "--precision", "fp32,int8", "--batch", "1,8")
CONTROL = "openvino-cpu"
TOLD = ("p50_ms", "e2e_p50_ms", "throughput_per_s", "peak_rss_mb")


def bench(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "onnxbench.cli", *arguments], env=env, capture_output=True, text=True)


def measure(folder: Path, count: int, budget: str) -> None:
    """`count` runs of each build, in turns that begin with another build each time."""
    names = list(BUILDS)
    with tempfile.TemporaryDirectory() as site:
        environment = slowed_ort.installed(Path(site))
        for number in range(count):
            for name in names[number % 3 :] + names[: number % 3]:
                out = RUNS / f"{name}-{number}"
                known = {**environment, "SLOWER": str(BUILDS[name])}
                how = ("--budget", budget, "--seed", str(number), "--out", str(out), "--resume")
                done = bench("infer", "--artifacts", str(folder), *MEASURED, *how, env=known)
                print(out, done.returncode, done.stderr[-200:] if done.returncode else "", flush=True)


def compared(new: str, count: int, *options: str) -> tuple[int, list[dict[str, Any]]]:
    sides = [str(RUNS / f"{name}-{number}") for name in ("base", new) for number in range(count)]
    how = ("--base", *sides[:count], "--new", *sides[count:], "--format", "json", *options)
    done = bench("compare", *how)
    if not done.stdout:
        raise SystemExit(done.stderr)
    return done.returncode, json.loads(done.stdout)["rows"]


def told(what: str, rows: Sequence[Mapping[str, Any]]) -> None:
    for metric in TOLD:
        mine = [row for row in rows if row["metric"] == metric]
        verdicts = ", ".join(f"{word} {count}" for word, count in Counter(row["verdict"] for row in mine).most_common())
        ratios = sorted(row["ratio"] for row in mine)
        print(f"{what} | {metric} | {verdicts} of {len(mine)} | {ratios[0]:.3f} to {ratios[-1]:.3f}")


def main() -> None:
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    measure(Path(sys.argv[1]), count, sys.argv[3] if len(sys.argv) > 3 else "normal")
    for what, control in (("alone", ()), ("over the control", ("--control", CONTROL))):
        for name in ("same", "slower"):
            code, rows = compared(name, count, "--fail-on", "p50>5%", *control)
            for backend in sorted({row["backend"] for row in rows}):
                told(f"{name}, {what} | {backend}", [row for row in rows if row["backend"] == backend])
            print(f"{name}, {what}: --fail-on 'p50>5%' exits with {code}")


if __name__ == "__main__":
    main()
