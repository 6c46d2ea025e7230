"""The report as one HTML page: its frame, and how charts, tables and pictures stand in it.

The page asks for nothing over the network: Plotly, styles and pictures are inside.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import cv2
import numpy as np
from plotly.offline import get_plotlyjs

from dashboards.report.charts import DARK, Cell, Chart, Table
from dashboards.tiles import Tile

THUMBNAIL_PX = 224
JPEG_QUALITY = 72


@dataclass(frozen=True)
class Section:
    """A part of the page; `html` is everything below its heading."""

    id: str
    title: str
    html: str


def page(title: str, header: str, sections: Sequence[Section], footer: str) -> str:
    """The whole page.

    Args:
        title: of the window, plain text.
        header: HTML above the table of contents; holds the only `h1`.
        sections: in order; their headings are `h2`.
        footer: HTML.
    """
    links = "".join(f'<li><a href="#{s.id}">{escape(s.title)}</a></li>' for s in sections)
    body = "".join(
        f'<section id="{s.id}" aria-labelledby="{s.id}-title">'
        f'<h2 id="{s.id}-title">{escape(s.title)}</h2>{s.html}</section>'
        for s in sections
    )
    here = files("dashboards.report")
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>\n{style}</style>\n</head>\n<body>\n'
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f"<header>{header}</header>\n"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n'
        f'<main id="content" tabindex="-1">{body}</main>\n<footer>{footer}</footer>\n'
        "<noscript><p>Charts need JavaScript; the tables below each of them hold the same numbers.</p></noscript>\n"
        f'<script type="application/json" id="dark-colours">{_json(json.dumps(DARK))}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def charts(found: Iterable[Chart | None], wide: bool = False) -> str:
    """Charts side by side where there is room; those that say nothing are left out."""
    shown = "".join(_figure(chart, wide) for chart in found if chart is not None)
    return f'<div class="charts">{shown}</div>' if shown else ""


def _figure(chart: Chart, wide: bool) -> str:
    words = f"{chart.title}. {chart.summary}"
    return (
        f"<figure{' class=wide' if wide else ''}>"
        f"<figcaption><h3>{escape(chart.title)}</h3><p>{escape(chart.summary)}</p>{_legend(chart)}</figcaption>"
        f'<div class="chart" style="min-height:{chart.figure.layout.height}px">'
        f'<div class="plot" role="img" aria-label="{escape(words)}"></div>'
        f'<script type="application/json">{_json(chart.figure.to_json())}</script></div>'
        f"<details><summary>Numbers behind “{escape(chart.title)}”</summary>{table(chart.table, chart.title)}</details>"
        "</figure>"
    )


def _legend(chart: Chart) -> str:
    """What the colours mean; nothing where there is only one."""
    named = [trace for trace in chart.figure.data if trace.name]
    if len(named) < 2:
        return ""
    items = ""
    for trace in named:
        kind = "bar" if trace.type == "bar" else trace.marker.symbol or trace.line.dash or "solid"
        kind = kind if isinstance(kind, str) else kind[0]  # the published means have two symbols
        colour = trace.line.color if trace.type != "bar" and trace.line.color else trace.marker.color
        items += f'<li class="{kind}" style="--light:{colour};--dark:{DARK[colour]}">{escape(trace.name)}</li>'
    return f'<ul class="legend">{items}</ul>'


def _json(text: str) -> str:
    """JSON that cannot end the script element in which it stands."""
    return text.replace("<", "\\u003c")


def table(content: Table, caption: str, tall: bool = False) -> str:
    """A table that scrolls by itself where it is wider than the page, also by keyboard."""
    numeric = [
        any(isinstance(row[i], int | float) for row in content.rows) for i in range(len(content.heading))
    ]  # a column of numbers stands on the right
    heading = "".join(
        f'<th scope="col"{_class(right)}>{escape(name)}</th>'
        for name, right in zip(content.heading, numeric, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{_cell(cell)}</th>' if i == 0 else f"<td{_class(numeric[i])}>{_cell(cell)}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in content.rows
    )
    return (
        f'<div class="scroll{" tall" if tall else ""}" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{heading}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else escape(cell)


def tiles(shown: Sequence[Tile], alt: str, heading: str = "") -> str:
    """Pictures in a grid, each with its words below it, but for those that stand above all of them."""
    items = "".join(f"<li>{_picture(tile, alt)}{_words(tile, heading)}</li>" for tile in shown)
    return f'<ul class="tiles">{items}</ul>'


def pairs(shown: Sequence[tuple[Tile, Tile]]) -> str:
    """What was left out beside what stays."""
    items = "".join(
        '<li><div class="pair">'
        f"<div>{_picture(left_out, 'Left out')}<p><strong>Left out</strong></p>{_words(left_out)}</div>"
        f"<div>{_picture(stays, 'Stays')}<p><strong>Stays</strong></p>{_words(stays)}</div></div></li>"
        for left_out, stays in shown
    )
    return f'<ul class="tiles pairs">{items}</ul>'


def _words(tile: Tile, heading: str = "") -> str:
    lines = (line for line in tile.lines if line and line != heading)
    return f"<p>{'<br>'.join(escape(line).replace('  ', ' · ') for line in lines)}</p>"


def _picture(tile: Tile, alt: str) -> str:
    if tile.pixels is None:
        return '<div class="none">no picture</div>'
    described = escape(f"{alt}: {', '.join(line for line in tile.lines if line)}")
    side = f'width="{THUMBNAIL_PX}" height="{THUMBNAIL_PX}"'
    return f'<img src="{thumbnail(tile.pixels)}" alt="{described}" {side}>'


def thumbnail(pixels: np.ndarray) -> str:
    """A picture, (H, W, 3) uint8 BGR, as a data URI of a small JPEG."""
    shrink = min(1.0, THUMBNAIL_PX / max(pixels.shape[:2]))
    size = tuple(max(1, round(side * shrink)) for side in pixels.shape[1::-1])
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
