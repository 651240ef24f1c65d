"""What stands on top of what in a figure."""

from __future__ import annotations

import itertools
from typing import Any

import matplotlib


def collisions(figure: Any) -> list[str]:
    """Texts that leave the picture or touch one another."""
    renderer = figure.canvas.get_renderer()
    axis_of = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    beyond = [
        label
        for axis in axis_of
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    ]
    shown = [
        text
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_visible() and text.get_text().strip() and not any(text is label for label in beyond)
    ]
    boxes = [(text, text.get_window_extent(renderer)) for text in shown]
    outer = figure.bbox
    found = [
        f"{text.get_text()!r} leaves the picture"
        for text, box in boxes
        if box.x0 < outer.x0 - 1 or box.y0 < outer.y0 - 1 or box.x1 > outer.x1 + 1 or box.y1 > outer.y1 + 1
    ]
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        if one.get_rotation() % 90 or two.get_rotation() % 90:
            continue  # boxes of slanted text overlap where the text does not
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
            found.append(f"{one.get_text()!r} touches {two.get_text()!r}")
    return found
