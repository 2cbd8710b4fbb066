"""The build of PyTorch, from the file that it installs."""

import sys

import pytest
from onnxbench.backends.torch_build import TorchBuild, torch_build


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a package `torch` with this version.py, which must not be imported."""

    def install(text):
        package = tmp_path / "torch"
        package.mkdir()
        (package / "__init__.py").write_text("raise SystemError('torch was imported')")
        if text:
            (package / "version.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "torch", raising=False)

    return install


@pytest.mark.parametrize("cuda", [None, "13.0"])
def test_the_build_is_known_without_an_import(installed, cuda):
    installed(f"from typing import Optional\n__version__ = '2.99.1'\ncuda: Optional[str] = {cuda!r}\n")
    assert torch_build() == TorchBuild(version="2.99.1", cuda=cuda)


def test_without_the_file_nothing_is_known(installed):
    installed("")
    assert torch_build() is None
