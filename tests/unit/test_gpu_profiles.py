"""The script that profiles models on a GPU: the layers behind the largest difference, from profiles by hand."""

import gpu_profiles
import pytest
from onnxbench.evidence import GraphNode, Kernel, Profiled
from onnxbench.results.profile.lines import cases_of
from onnxbench.results.store.record import read_run
from onnxbench.spec import to_wire

NODES = tuple(GraphNode(name=f"layer{number}", operator="Conv") for number in range(12))


@pytest.fixture
def case_of(run_folder, make_cell):
    """Case of profiles by backend, each given as the time in us of kernels by their nodes."""

    def make(**sides):
        cells = {name: make_cell(backend=name.replace("_", "-"), batch=8) for name in sides}
        folder = run_folder(*cells.values(), kind="profile", name="-".join(sides))
        for name, times in sides.items():
            kernels = tuple(
                Kernel(node=nodes, type="fp16", ns=us * 1e3, nodes=tuple(nodes.split())) for nodes, us in times.items()
            )
            folder.add("profiled", cells[name], **to_wire(Profiled(kernels=kernels, nodes=NODES)))
        (case,) = cases_of([read_run(folder.path)])
        return case

    return make


def test_the_layers_behind_the_largest_difference_come_first(case_of, capsys):
    fast, slow = ({node.name: us for node in NODES} for us in (10, 11))
    gpu_profiles.print_difference(case_of(torch_cuda={**slow, "layer3": 60}, ort_cuda=fast, tensorrt=slow))
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("torch-cuda takes 0.061 ms more in kernels than ort-cuda")
    assert lines[0].split() == ["+0.0500", "ms", "(+82%)", "Conv", "layer3"]
    assert len(lines) == len(NODES)


def test_a_side_that_runs_all_layers_as_one_kernel_is_left_out(case_of, capsys):
    whole = {" ".join(node.name for node in NODES): 1}
    gpu_profiles.print_difference(case_of(tensorrt=whole, ort_cuda={"layer1": 5}, torch_cuda={"layer1": 9}))
    assert "torch-cuda takes 0.004 ms more in kernels than ort-cuda" in capsys.readouterr().out
    gpu_profiles.print_difference(case_of(tensorrt=whole, ort_cuda={"layer1": 5}))
    assert "no two sides" in capsys.readouterr().out
