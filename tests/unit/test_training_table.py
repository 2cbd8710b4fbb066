import json
from dataclasses import replace

import pytest
from onnxbench.evidence import Epoch
from onnxbench.results.store.head import SCHEMA
from onnxbench.results.table.render import FORMATS, render
from onnxbench.results.table.training import Result, build

HEAD = {"model": "cnn", "dataset": "digits", "epochs": 3, "batch_size": 64, "lr": 0.01, "seed": 0, "threads": 2}


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
    assert figures == {"device": "cuda:0", "precision": "fp32", "status": "unavailable", "reason": "no CUDA here"}
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
        *("loss", "accuracy", "peak_memory_mb", "speedup", "reason"),
    }


def test_a_loss_that_diverged_is_none():
    (row,) = build([ran("cpu", epoch(2.0, loss=None))], HEAD).rows
    assert row["loss"] is None


def test_what_did_not_end_has_the_epochs_that_it_had_and_no_speedup():
    ended = replace(ran("cpu", epoch(8.0), epoch(4.0), precision="fp16"), status="timeout", reason="no answer")
    row = build([ran("cpu", epoch(2.0), epoch(1.0)), ended], HEAD).rows[1]
    assert (row["status"], row["epoch_s"], row["speedup"]) == ("timeout", 4.0, None)
