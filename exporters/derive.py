"""The one way a file is made from another: by a recipe, into the cache, and with what made it. Standard library only; makers
are imported when a file is made.

A recipe has a revision. Raise it when what the recipe makes changes: files of another revision are made again by the next
export, and a row that was measured with one says so (docs/adr/0021).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import __version__
from ..evidence import Parity
from ..spec import Artifact, Conversion, Derived, Options, digest, to_wire
from . import entries
from .entries import CachedExport
from .manifest import Maker

Feeds = Sequence[Mapping[str, Any]]


def _fp16(source: Path, target: Path, options: Options, feeds: Feeds) -> None:
    from . import fp16

    fp16.convert(source, target)


def _int8(source: Path, target: Path, options: Options, feeds: Feeds) -> None:
    from . import int8

    int8.convert(source, target, Conversion.of(options), feeds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A way to make a file. It is called as the precision of what it makes, and `libraries` are modules that it depends on:
    onnxruntime is one of several packages."""

    name: str
    revision: int
    make: Callable[[Path, Path, Options, Feeds], None]
    exporter: str = "onnxruntime"
    libraries: tuple[str, ...] = ("onnx", "onnxruntime")

    def versions(self) -> Options:
        """The versions of the libraries that are installed here."""
        return tuple((name, str(import_module(name).__version__)) for name in self.libraries)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe for recipe in (Recipe(name="fp16", revision=1, make=_fp16), Recipe(name="int8", revision=1, make=_int8))
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DerivationTools:
    """Calibration data, its fingerprint, and three functions of files, with which `derive` makes a file.

    `describe` checks a file and says what it is. `parity` says how far what was made is from its source. `file_hash` is the
    hash that `describe` gives.
    """

    feeds: Feeds
    fingerprint: str
    describe: Callable[[Path], Artifact]
    parity: Callable[[Artifact], Parity]
    file_hash: Callable[[Path], str]


def derive(source: Artifact, recipe: str, options: Options, tools: DerivationTools) -> CachedExport:
    """Find the file of `source` by `recipe` with `options` in the cache. Make it where it is missing or damaged.

    The version of the tool is in what is told of the file, and not in the key: the recipe's revision says what matters.
    """
    chosen = RECIPES[recipe]
    made = Derived(
        origin=source.sha256,
        recipe=recipe,
        revision=chosen.revision,
        tool=__version__,
        versions=chosen.versions(),
        options=options,
    )
    key = digest([to_wire(replace(made, tool="")), tools.fingerprint, source.model, source.dataset])
    return entries.entry(key, lambda folder: _make(folder, source, made, tools), tools.file_hash)


def _make(folder: Path, source: Artifact, made: Derived, tools: DerivationTools) -> None:
    recipe = RECIPES[made.recipe]
    target = folder / f"{entries.stem_of(source.model)}.{recipe.name}.onnx"
    recipe.make(Path(source.path), target, made.options, tools.feeds)
    told = replace(tools.describe(target), precision=recipe.name, source=None, dataset=source.dataset, derived=made)
    maker = Maker(exporter=recipe.exporter, versions=dict(made.versions), parity=tools.parity(told))
    entries.write(folder, told, maker)


def other_maker(made: Derived | None) -> str | None:
    """The version of onnxbench that made a file in another way than this version does; None where it is the same way."""
    if made is None:
        return None
    recipe = RECIPES.get(made.recipe)
    return None if recipe and recipe.revision == made.revision else made.tool
