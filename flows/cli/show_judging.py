"""What the command line shows of benchmarks, evaluations and audits."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from flows.cli.show_curate import show_funnel
from flows.execution.progress import progress_bar
from flows.judging import (
    PersonaValConfig,
    import_pictures,
    judge_folder,
    judge_hq,
    judge_lq,
    judge_model,
    judge_pair,
    persona_val,
)
from flows.persona_test_set import PersonaTestConfig, persona_test
from storage.benchmark import benchmark_at, num_rows
from storage.errors import ExitCode
from storage.evaluation import MIN_VALUES, Comparison, Evaluation, MetricResult
from storage.registry import Registry
from storage.snapshot import Snapshot
from storage.store import Store
from tasks.evaluate.evaluate import EvaluateConfig
from tasks.evaluate.published import PUBLISHED, TABLE_1, rows_for
from tasks.publish.audit import audit, table_rows

console = Console(width=None if sys.stdout.isatty() else 160)  # a pipe has no width of its own
bars = Console(stderr=True)

LQ, HQ = "lq", "hq"
PUBLISHED_METHOD = "OSDHuman"


def persona_val_and_show(config: PersonaValConfig) -> int:
    """Build PERSONA-Val of a snapshot, and say where it lies."""
    with progress_bar(bars, "degrade", None) as advance:
        folder = persona_val(Path(config.snapshot), config.val, advance)
    return _show_benchmark(folder)


def persona_test_and_show(config: PersonaTestConfig) -> int:
    """Build PERSONA-Test, print its funnel, and say where it lies."""
    try:
        folder = persona_test(config)
    finally:
        show_funnel(Store(config.root), config.name)
    return _show_benchmark(folder)


def _show_benchmark(folder: Path) -> int:
    manifest = benchmark_at(folder).manifest()
    console.print(f"Benchmark of {num_rows(manifest):,} pictures: {folder}", soft_wrap=True)
    return 0


def import_and_show(root: str, name: str, lq: Path, hq: Path | None, published: str | None) -> int:
    """Make a benchmark of other people's pictures, and say how many they are beside the published sets."""
    with progress_bar(bars, "import", None) as advance:
        folder = import_pictures(root, name, lq, hq, published, advance)
    num = num_rows(benchmark_at(folder).manifest())
    if published:
        wanted = PUBLISHED[published].num_pictures
        told = "as many as" if num == wanted else f"but there are {wanted:,} in"
        console.print(f"{num:,} pictures, {told} {published}; its published rows: {PUBLISHED[published].source}")
    else:
        alike = [one for one, about in PUBLISHED.items() if (about.num_pictures, about.has_hq) == (num, hq is not None)]
        if alike:
            console.print(f"{num:,} pictures, as many as {' and '.join(alike)}: say which it is with --published")
    return _show_benchmark(folder)


Contestant = tuple[Literal["model", "folder", "lq", "hq"], Path | None, str]
"""Kind, folder and label of what is judged."""


def contestant(text: str, root: Store) -> Contestant:
    """What `text` names: `lq`, `hq`, a model folder, a folder of restored pictures, or a model of the registry.

    Raises:
        ValueError: none of these.
    """
    folder = Path(text)
    if text == LQ:
        return "lq", None, LQ
    if text == HQ:
        return "hq", None, HQ
    if folder.is_dir():
        return "model" if (folder / "model.json").is_file() else "folder", folder, folder.absolute().name
    registry = Registry(root)
    model, version = registry.parse(text)
    return "model", registry.resolve(f"{model}/{version}"), f"{model}-{version}"


def evaluate_and_show(
    a: str, against: str | None, benchmark: Path, config: EvaluateConfig, *, strict: bool = False
) -> int:
    """Judge A and, if it is named, B on a benchmark; print the values and where the pictures are; 1 if any is missing.

    Args:
        a: as `contestant` reads it.
        against: the same, or None.
        benchmark: its folder.
        config: the metrics.
        strict: let a metric without weights be an error.
    """
    published = benchmark_at(benchmark)
    texts = [a] if against is None else [a, against]
    found = [_judge(contestant(text, published.store), benchmark, config, strict) for text in texts]
    comparison = None if against is None else judge_pair(benchmark, found[0], found[1], config)
    console.print(_values(found, comparison))
    for pair in comparison.disagreements if comparison else ():
        certain = " beyond their intervals" if pair.certain else ""
        told = f"{pair.for_a} prefers {found[0].label}, {pair.for_b} prefers {found[1].label}{certain}"
        console.print(f"{told}; on {pair.share:.0%} of {pair.num:,} pictures they disagree", soft_wrap=True)
    left_out = [metric for metric in config.metrics if metric not in found[0].metrics]
    if left_out:
        console.print(f"Left out, since the benchmark has no HQ pictures or no recipes: {', '.join(left_out)}")
    for metric, result in found[0].metrics.items():
        if result.unavailable:
            console.print(f"{metric} is unavailable: {result.unavailable}", soft_wrap=True, markup=False)
    for evaluation in found:
        for line in _said(evaluation):
            console.print(line, soft_wrap=True, markup=False)
    written = [evaluation.path for evaluation in found] + ([comparison.path] if comparison else [])
    for path in written:
        console.print(f"Written: {published.store.full(path)}", soft_wrap=True)
    return ExitCode.NOT_IN_ORDER if any(evaluation.num_failed for evaluation in found) else ExitCode.SUCCESS


