"""Times of layers from OpenVINO's running averages."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from onnxbench.backends.openvino_profile import OpenVinoProfiler
from onnxbench.profiles import Kernel, Links

LAYERS = ("conv", "relu")


class Request:
    """Reports the average of each layer over all calls so far, in whole us, as OpenVINO does."""

    def __init__(self):
        self.us = {name: [] for name in LAYERS}

    def infer(self, conv_us, relu_us):
        for name, us in zip(LAYERS, (conv_us, relu_us)):
            self.us[name].append(us)

    @property
    def profiling_info(self):
        averages = {name: sum(us) // len(us) for name, us in self.us.items()}
        layers = [(name, timedelta(microseconds=us)) for name, us in {**averages, "input": 0}.items()]
        return [SimpleNamespace(node_name=name, real_time=time) for name, time in layers]


@pytest.fixture
def profiled():
    """Record of turns, each a list of the calls' times (conv, relu) in us."""

    def record(*turns):
        requests = []

        def make():
            requests.append(Request())
            return SimpleNamespace(close=lambda: None), requests[-1]

        profiler = OpenVinoProfiler(make, [Kernel(node=name) for name in LAYERS], [Links()] * 2)
        for turn in turns:
            with profiler.turn():
                for call in turn:
                    requests[-1].infer(*call)
                    profiler.collect()
        return [[(ran.kernel, ran.ns) for ran in call] for call in profiler.read().calls]

    return record


def test_the_first_call_of_a_turn_is_taken_out_of_the_average_of_the_others(profiled):
    assert profiled([(900, 90), (100, 10), (120, 14)]) == [
        [(0, 900_000), (1, 90_000)],
        [(0, pytest.approx(110_000, abs=1500)), (1, pytest.approx(12_000, abs=1500))],
        [(0, pytest.approx(110_000, abs=1500)), (1, pytest.approx(12_000, abs=1500))],
    ]


def test_turns_do_not_mix(profiled):
    calls = profiled([(100, 10)] * 3, [(500, 50)] * 3)
    assert [round(call[0][1] / 1000) for call in calls] == [100] * 3 + [500] * 3


def test_a_turn_of_one_call_has_its_time(profiled):
    assert profiled([(100, 10)]) == [[(0, 100_000), (1, 10_000)]]


def test_rounding_gives_no_negative_time(profiled):
    calls = profiled([(1, 5)] + [(0, 0)] * 20)
    assert all(ns >= 0 for call in calls for _, ns in call)
