"""Files of onnx2tf in LiteRT: orders of axes, the mark that allows FP16, and a session on a runtime of a few lines."""

import json

import numpy as np
import pytest
from onnxbench.backends import litert_cpu
from onnxbench.errors import RuntimeFailed, Unsupported
from onnxbench.spec import TensorSpec

RUNTIME = '''
import numpy as np


class Interpreter:
    """Doubles an image with channels last. The file has its shape."""

    def __init__(self, model_path, num_threads):
        self.threads, self.kind = num_threads, np.float32
        self.shape = tuple(int(size) for size in open(model_path, "rb").read().split(b";")[0].split(b","))

    def allocate_tensors(self):
        pass

    def get_input_details(self):
        return [{"name": "serving_default_x:0", "index": 4, "shape": np.array(self.shape), "dtype": self.kind}]

    def get_output_details(self):
        return [{"name": "other", "index": 9, "shape": np.array(self.shape), "dtype": self.kind}]

    def set_tensor(self, index, array):
        assert (index, array.shape, array.dtype) == (4, self.shape, self.kind)
        self.array = array.copy()

    def invoke(self):
        self.answer = self.array * 2

    def get_tensor(self, index):
        assert index == 9
        return self.answer

    def _get_ops_details(self):
        delegate = {"op_name": "DELEGATE", "operand_types": [np.float32, np.float32]}
        return [{"op_name": "RESHAPE", "operand_types": [np.int32]}, delegate]
'''
LAYOUT = {
    "inputs": {"x": {"place": 0, "axes": [0, 2, 3, 1]}},
    "outputs": {"y": {"place": 0, "axes": [0, 3, 1, 2], "shape": [1, 3, 4, 5]}},
}


@pytest.fixture
def opened(tmp_path, monkeypatch, make_artifact, make_cell):
    """A session of the runtime above on a file of onnx2tf with this `content`."""
    package = tmp_path / "site/ai_edge_litert"
    package.mkdir(parents=True)
    (package / "interpreter.py").write_text(RUNTIME)
    monkeypatch.syspath_prepend(str(package.parent))
    specs = [(TensorSpec(name=name, dtype="float32", shape=(1, 3, 4, 5)),) for name in "xy"]
    artifact = make_artifact(inputs=specs[0], outputs=specs[1], converted=str(tmp_path))

    def session(content=b"1,4,5,3;"):
        (tmp_path / litert_cpu.NET).write_bytes(content)
        (tmp_path / litert_cpu.LAYOUT).write_text(json.dumps(LAYOUT))
        return litert_cpu.LitertCpu().open(artifact, make_cell(backend="litert-cpu", shapes=(("x", (1, 3, 4, 5)),)))

    return session


def test_channels_last_is_seen_by_nobody(opened):
    image = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)
    with opened() as session:
        for lane in (session, session.fork()):
            lane.bind({"x": image})
            lane.start()
            lane.wait()
            np.testing.assert_array_equal(lane.fetch()["y"], 2 * image)
        assert (session.info.executed, dict(session.info.settings)) == ("fp32", {"threads": "2", "xnnpack_parts": "1"})


def test_a_missing_input_is_named(opened):
    with opened() as session, pytest.raises(RuntimeFailed, match="'x'"):
        session.bind({})


def test_a_file_that_allows_fp16_is_not_computed_as_fp32(opened):
    marked = b"1,4,5,3;" + litert_cpu.FP16_MARK + b"\0fp16accfp32"
    with pytest.raises(Unsupported, match="FP16"):
        opened(marked)
    with opened(litert_cpu.without_mark(marked)) as session:
        assert session.info.executed == "fp32"


def test_the_mark_is_taken_away_without_a_change_of_the_rest():
    content = b"TFL3\0" + litert_cpu.FP16_MARK + b"\0fp16accfp32\0"
    changed = litert_cpu.without_mark(content)
    assert len(changed) == len(content)
    assert litert_cpu.FP16_MARK not in changed
    assert [left for left, right in zip(content, changed) if left != right] == list(b"support")


def numbers(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_an_output_is_found_by_its_values_and_not_by_its_shape():
    """All sizes are equal, so that every order of the axes has the shape."""
    expected = numbers(4, 4, 4)
    others = [numbers(4, 4, 4, seed=2), np.transpose(expected, (0, 2, 1))]
    place = litert_cpu.output_place("y", expected, others)
    assert place == {"place": 1, "axes": (0, 2, 1), "shape": (4, 4, 4)}


def test_an_output_of_another_rank_is_reshaped():
    expected = numbers(2, 3)
    place = litert_cpu.output_place("y", expected, [expected.reshape(1, 2, 3)])
    assert place == {"place": 0, "axes": None, "shape": (2, 3)}


def test_rounding_is_no_other_answer():
    expected = numbers(2, 3)
    assert litert_cpu.output_place("y", expected, [expected * (1 + 1e-5)])["place"] == 0


@pytest.mark.parametrize("answers", [[numbers(2, 3, seed=9)], [numbers(4, 4)], [], [np.full((2, 3), np.nan)]])
def test_other_answers_are_an_error_that_names_the_output(answers):
    with pytest.raises(RuntimeFailed, match="logits"):
        litert_cpu.output_place("logits", numbers(2, 3), answers)


@pytest.mark.parametrize(
    ("shape", "details", "place"),
    [
        ((1, 3, 4, 5), [("x", (1, 4, 5, 3))], (0, (0, 2, 3, 1))),
        ((1, 3, 4, 5), [("x", (1, 3, 4, 5))], (0, None)),
        ((1, 3, 7), [("a", (1,)), ("serving_default_x:0", (1, 7, 3))], (1, (0, 2, 1))),
        ((), [("renamed", (1,))], (0, None)),
    ],
)
def test_an_input_is_found_by_its_name_and_its_axes_by_its_shape(shape, details, place):
    found = litert_cpu._input_place("x", 0, shape, [{"name": name, "shape": np.array(size)} for name, size in details])
    assert (found["place"], found["axes"]) == place


def test_an_input_of_another_size_and_one_that_is_left_out_are_refused():
    with pytest.raises(RuntimeFailed, match="shape"):
        litert_cpu._input_place("x", 0, (1, 3), [{"name": "x", "shape": np.array((1, 4))}])
    with pytest.raises(Unsupported, match="no output"):
        litert_cpu._input_place("x", 1, (1, 3), [{"name": "a", "shape": np.array((1, 4))}])


def test_a_converter_that_is_missing_says_the_two_commands():
    from onnxbench.errors import Unavailable

    with pytest.raises(Unavailable) as caught:
        litert_cpu.LitertCpu.converter.versions()
    assert "--python onnx2tf=" in caught.value.hint
