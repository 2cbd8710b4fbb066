"""Options of a command as keyword arguments of Python, by the command's own declarations. click alone.

`--max-batch 8` is `max_batch=8`. A wrong value has the sentence that the command line has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import click

from ..errors import BadInput, nearest

PRINTING = ("wide", "columns", "debug", "dry-run", "all")
"""Options about what a command prints; a value of Python has methods for that. --format is one where `table` is its default."""


def keyword(option: click.Option) -> str:
    """Name of `option` as a keyword argument."""
    return option.opts[0].lstrip("-").replace("-", "_")


def keywords(command: click.Command) -> dict[str, click.Option]:
    """Options of `command` by their keyword, without those about printing."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {keyword(option): option for option in options if not _prints(option)}


def _prints(option: click.Option) -> bool:
    return option.opts[0].lstrip("-") in PRINTING or (option.opts[0] == "--format" and option.default == "table")


def context(name: str, command: click.Command, arguments: Iterable[Any], given: Mapping[str, Any]) -> click.Context:
    """Context of the command `name` with its `arguments`, and the options `given` by keyword; None leaves an option out.

    `BadInput` for a keyword that is no option, and for a wrong value.
    """
    options, words = keywords(command), list[str]()
    for key, value in given.items():
        if key not in options:
            raise BadInput(f"{name} has no option {key!r}", nearest(key, options))
        words += _words(options[key], value)
    try:
        return command.make_context(name, [*words, "--", *map(_text, arguments)])
    except click.UsageError as error:
        message, _, hint = error.format_message().partition("; ")
        raise BadInput(message, hint) from error


def _words(option: click.Option, value: Any) -> list[str]:
    """Words of the command line that give `option` this value."""
    flag = option.opts[0]
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    # One word, since a value may begin with a dash.
    return [f"{flag}={text}" for text in _texts(option, value)]


def _texts(option: click.Option, value: Any) -> list[str]:
    """Texts of `value`: one for each use of a repeated option, else one with commas."""
    if isinstance(value, Mapping):
        texts = [f"{name}={_joined(option, item)}" for name, item in value.items()]
    elif isinstance(value, Iterable) and not isinstance(value, str | os.PathLike):
        texts = [*map(_text, value)]
    else:
        return [_text(value)]
    return texts if option.multiple else [",".join(texts)]


def _joined(option: click.Option, value: Any) -> str:
    """Text of one value of a mapping. The sizes of a shape are joined by x, those of other lists by commas."""
    if isinstance(value, Iterable) and not isinstance(value, str | os.PathLike):
        return ("x" if option.opts[0] == "--shape" else ",").join(map(_text, value))
    return _text(value)


def _text(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
