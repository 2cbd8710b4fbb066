"""A crash, a hang, a kill or a full disk costs one cell, or nothing that was measured. All on the null backend."""

import json
import os
import resource
import signal
import subprocess
import time

import psutil
import pytest
from onnxfiles import MINI

BATCHES = ("--batch", "1,8,32")


def null(file, *more):
    return ("infer", "--model", file, "--backend", "null", *MINI, *BATCHES, *more)


def rows_of(done):
    return {row["batch"]: row for row in json.loads(done.stdout)["rows"]}


@pytest.mark.parametrize(("fault", "word"), [("die@start:200", "SIGKILL"), ("raise@bind", "option fault")])
def test_a_fault_in_one_cell_is_one_row_of_its_crew(shell, null_file, fault, word):
    """Every fault at every step, each in a crew of its own, is in test_fault_matrix.py."""
    done = shell.bench(*null(null_file, "--option", f"fault={fault}/8", "--format", "json"))
    rows = rows_of(done)
    assert done.returncode == 3
    assert {batch: row["status"] for batch, row in rows.items()} == {1: "ok", 8: "failed", 32: "ok"}
    assert word in rows[8]["reason"]
    assert rows[8]["p50_ms"] is None


def test_a_worker_killed_from_outside_is_one_failed_row(shell, null_file):
    arguments = null(null_file, "--option", "work=20000", "--out", "run", "--format", "json")
    process = subprocess.Popen(shell.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **shell.popen())
    wait_for_blocks(shell.folder / "run", 1)
    holders = psutil.Process(process.pid).children()
    assert holders
    for worker in holders:
        worker.kill()
    rows = json.loads(process.communicate(timeout=60)[0])["rows"]
    assert sorted(row["status"] for row in rows) == ["failed", "ok", "ok"]
    assert process.returncode == 3
    assert {row["status"] for row in shell.rows("infer", "--out", "run", "--resume")} == {"ok"}


def test_a_killed_run_resumes_with_what_it_had(shell, null_file):
    arguments = null(null_file, "--option", "work=20000", "--out", "run")
    process = subprocess.Popen(shell.command(*arguments), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **shell.popen())
    wait_for_blocks(shell.folder / "run", 2)
    process.kill()
    process.wait()
    journal = (shell.folder / "run/journal.jsonl").read_text().splitlines()
    wait_until(lambda: not workers(shell))
    resumed = shell.rows("infer", "--out", "run", "--resume")
    assert [(row["batch"], row["status"], row["rounds"]) for row in resumed] == [(1, "ok", 3), (8, "ok", 3), (32, "ok", 3)]
    after = (shell.folder / "run/journal.jsonl").read_text().splitlines()
    assert after[: len(journal)] == journal
    blocks = [(event["cell"], event["round"]) for event in map(json.loads, after) if event["event"] == "block"]
    assert len(blocks) == len(set(blocks)) == 3 * 3


def test_a_finished_run_resumes_to_itself(shell, null_file):
    first = shell.rows(*null(null_file, "--out", "run"))
    before = (shell.folder / "run/journal.jsonl").read_bytes()
    assert shell.rows("infer", "--out", "run", "--resume") == first
    assert (shell.folder / "run/journal.jsonl").read_bytes() == before


def test_one_interrupt_finishes_the_block_and_prints_the_table(shell, null_file):
    arguments = null(null_file, "--option", "work=20000", "--out", "run", "--format", "json")
    process = subprocess.Popen(
        shell.command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **shell.popen(),
    )
    wait_for_blocks(shell.folder / "run", 3)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in err
    assert {row["status"] for row in json.loads(out)["rows"]} == {"ok"}
    assert not workers(shell)


def test_two_runs_into_one_folder_are_not_mixed(shell, null_file):
    arguments = null(null_file, "--option", "work=20000", "--out", "run")
    process = subprocess.Popen(shell.command(*arguments), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **shell.popen())
    wait_for_blocks(shell.folder / "run", 1)
    second = shell.bench(*arguments, "--resume")
    process.wait(60)
    assert second.returncode == 2
    assert "is writing to" in second.stderr
    assert process.returncode == 0


def test_a_disk_that_fills_up_ends_the_run_and_keeps_the_journal(shell, null_file):
    limit = 6000
    arguments = null(null_file, "--option", "work=300", "--out", "run")
    done = shell.bench(*arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "--resume" in done.stderr
    assert {row["status"] for row in shell.rows("infer", "--out", "run", "--resume")} == {"ok"}


def wait_for_blocks(run, count):
    """Until the run's journal holds `count` blocks."""

    def there():
        path = run / "journal.jsonl"
        return path.exists() and path.read_text().count('"event": "block"') >= count

    wait_until(there)


def wait_until(condition, limit_s=60):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def workers(shell):
    """Worker processes that work in this shell's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if any("bootstrap.py" in part for part in process.info["cmdline"] or ()) and process.info["cwd"] == str(shell.folder):
            found.append(process)
    return found
