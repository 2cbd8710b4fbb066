import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxbench.cli import main
from onnxbench.errors import BadInput
from onnxbench.results import imports
from onnxbench.results.imports import UNPROVEN, ImportOptions, benchmark_app, read_rows, trtexec
from onnxbench.results.imports import read_figures as read_file
from onnxbench.results.table.columns import BY_NAME as NAMES

SAMPLES = Path(__file__).parent / "imports"
GIVEN = ("--precision", "fp32", "--backend", "ort-cpu", "--model", "cnn", "--device", "cpu", "--batch", "4")
ONE = GIVEN[:8]


def bench(*arguments, code=0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def imported(tmp_path, *names, options=GIVEN, out="imported"):
    """The rows of samples, as the JSON that importing them prints."""
    files = [SAMPLES / name for name in names]
    done = bench("import", *files, *options, "--out", tmp_path / out, "--format", "json")
    return json.loads(done.stdout)["rows"]


def read_figures(path):
    """The only row of the file at `path`."""
    (row,) = read_file(path)
    return row


def told(row):
    """The figures that a row has."""
    axes = ("host", "model", "backend", "environment", "device", "precision", "batch", "status", "notes", "run")
    return {name: value for name, value in row.items() if value is not None and name not in axes}


@pytest.mark.parametrize(
    ("name", "options", "axes", "figures", "note"),
    [
        (
            "benchmark_app-sync.json",
            ("--precision", "fp32"),
            ("cnn.fp32", "openvino-cpu", "benchmark_app", "cpu", "fp32", 1),
            {
                **{"p50_ms": 2.34, "samples": 805, "throughput_per_s": 402.33, "lanes": 1, "first_ms": 18.03},
                **{"load_s": pytest.approx(0.21316), "throughput_settings": "1 infer request · -hint latency"},
            },
            benchmark_app.FILLING,
        ),
        (
            "benchmark_app-async.csv",
            ("--precision", "bf16", "--model", "cnn"),
            ("cnn", "openvino-cpu", "benchmark_app", "cpu", "bf16", 1),
            {
                **{"throughput_per_s": 453.73, "lanes": 2, "first_ms": 27.98, "load_s": pytest.approx(0.10831)},
                **{"loaded_p50_ms": 4.01, "samples": 909},
                "throughput_settings": "2 infer requests · -hint throughput",
            },
            benchmark_app.IN_FLIGHT.format(2),
        ),
        (
            "benchmark_app-cpp.json",
            ("--precision", "fp16"),
            ("cnn", "openvino-gpu", "benchmark_app", "gpu:1", "fp16", 4),
            {
                **{"p90_ms": 2.25, "samples": 30000, "throughput_per_s": 2000.0, "lanes": 1, "first_ms": 3.25, "load_s": 0.825},
                "throughput_settings": "1 stream · 1 infer request · -hint latency",
            },
            benchmark_app.LATENCY,
        ),
        (
            "benchmark_app-shapes.json",
            ("--precision", "fp32", "--batch", "3"),
            ("cnn.fp32", "openvino-cpu", "benchmark_app", "cpu", "fp32", 3),
            {
                **{"throughput_per_s": 285.86, "lanes": 2, "throughput_settings": "2 infer requests"},
                **{"first_ms": 22.03, "load_s": pytest.approx(0.14502), "loaded_p50_ms": 23.78, "samples": 132},
            },
            benchmark_app.SEVERAL.format(2),
        ),
        (
            "loadgen-singlestream.txt",
            ONE,
            ("cnn", "ort-cpu", "loadgen", "cpu", "fp32", 1),
            {
                **{"p50_ms": 0.609815, "p90_ms": 0.630928, "p95_ms": 0.645013, "p99_ms": 0.740108},
                **{"throughput_per_s": 1587.78, "lanes": 1, "settings": "target_qps=1000"},
            },
            "90th percentile (p90), not the median",
        ),
        (
            "loadgen-multistream.txt",
            GIVEN,
            ("cnn", "ort-cpu", "loadgen", "cpu", "fp32", 4),
            {
                **{"p50_ms": 2.450804, "p90_ms": 2.523928, "p95_ms": 2.723471, "p99_ms": 4.374946},
                "settings": "target_qps=333.333",
            },
            "INVALID: not Early stopping satisfied",
        ),
        (
            "loadgen-offline.txt",
            GIVEN,
            ("cnn", "ort-cpu", "loadgen", "cpu", "fp32", 4),
            {"throughput_per_s": 1586.52, "settings": "target_qps=1000"},
            "INVALID: not Min duration satisfied",
        ),
        (
            "loadgen-server.txt",
            GIVEN,
            ("cnn", "ort-cpu", "loadgen", "cpu", "fp32", 4),
            {
                **{"loaded_per_s": 188.63, "loaded_p50_ms": 0.772187, "loaded_p90_ms": 1.061165, "loaded_p95_ms": 1.282402},
                **{"loaded_p99_ms": 3.325984, "settings": "target_qps=200"},
            },
            "target latency p99 <= 10 ms",
        ),
        (
            "trtexec-times.json",
            ("--precision", "fp16", "--model", "cnn", "--batch", "2", "--device", "cuda:1"),
            ("cnn", "tensorrt", "trtexec", "cuda:1", "fp16", 2),
            {"device_p50_ms": 2.0, "e2e_p50_ms": 2.375, "throughput_per_s": 600.0, "samples": 3},
            trtexec.WARM_UP,
        ),
        (
            "trtexec.log",
            ("--precision", "fp16"),
            ("cnn", "tensorrt", "trtexec", "cuda:1", "fp16", 8),
            {
                **{"device_p50_ms": 0.30625, "e2e_p50_ms": 0.405, "throughput_per_s": 24004.0, "samples": 9000},
                "settings": "input=8x3x48x48 streams=1 transfers=on cuda_graph=off spin_wait=off",
            },
            trtexec.NO_CALL,
        ),
    ],
)
def test_a_file_of_another_tool_is_a_row(tmp_path, name, options, axes, figures, note):
    (row,) = imported(tmp_path, name, options=options)
    assert (row["model"], row["backend"], row["environment"], row["device"], row["precision"], row["batch"]) == axes
    assert told(row) == figures
    assert row["status"] == "ok"
    assert note in row["notes"]
    assert UNPROVEN[0].format(axes[2]) in row["notes"]


def test_a_valid_server_run_shows_a_rate(tmp_path):
    text = (SAMPLES / "loadgen-server.txt").read_text().replace("INVALID", "VALID")
    (tmp_path / "summary").write_text(text)
    found = read_figures(tmp_path / "summary")
    assert (found.figures["slo_rate_per_s"], found.figures["slo"]) == (188.73, "p99 <= 10 ms, poisson arrivals")
    assert not [note for note in found.notes if "VALID" in note]


def test_logs_of_one_percentile_without_stamps_and_in_utf_16_are_taken(tmp_path):
    """TensorRT 8 tells one percentile and an end to end of its own; PowerShell writes UTF-16."""
    text = (SAMPLES / "trtexec.log").read_text().replace("v100200", "v8601").replace("[01/02/2025-03:04:20] [I] ", "")
    text = text.replace(" percentile(90%) = 0.42 ms, percentile(95%) = 0.43 ms,", "")
    text = text.replace("Enqueue Time:", "End-to-End Host Latency: min = 1 ms, median = 1 ms\nEnqueue Time:")
    (tmp_path / "log").write_bytes(text.encode("utf-16"))
    found = read_figures(tmp_path / "log")
    assert found.version == "8.6.1"
    assert dict(found.figures) == {"device_p50_ms": 0.30625, "e2e_p50_ms": 0.405, "samples": 9000}


def test_where_benchmark_app_finds_no_batch_its_throughput_is_in_calls(tmp_path):
    text = (SAMPLES / "benchmark_app-sync.json").read_text().replace('"-data_shape": "input[1,3,48,48]", ', "")
    (tmp_path / "report.json").write_text(text)
    (row,) = imported(tmp_path, tmp_path / "report.json", options=("--precision", "fp32", "--batch", "8"))
    assert (row["batch"], row["throughput_per_s"]) == (8, pytest.approx(8 * 402.33))
    assert benchmark_app.UNSURE in row["notes"]


def test_without_transfers_there_is_no_end_to_end(tmp_path):
    lines = (SAMPLES / "trtexec.log").read_text().splitlines()
    still = [line.replace("0.0703", "0").replace("0.0039", "0") for line in lines]
    (tmp_path / "log").write_text("\n".join(still))
    found = read_figures(tmp_path / "log")
    assert dict(found.figures) == {"device_p50_ms": 0.30625, "samples": 9000}
    assert any("--noDataTransfers" in note for note in found.notes)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (
            "loadgen-offline.txt",
            (),
            "give --backend --model --batch --device --precision",
        ),
        ("loadgen-singlestream.txt", ("--backend", "ort-cpu", "--model", "m", "--device", "cpu"), "give --precision"),
        ("loadgen-server.txt", (*GIVEN[:6], "--device", "cpu"), "give --batch"),
        ("benchmark_app-sync.json", ("--precision", "fp32", "--batch", "8"), "leave --batch out"),
        ("benchmark_app-cpp.json", ("--precision", "fp16", "--model", "other"), "leave --model out"),
        ("trtexec.log", ("--precision", "fp16", "--device", "cuda:0"), "leave --device out"),
        ("trtexec-times.json", ("--precision", "fp16", "--model", "m"), "give --batch"),
        ("benchmark_app-shapes.json", ("--precision", "fp32"), "give --batch"),
        ("benchmark_app-cpp.json", ("--precision", "fp32", "--batch", "8"), "leave --batch out"),
        (
            "benchmark_app-sync.json",
            ("--precision", "fp32", "--backend", "ort-cpu"),
            "leave --backend out",
        ),
        ("benchmark_app-sync.json", ("--precision", "fp12"), "'fp12' is not a precision; did you mean"),
        ("benchmark_app-sync.json", ("--precision", "fp32", "--device", "tpu"), "'tpu' is not a device"),
        ("benchmark_app-failed.json", (), "the run failed: Input input is dynamic. Provide data shapes!"),
        ("loadgen-offline.txt", (*GIVEN, "--backend", "a@b"), "is not BACKEND or BACKEND@ENV"),
    ],
)
def test_what_cannot_be_a_row_is_one_sentence(tmp_path, name, options, sentence):
    done = bench("import", SAMPLES / name, *options, "--out", tmp_path / "out", code=2)
    assert sentence in done.stderr
    assert done.stderr.startswith("bench: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_option_fills_in_only_what_a_file_does_not_say(tmp_path):
    options = (*GIVEN[:6], "--device", "cpu", "--batch", "8")
    found = imported(tmp_path, "benchmark_app-cpp.json", "loadgen-offline.txt", "loadgen-multistream.txt", options=options)
    assert [(row["backend"], row["environment"], row["device"], row["batch"], row["model"]) for row in found] == [
        ("openvino-gpu", "benchmark_app", "gpu:1", 4, "cnn"),
        ("ort-cpu", "loadgen", "cpu", 4, "cnn"),
        ("ort-cpu", "loadgen", "cpu", 8, "cnn"),
    ]


def test_of_several_files_none_gets_a_batch_that_may_be_meant_for_another(tmp_path):
    text = (SAMPLES / "benchmark_app-sync.json").read_text().replace('"-data_shape": "input[1,3,48,48]", ', "")
    (tmp_path / "benchmark_app-sync.json").write_text(text)
    files = [SAMPLES / "loadgen-offline.txt", tmp_path / "benchmark_app-sync.json"]
    done = bench("import", *files, *GIVEN, "--out", tmp_path / "out", code=2)
    assert all(text in done.stderr for text in ("--batch 4", "benchmark_app-sync.json"))


def test_the_same_row_twice_and_a_folder_that_is_taken_are_refused(tmp_path):
    name = "benchmark_app-sync.json"
    (tmp_path / name).write_text((SAMPLES / name).read_text())
    done = bench("import", SAMPLES / name, tmp_path / name, "--precision", "fp32", "--out", tmp_path / "out", code=2)
    assert "are the same row" in done.stderr
    imported(tmp_path, name, options=("--precision", "fp32"))
    done = bench("import", SAMPLES / name, "--precision", "fp32", "--out", tmp_path / "imported", code=2)
    assert f"{tmp_path / 'imported'} already has a run" in done.stderr
    assert "--out" in done.stderr


def test_imported_rows_stand_in_one_table_with_measured_ones(tmp_path, run_folder, make_cell):
    imported(tmp_path, "loadgen-singlestream.txt", options=(*ONE, "--host", "Test CPU"))
    cell = make_cell()
    own = run_folder(cell)
    own.measured(cell, 5_000_000)
    done = bench("show", tmp_path / "imported", own.path)
    shown = [line for line in done.stdout.splitlines() if " ort-cpu " in line and "threads" not in line and ":" not in line]
    assert len(shown) == 2
    assert "loadgen" in shown[0]
    assert ["*" in line for line in shown] == [False, True], "a row of another tool is not marked as the fastest"
    assert "host Test CPU" in done.stdout


def test_recommend_takes_imported_rows_and_has_no_program_for_them(tmp_path, run_folder, make_cell):
    imported(tmp_path, "loadgen-singlestream.txt", "loadgen-offline.txt", options=(*GIVEN, "--host", "Test CPU"))
    cell = make_cell()
    own = run_folder(cell)
    own.measured(cell, 5_000_000)
    done = bench("recommend", tmp_path / "imported", own.path, "--objective", "latency")
    assert "pick: ort-cpu@loadgen fp32 b1 SingleStream: p50 0.6098 ms" in done.stdout
    data = json.loads(bench("recommend", tmp_path / "imported", own.path, "--objective", "latency", "--format", "json").stdout)
    kinds = [finding["kind"] for finding in data["findings"]]
    assert {"pick_ungraded", "runner_up", "uncertain_import", "other_tool"} <= set(kinds)
    assert "\n# loadgen measured this row" in done.stdout
    assert any("p50_ms" in reason for row in data["excluded"] for reason in row["reasons"])
    assert "None" not in done.stdout
    fast = bench("recommend", tmp_path / "imported", own.path)
    assert "pick: ort-cpu@loadgen fp32 b1 SingleStream: throughput 1588 /s" in fast.stdout


def test_compare_says_that_there_are_no_rounds(tmp_path, run_folder, make_cell):
    imported(tmp_path, "loadgen-singlestream.txt", options=ONE)
    done = bench("compare", tmp_path / "imported", tmp_path / "imported", code=2)
    assert "loadgen have no rounds to compare): cnn/ort-cpu@loadgen/cpu/fp32/b1" in done.stderr


def test_a_run_is_not_gone_on_with_in_an_imported_one(tmp_path):
    imported(tmp_path, "loadgen-singlestream.txt", options=ONE)
    done = bench("infer", "--backend", "null", "--out", tmp_path / "imported", "--resume", "--budget", "quick", code=2)
    assert "cannot resume" in done.stderr


SAMPLE_FILES = sorted(path for path in SAMPLES.iterdir() if path.is_file())


def taken(path):
    """Whether the file at `path` can be taken; otherwise it is refused in one sentence."""
    try:
        found = read_file(path)
    except BadInput as error:
        refused = error
        found = None
    if found is None:
        assert refused.hint
        assert "\n" not in str(refused)
        return False
    assert found
    for row in found:
        assert set(row.figures) <= set(NAMES)
        assert all(isinstance(value, str) or 0 < value < float("inf") for value in row.figures.values())
        assert all(";" not in note for note in row.notes)
    return True


@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda path: path.name)
def test_a_file_that_is_cut_short_anywhere_is_refused_or_still_whole(tmp_path, path):
    text = path.read_text()
    cut = tmp_path / path.name
    for end in range(0, len(text), max(1, len(text) // 60)):
        cut.write_text(text[:end])
        taken(cut)
    if path.suffix == ".json":
        cut.write_text(text[: len(text) // 2])
        assert not taken(cut)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "0", '"x"', "[]", "{}", "null", "true", "9" * 5000, "1e999"])
@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("benchmark_app-sync.json", '"402.33"'),
        ("benchmark_app-cpp.json", "2000.0"),
        ("benchmark_app-sync.json", '"number of parallel infer requests": "1"'),
        ("trtexec-times.json", '"computeMs" : 4'),
    ],
)
def test_a_figure_that_is_no_number_is_refused(tmp_path, name, old, value):
    text = (SAMPLES / name).read_text()
    assert old in text
    new = f"{old.rpartition(':')[0]}:{value}" if ":" in old else value
    (tmp_path / name).write_text(text.replace(old, new))
    allowed = name.startswith("trtexec") and value == "0"  # a duration may be under the clock's step
    assert taken(tmp_path / name) == allowed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[" * 100_000 + '"latencyMs"',
        '{"execution_results": ' * 50_000,
        '{"execution_results": []}',
        '[{"latencyMs": 1}, 3]',
        '["latencyMs"]',
        "MLPerf Results Summary\nScenario : Nothing\n",
        "MLPerf Results Summary\nScenario : Offline\nMode     : AccuracyOnly\n",
        "MLPerf Results Summary\nScenario : Server\nMode     : PerformanceOnly\nsamples_per_query : 1e300\n",
        "&&&& FAILED TensorRT.trtexec [TensorRT v8601]\n",
        "=== Performance summary ===\n=== Performance summary ===\n",
        "Command line parameters\nExecution results\nthroughput;1\n",
    ],
)
def test_hostile_text_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "file").write_text(text)
    assert not taken(tmp_path / "file")


