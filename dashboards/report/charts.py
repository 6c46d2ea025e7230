"""The charts of the report, made with Plotly: each with its words, and with the numbers behind it as a table.

Points are never drawn one by one: what is binned here has the same size for a hundred crops and for a million.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dashboards.report.data import CropNumbers
from storage.reasons import Outcome
from storage.report import PLURAL, StageReport
from storage.shard import Row

MAX_BINS = 40
MAX_PEOPLE = 10
NUM_LICENCES = 8

# Light page → dark page; every colour of a chart is one of these, and the page exchanges them.
INK, GRID = "#24292f", "#d9dee3"
ALL, KEPT, MARK, FAILED = "#aab3bd", "#1f7a4d", "#8250df", "#b35900"
SERIES = ("#2563a8", "#b35900", "#1f7a4d", "#a8326b", "#6b5bb5", "#7a6a00", "#0b7285", "#8c4a2f")
DARK = {
    INK: "#d5dae0",
    GRID: "#3a4149",
    ALL: "#6b7682",
    KEPT: "#4cc38a",
    MARK: "#c4a5ff",
    FAILED: "#f0a35e",
    "#2563a8": "#6cb0f5",
    "#a8326b": "#f08bb8",
    "#6b5bb5": "#b0a3f5",
    "#7a6a00": "#d6c445",
    "#0b7285": "#4fc4d9",
    "#8c4a2f": "#e0a283",
}


Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """The numbers behind a chart."""

    heading: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]


@dataclass(frozen=True)
class Chart:
    """A figure with what a reader needs who does not see it."""

    title: str
    summary: str  # one or two sentences: what it shows
    figure: go.Figure
    table: Table


@dataclass(frozen=True)
class YieldCurve:
    """How many crops a limit, or a share, would give."""

    setting: str  # top_share or a metric
    values: tuple[float, ...]
    alone: tuple[int, ...]
    combined: tuple[int, ...]
    configured: float | None
    num_kept: int | None  # by what is configured


def funnel_chart(reports: Sequence[StageReport]) -> Chart | None:
    """From photos to chosen crops, source by source."""
    steps = {source: _steps(reports, source) for source in dict.fromkeys(r.source for r in reports)}
    steps = {source: found for source, found in steps.items() if found}
    if not steps:
        return None
    names = [name for name in STEPS if any(name in found for found in steps.values())]
    figure = go.Figure()
    for (source, found), colour in zip(steps.items(), _colours(len(steps)), strict=True):
        numbers = [found.get(name, 0) for name in names]
        figure.add_bar(y=names, x=numbers, name=source, orientation="h", marker_color=colour)
    totals = [sum(found.get(name, 0) for found in steps.values()) for name in names]
    figure.add_scatter(
        y=names, x=totals, mode="text", text=[f" {n:,}" for n in totals], textposition="middle right",
        hoverinfo="skip", cliponaxis=False, textfont_color=INK,
    )  # fmt: skip
    figure.update_layout(barmode="stack", bargap=0.3)
    figure.update_yaxes(autorange="reversed")
    _style(figure, height=90 + 44 * len(names))
    figure.update_xaxes(range=[0, max(*totals, 1) * 1.15], nticks=5)
    rows = [(source, *(found.get(name) for name in names)) for source, found in steps.items()]
    rows.append(("all", *totals))
    return Chart(
        "From photo to crop",
        f"From {totals[0]:,} {names[0]} to {totals[-1]:,} {names[-1]}; a photo may show several people.",
        figure,
        Table(("source", *names), rows),
    )


STEPS = ("photos listed", "photos with people", "usable photos", "person boxes", "crops", "crops scored", "chosen")


def _steps(reports: Sequence[StageReport], source: str) -> dict[str, int]:
    """How many of a source came how far."""
    found: dict[str, int] = {}
    for report in reports:
        if report.source != source:
            continue
        photo, box, crop = (report.counts.get(item) for item in ("photo", "box", "crop"))
        if report.stage == "ingest" and photo:
            found["photos listed"] = photo.num_in
        if report.stage in ("ingest", "detect") and photo:
            found["photos with people"] = photo.num_kept
        if report.stage == "crop" and photo and box:
            found |= {"usable photos": photo.num_kept, "person boxes": box.num_in, "crops": box.num_kept}
        if report.stage.startswith("score/") and crop:
            found["crops scored"] = min(found.get("crops scored", crop.num_kept), crop.num_kept)
        if report.stage == "select" and crop:
            found["chosen"] = crop.num_kept
    return {name: found[name] for name in STEPS if name in found}


def reasons_chart(reports: Sequence[StageReport]) -> Chart | None:
    """Why items were not kept."""
    lost: dict[tuple[str, str, str, str], int] = {}
    for report in reports:
        for item, counts in report.counts.items():
            for reason, num in {**counts.rejected, **counts.failed}.items():
                key = (PLURAL[item], reason.value.replace("_", " "), reason.sentence, reason.outcome.value)
                lost[key] = lost.get(key, 0) + num
    if not lost:
        return None
    ordered = sorted(lost.items(), key=lambda pair: (-pair[1], pair[0]))
    figure = go.Figure()
    kinds = [kind for kind in PLURAL.values() if any(key[0] == kind for key in lost)]
    labels = {key: f"{key[1]} ({'failed ' if key[3] == Outcome.FAILED else ''}{key[0]})" for key in lost}
    for kind, colour in zip(kinds, _colours(len(kinds)), strict=True):
        bars = [(labels[key], num, key[2]) for key, num in ordered if key[0] == kind]
        figure.add_bar(
            y=[b[0] for b in bars], x=[b[1] for b in bars], name=kind, orientation="h", marker_color=colour,
            text=[f"{b[1]:,}" for b in bars], textposition="outside", cliponaxis=False, textfont_color=INK,
            hovertext=[b[2] for b in bars], hovertemplate="%{x:,}: %{hovertext}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=[labels[key] for key, _ in ordered])
    _style(figure, height=90 + 26 * len(ordered))
    figure.update_xaxes(range=[0, ordered[0][1] * 1.15], nticks=5)
    (most, _, sentence, _), num = ordered[0]
    return Chart(
        "Why not",
        f"Most often, for {num:,} {most}: {sentence}.",
        figure,
        Table(
            ("reason", "in words", "items", "number", "outcome"),
            [(key[1], key[2], key[0], num, key[3]) for key, num in ordered],
        ),
    )


def distribution_chart(
    name: str, crops: CropNumbers, facts: Row | None, published: Mapping[str, float], title: str | None = None
) -> Chart | None:
    """How a number is distributed over all crops and over the chosen ones, with its limit and the published means.

    Args:
        name: a column of the crops.
        crops: all of them.
        facts: `limit` and `lower_is_better`, where there are any.
        published: dataset → mean, as the paper reports them.
        title: instead of the column's name.
    """
    finite = np.isfinite(crops.columns[name])
    values, kept = crops.columns[name][finite], crops.kept[finite]
    if not len(values):
        return None
    edges, beyond = _edges(values)
    inside = np.clip(values, edges[0], edges[-1])
    everything, chosen = np.histogram(inside, edges)[0], np.histogram(inside[kept], edges)[0]
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    figure = go.Figure()
    for label, counts, colour in (("all crops", everything, ALL), ("chosen", chosen, KEPT)):
        if label == "all crops" and kept.all():
            continue
        if label == "chosen" and not kept.any():
            continue
        figure.add_bar(
            x=centres, y=counts, width=width, name=label, marker_color=colour, marker_line_width=0,
            hovertemplate="%{x:.4g}: %{y:,}<extra>" + label + "</extra>",
        )  # fmt: skip
    top = max(everything.max(), 1)
    words = _mark_limit(figure, facts, top, edges)
    _mark_published(figure, published, top)
    figure.update_layout(barmode="overlay", bargap=0)
    _style(figure, height=300)
    figure.update_yaxes(range=[0, top * 1.22], nticks=5)
    better = "" if facts is None else ", lower is better" if facts["lower_is_better"] else ", higher is better"
    mean = f"Mean of all {len(values):,} crops {_short(values.mean())}"
    mean += (
        f", of the {int(kept.sum()):,} chosen ones {_short(values[kept].mean())}"
        if kept.any() and not kept.all()
        else ""
    )
    outside = f" {beyond:,} crops lie beyond the axis and are counted in its outermost bars." if beyond else ""
    rows: list[tuple[Cell, ...]] = [
        (f"{low:.4g} to {high:.4g}", int(a), int(c))
        for low, high, a, c in zip(edges[:-1], edges[1:], everything, chosen, strict=True)
    ]
    rows += [(f"published mean of {dataset}: {value:g}", None, None) for dataset, value in published.items()]
    return Chart(
        f"{title or name}{better}", f"{mean}.{words}{outside}", figure, Table((name, "all crops", "chosen"), rows)
    )


def _edges(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Bin edges over what matters, and how many values lie beyond: a few outliers must not squeeze the rest."""
    num_bins = int(np.clip(2 * np.sqrt(len(values)), 10, MAX_BINS))
    low, high = np.quantile(values, (0.002, 0.998))
    if values.max() - values.min() <= 1.5 * (high - low) or low == high:
        low, high = values.min(), values.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, num_bins + 1), int(np.count_nonzero((values < low) | (values > high)))


