"""The shell steps of action.yml, run as a runner of GitHub runs them, on the null backend."""

import os
import subprocess
import sys
from pathlib import Path

import onnxfiles
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
INSTALL, *SHELL_STEPS = STEPS  # the package is installed here already


class Runner:
    """Runs the steps of the action with some inputs; `outputs` are those of the steps, and `summary` that of the job."""

    def __init__(self, folder, cache, **inputs):
        defaults = {name: str(declared.get("default", "")) for name, declared in ACTION["inputs"].items()}
        self.inputs = {**defaults, **{name.replace("_", "-"): str(value) for name, value in inputs.items()}}
        self.folder, self.outputs, self.summary = folder, {}, folder / "summary.md"
        self.environment = {**os.environ, "ONNXBENCH_CACHE": str(cache), "GITHUB_ACTION_PATH": str(ROOT)}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.summary.touch()

    def value(self, text):
        """The value of an expression of the action: an input or an output of a step."""
        inner = text.removeprefix("${{ ").removesuffix(" }}")
        if inner.startswith("inputs."):
            return self.inputs[inner.removeprefix("inputs.")]
        assert inner.startswith("steps.")
        return self.outputs.get(inner.rpartition(".")[2], "")

    def step(self, name):
        step, output = STEPS[name], self.folder / "output"
        output.write_text("")
        files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(self.summary)}
        own = {key: self.value(text) for key, text in step["env"].items()}
        command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
        environment = {**self.environment, **files, **own}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        self.outputs |= dict(line.split("=", 1) for line in output.read_text().splitlines())
        return done

    def run(self):
        for name in SHELL_STEPS:
            if (done := self.step(name)).returncode:
                return name, done
        return "", done


@pytest.fixture
def runner(tmp_path):
    (tmp_path / "job").mkdir()
    for side in ("base", "head"):
        (tmp_path / "job" / side).mkdir()
        onnxfiles.write(tmp_path / "job" / side / "net.onnx", onnxfiles.dense())
    return lambda **inputs: Runner(tmp_path / "job", tmp_path / "cache", backend="null", budget="quick", batch="1", **inputs)


def test_two_models_are_compared_in_turns(runner):
    job = runner(model="head/net.onnx", base_model="base/net.onnx", runs=1)
    failed, done = job.run()
    assert not failed, done.stderr
    assert {path.name for path in (job.folder / "onnxbench-runs").iterdir()} == {"base-1", "head-1", "comparison.txt"}
    assert job.outputs["failed"] == "false"
    summary = job.summary.read_text()
    assert summary.startswith(f"## null: {job.outputs['verdict']}\n")
    assert "| null |" in summary


@pytest.mark.long
def test_two_runtimes_share_one_run(runner):
    job = runner(model="head/net.onnx", base_python=sys.executable, head_python=sys.executable)
    failed, done = job.run()
    assert not failed, done.stderr
    assert {path.name for path in (job.folder / "onnxbench-runs").iterdir()} == {"both", "comparison.txt"}
    assert job.outputs["verdict"] in ("slower", "faster", "mixed", "undecided")
    text = (job.folder / "onnxbench-runs/comparison.txt").read_text()
    assert "base" in text
    assert "head" in text


@pytest.mark.long
def test_a_regression_fails_after_the_summary(runner):
    job = runner(model="head/net.onnx")
    job.outputs = {"failed": "true"}
    done = job.step("Fail on a regression")
    assert done.returncode == 1
    assert done.stdout.startswith("::error::")


@pytest.mark.parametrize("inputs", [{"model": "missing.onnx", "base_model": "base/net.onnx"}, {"model": "head/net.onnx"}])
def test_a_wrong_request_is_one_annotation(runner, inputs):
    name, done = runner(**inputs).run()
    assert name == "Measure both sides, and compare them"
    assert done.returncode == 2
    assert [line for line in done.stdout.splitlines() if line.startswith("::error::")]
    assert "Traceback" not in done.stderr
