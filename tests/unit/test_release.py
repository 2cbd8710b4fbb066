"""The check before a release."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("release", ROOT / ".ci/release.py")
release = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(release)

READY = {
    "pyproject.toml": 'Repository = "https://github.com/acme/onnxbench"\n',
    "__init__.py": '__version__ = "0.2.0"\n',
    "CHANGELOG.md": "## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n## [0.1.0] - 2026-11-28\n",
    "CITATION.cff": "version: 0.2.0\n",
}


@pytest.fixture
def checked(tmp_path):
    def check(**changes):
        for name, text in {**READY, **changes}.items():
            (tmp_path / name).write_text(text)
        return release.faults(tmp_path)

    return check


def test_a_release_with_address_version_date_and_citation_is_ready(checked):
    assert checked() == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", 'Repository = "https://github.com/OWNER/onnxbench"\n'),
        ("__init__.py", '__version__ = "0.2.0.dev0"\n'),
        ("CHANGELOG.md", "## [Unreleased]\n\n## [0.1.0] - 2026-11-28\n"),
        ("CITATION.cff", "version: 0.1.0\n"),
    ],
)
def test_each_fault_has_a_sentence(checked, name, text):
    assert any(name in sentence for sentence in checked(**{name: text}))


def test_the_command_prints_the_faults_of_this_project():
    done = subprocess.run([sys.executable, ROOT / ".ci/release.py"], capture_output=True, text=True)
    sentences = release.faults(ROOT)
    assert done.returncode == int(bool(sentences))
    assert done.stderr.splitlines() == sentences
