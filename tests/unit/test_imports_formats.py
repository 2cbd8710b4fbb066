"""Formats that are read since 0.1, files of no format, and files of two tools."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from onnxbench.cli import main
from onnxbench.errors import BadInput
from onnxbench.results.imports import FORMATS, ImportOptions, benchmark_app, own, read_figures, read_rows, text
from onnxbench.results.stats.percentiles import samples_needed
from onnxbench.results.table.columns import BY_NAME

SAMPLES = Path(__file__).parent / "imports"
ALL = {"backend": "some", "model": "m", "device": "cpu", "precision": "fp32", "batch": 2}


def rows(name, **options):
    return read_rows([SAMPLES / name], ImportOptions(**options))


def figures(row):
    return {name: value for name, value in row.event.figures.items() if name != "settings"}


@pytest.mark.parametrize(
    ("name", "options", "cell", "expected"),
    [
        (
            "ort-perf-test.txt",
            ALL,
            ("some", "m", "cpu", "fp32", 2, 2),
            {
                **{"p50_ms": 6.25, "p90_ms": 6.6, "p95_ms": 7.1, "p99_ms": 8.0, "samples": 200, "lanes": 1},
                **{"throughput_per_s": pytest.approx(317.36), "load_s": 0.0312, "first_ms": 7.0, "peak_rss_mb": 52.0},
            },
        ),
        (
            "ort-perf-test-old.txt",
            ALL,
            ("some", "m", "cpu", "fp32", 2, 0),
            {
                **{"loaded_p50_ms": 3.9, "loaded_p90_ms": 4.5, "loaded_p95_ms": 5.0, "loaded_p99_ms": 7.5},
                **{"samples": 1000, "lanes": 4, "throughput_per_s": 2000.0, "load_s": 0.05},
            },
        ),
        (
            "perf_analyzer-rate.csv",
            ALL,
            ("some", "m", "cpu", "fp32", 2, 0),
            {"loaded_per_s": 99.7, "loaded_p50_ms": 7.0, "loaded_p90_ms": 8.0, "loaded_p95_ms": 9.0, "loaded_p99_ms": 12.0},
        ),
        (
            "optimum.json",
            {},
            ("ort-cpu", "mini-encoder", "cpu", "fp32", 2, 4),
            {
                **{"p50_ms": 21.0, "p90_ms": 21.8, "p95_ms": 21.9, "p99_ms": 21.98, "samples": 3, "lanes": 1},
                **{"throughput_per_s": 95.25, "load_s": 1.5},
            },
        ),
        (
            "optimum-report.json",
            ALL,
            ("some", "m", "cpu", "fp32", 2, 0),
            {
                **{"p50_ms": 50.0, "p90_ms": 55.0, "p95_ms": 60.0, "p99_ms": 70.0, "samples": 30, "lanes": 1, "load_s": 3.0},
                **{"tokens_per_s": 41.5, "ttft_p50_ms": 50.0, "ttft_p99_ms": 70.0, "tpot_p50_ms": 24.0, "tpot_p99_ms": 31.0},
            },
        ),
        (
            "own-latencies.csv",
            {},
            ("my-runtime", "detector", "cpu", "fp32", 1, 0),
            {"samples": 80, "p50_ms": 2.39, "p90_ms": 2.71, "p95_ms": 2.75},
        ),
        (
            "own.json",
            {},
            ("my-runtime", "detector", "cuda:0", "fp16", 8, 0),
            {"samples": 7, "p50_ms": 1.05, "throughput_per_s": 8000.0},
        ),
        (
            "benchmark_app.log",
            {"model": "m"},
            ("openvino-cpu", "m", "cpu", "fp32", 4, 8),
            {
                **{"loaded_p95_ms": 9.5, "samples": 1000, "lanes": 4, "throughput_per_s": 2000.0, "load_s": 0.2},
                **{"first_ms": 9.75, "throughput_settings": "4 streams · 4 infer requests"},
            },
        ),
        (
            "benchmark_app-tail.log",
            {"model": "m", "precision": "fp16", "batch": 3},
            ("openvino-gpu", "m", "gpu:1", "fp16", 3, 0),
            {"p50_ms": 1.95, "samples": 500, "lanes": 1, "throughput_per_s": 500.0, "throughput_settings": "1 infer request"},
        ),
        (
            "loadgen-tokens.txt",
            ALL,
            ("some", "m", "cpu", "fp32", 2, 0),
            {
                **{
                    "loaded_per_s": 31.25,
                    "loaded_p50_ms": 4.5,
                    "loaded_p90_ms": 7.6,
                    "loaded_p95_ms": 8.1,
                    "loaded_p99_ms": 9.9,
                },
                **{"tokens_per_s": 512.5, "ttft_p50_ms": 1.8, "ttft_p99_ms": 6.4, "tpot_p50_ms": 0.25, "tpot_p99_ms": 0.64},
            },
        ),
    ],
)
def test_a_file_is_a_row(name, options, cell, expected):
    (row,) = rows(name, **options)
    found = row.cell
    assert (found.backend, found.model, found.device, found.precision, found.batch, found.settings.threads) == cell
    assert figures(row) == expected


def test_every_concurrency_of_perf_analyzer_is_a_row_in_milliseconds():
    first, second = rows("perf_analyzer.csv", **ALL)
    assert (first.event.figures["lanes"], first.event.figures["throughput_per_s"]) == (1, 150.5)
    assert (second.event.figures["loaded_p50_ms"], second.event.figures["loaded_p99_ms"]) == (9.8, 13.05)
    assert "p50_ms" not in first.event.figures
    assert any("Server Queue 2.9" in note for note in second.event.notes)


@pytest.mark.parametrize(
    ("name", "options", "backends", "rates"),
    [
        (
            "ultralytics-pandas.txt",
            {"precision": "fp32"},
            ["torch-cpu", "fallback", "ort-cpu", "openvino-cpu"],
            [46.51, 43.27, 69.35, 101.94],
        ),
        ("ultralytics-polars.txt", {"precision": "fp32"}, ["torch-cuda", "tensorrt"], [237.53, 800.0]),
    ],
)
def test_every_format_of_ultralytics_that_ran_is_a_row(tmp_path, name, options, backends, rates):
    content = (SAMPLES / name).read_text().replace("TorchScript ", "PyTorch2 ")
    (tmp_path / name).write_text(content)
    found = read_rows([tmp_path / name], ImportOptions(**options))
    known = ["torch-cpu" if backend == "fallback" else backend for backend in backends]
    assert [row.cell.backend for row in found] == known
    assert [round(row.event.figures["throughput_per_s"], 2) for row in found] == rates
    assert all(row.cell.model.startswith("yolo11") and row.cell.batch == 1 for row in found)


def test_a_table_in_markdown_is_read(tmp_path):
    table = "| Format | Status | Size (MB) | metrics/mAP50-95(B) | Inference time (ms/im) |\n|---|---|---|---|---|\n"
    (tmp_path / "t.md").write_text(table + "| ONNX | ✅ | 12.2 | 0.45 | 25.0 |\n| NCNN | ❌ | 0.0 | - | - |\n")
    (row,) = read_figures(tmp_path / "t.md")
    assert (row.items_per_s, row.batch) == (40.0, 1)


def test_several_runs_in_a_file_are_several_rows(tmp_path):
    for name, count in (("ort-perf-test.txt", 2), ("benchmark_app.log", 3)):
        (tmp_path / name).write_text((SAMPLES / name).read_text() * count)
        found = read_rows(
            [tmp_path / name], ImportOptions(**{**ALL, **({"batch": None, "backend": None} if "app" in name else {})})
        )
        assert len({row.cell.key for row in found}) == count


PAIRS = [
    ("trtexec.log", "benchmark_app.log"),
    ("ort-perf-test.txt", "loadgen-server.txt"),
    ("ultralytics-pandas.txt", "trtexec-7.log"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_output_of_two_tools_in_a_file_is_refused(tmp_path, first, second):
    (tmp_path / "both").write_text((SAMPLES / first).read_text() + (SAMPLES / second).read_text())
    with pytest.raises(BadInput, match=r"contains .* and .*; .*a file of its own"):
        read_figures(tmp_path / "both")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("latency_ms\n1,25\n", "decimal comma"),
        ("model;p50_ms\nm;1,25\n", "decimal comma"),
        ("p50_ms,speed\n1,2\n", "'speed' is not a column of an import; did you mean|'speed' is not a column"),
        ("p50_ms,batch\n1.5\n", "more or fewer values"),
        ("latency_ms\n", "no figures"),
        ("latency_ms\n1.5\nx\n", "latency 2 is 'x'"),
        ('{"latencies_ms": 3}', "one list of numbers"),
        ("1.5\n1.75\n2.0\n", "numbers without a unit; .*latency_ms"),
        ("Concurrency,Inferences/Second,p50 latency\n", "a head and no rows"),
        ("Concurrency,Inferences/Second,p50 latency\n1,x,3\n", "Inferences/Second is 'x'"),
        ("Concurrency,Inferences/Second,p50 latency\n1,69,2,3000\n", "more or fewer values"),
        ("Concurrency,Inferences/Second,p50 latency\n1,69\n", "more or fewer values"),
        ("Session creation time cost: 0.5 s\nNumber of inferences per second: 538,1\n", "decimal comma"),
        ("Session creation time cost: 0.5 s\nFirst inference time cost: 3 ms\n", "ends before the number of inferences"),
        ("[Step 1/11] Parsing\n[ INFO ] Parsing\n[ ERROR ] Cannot open m.xml\n", "benchmark_app failed: Cannot open m.xml"),
        ("[Step 1/11] Parsing\n[ INFO ] Parsing\n", "ends before the throughput"),
        ("\nNo warnings encountered during test.\n\nNo errors encountered during test.\n", "accuracy run"),
        ("MLPerf Results Summary\nScenario : Offline\nMode : FindPeakPerformance\n", "a search for the highest rate"),
        (":::MLLOG {}\n", "mlperf_log_detail.txt.*mlperf_log_summary.txt"),
        ('{"report": {"train": {"latency": {"p50": 1}}}, "v": {"optimum_benchmark_version": 1}}', "no latency of forward"),
        ('{"loss": 1, "epoch": 2}', "JSON with the keys loss, epoch"),
        ("time;speed\n1;2\n", "a table with the columns time, speed"),
        ("what a day\n", "text that begins with 'what a day'"),
        ("", "an empty file"),
    ],
)
def test_what_is_not_read_is_named_in_one_sentence(tmp_path, content, reason):
    (tmp_path / "file").write_text(content)
    done = CliRunner().invoke(main, ["import", str(tmp_path / "file"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert re.search(reason, done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) < 1000


def test_a_file_of_100_mb_is_refused_unread(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(BadInput, match="100 MB, and the limit is 64 MB"):
        read_figures(tmp_path / "log")


def test_the_names_of_own_files_are_columns_and_the_percentiles_need_as_many_calls_as_own_rows():
    assert set(own.FIGURES) <= set(BY_NAME)
    assert [own._needed(which) for which in (50, 90, 95, 99)] == [samples_needed(which) for which in (50, 90, 95, 99)]


def test_every_format_says_what_to_run_and_every_sample_has_a_format():
    assert all(item.run for item in FORMATS)
    for path in SAMPLES.iterdir():
        content = text.read_text(path, text.LARGEST)
        assert any(item.looks(content) for item in FORMATS), path.name


def test_a_submission_run_is_read_and_says_so(tmp_path):
    content = (SAMPLES / "loadgen-singlestream.txt").read_text().replace("PerformanceOnly", "SubmissionRun")
    (tmp_path / "summary").write_text(content)
    (row,) = read_figures(tmp_path / "summary")
    assert row.figures["p50_ms"] == 0.609815
    assert any("submission run" in note for note in row.notes)


def test_infer_precision_of_benchmark_app_rules_out_others(tmp_path):
    content = (
        (SAMPLES / "benchmark_app-sync.json").read_text().replace('"-t": "2"', '"-t": "2", "-infer_precision": "CPU:bf16"')
    )
    (tmp_path / "report.json").write_text(content)
    (row,) = read_rows([tmp_path / "report.json"], ImportOptions())
    assert row.cell.precision == "bf16"
    with pytest.raises(BadInput, match="--precision fp32 contradicts"):
        read_rows([tmp_path / "report.json"], ImportOptions(precision="fp32"))


def test_a_report_of_auto_stands_beside_the_rows_of_its_device(tmp_path):
    content = (SAMPLES / "benchmark_app-sync.json").read_text().replace('"target device": "CPU"', '"target device": "AUTO"')
    (tmp_path / "report.json").write_text(content)
    (row,) = read_rows([tmp_path / "report.json"], ImportOptions(precision="fp32", device="cpu"))
    assert (row.cell.backend, row.cell.device) == ("openvino-cpu", "cpu")
    with pytest.raises(BadInput, match="--device"):
        read_rows([tmp_path / "report.json"], ImportOptions(precision="fp32"))


def test_times_below_the_step_of_a_report_are_left_out_and_microseconds_are_read(tmp_path):
    content = (SAMPLES / "benchmark_app-sync.json").read_text().replace('"latency (ms)": "2.34"', '"latency (ms)": "0.00"')
    (tmp_path / "report.json").write_text(content)
    (row,) = read_figures(tmp_path / "report.json")
    assert "p50_ms" not in row.figures
    assert benchmark_app.ROUNDED in row.notes
    content = (SAMPLES / "benchmark_app-tail.log").read_text().replace("1.95 ms", "12.50 us").replace("1.98 ms", "13.00 us")
    (tmp_path / "log").write_text(content)
    assert read_figures(tmp_path / "log")[0].figures["p50_ms"] == 0.0125


def test_a_percentile_that_is_cut_within_its_number_is_left_out(tmp_path):
    content = (SAMPLES / "ort-perf-test.txt").read_text()
    (tmp_path / "log").write_text(content[: content.index("P99 Latency: 0.00") + 16])
    (row,) = read_figures(tmp_path / "log")
    assert "p95_ms" in row.figures
    assert "p99_ms" not in row.figures
