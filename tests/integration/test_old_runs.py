"""Runs, artifacts and a cache of earlier versions (tests/data), read and resumed by this one."""

import json
import shutil
import stat
from importlib.metadata import version

import pytest
from onnxbench import __version__
from onnxbench.runners.pool import host

from .conftest import unpack

CASES = ("v0_1",)
WORDS = ("notes", "reason", "settings", "throughput_settings", "slo_settings", "conversion")  # for people: may be said better
CUT = ("ort-cpu", "fp32", 1)
KEPT_ROUNDS = 2


@pytest.fixture(params=CASES)
def old(request, shell, tmp_path):
    """A folder as that version left it, but for where it is."""
    folder = unpack(request.param, tmp_path / "example")
    shell.folder, shell.cache = folder, folder / "cache"
    return shell


def figures(row, names):
    """What is measured and concluded in a row, without sentences for people."""
    kept = {name: row[name] for name in names if name not in WORDS}
    return {name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for name, value in kept.items()}


def name_of(row):
    return row["backend"], row["precision"], row["batch"]


def move_here(folder):
    """Makes the run one of this machine, since a run is only resumed on the machine that it was begun on."""
    head = json.loads((folder / "run.json").read_text())
    head["host"]["cpu"] = host.describe().cpu
    head["versions"] = {"ort-cpu": version("onnxruntime"), "openvino-cpu": version("openvino")}
    (folder / "run.json").write_text(json.dumps(head))
    return head


def cut(folder, first_ms):
    """Leaves the journal as a kill would have in the third round of the cell with that `first_ms`; answers with its key."""
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    (key,) = [event["cell"] for event in events if event["event"] == "opened" and event["first_ms"] == first_ms]
    late = [e["event"] in ("stopped", "load") or e.get("round", 0) >= KEPT_ROUNDS for e in events]
    left = [event for event, is_late in zip(events, late) if not (event["cell"] == key and is_late)]
    (folder / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in left))
    return key


def test_an_old_run_has_the_figures_that_it_had(old):
    then = json.loads((old.folder / "shown.json").read_text())["rows"]
    now = old.rows("show", "run")
    assert len(now) == len(then) > 0
    for new, before in zip(now, then):
        assert {name: new[name] for name in figures(before, before)} == figures(before, before)


def test_an_old_run_is_recommended_compared_and_reported(old):
    then = json.loads((old.folder / "recommended.json").read_text())
    done = old.bench("recommend", "run", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [name_of(row) for row in json.loads(done.stdout)["rows"]] == [name_of(row) for row in then["rows"]]
    shutil.copytree(old.folder / "run", old.folder / "again")
    compared = old.rows("compare", "run", "again")
    assert compared
    assert {row["verdict"] for row in compared} <= {"no difference shown", "inconclusive"}  # the same run on both sides
    assert old.bench("report", "run", "--out", "report.html").returncode == 0
    assert "openvino-cpu" in (old.folder / "report.html").read_text()


def test_an_old_run_is_resumed_under_its_own_keys(old):
    then = {name_of(row): row for row in json.loads((old.folder / "shown.json").read_text())["rows"]}
    head = move_here(old.folder / "run")
    samples = {file.name for file in (old.folder / "run/samples").iterdir()}
    key = cut(old.folder / "run", then[CUT]["first_ms"])
    asked = ("--backend", "ort-cpu,openvino-cpu", "--precision", "fp32,int8", "--batch", "1,8", "--budget", "quick")
    rows = {name_of(row): row for row in old.rows("infer", *asked, "--out", "run", "--resume")}
    assert set(rows) == set(then)
    assert rows[CUT]["rounds"] == KEPT_ROUNDS + 1
    for name in set(then) - {CUT}:
        assert (rows[name]["rounds"], rows[name]["p50_ms"]) == (then[name]["rounds"], pytest.approx(then[name]["p50_ms"]))
    assert {row["status"] for row in rows.values()} == {"ok"}
    new = {file.name for file in (old.folder / "run/samples").iterdir()} - samples
    assert all(name.startswith(key) for name in new)
    resumed = json.loads((old.folder / "run/run.json").read_text())
    assert key in {cell["key"] for cell in resumed["cells"]}
    assert len(resumed["cells"]) == len(head["cells"])


def test_old_artifacts_are_measured_and_an_old_cache_is_used(old):
    rows = old.rows("check", "--backend", "ort-cpu")
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["precision"] for row in rows} >= {"fp32", "int8"}
    assert all(("onnxbench 0.1" in (row["notes"] or "")) == (row["precision"] != "fp32") for row in rows)
    listed = old.bench("cache")
    assert listed.returncode == 0
    assert "exports" in listed.stdout
    model = ("--model", "artifacts/small.onnx", "--dataset", f"npz:{old.folder / 'images.npz'}")
    made = old.bench("export", *model, "--out", "again")
    assert made.returncode == 0, made.stderr
    files = [item["artifact"] for item in json.loads((old.folder / "again/manifest.json").read_text())["artifacts"]]
    assert [file["derived"] and file["derived"]["tool"] for file in files] == [None, __version__, __version__]
    assert {stat.S_IMODE(place.stat().st_mode) for place in (old.cache, old.cache / "exports")} == {0o700}
