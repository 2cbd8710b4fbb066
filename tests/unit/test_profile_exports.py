"""Profiles as traces and flame graphs."""

import json
from dataclasses import replace

import pytest
from onnxbench.commands.profile import EXPORTS
from onnxbench.evidence import GraphNode, Kernel, Profiled
from onnxbench.results.profile.exports import FORMATS, export
from onnxbench.results.profile.lines import cases_of
from onnxbench.results.store.record import read_run
from onnxbench.spec import to_wire

NODES = (
    GraphNode(name="block/conv", operator="Conv"),
    GraphNode(name="n2", operator="Relu", scope="net.head"),
)
KERNELS = (
    Kernel(node="k1", operator="FusedConv", type="fp32", ns=2000.0, begin_ns=0.0, thread="7", nodes=("block/conv",)),
    Kernel(node="k2", operator="Relu", ns=500.0, begin_ns=2500.0, thread="7", nodes=("n2",)),
    Kernel(node="k3", operator="Copy", ns=250.0, begin_ns=3000.0, thread="8"),
    Kernel(node="k4", operator="Reshape", ns=0.0, nodes=("n2",)),
)


@pytest.fixture
def exported(run_folder, make_cell):
    """Text of a run with one profile of `kernels` in a format."""

    def export_as(format, kernels=KERNELS, batches=(8,)):
        cells = [make_cell(batch=batch) for batch in batches]
        folder = run_folder(*cells, kind="profile", name=f"run-{format}")
        for cell in cells:
            folder.add("profiled", cell, **to_wire(Profiled(kernels=kernels, nodes=NODES)))
        return export(cases_of([read_run(folder.path)]), format)

    return export_as


def test_the_command_names_all_formats():
    assert tuple(FORMATS) == EXPORTS


def test_a_trace_has_the_begins_of_one_call_in_us(exported):
    head, *events = json.loads(exported("chrome-trace"))["traceEvents"]
    assert (head["ph"], head["args"]) == ("M", {"name": "ort-cpu"})
    assert [(event["name"], event["ts"], event["dur"], event["tid"]) for event in events] == [
        ("FusedConv", 0, 2, 1),
        ("Relu", 2.5, 0.5, 1),
        ("Copy", 3, 0.25, 2),
    ]
    assert events[0]["args"]["nodes"] == ["block/conv"]


def test_a_runtime_without_begins_has_its_kernels_one_after_another(exported):
    kernels = tuple(replace(kernel, begin_ns=None) for kernel in KERNELS)
    _, *events = json.loads(exported("chrome-trace", kernels))["traceEvents"]
    assert [event["ts"] for event in events] == [0, 2, 2.5]
    assert {event["args"]["begin"] for event in events} == {"not reported"}


def test_folded_stacks_are_paths_with_times_in_ns(exported):
    assert exported("folded").splitlines() == [
        "ort-cpu;block;block/conv;FusedConv fp32 2000",
        "ort-cpu;net;head;n2;Relu 500",
        "ort-cpu;(not mapped);Copy 250",
    ]


def test_a_name_that_looks_like_a_path_keeps_its_parts(exported):
    kernels = (Kernel(node="k", operator="Conv", ns=1.0, nodes=("/conv1/Conv",)),)
    assert exported("folded", kernels) == "ort-cpu;conv1;/conv1/Conv;Conv 1\n"


def test_a_semicolon_in_a_name_ends_no_frame(exported):
    kernels = (Kernel(node="k", operator="a;b", ns=1.0, nodes=("x;y",)),)
    assert exported("folded", kernels) == "ort-cpu;x;x,y;a,b 1\n"


def test_a_flame_graph_has_a_profile_for_each_side_and_all_of_its_time(exported):
    data = json.loads(exported("speedscope", batches=(1, 8)))
    names = [frame["name"] for frame in data["shared"]["frames"]]
    assert [profile["name"] for profile in data["profiles"]] == ["b1 ort-cpu", "b8 ort-cpu"]
    for profile in data["profiles"]:
        assert (profile["endValue"], sum(profile["weights"])) == (2750, 2750)
        assert [names[place] for place in profile["samples"][0]] == ["block", "block/conv", "FusedConv fp32"]


@pytest.mark.parametrize("format", EXPORTS)
def test_a_name_is_inert(exported, format):
    kernels = (Kernel(node="k", operator="\x1b[31mred\n", ns=1.0, nodes=("a\x1b]0;b",)),)
    assert "\x1b" not in exported(format, kernels).replace("\\u001b", "\x1b")


@pytest.mark.parametrize("format", EXPORTS)
def test_a_run_without_profiles_gives_an_empty_file(run_folder, make_cell, format):
    folder = run_folder(make_cell(), kind="profile")
    assert isinstance(export(cases_of([read_run(folder.path)]), format), str)


def test_a_trace_has_the_durations_of_the_call_that_has_the_begins(exported):
    """A mean over calls may be longer, and two events of one thread would overlap."""
    slow = (replace(KERNELS[0], ns=9000.0, usual_ns=2000.0), KERNELS[1])
    _, *events = json.loads(exported("chrome-trace", slow))["traceEvents"]
    assert [(event["ts"], event["dur"]) for event in events] == [(0, 2), (2.5, 0.5)]
    assert "9000" in exported("folded", slow)
