"""The command line: a group whose commands are loaded when they are called, and the exit codes. click alone.

stdout carries the result and nothing else; progress, notes and errors go to stderr. Exit codes: 0 done; 2 usage or
bad input; 130 interrupted; 3 something named got no `ok` row, or a cell failed; 1 a gate failed. The first of 2, 130, 3, 1.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from . import __version__
from .errors import BadInput, BenchError

COMMANDS = {
    "backends": ("backends:backends", "List what can run here, and how to get the rest."),
    "train": ("train:train", "Train a named model; CPU against GPU in one table."),
    "export": ("export:export", "Write checked ONNX files in FP32, FP16 and INT8, and a manifest."),
    "infer": ("infer:infer", "Measure a model on every runtime here."),
    "check": ("check:check", "Compare answers with FP32's, and with labels."),
    "show": ("show:show", "Print runs again, in any format, and measure nothing."),
    "compare": ("compare:compare", "Compare runs cell by cell: ratio, interval, verdict."),
    "recommend": ("recommend:recommend", "Say which row to deploy, and how: the best within limits."),
    "report": ("report:report", "Write runs as one file to read and to pass on."),
    "import": ("import_:take", "Put files of other tools into the same table."),
    "cache": ("cache:cache", "Print the size of the user's cache, by kind."),
}
"""Each command's module in commands/ with its name there, and its help in `bench --help`, which so loads none of them."""

NOT_WRITTEN = 3
LONGEST = 900  # characters of a sentence: names in it come from files


class Bench(click.Group):
    """Loads a command when it is called. An error of this tool comes out as one sentence on stderr and an exit code."""

    def list_commands(self, ctx: click.Context | None = None) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f".commands.{module}", __package__), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            _check_platform()
            return super().invoke(ctx)
        except BrokenPipeError:
            ctx.exit(0)
        except KeyboardInterrupt:
            _say("interrupted")
            ctx.exit(130)
        except (BenchError, OSError) as error:
            if "--debug" in sys.argv:
                raise
            _say(_sentence(error))
            ctx.exit(error.exit_code if isinstance(error, BenchError) else NOT_WRITTEN)


def _check_platform() -> None:
    """`BadInput` on Windows, which has neither the process control nor the file locks that a run needs."""
    if sys.platform == "win32":
        raise BadInput("bench does not run on Windows", "use Linux, or Linux in WSL 2")


def _sentence(error: BenchError | OSError) -> str:
    """What was found and what to do. A system's error that nobody expected has the file and the system's words."""
    from .commands.output import plain
    from .errors import one_line

    if isinstance(error, BenchError):
        return plain(str(error))[:LONGEST]
    what = f"{error.filename or 'a file'} cannot be used ({one_line(error.strerror or error)})"
    return plain(f"{what}; check the path, the disk's space and the limit of open files")[:LONGEST]


def _say(sentence: str) -> None:
    """Print a sentence on stderr, unless that is full or closed too."""
    with suppress(OSError):
        click.echo(f"bench: {sentence}", err=True)


@click.group(cls=Bench, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Where should this model run? Train or take a model, export it, and measure it on every runtime here."""


if __name__ == "__main__":
    main()