def _said(evaluation: Evaluation) -> Iterator[str]:
    """What must be known of an evaluation that is not whole, or whose pictures were not found by their names."""
    if evaluation.num_failed:
        missing = f"{evaluation.num_failed:,} of {evaluation.num_images:,} pictures are missing or cannot be used"
        yield f"{evaluation.label}: {missing}, see per_image.parquet"
    if evaluation.num_judged < MIN_VALUES:
        yield f"{evaluation.label}: fewer than {MIN_VALUES} pictures give no interval and decide nothing"
    yield from (f"{evaluation.label}: {remark}" for remark in evaluation.remarks)


def _judge(what: Contestant, benchmark: Path, config: EvaluateConfig, strict: bool) -> Evaluation:
    kind, folder, label = what
    with progress_bar(bars, label, num_rows(benchmark_at(benchmark).manifest())) as advance:
        if folder is None:
            judge_itself = judge_lq if kind == LQ else judge_hq
            return judge_itself(benchmark, config, strict=strict, on_progress=advance)
        judge = judge_model if kind == "model" else judge_folder
        return judge(benchmark, folder, config, label=label, strict=strict, on_progress=advance)


def _values(found: Sequence[Evaluation], comparison: Comparison | None) -> Table:
    first = found[0]
    judged = dict.fromkeys(evaluation.headline for evaluation in found)
    table = Table(title=f"{first.benchmark.id}, {' and '.join(judged)}", title_justify="left")
    table.add_column("metric", no_wrap=True)
    known_as = first.benchmark.published
    where = known_as or "published, on other pictures"
    for heading in (f"{PUBLISHED_METHOD}, {where}", *(e.label for e in found)):
        table.add_column(heading, justify="right")
    if comparison:
        table.add_column("difference", justify="right")
        table.add_column("better")
    published = rows_for(known_as, first.benchmark.has_hq).rows[PUBLISHED_METHOD]
    for metric, result in first.metrics.items():
        paper = f"{published[metric]:.4f}" if metric in published else ""
        cells = [f"{metric} {'↓' if result.lower_is_better else '↑'}", paper]
        cells += [_value(evaluation.metrics[metric]) for evaluation in found]
        if comparison and metric in comparison.differences:
            difference = comparison.differences[metric]
            winner = {"a": found[0].label, "b": found[1].label, None: "-"}[difference.better]
            cells += [f"{difference.mean:+.4f}{_interval(difference.low, difference.high)}", winner]
        table.add_row(*cells)
    return table


def _value(result: MetricResult) -> str:
    return "unavailable" if result.mean is None else f"{result.mean:.4f}{_interval(result.low, result.high)}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"


def audit_and_show(snapshot: Snapshot, against: Sequence[str]) -> int:
    """Print what a snapshot consists of and what its splits, and the benchmarks, share; 1 if they share anything."""
    leaks, contents = audit([snapshot, *(benchmark_at(Path(folder)) for folder in against)])
    heading, *rows = table_rows(contents, TABLE_1)
    table = Table(title="mean of each metric (5 %, 50 %, 95 % quantile)", title_justify="left")
    for i, column in enumerate(heading):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for split, found in contents.items():
        console.print(f"{split}: sources {_listed(found.sources)}; licences {_listed(found.licences)}", soft_wrap=True)
    for leak in leaks:
        print(leak.sentence())
    shared = {frozenset((leak.a.photo_id, leak.b.photo_id)) for leak in leaks}
    print(f"{len(leaks):,} pairs of crops, {len(shared):,} pairs of photos, are shared between splits (must be 0)")
    return 1 if leaks else 0


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {num:,}" for name, num in counts.items())
