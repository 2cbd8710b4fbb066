"""Figure that is drawn once. matplotlib, inside functions."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any


@cache
def drawn_once() -> Any:
    """Class of a figure that draws its lines once.

    To save a figure with a constrained layout, matplotlib draws all of it without output for the layout, and then draws it
    again. The layout needs no drawn lines.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    class DrawnOnce(Figure):
        def draw(self, renderer: Any) -> None:
            engine = self.get_layout_engine()
            # matplotlib takes the engine away before it draws into the file
            if not isinstance(engine, ConstrainedLayoutEngine):
                super().draw(renderer)
                return
            with suppress(ValueError):  # as Figure.draw does
                engine.execute(self)

    return DrawnOnce
