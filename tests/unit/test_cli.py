"""The group of commands: its loading, its help, and the systems that it refuses."""

import shlex
import sys

import click
import pytest
from click.testing import CliRunner
from onnxbench.cli import COMMANDS, main
from onnxbench.commands.help import SECTIONS, Command, list_form
from onnxbench.commands.infer import builds_of


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


LISTS = [(name, option.opts[0]) for name in COMMANDS for option in main.get_command(None, name).params if list_form(option)]


@pytest.mark.parametrize(("name", "flag"), LISTS)
def test_a_list_that_is_there_twice_is_refused(name, flag):
    done = CliRunner().invoke(main, [name, flag, "1", f"{flag}=2"])
    assert done.exit_code == 2
    assert f"{flag} is there 2 times" in done.output


def test_a_repeated_option_may_be_there_twice():
    assert ("infer", "--batch") in LISTS
    assert not {flag for _, flag in LISTS} & {"--option", "--dim", "--max", "--shape"}


def context(line):
    """The command of a line of an example, parsed; click exits where an option or a value is refused."""
    program, name, *arguments = shlex.split(line)
    assert program == "bench"
    return main.get_command(None, name).make_context(name, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_in_examples_that_the_command_accepts(name):
    command = main.get_command(None, name)
    assert len(command.examples) >= 2
    text = CliRunner().invoke(main, [name, "--help"]).stdout
    for line, purpose in command.examples:
        assert context(line).params
        assert text.index("Output:") < text.index(f"  # {purpose}\n  {line}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_sentence_and_a_section(name):
    command = main.get_command(None, name)
    assert isinstance(command, Command)
    for option in (item for item in command.params if isinstance(item, click.Option)):
        assert option.help, option.name
        assert option.help[0].isupper(), option.name
        assert option.help.endswith("."), option.name


def test_the_sections_name_options_that_exist_and_each_once():
    names = [name for members in SECTIONS.values() for name in members]
    declared = {flag.lstrip("-") for name in COMMANDS for item in main.get_command(None, name).params for flag in item.opts}
    assert len(names) == len(set(names))
    assert set(names) - declared == set()


def test_a_shape_is_accepted_as_help_shows_it():
    (option,) = [item for item in main.get_command(None, "infer").params if item.name == "signature"]
    assert f" {option.metavar}" in CliRunner().invoke(main, ["infer", "--help"]).stdout
    for text in (option.metavar, option.metavar.replace("x", "X")):
        (spec,) = context(f"bench infer --shape {text}").params["signature"]
        assert (spec.name, spec.shape) == ("NAME", (1, 3, 224, 224))


@pytest.mark.parametrize("spelling", ["--artifacts", "--out"])
def test_the_folder_of_an_export_has_two_spellings(spelling):
    assert str(context(f"bench export {spelling} files").params["artifacts"]) == "files"


def test_builds_are_the_runs_own_unless_the_command_gives_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert builds_of(context("bench infer").params) == {}
    given = builds_of(context("bench infer --builds 3 --keep-engines engines").params)
    assert given == {"builds": 3, "keep_engines": str(tmp_path / "engines")}  # another command may run in another folder
