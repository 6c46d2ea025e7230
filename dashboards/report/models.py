"""The part of the report that speaks of models: versions, learning curves, evaluations and their differences."""

import json
from collections.abc import Mapping, Sequence
from html import escape

from dashboards.report.charts import Cell, Chart, Table, curves_chart
from dashboards.report.page import Section, charts, table
from storage.evaluation import Evaluation, MetricResult, list_evaluations
from storage.registry import CURVES, Registry
from storage.shard import Row
from storage.store import Store

Published = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Published set of pictures → method → metric → mean."""

MAX_POINTS = 400
"""A curve of more logging steps is thinned to these."""
_LOSS = "loss/"
"""Begins the names of the loss terms in a line of the curves."""


def model_sections(store: Store, published: Published, source: str) -> list[Section]:
    """Sections on models and evaluations below a root; none where there are none, or where the root is no folder."""
    if not store.is_local:
        return []
    return [s for s in (_models(store), _evaluations(store, published, source)) if s is not None]


def _models(store: Store) -> Section | None:
    registry = Registry(store)
    html = ""
    for model in registry.models():
        versions, aliases = registry.versions(model), registry.aliases(model)
        if not versions:
            continue
        names = {version: ", ".join(a for a, v in aliases.items() if v == version) for version in aliases.values()}
        rows: list[tuple[Cell, ...]] = [
            (
                v["version"],
                names.get(v["version"], ""),
                v["registered"],
                v["step"],
                (v["snapshot"] or {}).get("id"),
                v["parent"],
            )
            for v in versions
        ]
        heading = ("version", "aliases", "registered", "step", "snapshot", "trained on from")
        html += table(Table(heading, rows), f"Versions of {model}, oldest first", tall=True)
        shown = dict.fromkeys([aliases.get("production"), versions[-1]["version"]])
        html += charts(_curves(store, model, version) for version in shown if version)
    return Section("models", "Models", html) if html else None


def _curves(store: Store, model: str, version: str) -> Chart | None:
    """Loss terms over the steps of a version's training."""
    path = f"models/{model}/{version}/{CURVES}"
    if not store.exists(path):
        return None
    lines: list[Row] = [json.loads(line) for line in store.local(path).read_text(encoding="utf-8").splitlines() if line]
    if not lines:
        return None
    lines = [*lines[:: -(-len(lines) // MAX_POINTS)][:-1], lines[-1]]
    terms = [name for name in lines[-1] if name.startswith(_LOSS)]
    if not terms:
        return None
    series = {term.removeprefix(_LOSS): [line.get(term) for line in lines] for term in terms}
    return curves_chart(f"Training of {model}, {version}", [line["step"] for line in lines], series)


def _evaluations(store: Store, published: Published, source: str) -> Section | None:
    found = list_evaluations(store)
    if not found:
        return None
    html = (
        "<p>Means over all pictures, in brackets the 95 % bootstrap interval. Published rows were measured on other"
        " pictures: they show the range, and compare with ours only on the same ones.</p>"
    )
    for benchmark in dict.fromkeys(e.benchmark.id for e in found):
        here = [e for e in found if e.benchmark.id == benchmark]
        html += table(_results(here, published), f"{benchmark}, published rows from {source}", tall=True)
        html += _missing(here)
    return Section("evaluations", "Evaluations", html)


def _results(found: Sequence[Evaluation], published: Published) -> Table:
    metrics = list(dict.fromkeys(metric for e in found for metric in e.metrics))
    lower = {metric: e.metrics[metric].lower_is_better for e in found for metric in e.metrics}
    rows: list[tuple[Cell, ...]] = [(e.label, *(_result(e.metrics.get(metric)) for metric in metrics)) for e in found]
    benchmark = found[0].benchmark
    methods = published[benchmark.published or ("persona-val" if benchmark.has_hq else "persona-test")]
    rows += [(f"{name} (published)", *(_number(means.get(m)) for m in metrics)) for name, means in methods.items()]
    return Table(("method", *(f"{metric} {'↓' if lower[metric] else '↑'}" for metric in metrics)), rows)


def _result(result: MetricResult | None) -> str:
    if result is None or result.mean is None:
        return "n/a"
    interval = "" if result.low is None or result.high is None else f" ({result.low:.4g} to {result.high:.4g})"
    return f"{result.mean:.4g}{interval}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _missing(found: Sequence[Evaluation]) -> str:
    """Why there are no values, each reason once."""
    reasons = {metric: r.unavailable for e in found for metric, r in e.metrics.items() if r.unavailable}
    return "".join(f'<p class="soft">{escape(metric)}: {escape(why)}.</p>' for metric, why in reasons.items())
