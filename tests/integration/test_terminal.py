"""Tables in a terminal: what fits, in which order, wrapped and coloured. A pseudo-terminal of real size; stored runs."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from onnxbench.runners.pool import survey
from onnxbench.runners.pool.environments import interpreters
from onnxbench.runners.pool.pool import Local
from onnxbench.spec import Sweep
from terminal import run, run_here

RUN = Path(__file__).parents[1] / "data" / "v0_1" / "run"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
WIDTHS = (80, 100, 120, 200)
COMMANDS = {
    "show": ("show", RUN, "--baseline", "ort-cpu"),
    "compare": ("compare", RUN, RUN),
    "recommend": ("recommend", RUN),
    "dry run": ("infer", "--dry-run", "--backend", "null", "--batch", "1,8", "--budget", "quick"),
    "backends": ("backends",),
}
PROGRAM = "to paste:"  # what is pasted is not wrapped


def lines_of(*words, width, **how):
    text, _ = run_here(*words, width=width, **how)
    return COLOUR.sub("", text).partition(PROGRAM)[0].splitlines()


def grid(lines):
    """The titles, and the rows below the rule."""
    (rule,) = [index for index, line in enumerate(lines) if set(line.strip()) == {"─"}]
    body = lines[rule + 1 :]
    end = next((index for index, line in enumerate(body) if not line and not body[index + 1].startswith(" ")), len(body))
    return lines[rule - 1], [line for line in body[:end] if line]


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """Makes `bench backends` print what one survey of all backends found."""
    found = survey.survey(interpreters(Sweep()), tmp_path_factory.mktemp("logs"), Local())
    found.dismiss()
    known = replace(found, workers={})
    return lambda: setattr(survey, "survey", lambda *_: known)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_wider_than_the_terminal(command, width, tmp_path, request):
    prepare = {"prepare": request.getfixturevalue("probed")} if command == "backends" else {}
    lines = lines_of(*COMMANDS[command], width=width, folder=tmp_path, **prepare)
    assert len(lines) > 5
    assert [line for line in lines if len(line) > width] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_row_is_one_line_and_the_columns_that_matter_come_first(width):
    titles, rows = grid(lines_of(*COMMANDS["show"], width=width))
    assert len(rows) == 8
    for title in ("backend", "precision", "batch", "p50 ms", "throughput /s", "grade"):
        assert title in titles


def test_a_wider_terminal_shows_more_columns_and_says_how_many_are_left():
    shown = []
    for width in (80, 100, 120, 200, 400):
        lines = lines_of(*COMMANDS["show"], width=width)
        titles, _ = grid(lines)
        (left,) = [int(line.split()[0]) for line in lines if "--wide" in line] or [0]
        shown.append((len(re.split(r"  +", titles.strip())), left))
    columns, left = zip(*shown)
    assert list(columns) == sorted(columns)
    assert len(set(columns)) > 3
    assert {number + more for number, more in shown} == {columns[-1]}
    assert left[-1] == 0


def test_wide_and_a_pipe_have_every_column():
    command = [sys.executable, "-m", "onnxbench.cli", *map(str, COMMANDS["show"])]
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    wide = lines_of(*COMMANDS["show"], "--wide", width=80)
    titles, _ = grid(wide)
    assert titles.split() == grid(piped)[0].split()
    assert len(titles) > 160


def test_named_columns_alone_are_printed():
    titles, rows = grid(lines_of(*COMMANDS["show"], "--columns", "backend,batch,peak_rss_mb", width=80))
    assert titles.split() == ["backend", "batch", "memory", "MB"]
    assert len(rows) == 8


def test_both_ends_of_an_interval_are_shown_or_none():
    for width in range(60, 240, 12):
        titles, _ = grid(lines_of(*COMMANDS["show"], width=width))
        assert titles.count("from") == titles.count("to ")  # a unit follows each


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_that_have_them_and_users_who_want_them(environment, coloured):
    text, code = run(*COMMANDS["show"], width=120, **environment)
    assert code == 0
    assert bool(COLOUR.search(text)) == coloured
    assert "0.157 *" in COLOUR.sub("", text)  # the mark of the fastest row does not need a colour
