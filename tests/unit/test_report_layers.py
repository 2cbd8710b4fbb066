"""The plot of a profile in a report."""

import pytest
from onnxbench.evidence import GraphNode, Kernel, Profiled
from onnxbench.results.recommend.candidates import parse_request
from onnxbench.results.report.data import gather, machines
from onnxbench.results.report.layers import SHOWN
from onnxbench.results.report.plots import draw, image
from onnxbench.results.report.sheet import NARROW, WIDE
from onnxbench.results.store.record import read_run
from onnxbench.spec import to_wire

REQUEST = parse_request("throughput", (), (), ())


@pytest.fixture
def report_of(run_folder, make_cell):
    """Report of a profile with so many layers on two backends; layer n takes n + 1 us."""

    def make(count=3, **head):
        nodes = tuple(GraphNode(name=f"layer{number}", operator="Conv") for number in range(count))
        kernels = tuple(
            Kernel(node=node.name, operator="Conv", type="fp32", ns=1000.0 * (place + 1), nodes=(node.name,))
            for place, node in enumerate(nodes)
        )
        cells = [make_cell(backend=name) for name in ("ort-cpu", "openvino-cpu")]
        folder = run_folder(*cells, **{"kind": "profile", **head})
        for cell in cells:
            folder.add("profiled", cell, **to_wire(Profiled(kernels=kernels, nodes=nodes)))
        return gather([read_run(folder.path)], REQUEST)

    return make


def layers(report, sheet=WIDE):
    (plot,) = [plot for plot in draw(report, sheet) if plot.name == "layers"]
    return plot


@pytest.mark.parametrize("sheet", [WIDE, NARROW])
def test_each_layer_has_a_bar_for_each_side(report_of, sheet):
    plot = layers(report_of(), sheet)
    assert len(plot.hover) == 6
    assert plot.hover["layers-0-0"] == "ort-cpu, Conv layer2: 0.003 ms, 50.0 %"
    assert image(plot, "svg").startswith(b"<?xml")


def test_the_layers_with_most_time_are_drawn_and_the_others_counted(report_of):
    plot = layers(report_of(count=SHOWN + 4))
    assert len(plot.hover) == 2 * SHOWN
    assert "4 lines" in plot.caption


def test_a_report_of_a_profile_says_what_it_is(report_of):
    ((_, facts),) = machines(report_of())
    assert "profile" in dict(facts)["kind"]


def test_runs_without_a_profile_have_no_plot_of_layers(run_folder, make_cell):
    folder = run_folder(cell := make_cell())
    folder.measured(cell, 1000)
    assert [plot.name for plot in draw(gather([read_run(folder.path)], REQUEST)) if plot.name == "layers"] == []
