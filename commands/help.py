"""Help of a command: its options in sections, and examples at the end. click alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Model and data": (
        "model",
        "random-weights",
        "artifacts",
        "shape",
        "input",
        "inputs",
        "feedback",
        "step-seconds",
        "dataset",
        "preprocess",
        "name",
    ),
    "Runtime and settings": (
        "backend",
        "python",
        "device",
        "precision",
        "opset",
        "batch",
        "threads",
        "option",
        "tune",
        "host",
        "seed",
    ),
    "Runs to compare": ("base", "new", "where", "by", "control"),
    "Versions to compare": ("good", "bad", "threshold", "package"),
    "Time": ("budget", "metric", "baseline", "cold", "cache", "lock-clocks", "timeout", "dry-run"),
    "Builds": ("builds", "keep-engines", "build-timeout"),
    "Nodes of a cluster": ("on", "node", "every-node"),
    "Arriving requests": ("load", "slo", "max-batch", "max-wait"),
    "Training": (
        "epochs",
        "batch-size",
        "lr",
        "data-parallel",
        "scale-batch",
        "batch-norm",
        "pipeline",
        "schedule",
        "microbatches",
    ),
    "INT8": ("int8", "calibration", "calibration-images", "calibration-method", "exclude"),
    "Quality and limits": ("images", "max", "min", "fail-on", "inconclusive", "explain"),
    "Decision": ("objective", "price", "demand"),
}
"""Options without their dashes, in the order of the help, by its sections. All other options stand under OUTPUT."""

OUTPUT = "Output"
COLUMN = 30  # characters of the first column, click's own default


class Command(click.Command):
    """A command whose help has its options in sections, and `examples`: pairs of a command line and its purpose."""

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # click would silently keep the last list alone.
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter(order).items():
            if times > 1 and (form := list_form(option)):
                ctx.fail(f"{option.opts[0]} is there {times} times; write one list, as {option.opts[0]} {form}")
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in (*SECTIONS, OUTPUT)}
        for parameter in sorted(self.get_params(ctx), key=_order):
            if record := parameter.get_help_record(ctx):
                sections[section_of(parameter)].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    # click aligns each list by itself. Names of equal width make one column through the whole page.
                    formatter.write_dl([(name.ljust(COLUMN), text) for name, text in records], col_max=COLUMN)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        write_examples(self.examples, formatter)


def list_form(parameter: click.Parameter) -> str:
    """`N,...` for an option whose one value is a list; empty for other parameters."""
    form = parameter.metavar or parameter.type.name
    return form if form.endswith(",...") and not parameter.multiple else ""


def section_of(parameter: click.Parameter) -> str:
    """Title of the section in which `parameter` stands."""
    return next((title for title, members in SECTIONS.items() if _name(parameter) in members), OUTPUT)


def _name(parameter: click.Parameter) -> str:
    return parameter.opts[0].lstrip("-")


def _order(parameter: click.Parameter) -> int:
    """Place of `parameter` in its section, as SECTIONS lists it; options of OUTPUT keep the order of their declaration."""
    members = SECTIONS.get(section_of(parameter), ())
    return members.index(_name(parameter)) if members else 0


def write_examples(examples: Sequence[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    """Write `examples` as lines that a shell takes: the purpose as a comment, and the command line."""
    if not examples:
        return
    with formatter.section("Examples"):
        for line, purpose in examples:
            formatter.write(f"{'':>{formatter.current_indent}}# {purpose}\n")
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
