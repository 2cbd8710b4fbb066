"""The benchmark of models on a GPU: pieces that stop and go on, packed runs, and the page that is written from them."""

import json
import sys
import tarfile
from xml.etree import ElementTree

import gpu_loops
import gpu_models
import gpu_models_page
import pytest
from onnxbench.spec import Artifact, Cell, Settings, TensorSpec, to_wire

MS = 10**6
LOOP = {
    **{"backend": "ort-cuda", "precision": "fp16", "batch": 8},
    "found": {
        what: {"ours": [1.0 + step / 1000 for step in range(12)], "theirs": [1.0] * 12} for what in ("host", "device", "rate")
    },
}


@pytest.fixture
def run_of(monkeypatch, tmp_path, run_folder, make_cell):
    """A finished run of one model where `pack` looks for it."""

    def make(model):
        monkeypatch.setattr(gpu_models, "RUN", tmp_path / "models")
        cells = [make_cell(model=model, backend=name, device="cuda:0", batch=8) for name in ("ort-cuda", "a-new-backend")]
        folder = run_folder(*cells, name=f"models/{model}/run")
        for cell in cells:
            folder.measured(cell, 5 * MS)
        (tmp_path / f"models/{model}/loop-ort-cuda-b8.json").write_text(json.dumps(LOOP))
        failed = {"backend": "tensorrt", "precision": "fp16", "batch": 1, "failed": "Traceback\nOSError: no engine"}
        (tmp_path / f"models/{model}/loop-tensorrt-b1.json").write_text(json.dumps(failed))
        return gpu_models.Model(model, "text")

    return make


def test_a_packed_run_becomes_a_page_with_a_chart(run_of, tmp_path):
    for name in ("resnet50", "bert"):
        gpu_models.pack(run_of(name))
    with tarfile.open(tmp_path / "models/bert.tar.gz") as tar:
        names = {name for name in tar.getnames() if not name.endswith(".npz")}
    assert names == {
        f"bert/{name}" for name in ("run.json", "journal.jsonl", "samples", "loop-ort-cuda-b8.json", "loop-tensorrt-b1.json")
    }
    results = tmp_path / "results"
    results.mkdir()
    gpu_models_page.pages(["cnn", "bert", "resnet50"], [tmp_path / "models"], results, "here", "2026-11-29")
    assert sorted(path.name for path in results.glob("*.md")) == ["here-bert.md", "here-resnet50.md"]
    text = (results / "here-bert.md").read_text()
    assert text.startswith("# bert on ")
    assert "| ort-cuda | 8 | host, ms | 1.006 | 1 | 1.005 (" in text
    assert "failed: OSError: no engine" in text
    assert "here-bert.svg" in text
    chart = ElementTree.fromstring((results / "here-bert.svg").read_text())
    assert len([item for item in chart.iter() if item.tag.endswith("circle")]) == 4  # two rows, and two lines of the key


def test_a_chart_has_a_point_for_each_measured_row():
    shared = {"precision": "fp16", "batch": 8}
    rows = [
        {**shared, "backend": "ort-cuda", "p50_ms": 1.5, "throughput_per_s": 800.0},
        {**shared, "backend": "a-<new>-backend", "p50_ms": 30.0, "throughput_per_s": 90.0},
        {**shared, "backend": "tensorrt", "p50_ms": None, "throughput_per_s": None},
    ]
    chart = ElementTree.fromstring(gpu_models_page.draw("bert", rows))
    points = [item for item in chart.iter() if item.tag.endswith("circle")]
    assert len(points) == 4  # two rows, and two lines of the key
    assert float(points[0].get("cx")) < float(points[1].get("cx"))
    assert float(points[0].get("cy")) < float(points[1].get("cy"))


