"""Rules of the workflows and of the action: pinned actions, few permissions, and no text of a stranger in a script."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FILES = [*WORKFLOWS, ROOT / "action.yml"]
PIN = re.compile(r"uses: (?:\./|[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+(\.\d+)*)$")


def steps(path):
    data = yaml.safe_load(path.read_text())
    jobs = data.get("jobs", {"action": data.get("runs")})
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_by_their_whole_hash(path):
    uses = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if re.match(r"\s*(- )?uses:", line)]
    assert [line for line in uses if not PIN.match(line)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_script_contains_an_expression(path):
    assert [step["run"] for step in steps(path) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_only_the_permissions_that_it_needs(path):
    data = yaml.safe_load(path.read_text())
    assert data["permissions"] in ({}, {"contents": "read"})
    writers = [name for name, job in data["jobs"].items() if "write" in job.get("permissions", {}).values()]
    # YAML 1.1 reads the key `on` as true
    triggers = data[True]
    assert "pull_request_target" not in triggers
    if writers:  # a job that may write runs nothing of a pull request
        assert set(triggers) == {"workflow_run"}
        assert not any("checkout" in step.get("uses", "") or step.get("uses") == "./" for step in steps(path))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_checkout_keeps_no_credentials(path):
    for step in steps(path):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.name)
def test_an_issue_has_the_backends_and_the_run_folder(path):
    text = path.read_text()
    fields = {field["id"] for field in yaml.safe_load(text)["body"]}
    assert {"backends", "run"} <= fields
    assert "`bench backends`" in text
