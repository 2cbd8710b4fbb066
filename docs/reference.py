"""Files that are generated from the code: `make reference` writes them, and a test compares them.

The columns, the commands, the backends, and the types of the functions of Python.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

import click
from address import address
from onnxbench import PUBLIC
from onnxbench.commands.keywords import keywords
from onnxbench.results.table.reference import columns_page
from reference_pages import backends_page, command, commands_page

ROOT = Path(__file__).resolve().parents[1]
LINE = 128
STUB_HEAD = '''"""Types of the public names. `make reference` writes this file from the declarations of the commands."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Literal, TypedDict

from typing_extensions import Unpack

'''
STUB_TYPES = """
__version__: str

_Text = str | PathLike[str]
_Names = _Text | Iterable[_Text]
_Numbers = int | str | Iterable[int]
_Pairs = str | Mapping[str, object] | Iterable[str]
_Run = _Text | Measurement
_Runs = _Run | Iterable[_Run]
"""
TYPES: Mapping[str, str] = {
    "Names": "_Names",
    "Models": "_Names",
    "Schemes": "_Names",
    "Numbers": "_Numbers",
    "KeyValue": "_Pairs",
    "Slo": "_Pairs",
    "Tensor": "_Pairs",
    "Sizes": "_Pairs",
    "Path": "_Text",
    "Whole": "int",
    "Finite": "float",
    "Duration": "float | str",
    "Megahertz": "int | bool",
    "StringParamType": "str",
    "Share": "str",
}
"""Type of a keyword argument, by the class of the option's type."""

FUNCTIONS: Mapping[str, str] = {
    "bisect": "model: _Text | None = None, *, good: str, bad: str, progress: bool = False, {options}",
    "check": "model: _Names | None = None, *, progress: bool = False, {options}",
    "compare": "base: _Runs, new: _Runs, {options}",
    "export": "model: _Text | None = None, *, progress: bool = False, {options}",
    "history": "*runs: _Runs, {options}",
    "infer": "model: _Names | None = None, *, progress: bool = False, {options}",
    "read": "run: _Run, *, baseline: str | None = None",
    "recommend": "*runs: _Runs, {options}",
    "report": "*runs: _Runs, out: _Text, {options}",
    "table": "*runs: _Runs, baseline: str | None = None, columns: str | Iterable[str] = ()",
    "train": "model: _Text | None = None, *, progress: bool = False, {options}",
}
"""Parameters of the functions of api.py. Options of the command are keyword arguments."""


def stub() -> str:
    """Types of the public names."""
    parts = [STUB_HEAD, *(f"from .{module} import {name} as {name}\n" for name, module in _reexports()), STUB_TYPES]
    for name, parameters in FUNCTIONS.items():
        if "{options}" in parameters:
            parts += ["\n", *_option_types(name, parameters)]
    for name, parameters in FUNCTIONS.items():
        options = f"**options: Unpack[{_options_name(name)}]"
        parts.append(f"\n{_definition(name, parameters.format(options=options))}")
    return "".join(parts) + "\n"


def _definition(name: str, parameters: str) -> str:
    """Declaration of a function, as `make format` lays it out."""
    line = f"def {name}({parameters}) -> {_result(name)}: ..."
    return line if len(line) <= LINE else f"def {name}(\n    {parameters}\n) -> {_result(name)}: ..."


def _reexports() -> list[tuple[str, str]]:
    return sorted(((name, module) for name, module in PUBLIC.items() if module != "api"), key=lambda pair: pair[::-1])


def _options_name(command: str) -> str:
    return f"_{command.capitalize()}Options"


def _result(name: str) -> str:
    """Type that a function of api.py returns."""
    return str(inspect.signature(getattr(import_module("onnxbench.api"), name)).return_annotation)


def _option_types(name: str, parameters: str) -> Iterator[str]:
    """Lines of the types of the options of the command `name` that are not among its `parameters`."""
    yield f"class {_options_name(name)}(TypedDict, total=False):\n"
    for key, option in keywords(command(name)).items():
        if f"{key}:" not in parameters:
            yield f"    {key}: {_type(option)} | None\n"


def _type(option: click.Option) -> str:
    if option.is_flag:
        return "bool"
    if isinstance(option.type, click.Choice):
        kind = f"Literal[{', '.join(repr(choice).replace(chr(39), chr(34)) for choice in option.type.choices)}]"
    else:
        kind = TYPES[type(option.type).__name__]
    return f"{kind} | Iterable[{kind}]" if option.multiple and kind != "_Pairs" else kind


def addressed(name: str) -> str:
    """The file `name` with the project's address in each place that has one."""
    text = (ROOT / name).read_text()
    text = re.sub(r"(?<=github\.com/)[\w.-]+/onnxbench\b|(?<=\.com/github/)[\w.-]+/onnxbench\b", address(), text)
    return re.sub(r"(?<=uses: )[\w.-]+/onnxbench(?=@)", address(), text)


ADDRESSED = ("CHANGELOG.md", "CITATION.cff", "docs/ci.md", "docs/notebooks/cpu-against-gpu.ipynb")
PAGES: Mapping[str, Callable[[], str]] = {
    "__init__.pyi": stub,
    "docs/columns.md": columns_page,
    "docs/commands.md": commands_page,
    "docs/backends.md": backends_page,
    **{name: partial(addressed, name) for name in ADDRESSED},
}
"""Each generated file, and the function that makes its text."""


def write() -> None:
    """Write the files whose text differs."""
    for name, make in PAGES.items():
        text = make()
        if (ROOT / name).read_text() != text:
            (ROOT / name).write_text(text)
            print(f"wrote {name}", file=sys.stderr)


if __name__ == "__main__":
    write()
