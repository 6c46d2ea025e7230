"""The report: one HTML file that tells what a run made of its photos, why, and what to look at."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dashboards.funnel import NUMBERS, funnel_rows
from dashboards.report.charts import (
    Table,
    YieldCurve,
    distribution_chart,
    funnel_chart,
    licences_chart,
    people_chart,
    reasons_chart,
    yield_chart,
)
from dashboards.report.data import Dataset
from dashboards.report.page import Section, charts, page, pairs, table, tiles
from storage.reasons import Outcome, Reason
from storage.report import PLURAL, WHOLE
from storage.shard import Row

NUM_REASONS = 4
OURS = "PERSONA"


@dataclass(frozen=True)
class Published:
    """What the paper says of its dataset."""

    means: Mapping[str, Mapping[str, float]]  # dataset → metric → mean
    people_per_image: float
    source: str


@dataclass(frozen=True)
class Reviews:
    """What people said of the crops, in sentences and as a table."""

    sentences: tuple[str, ...]
    limits: Table


def report(
    data: Dataset,
    published: Published,
    curves: Sequence[YieldCurve] = (),
    reviews: Reviews | None = None,
    more: Sequence[Section] = (),
) -> str:
    """The whole page as HTML; the same input gives the same bytes.

    Args:
        data: of one dataset.
        published: marks to hold the scores against.
        curves: what other limits would yield, if that is known.
        reviews: what people said of the crops, if they did.
        more: further sections, of models and their evaluations.
    """
    found = [
        _funnel(data),
        _reasons(data),
        _scores(data, published),
        _yields(data, curves),
        _contents(data, published),
        _examples(data),
        _duplicates(data),
        _reviews(reviews),
        *more,
        _origin(data),
    ]
    return page(
        f"{data.name}: report", _header(data, published, reviews), [s for s in found if s is not None], _footer(data)
    )


def _header(data: Dataset, published: Published, reviews: Reviews | None) -> str:
    state = f"Snapshot <code>{escape(data.snapshot)}</code>" if data.snapshot else "Not finished: no snapshot yet"
    figures = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in _figures(data))
    hints = "".join(f"<li>{hint}</li>" for hint in _hints(data, published, reviews))
    reasons = "".join(f"<li>{escape(line)}</li>" for line in _main_reasons(data))
    return (
        f'<p class="eyebrow">PersonaForge report · {state}</p><h1>{escape(_headline(data))}</h1>'
        f'<p class="lead">{escape(_lead(data))}</p><dl class="figures">{figures}</dl><div class="two">'
        + (f'<div><h2 class="small">Why the others were not kept</h2><ul>{reasons}</ul></div>' if reasons else "")
        + (f'<div><h2 class="small">What to look at</h2><ul>{hints}</ul></div>' if hints else "")
        + "</div>"
    )


def _counts(data: Dataset, stage: str, item: str, what: str = "num_in") -> int:
    found = [r.counts[item] for r in data.reports if r.stage == stage and item in r.counts]
    return sum(getattr(counts, what) for counts in found)


def _headline(data: Dataset) -> str:
    chosen, crops = _counts(data, "select", "crop", "num_kept"), _counts(data, "crop", "box", "num_kept")
    if data.selected:
        return f"{data.name}: {chosen:,} of {crops:,} crops chosen"
    return f"{data.name}: {crops:,} crops so far" if crops else f"{data.name}: begun"


def _lead(data: Dataset) -> str:
    sources = [name for name in dict.fromkeys(r.source for r in data.reports) if name != WHOLE]
    listed, boxes = _counts(data, "ingest", "photo"), _counts(data, "crop", "box")
    crops, chosen = _counts(data, "crop", "box", "num_kept"), _counts(data, "select", "crop", "num_kept")
    text = f"{_plural(len(sources), 'source')} ({', '.join(sources)}) {'lists' if len(sources) == 1 else 'list'} "
    text += _plural(listed, "photo")
    if boxes:
        text += f" with {boxes:,} person boxes that could be looked at; {crops:,} of them became crops"
    if data.selected:
        text += f", and {chosen:,} of these, {_share(chosen, crops)}, are good enough and unlike each other"
    return text + "."


def _figures(data: Dataset) -> Iterator[tuple[str, str]]:
    chosen = _counts(data, "select", "crop", "num_kept")
    yield "photos listed", f"{_counts(data, 'ingest', 'photo'):,}"
    if boxes := _counts(data, "crop", "box"):
        yield "person boxes", f"{boxes:,}"
        yield "crops", f"{_counts(data, 'crop', 'box', 'num_kept'):,}"
    if data.selected:
        yield "chosen", f'<span class="kept">{chosen:,}</span>'
        for split, num in sorted(data.crops.splits.items()):
            yield f"in {split}", f"{num:,}"
    people = data.crops.columns.get("num_people")
    if people is not None and data.crops.kept.any():
        yield "people per crop", f"{people[data.crops.kept].mean():.2f}"
    failed = sum(c.num_failed for r in data.reports for item, c in r.counts.items() if item == "photo")
    if failed:
        yield "photos failed", f'<span class="lost">{failed:,}</span>'


def _main_reasons(data: Dataset) -> list[str]:
    lost: Counter[tuple[Reason, str]] = Counter()
    for report_ in data.reports:
        for item, counts in report_.counts.items():
            for reason, num in {**counts.rejected, **counts.failed}.items():
                lost[reason, PLURAL[item]] += num
    most = sorted(lost.items(), key=lambda pair: (-pair[1], pair[0]))[:NUM_REASONS]
    return [f"{num:,} {items}: {reason.sentence}" for (reason, items), num in most]


def _hints(data: Dataset, published: Published, reviews: Reviews | None) -> Iterator[str]:
    """Sentences, as HTML, on what deserves a second look."""
    if not data.snapshot:
        stages = list(dict.fromkeys(r.stage for r in data.reports))
        yield f"The run has not finished; the last stage with counts is {escape(stages[-1]) if stages else 'none'}."
    for source in dict.fromkeys(r.source for r in data.reports if r.source != WHOLE):
        photos = [r.counts["photo"] for r in data.reports if r.source == source and "photo" in r.counts]
        failed = Counter({reason: num for counts in photos for reason, num in counts.failed.items()})
        if failed:
            reason, num = max(failed.items(), key=lambda pair: (pair[1], pair[0]))
            yield (
                f"{sum(failed.values()):,} photos of {escape(source)} could not be read, most often since"
                f" {escape(reason.sentence)} ({num:,}): mend them and run again."
            )
    yield from _yield_hints(data)
    for row in data.statistics:
        mean = published.means.get(OURS, {}).get(row["metric"])
        values = data.crops.columns.get(row["metric"])
        if mean is None or values is None or not data.crops.kept.any():
            continue
        ours = float(values[data.crops.kept].mean())
        word = "worse" if (ours > mean if row["lower_is_better"] else ours < mean) else "better"
        link = f'<a href="#scores">{escape(row["metric"])}</a>'
        yield f"{link} of the chosen crops is {ours:.4g} on average, {word} than the published {mean:g}."
    if data.pairs:
        num = sum(c.rejected.get(Reason.NEAR_DUPLICATE, 0) for r in data.reports for c in r.counts.values())
        yield f'<a href="#duplicates">{_plural(num, "near-duplicate")}</a> left out: is any of them not one?'
    if reviews:
        yield f'<a href="#reviews">Reviews</a>: {escape(reviews.sentences[0])}'


def _yield_hints(data: Dataset) -> Iterator[str]:
    """The source that gives least, where there is more than one."""
    shares = []
    for report_ in data.reports:
        if report_.stage == "select" and (counts := report_.counts.get("crop")) and counts.num_in:
            shares.append((counts.num_kept / counts.num_in, report_.source, counts))
    if len(shares) > 1:
        share, source, counts = min(shares, key=lambda found: found[:2])
        kept = f"{counts.num_kept:,} of its {counts.num_in:,} crops"
        yield f"{escape(source)} gives least: {kept} are chosen ({share:.0%})."


def _funnel(data: Dataset) -> Section | None:
    if not data.reports:
        return None
    rows = funnel_rows(data.reports)
    heading = ("source", "stage", "items", *NUMBERS, "why not")
    words = "Every photo, box and crop is kept, rejected for a reason, or failed; the numbers of each line add up."
    lines = [tuple(_in_words(name, row[name]) for name in heading) for row in rows]
    whole = table(Table(heading, lines), "What became of everything, stage by stage", tall=len(lines) <= 40)
    return Section("funnel", "The funnel", f"<p>{words}</p>{charts([funnel_chart(data.reports)], wide=True)}{whole}")


def _in_words(name: str, value: str | int) -> str | int | None:
    """Reasons without underscores; what is 0 is left empty, so that the rest stands out."""
    return (str(value).replace("_", " ") if name == "why not" else value) or None


def _reasons(data: Dataset) -> Section | None:
    drawn = charts([reasons_chart(data.reports)], wide=True)
    return Section("reasons", "Reasons", drawn) if drawn else None


def _scores(data: Dataset, published: Published) -> Section | None:
    facts: dict[str, Row] = {row["metric"]: row for row in data.statistics}
    drawn = charts(
        distribution_chart(
            name,
            data.crops,
            facts.get(name),
            {dataset: means[name] for dataset, means in published.means.items() if name in means},
            "score: mean of the standardised metrics" if name == "score" else None,
        )
        for name in [*data.metrics, *(["score"] if "score" in data.crops.columns else [])]
    )
    if not drawn:
        return None
    alone = " Only the chosen crops are known to a snapshot." if data.published_alone else ""
    words = (
        f"Grey is every crop, green what was chosen, the dashed line the limit. Diamonds are the means that"
        f" {escape(published.source)} publishes, the filled one that of {OURS}.{alone}"
    )
    return Section("scores", "Scores", f"<p>{words}</p>{drawn}")


def _yields(data: Dataset, curves: Sequence[YieldCurve]) -> Section | None:
    if not curves:
        return None
    words = "What each limit would keep, alone and together with all others as configured. Nothing was computed anew."
    return Section("yields", "What other limits would give", f"<p>{words}</p>{charts(yield_chart(c) for c in curves)}")


def _contents(data: Dataset, published: Published) -> Section | None:
    crop = data.configuration.get("crop", {})
    variance = {"limit": crop.get("min_laplacian_variance"), "lower_is_better": False}
    drawn = [people_chart(data.crops, published.people_per_image)]
    for name, title, facts in (
        ("source_side_px", "Side of the square in the photo, px", None),
        ("laplacian_variance", "Laplacian variance of the photo", variance),
    ):
        if name in data.crops.columns:
            drawn.append(distribution_chart(name, data.crops, facts, {}, title))
    drawn.append(licences_chart(data.crops))
    shown = charts(drawn)
    return Section("contents", "What the crops hold", shown) if shown else None


def _examples(data: Dataset) -> Section | None:
    if not data.kept and not data.rejected:
        return None
    html = ""
    if data.kept:
        chosen = "some of the chosen crops" if data.published_alone else "the best ones by score"
        html += f'<h3>Chosen <span class="count">· {chosen}</span></h3>{tiles(data.kept, "Chosen crop")}'
    for reason in Reason:
        shown = [tile for tile in data.rejected if tile.reason is reason]
        if shown and reason is not Reason.NEAR_DUPLICATE:
            outcome = "Failed" if reason.outcome is Outcome.FAILED else "Rejected"
            name = reason.value.replace("_", " ")
            html += (
                f'<h3>{escape(name.capitalize())} <span class="count">· {escape(reason.sentence)}</span></h3>'
                f"{tiles(shown, outcome, heading=name)}"
            )
    return Section("examples", "Examples", f"<p>A few pictures for every verdict and reason.</p>{html}")


def _duplicates(data: Dataset) -> Section | None:
    if not data.pairs:
        return None
    words = "Crops that show the same as a better one, the closest first; the number is how many of 64 bits differ."
    return Section("duplicates", "Near-duplicates", f"<p>{words}</p>{pairs(data.pairs)}")


def _reviews(reviews: Reviews | None) -> Section | None:
    if reviews is None:
        return None
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in reviews.sentences)
    limits = (
        table(reviews.limits, "Limits, and how far they agree with people", tall=True) if reviews.limits.rows else ""
    )
    return Section("reviews", "Reviews", words + limits)


def _origin(data: Dataset) -> Section:
    facts = [
        (name, value)
        for name, value in (("snapshot", data.snapshot), ("digest", data.digest), ("code", data.code_version))
        if value
    ]
    lines = "".join(f"<p>{escape(name)}: <code>{escape(value)}</code></p>" for name, value in facts)
    dump = escape(json.dumps(data.configuration, indent=2, ensure_ascii=False))
    shown = f'<details><summary>The whole configuration</summary><pre tabindex="0">{dump}</pre></details>'
    return Section("origin", "How this was made", lines + (shown if data.configuration else ""))


def _footer(data: Dataset) -> str:
    return f"<p>{escape(data.name)}. Everything on this page is inside this one file.</p>"


def _plural(num: int, word: str) -> str:
    return f"{num:,} {word}{'' if num == 1 else 's'}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"
