import json
from dataclasses import replace

import pytest
from onnxbench.evidence import Epoch
from onnxbench.results.store.head import SCHEMA
from onnxbench.results.table.render import FORMATS, render
from onnxbench.results.table.training import RankResult, Result, build, is_successful

HEAD = {"model": "cnn", "dataset": "digits", "epochs": 3, "batch_size": 64, "lr": 0.01, "seed": 0, "threads": 2}
PARALLEL = (
    *("train_per_s_low", "train_per_s_high", "parallel", "threads", "batch", "microbatches", "efficiency", "communication"),
    *("bubble", "bubble_formula", "step_ms", "rank_busy_ms", "rank_communication_ms", "rank_memory_mb", "output_error"),
    *("batch_norm", "host"),
)
"""Columns that have no value in a row of one process and few epochs on this machine."""


def epoch(seconds, **changes):
    figures = {"train_per_s": 1000 / seconds, "test_per_s": 2000 / seconds, "loss": 0.5, "accuracy": 90.0, **changes}
    return Epoch(seconds=seconds, **figures)


def ran(device, *epochs, precision="fp32"):
    return Result(device=device, precision=precision, status="ok", epochs=epochs, peak_memory_mb=512.5)


def failed(device):
    return Result(device=device, precision="fp32", status="unavailable", reason="no CUDA here")


def test_a_row_says_what_an_epoch_costs():
    built = build([ran("cpu", epoch(9.0), epoch(2.0), epoch(4.0), epoch(2.5, loss=0.1, accuracy=98.5))], HEAD)
    assert built.rows == (
        {
            "device": "cpu",
            "precision": "fp32",
            "status": "ok",
            "reason": None,
            "first_epoch_s": 9.0,
            "epoch_s": 2.5,
            "train_per_s": 400.0,
            "test_per_s": 800.0,
            "loss": 0.1,
            "accuracy": 98.5,
            "peak_memory_mb": 512.5,
            "speedup": 1.0,
            "processes": 1,
            **dict.fromkeys(PARALLEL),
        },
    )


def test_a_single_epoch_is_the_first_and_no_other():
    (row,) = build([ran("cpu", epoch(4.0))], HEAD).rows
    assert (row["first_epoch_s"], row["epoch_s"], row["train_per_s"]) == (4.0, None, 250.0)


def test_speed_ups_are_against_the_first_row():
    rows = build([ran("cpu", epoch(9.0), epoch(4.0)), ran("cuda:0", epoch(9.0), epoch(0.5))], HEAD).rows
    assert [row["speedup"] for row in rows] == [1.0, 8.0]


def test_single_epochs_are_compared_where_there_are_no_others():
    rows = build([ran("cpu", epoch(4.0)), ran("cuda:0", epoch(1.0))], HEAD).rows
    assert [row["speedup"] for row in rows] == [1.0, 4.0]


def test_a_row_that_failed_has_no_figures_and_says_why():
    built = build([ran("cpu", epoch(1.0), epoch(1.0)), failed("cuda:0")], HEAD)
    figures = {name: value for name, value in built.rows[1].items() if value is not None}
    assert figures == {
        **{"device": "cuda:0", "precision": "fp32", "status": "unavailable", "reason": "no CUDA here"},
        "processes": 1,
    }
    assert tuple(map(built.line, built.findings)) == ("cuda:0 fp32: unavailable: no CUDA here",)


def test_against_a_first_row_that_failed_there_is_no_speed_up():
    rows = build([failed("cuda:0"), ran("cpu", epoch(1.0), epoch(1.0))], HEAD).rows
    assert [row["speedup"] for row in rows] == [None, None]


def test_the_settings_are_said_once():
    built = build([ran("cpu", epoch(1.0))], HEAD)
    assert built.facts[0] == "model cnn · dataset digits · epochs 3 · batch_size 64 · lr 0.01 · seed 0 · threads 2"
    assert built.head == {"schema": SCHEMA, **HEAD}


@pytest.mark.parametrize("format", FORMATS)
def test_the_table_can_be_shown_in_every_format(format):
    text = render(build([ran("cpu", epoch(1.25), epoch(1.5)), failed("cuda:0")], HEAD), format)
    assert "no CUDA here" in text


def test_as_json_it_has_the_columns_in_order():
    (row,) = json.loads(render(build([ran("cpu", epoch(1.0))], HEAD), "json"))["rows"]
    assert set(row) == {
        *("device", "precision", "status", "first_epoch_s", "epoch_s", "train_per_s", "test_per_s"),
        *("loss", "accuracy", "peak_memory_mb", "speedup", "processes", *PARALLEL, "reason"),
    }


def test_a_loss_that_diverged_is_none():
    (row,) = build([ran("cpu", epoch(2.0, loss=None))], HEAD).rows
    assert row["loss"] is None


def test_what_did_not_end_has_the_epochs_that_it_had_and_no_speedup():
    ended = replace(ran("cpu", epoch(8.0), epoch(4.0), precision="fp16"), status="timeout", reason="no answer")
    row = build([ran("cpu", epoch(2.0), epoch(1.0)), ended], HEAD).rows[1]
    assert (row["status"], row["epoch_s"], row["speedup"]) == ("timeout", 4.0, None)


def of_ranks(parallel, *ranks, threads=1, **more):
    """A row of as many processes as `ranks`, whose epochs take a second each."""
    settings = {"processes": len(ranks), "threads": threads, "batch_size": 64, "status": "ok", "peak_memory_mb": 1.0}
    epochs = (epoch(2.0), epoch(1.0))
    return Result(device="cpu", precision="fp32", parallel=parallel, ranks=ranks, **{**settings, "epochs": epochs, **more})