def _mark_limit(figure: go.Figure, facts: Row | None, top: float, edges: np.ndarray) -> str:
    """Draw the limit; says in words what it is."""
    if facts is None or facts["limit"] is None:
        return ""
    place = (facts["limit"] - edges[0]) / (edges[-1] - edges[0])
    side = "top right" if place < 0.2 else "top left" if place > 0.8 else "top center"  # within the chart
    figure.add_scatter(
        x=[facts["limit"]] * 2, y=[0, top * 1.1], mode="lines+text", text=["", f"limit {facts['limit']:.4g}"],
        textposition=side, line={"color": INK, "width": 2, "dash": "dash"}, textfont_color=INK,
        hoverinfo="skip",
    )  # fmt: skip
    beyond = "above" if facts["lower_is_better"] else "below"
    return f" Whatever is {beyond} {facts['limit']:.4g} is not chosen."


def _mark_published(figure: go.Figure, published: Mapping[str, float], top: float) -> None:
    if not published:
        return
    ours = [dataset == "PERSONA" for dataset in published]
    figure.add_scatter(
        x=list(published.values()), y=[top * 1.04] * len(published), mode="markers", name="published means",
        text=list(published), hovertemplate="%{text}: %{x:.4f}<extra>published mean</extra>",
        marker={
            "color": MARK, "size": [12 if own else 8 for own in ours], "line": {"color": MARK, "width": 1.5},
            "symbol": ["diamond" if own else "diamond-open" for own in ours],
        },
    )  # fmt: skip


