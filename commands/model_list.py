"""Type of the option `--model` where it takes several models. click only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not generic before click 8.5


class Models(ParamType):
    """List of models, such as `a.onnx,b.onnx,cnn`; each model once. An existing file with a comma in its path is one model."""

    name = "MODEL,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        parts, models = str(value).split(","), dict[str, None]()
        while parts:
            # The longest path first: `a.onnx,b.onnx` is one model if a file has this name.
            lengths = range(len(parts), 1, -1)
            length = next((size for size in lengths if _is_file(",".join(parts[:size]).strip())), 1)
            models[",".join(parts[:length]).strip()] = None
            del parts[:length]
        models.pop("", None)
        if not models:
            self.fail("the list is empty; write a model, or leave the option out", param, ctx)
        return tuple(models)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a text that is too long for a path
        return False
