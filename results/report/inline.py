"""A plot's SVG made part of a page: its colours follow the page's, its ids are its own, its points tell what they are.

The standard library; the text is parsed and written again, so nothing of it is markup that was not one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from .plots import COLOURS, GRID, INK, PAPER, Plot, image

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
HREF = f"{{{XLINK}}}href"
OF_PAGE: Mapping[str, str] = {
    INK: "currentColor",
    GRID: "var(--grid)",
    PAPER: "none",
    **{colour: f"var(--series-{place})" for place, colour in enumerate(COLOURS)},
}


def inline(plot: Plot) -> str:
    """The `<svg>` element of a drawn plot."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(image(plot, "svg", plot.name))
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style")]:
            parent.remove(child)
    for element in list(root.iter()):
        _adapt(element, plot)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", plot.title)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, plot: Plot) -> None:
    for name, value in list(element.attrib.items()):
        if name in ("style", "fill", "stroke"):
            element.set(name, _refer(COLOUR.sub(lambda found: OF_PAGE.get(found[0], found[0]), value), plot, "url(#"))
        if name in ("clip-path", HREF):
            element.set(name, _refer(value, plot, "#"))
    own = element.get("id")
    if own is None:
        return
    element.set("id", f"{plot.name}-{own}")
    if own in plot.hover:
        title = ElementTree.Element(f"{{{SVG}}}title")
        title.text = plot.hover[own]
        element.insert(0, title)


def _refer(value: str, plot: Plot, before: str) -> str:
    """`value` with its reference to an id, after `before`, made one to the plot's own."""
    return value.replace(before, f"{before}{plot.name}-")
