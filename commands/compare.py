"""`bench compare`: two sides of runs, cell by cell, and the limits that fail a CI job."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadInput
from .help import Command
from .metrics import control_option
from .options import Choice, all_option, debug_option, format_option, group
from .output import named_columns, note, plain, rendered, screen
from .runs import stored

if TYPE_CHECKING:
    from ..results.compare.judged import Gates

GITHUB = "github"
FAIL_HELP = (
    "Exit with 1 if a metric is certainly worse by more than LIMIT: p50>5% is 5 % slower, throughput>5% is 5 % less,"
    " peak_rss>10% is 10 % more memory, top1_drop>0.3 is 0.3 points more drop. 'p50>5% and >0.1ms' needs both."
)
INCONCLUSIVE_HELP = (
    "Set what a --fail-on with undecided cells does. fail: exit with 1 if any cell is undecided. default: exit with 1 if no"
    " cell is decided. warn: print a warning only."
)
POLICIES = ("fail", "default", "warn")  # gate.py, which help must not load; a test compares the names


class SidesCommand(Command):
    """Command whose `--base` and `--new` take all words up to the next option, as a shell expands `--base runs/old-*`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(words: list[str]) -> list[str]:
    """Repeat the option's name before each word of a side, because click's options take one word each."""
    arguments, side = [], ""
    for word in words:
        if word.startswith("-"):
            side = word if word in ("--base", "--new") else ""
            arguments += [] if side else [word]
        else:
            arguments += [side, word] if side else [word]
    return arguments


@click.command(
    cls=SidesCommand,
    examples=(
        ("bench compare runs/old runs/new", "Compare two runs cell by cell"),
        ('bench compare runs/old runs/new --fail-on "p50>5%"', "Exit with 1 if a cell is certainly slower by more than 5 %"),
        ('bench compare runs/old runs/new --fail-on "p50>5% and >0.1ms"', "The same, but ignore losses below 0.1 ms"),
        ("bench compare --base runs/old-* --new runs/new-*", "Include the run-to-run variation of several runs a side"),
    ),
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, metavar="[BASE NEW]")
@group(
    click.option(
        "--base", type=click.Path(path_type=Path), multiple=True, metavar="RUN...", help="Use these runs as the old side."
    ),
    click.option(
        "--new", type=click.Path(path_type=Path), multiple=True, metavar="RUN...", help="Use these runs as the new side."
    ),
    click.option("--fail-on", "limits", multiple=True, metavar="METRIC>LIMIT", help=FAIL_HELP),
    click.option("--inconclusive", type=Choice(POLICIES), metavar="fail|default|warn", help=INCONCLUSIVE_HELP),
    control_option,
    all_option,
    format_option(GITHUB),
    debug_option,
)
def compare(
    runs: tuple[Path, ...],
    base: tuple[Path, ...],
    new: tuple[Path, ...],
    limits: tuple[str, ...],
    inconclusive: str | None,
    **options: Any,
) -> None:
    """Compare runs cell by cell: ratio, interval, verdict.

    Two builds in one run see the same machine, so prefer bench infer --backend A,B --baseline A where that is possible. With
    three or more runs a side, the interval includes the run-to-run variation. Old runs, without lives, add 2 % for it. A
    terminal shows the cells that are slower or faster, and the number of the others; a file or a pipe gets every row. Exits
    with 1 if a regression is certainly beyond --fail-on, or if no cell of a --fail-on could be decided.
    """
    from ..untrusted import understood

    old, now, gates = requested(runs, base, new, limits, inconclusive)
    with understood([*old, *now]):
        text, warnings, failed = _compared(old, now, gates, **options)
    click.echo(text, nl=False)
    for sentence in warnings:
        note(f"bench: {sentence}")
    sys.exit(1 if failed else 0)


def requested(
    runs: tuple[Path, ...], base: tuple[Path, ...], new: tuple[Path, ...], limits: tuple[str, ...], inconclusive: str | None
) -> tuple[tuple[Path, ...], tuple[Path, ...], Gates]:
    """Folders of both sides, and the limits. `BadInput` for options that contradict each other."""
    from ..results.compare.judged import Gates

    sides = _sides(runs, base, new)
    if inconclusive and not limits:
        raise BadInput(f"--inconclusive {inconclusive} without --fail-on has no effect", 'add --fail-on "p50>5%"')
    return (*sides, Gates(limits=limits, policy=inconclusive or "default"))


def _compared(
    base: Sequence[Path], new: Sequence[Path], gates: Gates, control: str | None, format: str, everything: bool, debug: bool
) -> tuple[str, Sequence[str], bool]:
    """Compare both sides: the text to print, the sentences for stderr, and True if a limit fails.

    A function of its own, so that the runs are freed before the text is printed.
    """
    from ..results.compare import gate
    from ..results.compare.comparison import facts, tabulate
    from ..results.compare.judged import judge

    compared = judge(stored(base), stored(new), gates, control)
    sides, changes, judged = compared.sides, compared.changes, compared.judgement
    if format == GITHUB:
        lines = gate.workflow(changes, judged, facts(sides, changes), sides.match.left)
        return plain_lines(lines), compared.notes, judged.failed
    on_screen = format == "table" and screen().width is not None
    table = tabulate(
        sides,
        changes,
        judged.condensed if on_screen else judged.findings,
        fold=on_screen and not (everything or named_columns()),
    )
    # the table on a screen has the same sentences
    return rendered(table, format), [] if on_screen else compared.notes, judged.failed


def plain_lines(lines: list[str]) -> str:
    """Join lines without characters that a terminal or a log would act on."""
    return "".join(f"{plain(line)}\n" for line in lines)


def _sides(runs: tuple[Path, ...], base: tuple[Path, ...], new: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Folders of both sides. `BadInput` unless there are BASE NEW, or --base and --new."""
    hint = "write bench compare BASE NEW, or bench compare --base RUN... --new RUN..."
    if base or new:
        if runs or not (base and new):
            raise BadInput(_sides_fault(runs, base), hint)
        return _once(base), _once(new)
    if len(runs) != 2:
        raise BadInput(f"compare needs two runs, got {len(runs)}", hint)
    return runs[:1], runs[1:]


def _sides_fault(runs: tuple[Path, ...], base: tuple[Path, ...]) -> str:
    """Sentence for --base or --new without the other, or with runs that belong to no side."""
    if runs:
        return f"{runs[0]} stands beside --base or --new, so its side is unclear"
    return "--new is missing beside --base" if base else "--base is missing beside --new"


def _once(side: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return `side`. `BadInput` for a run that is in it twice: its interval would be too narrow."""
    twice = [run for number, run in enumerate(side) if run.resolve() in {other.resolve() for other in side[:number]}]
    if twice:
        raise BadInput(f"{twice[0]} is twice on one side, which would count it as two runs", "leave it out once")
    return side