def test_a_run_of_another_machine_is_gone_on_with(run_of, tmp_path, monkeypatch):
    model = run_of("bert")
    gpu_models.pack(model)
    monkeypatch.setattr(gpu_models, "RUN", tmp_path / "elsewhere")
    monkeypatch.setenv("CONTINUE", str(tmp_path / "models"))
    gpu_models.folder(model).mkdir(parents=True)
    gpu_models.unpack(model)
    gpu_models.unpack(model)
    assert (tmp_path / "elsewhere/bert/run/journal.jsonl").exists()
    assert (tmp_path / "elsewhere/bert/loop-ort-cuda-b8.json").exists()


def test_nothing_begins_after_the_end_of_a_piece(monkeypatch):
    monkeypatch.setattr(gpu_models, "END", gpu_models.time.monotonic() + gpu_models.GRACE_S - 1)
    with pytest.raises(gpu_models.OutOfTimeError):
        gpu_models.run([sys.executable, "-c", "raise SystemExit(9)"])


def test_a_command_that_outlasts_a_piece_is_interrupted(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_models, "END", gpu_models.time.monotonic() + gpu_models.GRACE_S + 1)
    code = (
        "import pathlib, time\n"
        "try:\n    time.sleep(60)\n"
        f"except KeyboardInterrupt:\n    pathlib.Path({str(tmp_path / 'kept')!r}).touch()\n"
    )
    with pytest.raises(gpu_models.OutOfTimeError):
        gpu_models.run([sys.executable, "-c", code])
    assert (tmp_path / "kept").exists()


def test_a_sweep_that_is_done_is_not_asked_for_again(monkeypatch, tmp_path):
    asked, codes = [], [0, 2, 3]
    monkeypatch.setattr(gpu_models, "RUN", tmp_path)
    monkeypatch.setattr(gpu_models, "bench", lambda *words: asked.append(words) or codes.pop(0))
    model = gpu_models.Model("bert", "hf:bert", dims=("--dim", "sequence=128"))
    gpu_models.folder(model).mkdir()
    gpu_models.sweep(model)
    codes.append(0)
    monkeypatch.setenv("SWEEPS", "0,2")
    gpu_models.sweep(model)  # nothing is left of these two
    monkeypatch.setenv("SWEEPS", "0,1")
    gpu_models.sweep(model)
    assert [words[words.index("--precision") + 1] for words in asked] == [
        *(precisions for _, precisions, _ in gpu_models.SWEEPS[:3]),  # the fourth is measured on request alone
        gpu_models.SWEEPS[1][1],
    ]
    assert all("sequence=128" in words for words in asked)


def test_a_case_on_the_wire_is_a_case_again(tmp_path):
    ids = TensorSpec(name="ids", dtype="int64", shape=("batch", "sequence"), high=100)
    artifact = Artifact(model="m", precision="fp16", path="m.onnx", sha256="ab", nbytes=1, opset=17, inputs=(ids,), outputs=())
    cell = Cell(
        **{"model": "m", "sha256": "cd", "backend": "ort-cuda", "device": "cuda:0", "precision": "fp16", "batch": 2},
        shapes=(("ids", (2, 16)),),
        settings=Settings(threads=1),
    )
    (tmp_path / "case.json").write_text(json.dumps({"artifact": to_wire(artifact), "cell": to_wire(cell)}))
    case, rounds = gpu_loops.stored(str(tmp_path / "case.json"), 12)
    assert (case.artifact, case.cell, rounds) == (artifact, cell, 12)
    assert case.arrays["ids"].shape == (2, 16)
    assert 0 <= case.arrays["ids"].min() <= case.arrays["ids"].max() < 100


def test_the_cnn_has_no_case_on_the_wire():
    case, rounds = gpu_loops.given("torch-cuda", "cnn.fp32.onnx", "fp32", "4", "12", "cnn.safetensors")
    assert (case.cell.batch, case.artifact.source.weights, rounds) == (4, "cnn.safetensors", 12)
    assert case.arrays["input"].shape == (4, 3, 48, 48)
