"""Command lines of the INT8 doctor. Standard library and the package only."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...models import MODELS
from ...models.preprocessing import split_name
from ...spec import PRECISIONS, Artifact, Conversion, Derived, Sweep
from .request import DEFAULT_CONVERSION


def excluding(sweep: Sweep, origin: Artifact, derived: Derived, nodes: Sequence[str]) -> str:
    """`bench export` of the INT8 file of `origin` that is `derived`, with `nodes` in float too. A line for a shell."""
    scheme = Conversion.of(derived.options).scheme
    return _export(sweep, origin, derived, [] if scheme == DEFAULT_CONVERSION.scheme else ["--int8", scheme], nodes)


def searching(sweep: Sweep, origin: Artifact, derived: Derived) -> str:
    """`bench export` that searches all schemes for a file of `origin` with the least SQNR of INT8. A line for a shell."""
    return _export(sweep, origin, derived, ["--min", f"sqnr={PRECISIONS['int8'].floor_db:g}"], ())


def _export(sweep: Sweep, origin: Artifact, derived: Derived, words: Sequence[str], nodes: Sequence[str]) -> str:
    """`bench export` with `words` and the options of the INT8 file `derived`, with `nodes` in float too."""
    how = Conversion.of(derived.options)
    words = ["bench", "export", "--model", _model(sweep, origin), "--precision", "int8", *words, *_calibration(how)]
    words += _data(origin, derived)
    words += ["--random-weights"] if origin.source and origin.source.random else []
    words += _shapes(sweep, origin)
    words += ["--exclude", ",".join([*how.exclude, *nodes])] if how.exclude or nodes else []
    return shlex.join([*words, *(["--out", sweep.artifacts] if sweep.artifacts else [])])


def explaining(dataset: str | None) -> str:
    """`bench check` that makes an INT8 file of the user's FP32 file, and tests its nodes. A line for a shell."""
    kind, place, steps = split_name(dataset or "")
    data = [*_named("--dataset", kind, place), *_named("--preprocess", steps)]
    return shlex.join(["bench", "check", "--model", "FP32.onnx", "--precision", "int8", *data, "--explain"])


def _named(option: str, *parts: str) -> list[str]:
    text = ":".join(filter(None, parts))
    return [option, text] if text else []


def _model(sweep: Sweep, origin: Artifact) -> str:
    """The model as the user named it; the FP32 file of a folder of artifacts otherwise."""
    named = [model for model in (sweep.model, *sweep.models) if model]
    own = [model for model in named if origin.model in (model, Path(model).stem)]
    if own or len(named) == 1:
        return (own or named)[0]
    return origin.model if origin.model in MODELS else origin.path


def _calibration(how: Conversion) -> Iterator[str]:
    if how.method != DEFAULT_CONVERSION.method:
        yield from ("--calibration-method", how.method)
    if how.images:
        yield from ("--calibration-images", str(how.images))


def _data(origin: Artifact, derived: Derived) -> Iterator[str]:
    kind, place, steps = split_name(origin.dataset or "")
    yield from _named("--dataset", kind, place)
    other, path, own_steps = split_name(derived.calibration(origin.dataset) or "")
    yield from _named("--preprocess", steps or own_steps)
    yield from _named("--calibration", other, path)


def _shapes(sweep: Sweep, origin: Artifact) -> Iterator[str]:
    names = {spec.name for spec in origin.inputs}
    for spec in (spec for spec in sweep.signature if spec.name in names):
        kind = "" if spec.dtype == "float32" else f":{spec.dtype}"
        yield from ("--shape", f"{spec.name}={'x'.join(map(str, spec.shape))}{kind}")
    for name, sizes in sweep.dims:
        yield from ("--dim", f"{name}={sizes[0]}")
