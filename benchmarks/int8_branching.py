"""Placements of Q/DQ pairs in a network with residual connections, in turns, in one run.

    python benchmarks/int8_branching.py [ROUNDS] [SIDE]

The network is ResNet-50, written out in torch, with random weights. Each placement is one file of the portable kind: signed
activations, zero points of 0, biases in float. The question is if one of them loses at most 15 % against the scheme of each
runtime, on ONNX Runtime and on OpenVINO. Figures are latencies of a call of one image; ratios are paired by round.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnxbench.exporters import graph, int8, static_int8
from onnxbench.exporters.schemes import LAYERS, SCHEMES
from onnxbench.runners.pool import host
from onnxbench.spec import Conversion
from tool import BenchmarkCell, ratio, told

BACKENDS = {"ort-cpu": "ort", "openvino-cpu": "openvino"}
BLOCKS, SECONDS, FEEDS = (3, 4, 6, 3), 0.4, 4
PAIR = ("QuantizeLinear", "DequantizeLinear")
PORTABLE = SCHEMES["portable"]


class Bottleneck(torch.nn.Module):
    """Three convolutions beside a shortcut, and a Relu of their sum."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.path = torch.nn.Sequential(
            *(*convolution(inputs, width, 1), torch.nn.ReLU()),
            *(*convolution(width, width, 3, stride), torch.nn.ReLU()),
            *convolution(width, outputs, 1),
        )
        is_same = inputs == outputs and stride == 1
        self.shortcut = torch.nn.Identity() if is_same else torch.nn.Sequential(*convolution(inputs, outputs, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.path(x) + self.shortcut(x))


def convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> tuple[torch.nn.Module, ...]:
    return torch.nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), torch.nn.BatchNorm2d(outputs)


def resnet50() -> torch.nn.Module:
    layers: list[torch.nn.Module] = [*convolution(3, 64, 7, 2), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, count in enumerate(BLOCKS):
        for number in range(count):
            width = 64 << stage
            layers.append(Bottleneck(inputs, width, 2 if stage and not number else 1))
            inputs = 4 * width
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(inputs, 1000))


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


def files(folder: Path, side: int) -> dict[str, Path]:
    """The FP32 file, a file of each placement, and those of the runtimes' own schemes."""
    torch.manual_seed(0)
    source, prepared = folder / "fp32.onnx", folder / "prepared.onnx"
    net = resnet50().eval()
    torch.onnx.export(net, (torch.randn(1, 3, side, side),), str(source), opset_version=17, dynamo=False, input_names=["x"])
    generator = np.random.default_rng(0)
    feeds = [{"x": generator.standard_normal((1, 3, side, side)).astype(np.float32)} for _ in range(FEEDS)]
    int8.prepare(source, prepared)
    ranges, _ = int8.find_ranges(prepared, Conversion(scheme="portable", method="minmax"), feeds)
    made = {"FP32": source}
    for number, (name, (operators, changes)) in enumerate(PLACEMENTS.items()):
        made[name] = folder / f"{number}.onnx"
        static_int8.quantize(prepared, made[name], replace(PORTABLE, operators=operators), (), ranges, ())
        model = graph.load(made[name])
        for change in changes:
            change(model.graph)
        graph.save(model, made[name])
        sorted_model = graph.load(made[name])  # the reader sorts the nodes
        graph.save(sorted_model, made[name])
        onnx.checker.check_model(str(made[name]), full_check=True)
    for scheme in BACKENDS.values():
        made[scheme] = folder / f"{scheme}.onnx"
        int8.quantize(prepared, made[scheme], Conversion(scheme=scheme, method="minmax"), ranges)
    return made


def measure(backend: str, made: dict[str, Path], rounds: int) -> None:
    """Print the latency of each file, its ratio to the runtime's own scheme, and whether it loses at most 15 %."""
    own = BACKENDS[backend]
    with ExitStack() as stack:
        cells = {name: stack.enter_context(BenchmarkCell(backend, str(path), 1)) for name, path in made.items()}
        for cell in cells.values():
            cell.warm()
        times: dict[str, list[float]] = {name: [] for name in cells}
        for _ in range(rounds):
            for name in random.sample(list(cells), len(cells)):
                times[name].append(cells[name].latency(SECONDS)["p50_ns"])
    print(f"{backend}: latency over that of {own}")
    for name, values in times.items():
        against = told(ratio(values, times[own])) if name != own else "1"
        print(f"    {name}: {median(values) / 1e6:.2f} ms, {against}", flush=True)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 224
    random.seed(0)
    machine = host.describe()
    print(f"{machine.cpu}: {' '.join(machine.isa or ())}; {rounds} rounds, images of {side} x {side}")
    with tempfile.TemporaryDirectory() as folder:
        made = files(Path(folder), side)
        for backend in BACKENDS:
            measure(backend, made, rounds)


if __name__ == "__main__":
    main()
