"""Derivation of a file from another file, by a recipe and into the cache. Standard library only; recipes import their libraries
when they make a file.

A recipe has a revision. Raise the revision when the recipe's result changes: the next export makes the files of other
revisions again, and a row that was measured with such a file has a note (docs/adr/0021).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import __version__
from ..evidence import Parity
from ..spec import Artifact, Conversion, Derived, Options, Shapes, digest, to_wire
from . import entries
from .calibration import RangeGrowth
from .entries import CachedExport
from .manifest import Maker
from .schemes import PORTABLE

Feeds = Sequence[Mapping[str, Any]]
OPSET = "opset"  # recipe that lowers a file to the opset of its option of this name
SHAPES = "shapes"  # option of this recipe: shapes in place of open dimensions


def option_of(shapes: Shapes) -> str:
    """The option of the shapes of all inputs: JSON, because a name may have any characters."""
    return json.dumps(shapes)


def shapes_of(option: str) -> Shapes:
    """The shapes in an option of `option_of`; none for an empty one."""
    return tuple((name, tuple(shape)) for name, shape in json.loads(option or "[]"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Facts that a recipe found out while it made a file: see `Maker`."""

    growth: RangeGrowth | None = None
    in_float: tuple[str, ...] = ()


def _fp16(source: Path, target: Path, options: Options, feeds: Feeds) -> Findings:
    from . import fp16

    return Findings(in_float=fp16.convert(source, target, feeds))


def _int8(source: Path, target: Path, options: Options, feeds: Feeds) -> Findings:
    from . import int8

    return Findings(growth=int8.convert(source, target, Conversion.of(options), feeds))


def _lowered(source: Path, target: Path, options: Options, feeds: Feeds) -> Findings:
    from . import lowering

    lowering.convert(source, target, int(dict(options)[OPSET]), shapes_of(dict(options).get(SHAPES, "")))
    return Findings()


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A method to make a file. `make` returns what it found out.

    `name` is also the precision of the made file, unless the recipe keeps that of its source (`keeps_precision`).
    `libraries`: names of modules, not of packages, because several packages contain the module onnxruntime.
    """

    name: str
    revision: int
    make: Callable[[Path, Path, Options, Feeds], Findings]
    exporter: str = "onnxruntime"
    libraries: tuple[str, ...] = ("onnx", "onnxruntime")
    keeps_precision: bool = False

    def versions(self) -> Options:
        """Installed versions of the libraries."""
        return tuple((name, str(import_module(name).__version__)) for name in self.libraries)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="fp16", revision=3, make=_fp16),
        Recipe(name="int8", revision=5, make=_int8),
        Recipe(name=OPSET, revision=1, make=_lowered, exporter="onnxbench", libraries=("onnx",), keeps_precision=True),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DerivationTools:
    """Calibration data (`feeds`), its fingerprint, and three functions of files, with which `derive` makes a file.

    - `describe`: check a file and describe it as an artifact.
    - `parity`: compute the distance of the made file from its source.
    - `file_hash`: compute the hash that `describe` gives a file.
    """

    feeds: Feeds
    fingerprint: str
    describe: Callable[[Path], Artifact]
    parity: Callable[[Artifact], Parity]
    file_hash: Callable[[Path], str]


def derive(source: Artifact, recipe: str, options: Options, tools: DerivationTools) -> CachedExport:
    """Find the file that `recipe` makes from `source` with `options` in the cache. Make it if it is missing or damaged."""
    revision, versions = RECIPES[recipe].revision, RECIPES[recipe].versions()
    derived = Derived(
        origin=source.sha256,
        recipe=recipe,
        revision=revision,
        tool=__version__,
        versions=versions,
        options=options,
    )
    # Without the version of the tool: a new version keeps the entry if the recipe has the same revision.
    key = digest([to_wire(replace(derived, tool="")), tools.fingerprint, source.model, source.dataset])
    return entries.find_or_make_export(key, lambda folder: _make(folder, source, derived, tools), tools.file_hash)


def _make(folder: Path, source: Artifact, derived: Derived, tools: DerivationTools) -> None:
    recipe = RECIPES[derived.recipe]
    scheme = derived.option("scheme")
    # Files of several schemes stand side by side in one folder. The first scheme has the name that INT8 files always had.
    kind = recipe.name if scheme in ("", PORTABLE) else f"{recipe.name}-{scheme}"
    if recipe.keeps_precision:
        kind = f"{source.precision}.{recipe.name}{derived.option(recipe.name)}"
    target = folder / f"{entries.stem_of(source.model)}.{kind}.onnx"
    findings = recipe.make(Path(source.path), target, derived.options, tools.feeds)
    precision = source.precision if recipe.keeps_precision else recipe.name
    artifact = replace(tools.describe(target), precision=precision, source=None, dataset=source.dataset, derived=derived)
    maker = Maker(
        exporter=recipe.exporter,
        versions=dict(derived.versions),
        parity=tools.parity(artifact),
        growth=findings.growth,
        in_float=findings.in_float,
    )
    entries.write_entry(folder, artifact, maker)


def other_maker(derived: Derived | None) -> str | None:
    """Version of onnxbench that made a file with another revision of the recipe; None for the revision of this version."""
    if derived is None:
        return None
    recipe = RECIPES.get(derived.recipe)
    return None if recipe and recipe.revision == derived.revision else derived.tool
