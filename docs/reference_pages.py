"""Texts of the generated pages on commands and backends, from click's declarations and from the registry."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator

import click
from onnxbench import backends
from onnxbench.backends.packages import PACKAGES, Distribution
from onnxbench.cli import COMMANDS, main
from onnxbench.commands.help import OUTPUT, SECTIONS, Command, section_of

WIDTH = 108
COMMANDS_HEAD = """# Commands

Every command with all of its options, as `bench COMMAND --help` prints them. This page is generated (`make
reference`). [Getting started](getting-started.md) has the commands in the order of their use, and
[Python](python.md) has them as functions.

| command | purpose |
|---|---|
"""
BACKENDS_HEAD = """# Backends

Every backend of this version. `bench backends` lists those that can run on a machine, and the reasons for the
rest. This page is generated (`make reference`). [Environments](environments.md) puts a backend into another
interpreter.

*Precisions* are measured by default where a file has them; those in parentheses on request.
*Default* backends are measured by a sweep without `--backend`, the others when they are named or with
`--backend all`. *Converter* is the program that writes a runtime's own format from the ONNX file.
*Engines* are files that the runtime compiles for one shape. *Network* is allowed for workers that run code
which may download ([security](../SECURITY.md)).

| backend | default | device | package | converter | precisions | INT8 schemes | engines | network |
|---|---|---|---|---|---|---|---|---|
"""
PACKAGES_HEAD = """
## Packages

The tested version of each package, with its wheels and the licence that it declares. Libraries inside a
package may have other licences. *Installed* is the size of its files on Linux x86-64, without packages that
it needs. `bench backends --all` shows the licence beside the facts of this machine.

| package | version | licence | wheels | Python | installed |
|---|---|---|---|---|---:|
"""
PLUGINS = """
Other packages add backends by the entry-point group `onnxbench.backends`
([contributing](../CONTRIBUTING.md#a-backend-in-another-package)).

## Options

`--option KEY=VALUE` sets an option of every backend that has it, and `--option BACKEND.KEY=VALUE` of one.
"""


def command(name: str) -> click.Command:
    """The command `name`."""
    found = main.get_command(None, name)
    if found is None:
        raise LookupError(name)
    return found


def commands_page() -> str:
    """Every command: its purpose, its options by section, and its examples."""
    rows = [f"| [`bench {name}`](#bench-{name}) | {summary} |\n" for name, (_, summary) in COMMANDS.items()]
    return "".join([COMMANDS_HEAD, *rows, *(part for name in COMMANDS for part in _command(name))])


def _command(name: str) -> Iterator[str]:
    found = command(name)
    context = click.Context(found, info_name=f"bench {name}")
    usage = " ".join(found.collect_usage_pieces(context))
    yield f"\n## bench {name}\n\n    bench {name} {usage}\n"
    for paragraph in inspect.cleandoc(found.help or "").split("\n\n"):
        yield f"\n{_wrapped(' '.join(paragraph.split()))}\n"
    for title, options in _sections(found).items():
        yield f"\n{title}:\n\n"
        yield from (_option(option, context) for option in options)
    if isinstance(found, Command) and found.examples:
        yield "\nExamples:\n"
        for line, purpose in found.examples:
            yield f"\n    # {purpose}\n    {line}\n"


def _sections(found: click.Command) -> dict[str, list[click.Option]]:
    """Options by section, in the order of the help."""
    sections: dict[str, list[click.Option]] = {title: [] for title in (*SECTIONS, OUTPUT)}
    for option in found.params:
        if isinstance(option, click.Option):
            sections[section_of(option)].append(option)
    return {title: options for title, options in sections.items() if options}


def _option(option: click.Option, context: click.Context) -> str:
    names, text = option.get_help_record(context) or ("", "")
    return _wrapped(f"- `{names}`: {_escaped(text)}", "  ") + "\n"


def backends_page() -> str:
    """Every built-in backend, from its class and its registration."""
    named = {name: backends.get(name) for name in backends.BUILT_IN}
    rows = [f"| {' | '.join(_facts(name, backend))} |\n" for name, backend in named.items()]
    options = [part for name, backend in named.items() if backend.options for part in _options(name, backend)]
    packages = [f"| `{name}` | {' | '.join(_package(facts))} |\n" for name, facts in PACKAGES.items()]
    return "".join([BACKENDS_HEAD, *rows, PACKAGES_HEAD, *packages, PLUGINS, *options])


def _package(facts: Distribution) -> tuple[str, ...]:
    size = f"{facts.size_mb} MB" if facts.size_mb else ""
    return facts.version, facts.licence, ", ".join(facts.platforms), facts.pythons, size


def _facts(name: str, backend: backends.Backend) -> tuple[str, ...]:
    registration = backends.BUILT_IN[name]
    precisions = [f"({own})" if own in backend.on_request else own for own in backend.precisions]
    package = f"`{registration.package}`" if registration.package else "none"
    schemes = ", ".join(backend.int8_schemes) if "int8" in backend.precisions else ""
    default = registration.default and not registration.instrument
    default_text, engines, network = ("yes" if fact else "" for fact in (default, backend.builds, registration.network))
    converter = f"`{backend.converter.name}`" if backend.converter else ""
    first = (f"`{name}`", default_text, backend.device_kind, package, converter)
    return *first, ", ".join(precisions), schemes, engines, network


def _options(name: str, backend: backends.Backend) -> Iterator[str]:
    yield f"\n### {name}\n\n"
    searched = {item.name: item.values for item in backend.tunables}
    for key, text in backend.options.items():
        values = (
            f". `--tune` tries {', '.join(f'`{value}`' if value else 'unset' for value in searched[key])}"
            if key in searched
            else ""
        )
        yield _wrapped(f"- `{key}`: {_escaped(text)}{values}", "  ") + "\n"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _escaped(text: str) -> str:
    """`text` without marks that Markdown would act on, outside of code."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([<*_\[\]])", r"\\\1", part) for part in parts)
