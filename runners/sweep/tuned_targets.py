"""Targets of tuned rows: `NAME@tuned` beside `NAME`, for a search of the backend's options. Loads no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...errors import BadInput
from ...spec import Artifact, Options, Sweep
from ...tuning import Tunable
from ..pool.progress import Progress
from ..pool.survey import ProbedBackend

TUNED = "tuned"  # environment of the rows beside those of a backend without an environment
IMAGE_DIMS = 4


def with_tuned(backends: Sequence[ProbedBackend], sweep: Sweep, progress: Progress) -> list[ProbedBackend]:
    """`backends`, each with a target for its searched options after it, if it has such options.

    Without `--tune`, only the options that are always searched count. `BadInput` for an environment of the user that has the
    name of a tuned target, if the user requests the search.
    """
    _note_untuned(backends, sweep, progress)
    targets = {item.target for item in backends}
    result: list[ProbedBackend] = []
    for item in backends:
        result.append(item)
        tuned = replace(item, environment=_environment(item), searched=_searched(item, sweep), beside=item.environment)
        if not item.available or not tuned.searched:
            continue
        if tuned.target not in targets:
            result.append(tuned)
        elif sweep.tune:
            raise BadInput(
                f"{tuned.target} is an environment of yours, and --tune gives its rows that name",
                "give the environment another name",
            )
    return result


def _environment(item: ProbedBackend) -> str:
    return f"{item.environment}-{TUNED}" if item.environment else TUNED


def _searched(item: ProbedBackend, sweep: Sweep) -> tuple[Tunable, ...]:
    return tuple(tunable for tunable in item.tunables if sweep.tune or tunable.always)


def _note_untuned(backends: Sequence[ProbedBackend], sweep: Sweep, progress: Progress) -> None:
    """Note the targets of this run without options to search."""
    plain = [item for item in backends if item.available and not item.tunables]
    named = [str(item.target) for item in plain if not item.instrument or str(item.target) in sweep.named]
    if sweep.tune and named:
        progress.note(f"--tune changes nothing for {', '.join(named)}: no options to search")


def tunables_of(backend: ProbedBackend, artifact: Artifact, options: Options) -> tuple[Tunable, ...]:
    """Options to search for a row of `artifact`: those that can change it, and that the user has not set."""
    user_options = {name for name, _ in options}
    has_images = any(len(spec.shape) == IMAGE_DIMS for spec in artifact.inputs)
    has_open = any(not isinstance(dim, int) for spec in artifact.inputs for dim in spec.shape)
    useful = (item for item in backend.searched if (has_images or not item.images) and (has_open or not item.open_dims))
    return tuple(item for item in useful if item.name not in user_options)
