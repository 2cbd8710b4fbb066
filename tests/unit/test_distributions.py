import subprocess
import sys

import pytest
import scipy.special
from onnxbench.results.stats import distributions

NAMES = ("bdtr", "betaincinv", "fdtrc", "stdtr", "stdtrit")


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_those_of_scipy(name):
    assert getattr(distributions, name) is getattr(scipy.special, name)


def test_a_fresh_process_loads_the_compiled_functions_alone_and_can_load_the_package_later():
    code = (
        "import sys; from onnxbench.results.stats.distributions import stdtrit; package = 'scipy.special' in sys.modules;"
        "import scipy.stats, scipy.optimize, scipy.special;"
        "print(package, scipy.special._ufuncs.stdtrit is stdtrit, stdtrit(9, 0.975) == scipy.stats.t.ppf(0.975, 9))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.split() == ["False", "True", "True"]


def test_a_scipy_without_the_compiled_file_gives_the_functions_of_its_package(monkeypatch):
    def missing():
        raise ImportError

    monkeypatch.setattr(distributions, "compiled", missing)
    assert distributions._functions() == tuple(getattr(scipy.special, name) for name in NAMES)
