"""SVG of a plot as a part of a page: with the page's colours, ids of its own, and a text on each point.

Standard library. The text is parsed and written again. A text in the plot thus never becomes markup in the page.
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
    """The `<svg>` element of a drawn plot. Its ids begin with the plot's `id`, since a page holds several plots."""
    # otherwise ElementTree writes <ns0:svg>, which is no SVG inside of HTML
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(image(plot, "svg", plot.id))
    for parent in list(root.iter()):
        # a style element inside of a plot would apply to the whole page
        for child in [child for child in parent if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style")]:
            parent.remove(child)
    for element in list(root.iter()):
        _adapt(element, plot)
    for name in ("width", "height"):  # the page's style sets them; viewBox keeps the shape
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", plot.title)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, plot: Plot) -> None:
    """Replace colours and references of `element`, and add its text for the pointer."""
    for name, value in list(element.attrib.items()):
        if name in ("style", "fill", "stroke"):
            element.set(name, _refer(COLOUR.sub(lambda match: OF_PAGE.get(match[0], match[0]), value), plot, "url(#"))
        if name in ("clip-path", HREF):
            element.set(name, _refer(value, plot, "#"))
    own = element.get("id")
    if own is None:
        return
    element.set("id", f"{plot.id}-{own}")
    if own in plot.hover:
        title = ElementTree.Element(f"{{{SVG}}}title")
        title.text = plot.hover[own]
        # browsers show a title as a tooltip if it is the first child
        element.insert(0, title)


def _refer(value: str, plot: Plot, before: str) -> str:
    """`value` with the plot's `id` in its reference to an element, which follows `before`."""
    return value.replace(before, f"{before}{plot.id}-")
