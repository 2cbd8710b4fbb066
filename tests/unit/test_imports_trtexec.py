"""What trtexec of versions 7 to 11 prints, whole and as people paste it."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.errors import BadInput
from onnxbench.results.imports import ImportOptions, read_figures, read_rows, trtexec, trtexec_log

SAMPLES = Path(__file__).parent / "imports"


def rows(name, **options):
    return read_rows([SAMPLES / name], ImportOptions(**options))


def figures(row):
    return {name: value for name, value in row.event.figures.items() if name != "settings"}


def test_the_throughput_of_an_implicit_batch_is_as_printed():
    (row,) = rows("trtexec-8-implicit.log", precision="int8", batch=32)
    assert (row.cell.batch, row.cell.model, row.event.version) == (32, "digits32", "8.2.5")
    assert figures(row) == {"device_p50_ms": 0.59, "e2e_p50_ms": 0.62, "throughput_per_s": pytest.approx(53100.5)}
    assert trtexec.COUNTS_ITEMS in row.event.notes


@pytest.mark.parametrize(("batch", "rate"), [(32, 53100.5), (64, 53100.5)])
def test_without_a_head_the_durations_show_that_the_rate_counts_items(tmp_path, batch, rate):
    text = (SAMPLES / "trtexec-8-implicit.log").read_text().partition("&&&&")[0]
    (tmp_path / "log").write_text(text)
    given = {"model": "m", "precision": "int8"}
    (row,) = read_rows([tmp_path / "log"], ImportOptions(**given, batch=batch))
    assert row.event.figures["throughput_per_s"] == pytest.approx(rate)
    with pytest.raises(BadInput, match="impossible"):
        read_rows([tmp_path / "log"], ImportOptions(**given, batch=2))


def test_several_summaries_of_version_7_are_several_rows():
    first, second = rows("trtexec-7.log")
    assert first.cell.key != second.cell.key
    assert (first.cell.model, first.cell.batch, first.cell.device, first.cell.precision) == ("squeeze", 8, "cuda:1", "fp16")
    assert figures(first) == {"device_p50_ms": 9.7, "e2e_p50_ms": 10.2, "throughput_per_s": 784.5, "samples": 300}
    assert figures(second) == {"device_p50_ms": 9.9, "e2e_p50_ms": 10.4, "throughput_per_s": 769.0, "samples": 295}
    assert (first.event.version, first.event.facts["ran"]) == ("7", "2020-05-06 07:08:09")


def test_explanations_after_the_summary_are_no_figures():
    (row,) = rows("trtexec-8-verbose.log", precision="fp16")
    assert (row.cell.model, row.cell.batch, row.event.facts["accelerator"]) == ("boxes", 6, "NVIDIA A10")
    assert figures(row) == {"device_p50_ms": 6.1, "e2e_p50_ms": 7.4, "throughput_per_s": pytest.approx(957.0), "samples": 480}


def test_version_11_has_other_defaults_and_no_note_contradicts_them():
    (row,) = rows("trtexec-11.log")
    assert figures(row) == {"device_p50_ms": 27.0, "throughput_per_s": pytest.approx(70.8), "build_s": 61.25, "samples": 110}
    definition = {name: value for name, value in row.event.facts.items() if name not in ("ran", "accelerator")}
    assert definition == {"streams": "2", "transfers": "off", "cuda_graph": "on", "spin_wait": "on"}
    assert row.event.figures["settings"].startswith("pixels=2x3x512x512 ")
    assert trtexec.NO_OVERLAP in row.event.notes
    assert not {trtexec.OVERLAP, trtexec.COMPUTED, trtexec.E2E} & set(row.event.notes)


PASTED = {
    "github": lambda line: f"2026-01-02T03:04:05.6789012Z {line}",
    "compose": lambda line: f"builder-1  | {line}",
    "level": lambda line: line if line.startswith("&&&&") else f"[INFO] {line}",
    "indent": lambda line: f"      {line}",
    "quoted": lambda line: f"> {line}",
    "crlf": lambda line: f"{line}\r",
    "coloured": lambda line: f"\x1b[32m{line}\x1b[0m",
    "bare": lambda line: re.sub(r"^\[[^]]*\] \[\w\] ", "", line),
}


@pytest.mark.parametrize("how", PASTED)
@pytest.mark.parametrize("name", ["trtexec.log", "trtexec-7.log", "trtexec-8-implicit.log", "trtexec-11.log"])
def test_prefixes_and_line_ends_change_no_figure(tmp_path, name, how):
    lines = (SAMPLES / name).read_text().splitlines()
    (tmp_path / "log").write_bytes("\n".join(map(PASTED[how], lines)).encode())
    found, plain = read_figures(tmp_path / "log"), read_figures(SAMPLES / name)
    assert [(row.figures, row.batch, row.model, row.version) for row in found] == [
        (row.figures, row.batch, row.model, row.version) for row in plain
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "cp1252"])
def test_encodings_of_windows_are_read(tmp_path, encoding):
    text = (SAMPLES / "trtexec.log").read_text().replace("cnn.onnx", "modèle.onnx")
    (tmp_path / "log").write_bytes(text.encode(encoding))
    (row,) = read_figures(tmp_path / "log")
    assert row.model == "modèle"


@pytest.mark.parametrize(
    ("precision", "names"),
    [
        ("FP32", ("fp32", "tf32")),
        ("FP32+FP16", ("fp16",)),
        ("FP32+BF16", ("bf16",)),
        ("FP32+FP16+INT8", ("int8+fp16", "int8")),
        ("FP32+INT8 (obey precision constraints)", ("int8",)),
        ("FP32+FP8", ()),
        ("Strongly Typed", ()),
    ],
)
def test_the_precision_of_a_build_is_read(tmp_path, precision, names):
    text = (SAMPLES / "trtexec-11.log").read_text().replace("Precision: FP32\n", f"Precision: {precision}\n")
    (tmp_path / "log").write_text(text)
    assert read_figures(tmp_path / "log")[0].precisions == names


def test_the_file_rules_out_other_precisions(tmp_path):
    assert rows("trtexec-11.log")[0].cell.precision == "fp32"
    assert rows("trtexec-11.log", precision="tf32")[0].cell.precision == "tf32"
    with pytest.raises(BadInput, match="--precision fp16 contradicts"):
        rows("trtexec-11.log", precision="fp16")


def test_a_model_is_renamed_only_by_its_name_in_the_file():
    assert rows("trtexec-11.log", model="segment=mine")[0].cell.model == "mine"
    with pytest.raises(BadInput, match="--model segment=mine"):
        rows("trtexec-11.log", model="mine")
    with pytest.raises(BadInput, match="--model segment=mine"):
        rows("trtexec-11.log", model="other=mine")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("&&&& RUNNING", "[06/07/2026-08:09:11] [E] Cannot parse the model\n&&&& FAILED", "Cannot parse the model"),
        ("Device: 0\n", "Device: 0\n[06/07/2026-08:09:10] [I] Skip inference: Enabled\n", "built an engine"),
        ("Device: 0\n", "Device: 0\n", "ends before the performance summary"),
    ],
)
def test_a_log_without_a_summary_says_why(tmp_path, old, new, reason):
    text = (SAMPLES / "trtexec-11.log").read_text()
    text = text[: text.index("Timing trace")].replace(old, new)
    (tmp_path / "log").write_text(text)
    with pytest.raises(BadInput, match=reason):
        read_figures(tmp_path / "log")


def test_a_decimal_comma_is_named(tmp_path):
    (tmp_path / "log").write_text((SAMPLES / "trtexec-11.log").read_text().replace("35.4 qps", "35,4 qps"))
    with pytest.raises(BadInput, match=r"Throughput is '35,4', with a decimal comma; .*LC_ALL=C"):
        read_figures(tmp_path / "log")


def test_a_failed_run_beside_others_is_noted(tmp_path):
    text = (SAMPLES / "trtexec-11.log").read_text()
    failed = "&&&& RUNNING TensorRT.trtexec [TensorRT v110200] # trtexec --onnx=a.onnx\n&&&& FAILED TensorRT.trtexec\n"
    (tmp_path / "log").write_text(failed + text)
    (row,) = read_figures(tmp_path / "log")
    assert trtexec_log.FAILED_BESIDE.format(1) in row.notes


def test_a_row_says_when_and_where_it_ran_and_invents_nothing(tmp_path):
    out = tmp_path / "run"
    done = CliRunner().invoke(main, ["import", str(SAMPLES / "trtexec-11.log"), "--out", str(out), "--format", "json"])
    assert done.exit_code == 0, done.output
    head = json.loads((out / "run.json").read_text())
    assert head["began_unix_s"] is None
    assert head["host"]["gpus"][0]["name"] == "NVIDIA L4"
    (row,) = json.loads(done.stdout)["rows"]
    assert "on NVIDIA L4 at 2026-06-07 08:09:10" in row["notes"]


def test_files_of_two_gpus_are_not_one_machine(tmp_path):
    (tmp_path / "log").write_text(
        (SAMPLES / "trtexec-11.log").read_text().replace("NVIDIA L4", "Tesla T4").replace("segment", "b")
    )
    files = [str(SAMPLES / "trtexec-11.log"), str(tmp_path / "log")]
    done = CliRunner().invoke(main, ["import", *files, "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "NVIDIA L4, Tesla T4" in done.stderr


def test_rows_of_different_settings_say_so_where_they_stand_together(tmp_path):
    text = (SAMPLES / "trtexec-11.log").read_text()
    lines = [line.replace("= 0 ms", "= 1 ms") if "H2D Latency" in line else line for line in text.splitlines()]
    (tmp_path / "log").write_text("\n".join(lines).replace("v110200", "v100900"))
    runs = []
    for name, path in (("new", SAMPLES / "trtexec-11.log"), ("old", tmp_path / "log")):
        runs.append(str(tmp_path / name))
        assert CliRunner().invoke(main, ["import", str(path), "--out", runs[-1]]).exit_code == 0
    alone = json.loads(CliRunner().invoke(main, ["show", runs[0], "--format", "json"]).stdout)
    both = json.loads(CliRunner().invoke(main, ["show", *runs, "--format", "json"]).stdout)
    assert "unlike_settings" not in [finding["kind"] for finding in alone["findings"]]
    (finding,) = [finding for finding in both["findings"] if finding["kind"] == "unlike_settings"]
    assert finding["values"]["settings"] == "transfers off and on, cuda_graph off and on, spin_wait off and on"
