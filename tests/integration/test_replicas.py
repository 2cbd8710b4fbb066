"""A replica of the model on each of two GPUs that do not exist, in processes of their own (null backend)."""

from onnxfiles import MINI


def test_each_gpu_has_a_process_and_a_lost_one_costs_its_row(shell, null_file):
    shell.environment = {"ONNXBENCH_NULL_GPUS": "2"}
    how = ("--model", null_file, "--backend", "null", *MINI, "--batch", "1,8", "--device", "cuda:all")
    rows = shell.rows("infer", *how, "--option", "fault=die@start:40/8+1", "--out", "run", code=3)
    outcomes = {(row["device"], row["batch"]): row["status"] for row in rows}
    ok = dict.fromkeys([("cuda:0", 1), ("cuda:0-1", 1), ("cuda:0", 8)], "ok")
    assert outcomes == {**ok, ("cuda:0-1", 8): "failed"}
    both, lost = (row for row in rows if row["device"] == "cuda:0-1")
    assert lost["reason"].startswith("on cuda:1: ")
    assert (both["gpus"], both["scaling_efficiency"] > 0) == (2, True)
    logs = {path.name for path in (shell.folder / "run/logs").glob("null-fp32*")}
    assert {"null-fp32-cuda0.log", "null-fp32-cuda1.log"} <= logs


def test_a_gpu_that_is_not_there_is_one_sentence(shell, null_file):
    shell.environment = {"ONNXBENCH_NULL_GPUS": "1"}
    done = shell.bench("infer", "--model", null_file, "--backend", "null", *MINI, "--batch", "1", "--device", "cuda:0-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "this machine has 1 GPU" in done.stderr
