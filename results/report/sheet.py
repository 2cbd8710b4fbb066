"""Sheets on which plots are drawn. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Sheet for plots: `width` in inches. On a `narrow` sheet a name stands above its row, and panels are stacked.

    A page scales a plot with its letters to the width of the screen. Each kind of screen needs a sheet of its own.
    """

    name: str
    width: float
    narrow: bool = False


PAPER_SHEET = Sheet(name="", width=6.4)
WIDE = Sheet(name="wide", width=10.0)
NARROW = Sheet(name="narrow", width=3.7, narrow=True)
