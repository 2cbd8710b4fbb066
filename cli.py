"""The command line: a group that loads a command when the command is called, and the exit codes. click only.

stdout has the result and nothing else. Progress, notes and errors go to stderr. Exit codes: 0 success; 1 a gate failed;
2 usage or bad input; 3 a named target got no `ok` row, or a cell failed; 130 interrupted. If several apply, the first of
2, 130, 3, 1.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from . import __version__
from .errors import BenchError, check_platform, of_system

COMMANDS = {
    "backends": ("backends:backends", "List the backends of this machine, and how to install the missing ones."),
    "train": ("train:train", "Train a named model, and compare CPU, GPU and several processes in one table."),
    "export": ("export:export", "Write and check ONNX files in FP32, FP16 and INT8, with a manifest."),
    "infer": ("infer:infer", "Measure a model on every runtime of this machine."),
    "measure": ("measure:measure", "Measure the loop of your own program, in turns with backends."),
    "check": ("check:check", "Compare the outputs with FP32 outputs, and with labels."),
    "show": ("show:show", "Print stored runs in any format, without measuring."),
    "compare": ("compare:compare", "Compare runs cell by cell: ratio, interval, verdict."),
    "history": ("history:history", "Follow one metric over many runs, and find the runs at which it changed."),
    "bisect": ("bisect:bisect", "Find the first version of a runtime that is slower."),
    "profile": ("profile:profile", "Show where the time of a call goes, layer by layer, on several runtimes."),
    "recommend": ("recommend:recommend", "Recommend the best row within limits, and show how to deploy it."),
    "report": ("report:report", "Write runs into one file that you can read and share."),
    "import": ("import_:take", "Import files of other tools into the same table."),
    "cache": ("cache:cache", "Print the size of the cache, or clear the cache."),
}
"""Module in commands/ and function of each command, and its line in `bench --help`. The help loads no command."""

SYSTEM_ERROR = 3
LONGEST = 900  # characters of an error: it quotes names from files, which may be very long


class Bench(click.Group):
    """A group that loads a command when the command is called, and prints an error as one sentence on stderr."""

    def list_commands(self, ctx: click.Context | None = None) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f".commands.{module}", __package__), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        from .spec import nearest

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"{args[0]!r} is not a command; {nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            check_platform()
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of stdout has ended, as `head` does
            ctx.exit(0)
        except KeyboardInterrupt:
            _say("interrupted")
            ctx.exit(130)
        except (BenchError, OSError) as error:
            if "--debug" in sys.argv:
                raise
            _say(_sentence(error))
            ctx.exit(error.exit_code if isinstance(error, BenchError) else SYSTEM_ERROR)


def _sentence(error: BenchError | OSError) -> str:
    """The problem and the hint of `error`. For an error of the system: the file and the system's message."""
    # Imported here, since `bench --help` must load click alone.
    from .commands.output import plain

    return plain(str(error if isinstance(error, BenchError) else of_system(error)))[:LONGEST]


def _say(sentence: str) -> None:
    """Print a sentence on stderr. Do nothing if stderr is full or closed."""
    with suppress(OSError):
        click.echo(f"bench: {sentence}", err=True)


@click.group(cls=Bench, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Find the best place to run a model: train or load a model, export it, and measure it on every runtime here."""


if __name__ == "__main__":
    main()
