"""The user's calibration data: its check before any work, and its place in a job. Standard library and the package only."""

from __future__ import annotations

from pathlib import Path

from ...errors import BadInput
from ...models.image_files import check_source
from ...models.preprocessing import absolute_name, is_images, split_name
from ...spec import LABELLED
from ..worker.jobs import Here
from .context import Context


def check(calibration: str | None) -> None:
    """Raise `BadInput` if there are no such files."""
    if calibration is None:
        return
    if is_images(calibration):
        check_source(Path(split_name(calibration)[1]).expanduser())
    elif not (place := Path(calibration.removeprefix(LABELLED))).is_file():
        raise BadInput(f"there is no file {place}", "write --calibration with an .npz file that has an array for each input")


def locate(calibration: str | None, context: Context) -> tuple[Here | None, str]:
    """Place of the data for a worker, and its name in a record. Decodes images, which need no labels."""
    if not calibration:
        return None, ""
    if is_images(calibration):
        name = absolute_name(calibration)
        return context.unlabelled_images(name), name
    kind = LABELLED if calibration.startswith(LABELLED) else ""
    path = str(Path(calibration.removeprefix(kind)).absolute())
    return Here(path=path), f"{kind}{path}"
