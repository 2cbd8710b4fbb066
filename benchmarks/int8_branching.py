"""Placements of Q/DQ pairs in a network with residual connections, in turns, in one run.

    python benchmarks/int8_branching.py [--rounds N] [--side PIXELS] [--backend NAME] [--files DIR]

The network is ResNet-50, written out in torch, with random weights. Each placement is one file of the portable kind: signed
activations, zero points of 0, biases in float. The question is if one of them loses at most 15 % against the scheme of each
runtime, on ONNX Runtime and on OpenVINO. Figures are latencies of a call of one image; ratios are paired by round.

It takes minutes to make the files. `--rounds 0 --files DIR` makes them alone, for a later call on a quiet machine.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
from networks import resnet50
from onnx import helper, numpy_helper
from onnxbench.exporters import graph, int8, static_int8
from onnxbench.exporters.schemes import LAYERS, SCHEMES
from onnxbench.runners.pool import host
from onnxbench.spec import Conversion
from tool import BenchmarkCell, ratio, told

BACKENDS = {"ort-cpu": "ort", "openvino-cpu": "openvino"}
SECONDS, FEEDS = 0.4, 4
PAIR = ("QuantizeLinear", "DequantizeLinear")
PORTABLE = SCHEMES["portable"]


def is_reader(node: onnx.NodeProto, *kinds: str) -> bool:
    return node.op_type in kinds


def add_pair(model: onnx.GraphProto, value: str, parameters: Sequence[str], name: str) -> str:
    """Put a pair behind `value`, and return its result. Its scale is one step larger: runtimes merge equal nodes."""
    scale, zero = parameters
    old = next(tensor for tensor in model.initializer if tensor.name == scale)
    array = np.nextafter(numpy_helper.to_array(old), np.float32(np.inf), dtype=np.float32)
    model.initializer.append(numpy_helper.from_array(array, f"{name}_scale"))
    ends = [f"{name}_{end}" for end in ("q", "dq")]
    model.node.append(helper.make_node(PAIR[0], [value, f"{name}_scale", zero], [ends[0]], ends[0]))
    model.node.append(helper.make_node(PAIR[1], [ends[0], f"{name}_scale", zero], [ends[1]], ends[1]))
    return ends[1]


def pair_for_each(model: onnx.GraphProto, *kinds: str) -> None:
    """Give each reader of these kinds a Q/DQ pair of its own, where several nodes read one."""
    readers = Counter(name for node in model.node for name in node.input)
    makers = {name: node for node in model.node for name in node.output}
    for node in [node for node in model.node if is_reader(node, *kinds)]:
        value = node.input[0]
        last = makers.get(value)
        first = makers.get(last.input[0]) if last is not None and last.op_type == PAIR[1] else None
        if first is None or last is None or readers[value] < 2:
            continue
        node.input[0] = add_pair(model, first.input[0], first.input[1:], f"{value}_of_{node.name}")
        readers[value] -= 1


def stacked(model: onnx.GraphProto) -> None:
    """Give each convolution that shares a pair a second pair behind it."""
    readers = Counter(name for node in model.node for name in node.input)
    makers = {name: node for node in model.node for name in node.output}
    for node in [node for node in model.node if node.op_type == "Conv" and readers[node.input[0]] > 1]:
        value = node.input[0]
        node.input[0] = add_pair(model, value, makers[value].input[1:], f"{value}_of_{node.name}")


def without_pair_before_relu(model: onnx.GraphProto) -> None:
    """Remove the pair between a convolution and its Relu."""
    makers = {name: node for node in model.node for name in node.output}
    for node in [node for node in model.node if node.op_type == "Relu"]:
        last = makers.get(node.input[0])
        first = makers.get(last.input[0]) if last is not None and last.op_type == PAIR[1] else None
        if first is not None:
            node.input[0] = first.input[0]
    for kind in reversed(PAIR):
        used = {name for node in model.node for name in node.input} | {value.name for value in model.output}
        for node in [node for node in model.node if node.op_type == kind and not used & set(node.output)]:
            model.node.remove(node)


def relu_by_table(model: onnx.GraphProto) -> None:
    """Write each Relu as LeakyRelu with a slope of 0, which ONNX Runtime computes in 8 bits."""
    for node in model.node:
        if node.op_type == "Relu":
            node.op_type = "LeakyRelu"
            node.attribute.append(helper.make_attribute("alpha", 0.0))


Change = Callable[[onnx.GraphProto], None]
ALL_BUT_SUMS = tuple(sorted({*LAYERS, "Relu", "MaxPool", "GlobalAveragePool", "Flatten", "Reshape"}))
PLACEMENTS: dict[str, tuple[tuple[str, ...], tuple[Change, ...]]] = {
    "portable": ((), ()),
    "a pair for each reader": ((), (lambda model: pair_for_each(model, "Conv", "Add"),)),
    "a pair for each convolution": ((), (lambda model: pair_for_each(model, "Conv"),)),
    "a second pair before convolutions": ((), (stacked,)),
    "sums in float": (ALL_BUT_SUMS, ()),
    "layers": (LAYERS, ()),
    "no pair before Relu": ((), (without_pair_before_relu,)),
    "no pair before Relu, a pair for each reader": (
        (),
        (without_pair_before_relu, lambda model: pair_for_each(model, "Conv", "Add")),
    ),
    "Relu by table, a pair for each convolution": ((), (relu_by_table, lambda model: pair_for_each(model, "Conv"))),
}


def write_files(folder: Path, side: int) -> dict[str, Path]:
    """The FP32 file, a file of each placement, and those of the runtimes' own schemes. A file that is there stays."""
    names = ["FP32", *PLACEMENTS, *BACKENDS.values()]
    made = {name: folder / f"{number}.onnx" for number, name in enumerate(names)}
    if all(path.exists() for path in made.values()):
        return made
    torch.manual_seed(0)
    net = resnet50().eval()
    example = (torch.randn(1, 3, side, side),)
    torch.onnx.export(net, example, str(made["FP32"]), opset_version=17, dynamo=False, input_names=["x"])
    prepared = folder / "prepared.onnx"
    int8.prepare(made["FP32"], prepared)
    generator = np.random.default_rng(0)
    feeds = [{"x": generator.standard_normal((1, 3, side, side)).astype(np.float32)} for _ in range(FEEDS)]
    ranges, _ = int8.find_ranges(prepared, Conversion(scheme="portable", method="minmax"), feeds)
    for name in PLACEMENTS:
        write_placement(name, prepared, made[name], ranges)
        print(f"made {name}", flush=True)
    for scheme in BACKENDS.values():
        int8.quantize(prepared, made[scheme], Conversion(scheme=scheme, method="minmax"), ranges)
    return made