def yield_chart(curve: YieldCurve) -> Chart:
    """How many crops each value of one limit would give."""
    figure = go.Figure()
    for label, numbers, colour, dash in (
        ("this limit alone", curve.alone, SERIES[0], "dot"),
        ("with all others as configured", curve.combined, KEPT, "solid"),
    ):
        figure.add_scatter(
            x=curve.values, y=numbers, name=label, mode="lines+markers", line={"color": colour, "dash": dash},
            marker_size=5, hovertemplate="%{x:.4g}: %{y:,}<extra></extra>",
        )  # fmt: skip
    words = ""
    if curve.configured is not None and curve.num_kept is not None:
        figure.add_scatter(
            x=[curve.configured], y=[curve.num_kept], mode="markers", name="as configured",
            marker={"color": INK, "size": 11, "symbol": "circle-open", "line": {"width": 2}},
            hovertemplate="%{x:.4g}: %{y:,}<extra>as configured</extra>",
        )  # fmt: skip
        words = f" As configured, {curve.configured:.4g} gives {curve.num_kept:,}."
    _style(figure, height=300)
    figure.update_yaxes(rangemode="tozero", nticks=5)
    rows: list[tuple[Cell, ...]] = [
        (f"{value:.6g}", alone, combined)
        for value, alone, combined in zip(curve.values, curve.alone, curve.combined, strict=True)
    ]
    name = curve.setting.replace("_", " ")
    return Chart(
        f"Crops against {name}",
        f"Near-duplicates are taken out of every number.{words}",
        figure,
        Table((name, "alone", "with all others"), rows),
    )


