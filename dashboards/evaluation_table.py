"""Tables of evaluations in Markdown: the published rows, ours with their intervals, and the difference of two."""

from collections.abc import Mapping, Sequence

from storage.evaluation import MIN_VALUES, Comparison, Difference, Evaluation, MetricResult

Published = Mapping[str, Mapping[str, float]]
"""Method → metric → mean."""

_DIGITS = {"psnr": 2, "musiq": 2, "fid": 2}


def evaluation_table(evaluations: Sequence[Evaluation], published: Published, source: str) -> str:
    """What the paper reports and what was measured here, one row per method, as Markdown.

    Args:
        evaluations: on one benchmark, with the same metrics.
        published: rows to stand above them.
        source: where these were published, and on which pictures.
    """
    first = evaluations[0]
    directions = {metric: result.lower_is_better for metric, result in first.metrics.items()}
    heading = ["method", *(f"{metric} {'↓' if lower else '↑'}" for metric, lower in directions.items())]
    rows = [
        [method, *(_number(metric, means.get(metric)) for metric in directions)] for method, means in published.items()
    ]
    rows += [[f"**{e.label}**", *(_cell(metric, e.metrics.get(metric)) for metric in directions)] for e in evaluations]
    return "\n\n".join([_markdown(heading, rows), *_notes(evaluations, source)]) + "\n"


def comparison_table(comparison: Comparison, a: Evaluation, b: Evaluation, published: Published, source: str) -> str:
    """Both evaluations as `evaluation_table` shows them, then A minus B metric by metric."""
    heading = ["metric", f"A: {a.label}", f"B: {b.label}", "A minus B", "95 % interval", "better", "pictures"]
    rows = [
        [
            f"{metric} {'↓' if difference.lower_is_better else '↑'}",
            _number(metric, a.metrics[metric].mean),
            _number(metric, b.metrics[metric].mean),
            f"{difference.mean:+.{_digits(metric)}f}",
            _interval(metric, difference, "+"),
            {"a": "A", "b": "B", None: "-"}[difference.better],
            f"{difference.num:,}",
        ]
        for metric, difference in comparison.differences.items()
    ]
    explained = (
        "A difference counts where its interval does not hold 0. FID, of no single picture, has no interval, and"
        f" neither has a difference of fewer than {MIN_VALUES} pictures."
    )
    said = [_markdown(heading, rows), explained, *_disagreements(comparison)]
    return evaluation_table([a, b], published, source) + "\n" + "\n\n".join(said) + "\n"


def _disagreements(comparison: Comparison) -> list[str]:
    """Which metrics put the two in another order, a line each."""
    lines = [
        f"- {d.for_a} says A, {d.for_b} says B{', both beyond their intervals' if d.certain else ''}: they differ on"
        f" {d.share:.0%} of {d.num:,} pictures"
        for d in comparison.disagreements
    ]
    return ["\n".join(["Metrics that disagree about the order of A and B:", "", *lines])] if lines else []


def _notes(evaluations: Sequence[Evaluation], source: str) -> list[str]:
    first = evaluations[0]
    judged = "; ".join(f"{e.label}: {e.headline}" for e in evaluations)
    notes = [f"Rows in bold: {first.benchmark.id}, mean and 95 % bootstrap interval; {judged}. The others: {source}."]
    if any(e.num_judged < MIN_VALUES for e in evaluations):
        notes.append(f"Fewer than {MIN_VALUES} pictures give no interval, and so nothing is better or worse.")
    ran = dict.fromkeys(f"on {e.device}{f' in {e.precision}' if e.precision else ''}" for e in evaluations if e.device)
    notes += [f"Judged {' and '.join(ran)}."] if ran else []
    notes += [f"{e.label}: {remark}." for e in evaluations for remark in e.remarks]
    if first.notes:
        notes.append("; ".join(f"{metric}: {note}" for metric, note in first.notes.items()) + ".")
    missing = {
        metric: result.unavailable for e in evaluations for metric, result in e.metrics.items() if result.unavailable
    }
    if missing:
        notes.append("\n".join(["Unavailable:", "", *(f"- {metric}: {why}" for metric, why in missing.items())]))
    return notes


def _cell(metric: str, result: MetricResult | None) -> str:
    if result is None or result.mean is None:
        return "unavailable"
    interval = _interval(metric, result)
    return f"{_number(metric, result.mean)} {interval}".rstrip()


def _interval(metric: str, found: MetricResult | Difference, sign: str = "") -> str:
    if found.low is None or found.high is None:
        return ""
    digits = _digits(metric)
    return f"[{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"


def _number(metric: str, value: float | None) -> str:
    return "-" if value is None else f"{value:.{_digits(metric)}f}"


def _digits(metric: str) -> int:
    return _DIGITS.get(metric, 4)


def _markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
