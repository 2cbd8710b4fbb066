"""Runs of the null backend, compared as a user does it; times are edited, so that no verdict rests on the machine."""

import json
import shutil

import pytest

from .conftest import Shell

CALLS = ("infer", "--backend", "null", "--option", "null.work=2000", "--batch", "1", "--budget", "quick")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, null_file):
    """Two runs of the same, and beside the first one a copy in which all took ten times as long."""
    folder = tmp_path_factory.mktemp("compared")
    shell = Shell(folder, folder / "cache")
    for name in ("a", "b"):
        done = shell.bench(*CALLS, "--model", null_file, "--out", name)
        assert done.returncode == 0, done.stderr
    for name in ("a", "b"):
        shutil.copytree(folder / name, folder / f"{name}-steady")
        edit(folder / f"{name}-steady", 1)
    shutil.copytree(folder / "a-steady", folder / "slow")
    edit(folder / "slow", 10)
    return shell


def edit(folder, factor):
    """Twelve rounds, each of 1 ms times `factor`, in place of what was measured."""
    journal = folder / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    blocks = [event for event in events if event["event"] == "block"]
    assert {"latency", "end_to_end"} <= set(blocks[0]["p50_ns"])
    first = blocks[0]
    ns = 1_000_000 * factor
    told = {
        "p50_ns": {"latency": ns, "end_to_end": ns},
        "throughput": {**first["throughput"], "calls": 100, "took_ns": 100 * ns},
    }
    made = [{**first, **told, "noise": {}, "round": number} for number in range(12)]
    kept = [event for event in events if event["event"] != "block"]
    journal.write_text("".join(json.dumps(event) + "\n" for event in [*kept, *made]))


def test_two_runs_have_a_verdict_for_each_metric(runs):
    done = runs.bench("compare", "a", "b", "--format", "json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert {"p50_ms", "e2e_p50_ms", "throughput_per_s"} <= {row["metric"] for row in printed["rows"]}
    timed = [row for row in printed["rows"] if row["metric"] == "p50_ms"]
    assert [(row["verdict"], row["reason"]) for row in timed] == [("inconclusive", "fewer than 10 rounds")]
    assert (printed["changed"], printed["not_compared"]) == ([], [])


@pytest.mark.parametrize(("new", "code", "verdict"), [("b-steady", 0, "no difference shown"), ("slow", 1, "slower")])
def test_the_gate_fails_for_a_shown_regression(runs, new, code, verdict):
    rows = runs.rows("compare", "a-steady", new, "--fail-on", "p50>5%", code=code)
    assert [row["verdict"] for row in rows if row["metric"] == "p50_ms"] == [verdict]


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "github"])
def test_every_format_has_the_verdict(runs, format):
    done = runs.bench("compare", "a-steady", "slow", "--format", format)
    assert done.returncode == 0, done.stderr
    assert "slower" in done.stdout


def test_several_runs_a_side(runs):
    done = runs.bench("compare", "--base", "a", "b", "--new", "a-steady", "slow", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert {row["reason"] for row in json.loads(done.stdout)["rows"]} == {"fewer than 3 runs a side"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a",), "needs two runs, got 1"),
        (("a", "nowhere"), "nowhere is not a run folder"),
        (("a", "b", "--fail-on", "p51>5%"), "'p51' is not a metric that is compared; did you mean 'p50'"),
        (("a", "b", "--control", "ort"), "the control 'ort' is not in both runs"),
    ],
)
def test_bad_input_is_one_sentence(runs, words, said):
    done = runs.bench("compare", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