def people_chart(crops: CropNumbers, published_mean: float | None) -> Chart | None:
    """How many people a crop shows."""
    people, words = _of_chosen(crops, "num_people")
    if not len(people):
        return None
    counts = np.bincount(np.minimum(people.astype(int), MAX_PEOPLE), minlength=MAX_PEOPLE + 1)[1:]
    labels = [*map(str, range(1, MAX_PEOPLE)), f"{MAX_PEOPLE} or more"]
    figure = go.Figure(go.Bar(x=labels, y=counts, marker_color=KEPT, hovertemplate="%{x}: %{y:,}<extra></extra>"))
    _style(figure, height=280)
    figure.update_xaxes(type="category", tickangle=0, ticktext=[*labels[:-1], f"{MAX_PEOPLE}+"], tickvals=labels)
    paper = f"; the paper's PERSONA has {published_mean:.2f}" if published_mean else ""
    return Chart(
        "People in a crop",
        f"{people.mean():.2f} on average in {words}{paper}.",
        figure,
        Table(("people", "crops"), [(label, int(num)) for label, num in zip(labels, counts, strict=True)]),
    )


def licences_chart(crops: CropNumbers) -> Chart | None:
    """Under which licences the photos of the crops are."""
    if not crops.licences:
        return None
    ordered = sorted(crops.licences.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ordered[:NUM_LICENCES]
    others = sum(num for _, num in ordered[NUM_LICENCES:])
    bars = [*shown, *([("others", others)] if others else [])]
    figure = go.Figure(
        go.Bar(
            y=[_wrapped(name) for name, _ in bars],
            x=[num for _, num in bars],
            orientation="h",
            marker_color=KEPT,
            text=[f"{num:,}" for _, num in bars],
            textposition="outside",
            cliponaxis=False,
            textfont_color=INK,
            hovertemplate="%{x:,}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    _style(figure, height=80 + 40 * len(bars))
    figure.update_xaxes(range=[0, bars[0][1] * 1.18], nticks=4)
    total = sum(crops.licences.values())
    return Chart(
        "Licences",
        f"Of {total:,} crops {ordered[0][1]:,} are under “{ordered[0][0]}”; each row of the dataset names its own.",
        figure,
        Table(("licence", "crops"), [(name, num) for name, num in ordered]),
    )


def curves_chart(title: str, steps: Sequence[float], series: Mapping[str, Sequence[float | None]]) -> Chart:
    """Learning curves: one line per term of the loss."""
    figure = go.Figure()
    for (name, values), colour in zip(series.items(), _colours(len(series)), strict=True):
        figure.add_scatter(x=list(steps), y=list(values), name=name, mode="lines", line_color=colour)
    _style(figure, height=320)
    figure.update_xaxes(title_text="step")
    last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in series.items() if values[-1] is not None)
    rows = [(int(step), *(values[i] for values in series.values())) for i, step in enumerate(steps)]
    return Chart(title, f"At step {int(steps[-1]):,}: {last}.", figure, Table(("step", *series), rows))


def _short(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.4g}"  # what rounding leaves of 0 is 0


def _of_chosen(crops: CropNumbers, name: str) -> tuple[np.ndarray, str]:
    values = crops.columns.get(name, np.zeros(0))
    return (values[crops.kept], "the chosen crops") if crops.kept.any() else (values, "all crops")


def _colours(num: int) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(num)]


def _wrapped(text: str, width: int = 24) -> str:
    """Long names on two lines, cut after that, so that they leave room for the bars on a phone."""
    lines: list[str] = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines[:2]) + ("…" if len(lines) > 2 else "")


def _style(figure: go.Figure, height: int) -> None:
    """Calm axes, no background, nothing that catches a finger which wants to scroll."""
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 8, "r": 16, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        showlegend=False,  # the page has a legend of its own, which wraps on a phone
        dragmode=False,
        separators=".,",
    )
    axis = {"gridcolor": GRID, "zeroline": False, "fixedrange": True, "automargin": True, "linecolor": GRID}
    figure.update_xaxes(**axis, showgrid=figure.data[0].orientation == "h")
    figure.update_yaxes(**axis, showgrid=figure.data[0].orientation != "h")
