"""`bench compare`: two sides of runs, cell by cell, and the gates that fail on them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ..errors import BadInput
from .options import debug_option, format_option, group
from .output import note, plain
from .runs import stored

GITHUB = "github"
FAIL_HELP = (
    "Fail (exit 1) where a metric is shown to be worse by more than LIMIT: p50>5% is slower by more than 5 %, throughput>5% a"
    " loss of more than 5 %, peak_rss>10% more memory, top1_drop>0.3 a drop larger by more than 0.3 points."
)


class SidesCommand(click.Command):
    """`--base A B C` takes all words up to the next option, as a shell expands `--base runs/old-*`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args))


def spread(words: list[str]) -> list[str]:
    """`words` with the option's name before each word of a side."""
    said, side = [], ""
    for word in words:
        if word.startswith("-"):
            side = word if word in ("--base", "--new") else ""
            said += [] if side else [word]
        else:
            said += [side, word] if side else [word]
    return said


@click.command(cls=SidesCommand)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, metavar="[BASE NEW]")
@group(
    click.option(
        "--base", type=click.Path(path_type=Path), multiple=True, metavar="RUN...", help="Several runs of the old side."
    ),
    click.option(
        "--new", type=click.Path(path_type=Path), multiple=True, metavar="RUN...", help="Several runs of the new side."
    ),
    click.option("--fail-on", "limits", multiple=True, metavar="METRIC>LIMIT", help=FAIL_HELP),
    click.option(
        "--control", metavar="BACKEND[@ENV]", help="A backend that did not change; its ratio is divided out of all timings."
    ),
    format_option(GITHUB),
    debug_option,
)
def compare(
    runs: tuple[Path, ...],
    base: tuple[Path, ...],
    new: tuple[Path, ...],
    limits: tuple[str, ...],
    control: str | None,
    **how: str,
) -> None:
    """Compare runs cell by cell: ratio, interval, verdict.

    Best is not to need it: two builds interleaved in one run see the same machine (bench infer --backend A,B --baseline A).
    With three runs a side or more, the runs' own spread is in the interval; one run a side allows 2 % for two processes.
    Exits with 1 where a regression beyond --fail-on is shown; one that may be or not is a warning.
    """
    from ..untrusted import understood

    sides = _sides(runs, base, new)
    with understood([folder for side in sides for folder in side]):
        text, warnings, failed = _compared(*sides, limits, control, how["format"])
    click.echo(text, nl=False)
    for sentence in warnings:
        note(f"bench: {sentence}")
    sys.exit(1 if failed else 0)


def _compared(
    base: Sequence[Path], new: Sequence[Path], limits: Sequence[str], control: str | None, format: str
) -> tuple[str, Sequence[str], bool]:
    """The text to print, the warnings, and True if a limit is broken. All that was read is freed at its end."""
    from ..results.compare import compare as comparing
    from ..results.compare import gate
    from ..results.compare.comparison import facts, tabulate
    from ..results.table.findings import sentences
    from ..results.table.render import render

    asked = gate.parse(limits)
    sides, found = comparing.compare(stored(base), stored(new), control, gate.thresholds(asked))
    judged = gate.judge(asked, found)
    warnings = sentences((*sides.match.left, *judged.warnings))
    if format == GITHUB:
        return plain_lines(gate.workflow(found, judged, facts(sides, found), sides.match.left)), warnings, bool(judged.shown)
    table = tabulate(sides, found, judged.findings)
    return render(table, format), warnings, bool(judged.shown)


def plain_lines(lines: list[str]) -> str:
    """Lines without what a terminal or a log would act on."""

    return "".join(f"{plain(line)}\n" for line in lines)


def _sides(runs: tuple[Path, ...], base: tuple[Path, ...], new: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The folders of both sides. `BadInput` for anything but BASE NEW, or --base and --new."""
    hint = "give BASE NEW, or --base RUN... --new RUN..."
    if base or new:
        if runs or not (base and new):
            raise BadInput("a side is missing, or given twice", hint)
        return _once(base), _once(new)
    if len(runs) != 2:
        raise BadInput(f"{len(runs)} runs are not two sides", hint)
    return runs[:1], runs[1:]


def _once(side: tuple[Path, ...]) -> tuple[Path, ...]:
    """`side`; `BadInput` for a run that is in it twice, which would make it look surer than it is."""
    twice = [run for number, run in enumerate(side) if run.resolve() in {other.resolve() for other in side[:number]}]
    if twice:
        raise BadInput(f"{twice[0]} is given twice on one side", "measure it again for another run")
    return side