def write_placement(name: str, prepared: Path, target: Path, ranges: Any) -> None:
    """Write the prepared file with the pairs of a placement, and check it."""
    operators, changes = PLACEMENTS[name]
    static_int8.quantize(prepared, target, replace(PORTABLE, operators=operators), (), ranges, ())
    model = graph.load(target)
    for change in changes:
        change(model.graph)
    graph.save(model, target)
    sorted_model = graph.load(target)  # the reader sorts the nodes
    graph.save(sorted_model, target)
    onnx.checker.check_model(str(target), full_check=True)


def measure(backend: str, made: dict[str, Path], rounds: int) -> None:
    """Print the latency of each file in each round, then its ratio to the runtime's own scheme."""
    own = BACKENDS[backend]
    with ExitStack() as stack:
        cells = {name: stack.enter_context(BenchmarkCell(backend, str(path), 1)) for name, path in made.items()}
        for cell in cells.values():
            cell.warm()
        times: dict[str, list[float]] = {name: [] for name in cells}
        for number in range(rounds):
            for name in random.sample(list(cells), len(cells)):
                times[name].append(cells[name].latency(SECONDS)["p50_ns"])
            row = ", ".join(f"{name} {values[-1] / 1e6:.2f}" for name, values in times.items())
            print(f"{backend}, round {number + 1}, ms: {row}", flush=True)
    print(f"{backend}: latency over that of {own}")
    for name, values in times.items():
        against = told(ratio(values, times[own])) if name != own else "1"
        print(f"    {name}: {median(values) / 1e6:.2f} ms, {against}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=12, help="an interval needs ten")
    options.add_argument("--side", type=int, default=224, help="of the images, in pixels")
    options.add_argument("--backend", choices=BACKENDS, action="append", help="these alone")
    options.add_argument("--files", type=Path, help="keep the files in this folder, and measure those that are there")
    given = options.parse_args()
    random.seed(0)
    machine = host.describe()
    print(f"{machine.cpu}: {' '.join(machine.isa or ())}; {given.rounds} rounds, images of {given.side} x {given.side}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.files or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        made = write_files(folder, given.side)
        for backend in given.backend or BACKENDS if given.rounds else ():
            measure(backend, made, given.rounds)


if __name__ == "__main__":
    main()
