"""benchmarks/device_time.py with a fake nvbench: the turns, the figures of its JSON, and the sentence where it is missing."""

import json
import sys
from pathlib import Path

import device_time
import pytest


class Session:
    """A session on a stream; notes its calls."""

    class _stream:
        handle = 7

    def __init__(self):
        self.calls = 0

    def start(self):
        self.calls += 1


class State:
    def __init__(self, axes, log):
        self.axes, self.log = axes, log

    def get_string(self, name):
        return self.axes[name]

    def get_int64(self, name):
        return self.axes[name]

    def set_stream(self, stream):
        assert stream.__cuda_stream__() == (0, 7)

    def exec(self, function, timer=False):
        self.log.append(("nvbench", self.axes["way"]))
        if not timer:
            return function(None)
        return function(None, self)

    def start(self):
        self.log.append("start")

    def stop(self):
        self.log.append("stop")


def summary_of(tag, value):
    return {"tag": tag, "data": [{"name": "value", "type": "float64", "value": str(value)}]}


class Nvbench:
    """nvbench's interface as device_time.py uses it."""

    def __init__(self, log, skip=False):
        self.log, self.axes, self.skip = log, {}, skip

    def register(self, function):
        self.function = function
        return self

    def set_name(self, name):
        return self

    def set_min_samples(self, count):
        return self

    def add_int64_axis(self, name, values):
        self.axes[name] = values
        return self

    add_string_axis = add_int64_axis

    def run_all_benchmarks(self, argv):
        states = []
        for way in self.axes["way"]:
            for number in self.axes["round"]:
                self.function(State({"way": way, "round": number}, self.log))
                scale = {"warm": 1, "plain": 2}[way] * (number + 1)
                tags = {
                    "nv/cold/time/gpu/median": 1e-3 * scale,
                    "nv/batch/time/gpu/mean": 5e-4,
                    "nv/cold/sm_clock_rate/mean": 1.98e9,
                }
                axes = [{"name": "way", "value": way}, {"name": "round", "value": str(number)}]
                states.append(
                    {
                        "name": way,
                        "axis_values": axes,
                        "is_skipped": self.skip,
                        "skip_reason": "no stream",
                        "summaries": [summary_of(tag, value) for tag, value in tags.items()],
                    }
                )
        Path(argv[argv.index("--json") + 1]).write_text(json.dumps({"benchmarks": [{"name": "session", "states": states}]}))


def test_rounds_alternate_and_have_figures_of_both_instruments(tmp_path):
    log, session = [], Session()
    turns = device_time.Turns(session, lambda: log.append("ours") or 1.5, lambda: 1980.0)
    theirs = device_time.run(Nvbench(log), turns, 2, tmp_path)
    warm = [("nvbench", "warm"), "start", "stop"]
    assert log == ["ours", *warm, *warm, "ours", ("nvbench", "plain"), ("nvbench", "plain")]
    assert session.calls == 2 * 2 + 2  # a warm sample has an untimed call before it
    assert (turns.ms, turns.mhz) == ([1.5, 1.5], [1980.0, 1980.0])
    assert theirs["warm"] == pytest.approx([1, 2])
    assert theirs["cold"] == pytest.approx([2, 4])
    assert theirs["batch"] == pytest.approx([0.5, 0.5])
    assert theirs["mhz"] == pytest.approx([1980, 1980])
    assert device_time.summary(turns.ms, theirs)["warm"] == pytest.approx([0.75, 1.125, 1.5])


def test_a_state_that_nvbench_skips_ends_with_its_reason(tmp_path):
    turns = device_time.Turns(Session(), lambda: 1.0, lambda: None)
    with pytest.raises(SystemExit, match="no stream"):
        device_time.run(Nvbench([], skip=True), turns, 1, tmp_path)


def test_without_nvbench_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(SystemExit, match="pip install 'cuda-bench"):
        device_time.main()
