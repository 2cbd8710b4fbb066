"""`--roof` on a real runtime: the rows of the roofs, the shares of the model, and what other commands make of both."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxfiles
import pytest
from onnxbench.models import roofs
from onnxbench.models.roofs import RoofGraph
from onnxbench.runners.sweep import roofs as planned
from onnxbench.runners.worker.work_jobs import work_of
from onnxbench.work import COMPUTE, MEMORY, NODES


@pytest.fixture
def small_arrays(monkeypatch):
    """Sums of 3 MB in place of those far above the caches, which would have to be drawn."""
    monkeypatch.setattr(planned.flush, "host_bytes", lambda: 0)
    monkeypatch.setattr(planned, "LEAST_BYTES", 3 << 20)


def test_a_sweep_with_roofs(shell, small_arrays):
    model = onnxfiles.write(shell.folder / "wide.onnx", onnxfiles.wide(layers=2, columns=256))
    asked = ("--backend", "ort-cpu", "--precision", "fp32", "--batch", "4", "--inputs", "2", *onnxfiles.MINI, "--out", "run")
    rows = {row["model"]: row for row in shell.rows("infer", "--model", model, "--roof", *asked)}
    row, product, chain = rows["wide"], rows["roof-product-1024"], rows["roof-chain-32"]
    assert {each["status"] for each in rows.values()} == {"ok"}
    assert row["gflops"] == 2 * 2 * 4 * 256 * 256 / 1e9
    assert row["gflops_per_s"] == pytest.approx(row["gflops"] / row["p50_ms"] * 1e3, rel=0.5)
    assert 0 < row["of_roof"] == pytest.approx(max(row["bound_compute"], row["bound_memory"]), rel=1)
    assert row["bound"] in ("compute", "memory", "launch", "overhead")
    assert product["gflops"] == 2 * 1024**3 / 1e9
    assert (product["of_roof"], product["throughput_per_s"], chain["energy_mj"]) == (None, None, None)
    assert chain["p50_ms"] < product["p50_ms"]
    journal = [json.loads(line) for line in (shell.folder / "run/journal.jsonl").read_text().splitlines()]
    assert len({event["cell"] for event in journal if event["event"] == "work"}) == len(rows)
    visits = [event["round"] for event in journal if event["event"] == "block"]
    assert all(visits.count(number) == len(rows) for number in set(visits))

    again = shell.rows("infer", "--out", "run", "--resume")
    assert {each["model"]: each["of_roof"] for each in again} == {name: each["of_roof"] for name, each in rows.items()}
    advice = json.loads(shell.bench("recommend", "run", "--format", "json").stdout)
    assert "roof-" not in json.dumps(advice["pick"]["name"])
    compared = shell.bench("compare", "run", "run", "--format", "json")
    assert "roof-product" not in compared.stdout


def starved():
    """A product whose weights are read once for one row: 64 MB for 33 MFLOP."""
    return onnxfiles.wide(layers=1, columns=4096)


def tiny_steps(count=200):
    """Sums so small that starting them takes most of the time."""
    ends = [onnxfiles.value(name, onnxfiles.Type.FLOAT, ["N", 4]) for name in ("x", f"s{count}")]
    names = ["x", *(f"s{number}" for number in range(1, count + 1))]
    nodes = [onnx.helper.make_node("Add", [name, "one"], [following]) for name, following in pairwise(names)]
    one = onnx.numpy_helper.from_array(np.ones(4, np.float32), "one")
    return onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], [one])


def busy():
    """Products that compute for far longer than they read."""
    return onnxfiles.wide(layers=2, columns=1024)


MADE = {"help_memory": (starved, 1), "help_launch": (tiny_steps, 1), "help_compute_alone": (busy, 512)}


@pytest.mark.long
@pytest.mark.parametrize("kind", MADE)
def test_a_model_that_is_made_for_a_limit_gets_its_advice(shell, kind):
    graph, batch = MADE[kind]
    model = onnxfiles.write(shell.folder / "made.onnx", graph())
    asked = ("--backend", "ort-cpu", "--precision", "fp32", "--batch", batch, "--budget", "quick", "--format", "json")
    done = shell.bench("infer", "--model", model, "--roof", *asked, "--out", "run")
    assert kind in {finding["kind"] for finding in json.loads(done.stdout)["findings"]}


def test_without_the_option_there_is_no_roof(shell):
    model = onnxfiles.write(shell.folder / "dense.onnx", onnxfiles.dense())
    (row,) = shell.rows("infer", "--model", model, "--backend", "null", "--batch", "1", *onnxfiles.MINI, "--out", "run")
    assert (row["gflops"], row["of_roof"], row["bound"]) == (None, None, None)


@pytest.mark.parametrize(
    ("graph", "flops", "nbytes"),
    [
        (RoofGraph(kind=COMPUTE, size=1024), 2 * 1024**3, 3 * 4 * 1024**2),
        (RoofGraph(kind=COMPUTE, size=1024, precision="fp16"), 2 * 1024**3, 3 * 2 * 1024**2),
        (RoofGraph(kind=COMPUTE, size=1024, precision="int8"), 2 * 1024**3, (4 + 1 + 4) * 1024**2 + 9),
        (RoofGraph(kind=MEMORY, size=3 << 20), 0, 3 << 20),
        (RoofGraph(kind=NODES, size=32), 32 * 2 * 4**3, 34 * 4 * 16),
    ],
)
def test_a_graph_has_the_work_that_its_roof_divides_by(tmp_path, graph, flops, nbytes):
    artifact = roofs.write(graph, tmp_path)
    shapes = tuple((spec.name, tuple(spec.shape)) for spec in artifact.inputs)
    work = work_of(Path(artifact.path), shapes)
    assert (work.layer_flops, work.least_bytes, work.unknown) == (flops, nbytes, ())
    assert (artifact.precision, artifact.model) == (graph.precision, graph.name)
    assert roofs.write(graph, tmp_path).sha256 == artifact.sha256


def test_pytorch_computes_the_same_graph(tmp_path):
    import torch
    from onnxbench.factories import resolve

    for graph in (RoofGraph(kind=COMPUTE, size=1024), RoofGraph(kind=MEMORY, size=3 << 20), RoofGraph(kind=NODES, size=32)):
        artifact = roofs.write(graph, tmp_path)
        arrays = [np.ones(spec.shape, np.float32) for spec in artifact.inputs]
        with torch.inference_mode():
            outputs = resolve(artifact.source.factory)()(*map(torch.from_numpy, arrays))
        output = onnx.load(artifact.path).graph.output[0].type.tensor_type.shape
        assert [dim.dim_value for dim in output.dim] == list(outputs.shape)