def test_binary_huge_missing_and_unknown_files_are_refused(tmp_path, monkeypatch):
    (tmp_path / "binary").write_bytes(b"\xff\x00\x81" * 100)
    assert not taken(tmp_path / "binary")
    assert not taken(tmp_path / "missing")
    assert not taken(tmp_path)
    monkeypatch.setattr(imports, "LARGEST", 10)
    assert not taken(SAMPLES / "trtexec.log")
    (tmp_path / "other").write_text("name,p50\n")
    with pytest.raises(BadInput, match=r"LoadGen's mlperf_log_summary.txt"):
        read_rows([tmp_path / "other"], ImportOptions())


@settings(max_examples=300)
@given(data=st.data())
def test_no_change_of_a_file_breaks_a_parser(data, tmp_path_factory):
    """A piece of a sample replaced by other text, up to three times."""
    path = data.draw(st.sampled_from(SAMPLE_FILES))
    text = path.read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 30)))
        pieces = st.one_of(
            st.text(max_size=10), st.sampled_from(["NaN", "-1", '"', "{", "[", "]", "null", "1e400", ":", ";", "\n"])
        )
        text = text[:begin] + data.draw(pieces) + text[end:]
    changed = tmp_path_factory.getbasetemp() / "changed"
    changed.write_text(text, encoding="utf-8", errors="replace")
    taken(changed)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["throughput", "nireq", "latency_median", "percentile_boundary", "batch_size", "error", "target_device", "m"]
)


@settings(max_examples=200)
@given(
    parts=st.fixed_dictionaries(
        {
            name: JSON | st.dictionaries(KEYS, JSON | st.integers(1, 9), max_size=8)
            for name in ("cmd_options", "configuration_setup", "execution_results")
        }
    )
)
def test_no_json_breaks_the_parsers(parts, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "some.json"
    path.write_text(json.dumps(parts))
    taken(path)
    path.write_text(json.dumps([{"latencyMs": parts, "computeMs": 1}]))
    taken(path)
