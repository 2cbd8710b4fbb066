"""The group of commands: what it loads, and where it does not run."""

import sys

import pytest
from click.testing import CliRunner
from onnxbench.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_loaded_by_its_name(name):
    command = main.get_command(None, name)
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name][1]


def test_windows_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    done = CliRunner().invoke(main, ["cache"])
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert "Windows" in line
