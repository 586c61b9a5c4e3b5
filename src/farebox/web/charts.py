"""Charts: SVG from pygal, stripped to its shapes. Colours and type are the stylesheet's; a table stands beside each.

Every shape can be reached by keyboard and says its value: it is an image with a label, with a tooltip of the browser's.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from xml.etree.ElementTree import Element, SubElement, tostring

import pygal
from markupsafe import Markup
from pygal.graph.graph import Graph

# pygal's finder of its plug-ins speaks the import protocol of Python 2, and every later import would warn of it.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "PluginImportFixer"]

COLOURS = 8  # that the stylesheet has for series; more than that nobody tells apart


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a donut: how much, and how it is said."""

    amount: int
    label: str
    percent: str
    said: str


def donut(slices: Sequence[Slice], title: str) -> Markup:
    """Draw parts of a whole as a ring. What is below zero has no slice."""
    chart = _chart(pygal.Pie, width=320, height=320, margin=4, inner_radius=0.74)
    for part in slices:
        chart.add(part.label, max(part.amount, 0))

    def label(index: int) -> tuple[str, dict[str, str]]:
        part = slices[index]
        return f"{part.label}: {part.percent}, {part.said}", {"data-percent": part.percent, "data-label": part.label}

    return _drawn(chart, title, "slice", label)


@dataclass(frozen=True, slots=True)
class Series:
    """One row of bars: the values, and how each is said."""

    name: str
    values: Sequence[int]
    said: Sequence[str]


def bars(
    series: Sequence[Series], labels: Sequence[str], title: str, axis: Callable[[int], str], *, height: int = 300
) -> Markup:
    """Draw stacked bars. `axis` writes a value at the side."""
    chart = _chart(
        pygal.StackedBar,
        width=900,
        height=height,
        margin=6,
        spacing=10,
        max_scale=5,
        min_scale=2,
        value_formatter=axis,
        x_labels=list(labels),
        truncate_label=-1,
        rounded_bars=3,
        include_x_axis=True,
        show_minor_x_labels=len(labels) <= 16,
        x_labels_major_every=max(len(labels) // 5, 1),
    )
    for one in series:
        chart.add(one.name, list(one.values))
    each = [(one, index) for one in series for index in range(len(one.values))]

    def label(index: int) -> tuple[str, dict[str, str]]:
        one, place = each[index]
        return f"{labels[place]}, {one.name}: {one.said[place]}", {}

    return _drawn(chart, title, "rect", label)


@dataclass(frozen=True, slots=True)
class Band:
    """A line and the range around it; None: nothing is known there."""

    low: Sequence[int | None]
    middle: Sequence[int | None]
    high: Sequence[int | None]


def band(values: Band, labels: Sequence[str], title: str, axis: Callable[[int], str]) -> Markup:
    """Draw a line with the range around it: the range is a stack of what is below it, unseen, and its width."""
    low, middle, high = values.low, values.middle, values.high
    width = [None if a is None or b is None else b - a for a, b in zip(low, high, strict=True)]
    top = max((value for value in high if value is not None), default=0)
    common = {
        "width": 900, "height": 300, "margin": 6, "max_scale": 5,
        "min_scale": 2, "show_dots": False, "x_labels": list(labels), "truncate_label": -1,
        "x_labels_major_every": max(len(labels) // 8, 1), "show_minor_x_labels": False,
        "value_formatter": axis, "range": (0, max(top, 1)),
    }  # fmt: skip
    area = _chart(pygal.StackedLine, fill=True, **common)
    area.add("low", list(low))
    area.add("range", width)
    line = _chart(pygal.Line, **common)
    line.add("middle", list(middle))
    root = area.render_tree()
    plot = line.render_tree().find(".//g[@class='series serie-0 color-0']")
    if plot is not None:
        plot.set("class", "series middle")
        _plot_of(root).append(plot)
    return _written(root, title, "", lambda _: ("", {}))


def _chart(kind: type[Graph], **options: object) -> Graph:
    return kind(
        css=[], js=[], no_prefix=True, show_legend=False, print_values=False, pretty_print=False,
        disable_xml_declaration=True, **options,
    )  # fmt: skip


def _drawn(chart: Graph, title: str, shape: str, label: Callable[[int], tuple[str, dict[str, str]]]) -> Markup:
    return _written(chart.render_tree(), title, shape, label)


def _written(root: Element, title: str, shape: str, label: Callable[[int], tuple[str, dict[str, str]]]) -> Markup:
    """Take out what pygal brings for its own script and style, and let every shape say its value."""
    root.attrib.pop("id", None)
    root.set("role", "group")
    root.set("aria-label", title)
    numbers = count()
    for parent in list(root.iter()):
        for child in list(parent):
            if _is_noise(child):
                parent.remove(child)
        parent.attrib.pop("style", None)
    for element in root.iter("path" if shape == "slice" else "rect"):
        if shape and "reactive" in element.get("class", ""):
            said, more = label(next(numbers))
            element.attrib |= {"tabindex": "0", "role": "img", "aria-label": said, **more}
            SubElement(element, "title").text = said
    for text in root.iter("text"):
        text.set("aria-hidden", "true")
    return Markup(tostring(root, encoding="unicode"))  # noqa: S704  an element tree escapes its texts itself


def _is_noise(element: Element) -> bool:
    kind = element.get("class", "") if isinstance(element.tag, str) else "comment"
    return (
        not isinstance(element.tag, str)
        or element.tag in ("defs", "title", "desc", "script", "style")
        or kind in ("titles", "background")
        or "overlay" in kind
    )


def _plot_of(root: Element) -> Element:
    plot = root.find(".//g[@class='plot']")
    assert plot is not None, "every chart has a plot"
    return plot