def rank(**changes):
    return RankResult(**{"peak_memory_mb": 300.0, "steps": 10, "wall_s": 2.0, "communication_s": 0.5, **changes})


def single(seconds, threads):
    return replace(ran("cpu", epoch(9.0), epoch(seconds)), threads=threads)


def test_efficiency_is_against_single_processes_with_the_threads_of_a_rank():
    rows = build([single(1.0, 2), single(1.6, 1), of_ranks("data", rank(), rank())], HEAD).rows
    assert [row["efficiency"] for row in rows] == [None, None, pytest.approx(80.0)]
    assert rows[2]["speedup"] == 1.0


def test_without_such_a_process_there_is_no_efficiency():
    assert build([single(1.0, 2), of_ranks("data", rank(), rank())], HEAD).rows[1]["efficiency"] is None
    failed_base = replace(single(1.6, 1), status="failed")
    assert build([single(1.0, 2), failed_base, of_ranks("data", rank(), rank())], HEAD).rows[2]["efficiency"] is None


def test_on_a_gpu_the_threads_do_not_matter():
    one, two = replace(single(1.5, 8), device="cuda:0"), replace(of_ranks("data", rank(), rank(), threads=4), device="cuda:0")
    assert build([one, two], HEAD).rows[1]["efficiency"] == pytest.approx(75.0)


def test_on_a_cluster_the_single_process_is_one_of_the_same_host():
    own = [replace(item, host="b") for item in (single(1.0, 2), single(1.6, 1), of_ranks("data", rank(), rank()))]
    other = replace(single(0.1, 1), host="a")
    assert build([other, *own], HEAD, {"a": "", "b": ""}).rows[3]["efficiency"] == pytest.approx(80.0)


def test_a_device_is_needed_on_one_host_only_and_a_failure_counts_on_each():
    cpu, gpu, absent = (ran("cpu", epoch(1.0)), ran("cuda:0", epoch(1.0)), failed("cuda:0"))
    assert is_successful([cpu, gpu])
    assert not is_successful([cpu, absent])
    on_a, on_b = ([replace(item, host=host) for item in items] for host, items in (("a", (cpu, absent)), ("b", (cpu, gpu))))
    assert is_successful(on_a + on_b)
    assert not is_successful([*on_a, *on_b, replace(cpu, status="failed", host="c")])


def test_communication_is_the_mean_share_of_the_ranks():
    row = build([of_ranks("data", rank(communication_s=0.2), rank(communication_s=0.6))], HEAD).rows[0]
    assert row["communication"] == pytest.approx(20.0)
    assert (row["rank_communication_ms"], row["step_ms"]) == ("20.0 60.0", 200.0)
    assert row["bubble"] is row["bubble_formula"] is row["rank_busy_ms"] is None


def test_a_bubble_stands_beside_its_formula():
    ranks = (rank(busy_s=1.5), rank(busy_s=1.1, output_error=2e-7))
    row = build([of_ranks("gpipe", *ranks, microbatches=4)], HEAD).rows[0]
    assert row["bubble"] == pytest.approx(100 * (1 - 2.6 / 4))
    assert row["bubble_formula"] == pytest.approx(20.0)
    two = build([of_ranks("interleaved", *ranks, microbatches=4, rank_stages=2)], HEAD).rows[0]
    assert two["bubble_formula"] == pytest.approx(100 / 9)
    assert (row["rank_busy_ms"], row["output_error"]) == ("150.0 110.0", 2e-7)


def test_a_row_says_whose_images_its_batch_norm_has():
    row = build([of_ranks("data", rank(batch_norm="local"), rank(batch_norm="local"))], HEAD).rows[0]
    assert row["batch_norm"] == "local"


def test_memory_is_the_largest_and_that_of_each_rank():
    row = build([of_ranks("data", rank(), rank(peak_memory_mb=410.26))], HEAD).rows[0]
    assert (row["peak_memory_mb"], row["rank_memory_mb"]) == (410.26, "300.0 410.3")


def test_an_interval_needs_five_epochs_after_the_first():
    few, enough = ([epoch(9.0), *map(epoch, (1.0, 1.1, 0.9, 1.0, 1.05)[:count])] for count in (4, 5))
    assert build([ran("cpu", *few)], HEAD).rows[0]["train_per_s_low"] is None
    row = build([ran("cpu", *enough)], HEAD).rows[0]
    assert row["train_per_s_low"] < row["train_per_s"] < row["train_per_s_high"]


def test_columns_of_several_processes_are_shown_where_there_are_some():
    alone, several = build([single(1.0, 2)], HEAD), build([single(1.0, 2), of_ranks("data", rank(), rank())], HEAD)
    assert "processes" not in {field.name for field in alone.fields}
    assert {field.name for field in several.fields} >= {"parallel", "processes", "efficiency", "communication", "bubble"}
    assert alone.names == several.names
    assert len(several.facts) > len(alone.facts)


def test_a_row_of_several_processes_that_failed_is_named_by_its_way():
    ended = replace(of_ranks("1f1b", rank(), rank()), status="failed", reason="process 1: boom", ranks=(), epochs=())
    built = build([single(1.0, 2), ended], HEAD)
    assert built.findings[0].rows == ("cpu fp32 1f1b 2",)
    assert built.rows[1]["communication"] is built.rows[1]["speedup"] is None
