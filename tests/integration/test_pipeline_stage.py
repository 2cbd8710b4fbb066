"""Stages of a pipeline: what a stage may do with the activation that it receives."""

from types import SimpleNamespace

import torch
from onnxbench.runners.worker import pipeline, stages
from onnxbench.runners.worker.clock import Clock

JOB = SimpleNamespace(device="cpu", precision="fp32")


def gradient(first, received):
    """Gradient of a received activation, behind a stage that begins with the layer `first`."""
    x = received.clone().requires_grad_()
    stage = pipeline._module(torch, [first, torch.nn.Flatten()], JOB)
    stage(x).square().sum().backward()
    assert x.detach().equal(received)
    return x.grad


def test_a_stage_may_begin_with_a_layer_that_writes_into_its_input():
    received = torch.linspace(-1, 1, 12).reshape(3, 4)
    writing, plain = (gradient(torch.nn.ReLU(inplace=inplace), received) for inplace in (True, False))
    assert writing.equal(plain)


def test_the_time_of_a_layer_that_writes_into_its_input_is_measured():
    received = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
    output, times = stages._times(torch, Clock(), torch.nn.ReLU(inplace=True), received, JOB)
    assert output.equal(received.detach().relu())
    assert len(times) == stages.TIMES
    assert received.min() == -1
