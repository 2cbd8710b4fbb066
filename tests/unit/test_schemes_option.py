import pytest
from click.testing import CliRunner
from onnxbench import backends
from onnxbench.cli import main
from onnxbench.exporters.schemes import BEST, SCHEMES


@pytest.mark.parametrize("command", ["export", "infer", "check"])
@pytest.mark.parametrize(
    ("value", "named"), [("fast", "portable, layers, dynamic"), ("best,ort", "best"), ("portable,,ort", "portable")]
)
def test_what_is_no_scheme_is_refused_in_a_sentence(command, value, named):
    done = CliRunner().invoke(main, [command, "--int8", value])
    assert done.exit_code == 2
    assert named in done.output
    assert "Traceback" not in done.output


def test_every_backend_takes_schemes_that_exist_and_chooses_one_of_them():
    for name in backends.BUILT_IN:
        backend = backends.get(name)
        assert set(backend.int8_schemes) <= set(SCHEMES), name
        assert backend.int8_scheme in backend.int8_schemes, name
    assert BEST not in SCHEMES


def test_a_cell_of_a_scheme_that_a_backend_does_not_take_is_unsupported(make_cell, make_artifact):
    backend = backends.get("tensorrt")
    cell = make_cell(backend="tensorrt", device="cuda:0", precision="int8", scheme="dynamic")
    assert "dynamic" in str(backend.supports(cell, make_artifact(precision="int8")))
    assert "portable, layers" in str(backend.supports(cell, make_artifact(precision="int8")))
