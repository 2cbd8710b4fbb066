"""What can happen to a worker, at every step of a cell: it costs that cell alone, its row says why, and nothing is left.

The null backend fails as it is told (`fault=WHAT@STEP:N/BATCH`); tests/integration/test_faults.py has what happens to the
whole run.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from onnxfiles import MINI
from test_faults import wait_for_blocks, workers

STEPS = {"load": "open", "warmup": "start:50", "measuring": "bind:50", "fetching": "fetch:50"}
FAULTS = {"raise": ("failed", "option fault"), "die": ("failed", "SIGKILL")}  # at every step
WAYS = {"crash": ("failed", "SIGSEGV"), "starve": ("failed", "out of memory"), "hang": ("timeout", "no answer within 3 s")}
KNOWN = {
    *("built", "cold", "opened", "inspected", "verified", "warm", "energy", "block", "finished", "load", "failed"),
    *("step_failed", "drawn", "pooled", "life", "answered", "timed_build", "kept_engine", "converted", "tuned", "profiled"),
    *("work", "reopened"),
}


@pytest.fixture
def run(shell, null_file):
    """Run the null backend without a fault, and with one at each step, and check what must hold whatever happened.

    The rows by step; that without a fault is `none`.
    """

    def of(fault, *more, code=3):
        targets = ",".join(["null", *(f"null@{step}" for step in STEPS)])
        options = [("--option", f"null@{step}.fault={fault}@{place}") for step, place in STEPS.items()]
        asked = ("infer", "--model", null_file, "--backend", targets, *MINI, "--batch", "1", "--out", "run", "--format", "json")
        done = shell.bench(*asked, *(word for option in options for word in option), *more)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        check_nothing_is_left(shell)
        return {row["environment"] or "none": row for row in json.loads(done.stdout)["rows"]}

    return of


def check_rows(rows, status, word):
    """One row is as if nothing had happened, the others say what did."""
    assert {step: row["status"] for step, row in rows.items()} == {"none": "ok", **dict.fromkeys(STEPS, status)}
    assert [step for step in STEPS if word not in rows[step]["reason"]] == []
    assert [step for step, row in rows.items() if row["p50_ms"] is not None] == ["none"]


def check_nothing_is_left(shell, run="run"):
    """No worker, no zombie, no scratch arrays, and a journal of whole lines."""
    assert not workers(shell)
    assert not [child for child in psutil.Process().children(recursive=True) if child.status() == psutil.STATUS_ZOMBIE]
    assert not (shell.folder / run / "scratch").exists()
    assert {json.loads(line)["event"] for line in (shell.folder / run / "journal.jsonl").read_text().splitlines()} <= KNOWN


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_that_fails_costs_its_cell(run, fault):
    check_rows(run(fault), *FAULTS[fault])


def test_each_way_to_fail_costs_its_cell(shell, null_file):
    """Ways that end a worker as the ones above do, whatever it was doing; and one that prints, which disturbs nothing."""
    shell.environment["ONNXBENCH_MEMORY_MB"] = "300"
    ways = {**WAYS, "eat": ("failed", "300 MB is the limit"), "print": ("ok", "")}
    options = [("--option", f"null@{way}.fault={way}@{STEPS['measuring']}") for way in ways]
    targets = ("--backend", ",".join(["null", *(f"null@{way}" for way in ways)]))
    asked = ("infer", "--model", null_file, *targets, *MINI, "--batch", "1", "--timeout", "3", "--out", "run")
    rows = shell.rows(*asked, *(word for option in options for word in option), code=3)
    check_nothing_is_left(shell)
    found = {row["environment"]: (row["status"], row["reason"] or "") for row in rows}
    assert found.pop(None) == ("ok", "")
    assert {way: status for way, (status, _) in found.items()} == {way: status for way, (status, _) in ways.items()}
    assert [way for way, (_, word) in ways.items() if word not in found[way][1]] == []


def test_a_limit_of_memory_that_is_no_number_is_refused(shell, null_file):
    shell.environment["ONNXBENCH_MEMORY_MB"] = "much"
    done = shell.bench("infer", "--model", null_file, "--backend", "null", *MINI)
    assert (done.returncode, "ONNXBENCH_MEMORY_MB is 'much'" in done.stderr) == (2, True)


@pytest.mark.parametrize("blocks", [0, 3])
def test_a_run_whose_parent_is_killed_goes_on(shell, null_file, blocks):
    process = started(shell, null_file)
    wait_for_blocks(shell.folder / "run", blocks)
    process.kill()
    process.wait()
    before = (shell.folder / "run/journal.jsonl").read_bytes()
    whole = before[: before.rfind(b"\n") + 1]
    again = ("--resume",) if (shell.folder / "run/run.json").exists() else ("--model", null_file, "--backend", "null", *MINI)
    assert {row["status"] for row in shell.rows("infer", "--out", "run", *again)} == {"ok"}
    assert (shell.folder / "run/journal.jsonl").read_bytes().startswith(whole)
    check_nothing_is_left(shell)


def test_two_interrupts_stop_now_and_lose_nothing(shell, null_file):
    process = started(shell, null_file, "--budget", "normal")
    wait_for_blocks(shell.folder / "run", 2)
    before = (shell.folder / "run/journal.jsonl").read_bytes()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    check_nothing_is_left(shell)
    assert (shell.folder / "run/journal.jsonl").read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    rows = shell.rows("show", "run")
    assert any(row["p50_ms"] for row in rows)


def started(shell, file, *more):
    """A run that takes a while, in the background."""
    asked = ("infer", "--model", file, "--backend", "null", *MINI, "--batch", "1,8", "--option", "work=20000", "--out", "run")
    command = shell.command(*asked, *more)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **shell.popen())


@pytest.mark.parametrize("place", ["file/run", "/proc/onnxbench/run", "file"])
def test_a_folder_that_cannot_be_written_is_refused_at_once(shell, null_file, place):
    (shell.folder / "file").touch()
    done = shell.bench("infer", "--model", null_file, "--backend", "null", *MINI, "--out", place)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"cannot write to {place}" in done.stderr
    assert not workers(shell)


def spoil(path):
    path.write_bytes(path.read_bytes()[:-30])


def scribble(path):
    path.write_bytes(b"[" + path.read_bytes()[:20])


@pytest.mark.parametrize("damage", [spoil, scribble, Path.unlink])
@pytest.mark.parametrize("name", ["entry.json", "*.onnx"])
def test_a_damaged_cache_is_made_again(shell, null_file, name, damage):
    first = shell.bench("export", "--model", null_file, "--precision", "fp32")
    (cached,) = shell.cache.glob(f"exports/*/{name}")
    damage(cached)
    shutil.rmtree(shell.folder / "artifacts")
    again = shell.bench("export", "--model", null_file, "--precision", "fp32")
    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert "exported and checked" in again.stdout


STEPPING = """
import itertools, time
steps, real = itertools.cycle((0.0, 86_400.0, -86_400.0)), time.time
time.time = lambda: real() + next(steps)
"""


def test_a_wall_clock_that_steps_is_in_no_figure(shell, null_file):
    """It goes a day forth and back at every look, in the parent and in workers, during the run and its resumption."""
    (shell.folder / "site").mkdir()
    (shell.folder / "site/sitecustomize.py").write_text(STEPPING)
    shell.environment["PYTHONPATH"] = os.pathsep.join([str(shell.folder / "site"), *sys.path])
    asked = ("infer", "--model", null_file, "--backend", "null", *MINI, "--out", "run", "--batch")
    rows = [*shell.rows(*asked, "1"), *shell.rows(*asked, "1,8", "--resume")]
    assert [row["batch"] for row in rows] == [1, 1, 8]
    for row in rows:
        assert row["status"] == "ok"
        assert all(0 <= row[name] < 60_000 for name in ("p50_ms", "p90_ms", "first_ms"))
        assert 0 <= row["load_s"] < 60
        assert row["throughput_per_s"] > 1
    check_nothing_is_left(shell)


PLUGIN = {
    "boom": "raise RuntimeError('no licence \\x1b[31m')",
    "exits": "import sys\nsys.exit(7)",
    "dies": "import os\nos.kill(os.getpid(), 9)",
}


def test_a_plugin_that_fails_at_import_is_a_row(shell, null_file):
    site = shell.folder / "site"
    (site / "bad-1.0.dist-info").mkdir(parents=True)
    for name, text in PLUGIN.items():
        (site / f"{name}.py").write_text(text)
    points = "\n".join(f"{name} = {name}:Backend" for name in PLUGIN)
    (site / "bad-1.0.dist-info/entry_points.txt").write_text(f"[onnxbench.backends]\n{points}\n")
    (site / "bad-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    shell.environment["PYTHONPATH"] = os.pathsep.join([str(site), *sys.path])
    listed = shell.bench("backends")
    assert listed.returncode == 0, listed.stderr
    assert "\x1b" not in listed.stdout
    rows = {row["backend"]: row for row in shell.rows("backends")}
    assert {rows[name]["status"] for name in PLUGIN} == {"unavailable"}
    assert "no licence" in rows["boom"]["reason"]
    named = ("--backend", f"null,{','.join(PLUGIN)}", "--batch", "1", *MINI, "--out", "run")
    rows = shell.rows("infer", "--model", null_file, *named, code=3)
    assert {row["backend"]: row["status"] for row in rows} == {"null": "ok", **dict.fromkeys(PLUGIN, "unavailable")}
    check_nothing_is_left(shell)
