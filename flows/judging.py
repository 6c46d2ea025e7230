"""Benchmarks, evaluations and comparisons with everything that people look at; what is there is not made again.

Everything lies below the root of the dataset that the benchmark was made from.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from dashboards.comparison_grid import comparison_grid
from dashboards.evaluation_table import comparison_table, evaluation_table
from storage.benchmark import OnProgress, batches_of, benchmark_at, splits_of
from storage.errors import InputError
from storage.evaluation import Comparison, Evaluation
from storage.frozen import Frozen
from storage.parquet import open_parquet
from storage.snapshot import Snapshot, published_at
from storage.store import Store
from tasks.benchmark.imported import import_benchmark
from tasks.benchmark.persona_val import ValConfig, build_val
from tasks.evaluate.candidates import Contender, high_quality, low_quality, model, restored_folder
from tasks.evaluate.compare import compare
from tasks.evaluate.evaluate import EXAMPLES_FILE, EvaluateConfig, evaluate
from tasks.evaluate.published import PUBLISHED, rows_for

TABLE = "table.md"


class PersonaValConfig(Frozen):
    """A snapshot, and how its val split becomes a benchmark."""

    snapshot: str
    """Folder of the snapshot."""
    val: ValConfig = ValConfig()


def persona_val(snapshot_folder: Path, config: ValConfig | None = None, on_progress: OnProgress | None = None) -> Path:
    """The folder of the snapshot's PERSONA-Val, built where it is not there yet.

    Raises:
        ValueError: the folder holds no snapshot, or one without a val split.
    """
    benchmark = build_val(published_at(str(snapshot_folder)), config or ValConfig(), on_progress)
    return benchmark.store.local(benchmark.path)


def import_pictures(
    root: str, name: str, lq: Path, hq: Path | None, published: str | None, on_progress: OnProgress | None = None
) -> Path:
    """The folder of a benchmark of other people's pictures; see `import_benchmark`.

    Raises:
        ValueError: the pictures do not belong together, or `published` is no set that is known.
    """
    if published is not None:
        known = PUBLISHED.get(published)
        if known is None:
            raise InputError(f"there are no published rows of {published}: name one of {', '.join(PUBLISHED)}")
        if known.has_hq != (hq is not None):
            what = "has HQ pictures: give --hq too" if known.has_hq else "has no HQ pictures: leave --hq out"
            raise InputError(f"{published} {what}")
    benchmark = import_benchmark(Store(root), name, lq, hq, published, on_progress)
    return benchmark.store.local(benchmark.path)


def judge_model(
    benchmark: Path,
    folder: Path,
    config: EvaluateConfig | None = None,
    *,
    label: str | None = None,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Restore the benchmark with the model in a folder, and judge what comes out.

    Raises:
        ValueError: a folder holds no benchmark, or no model.
        WeightsUnavailableError: of the model or, if `strict`, of a metric.
    """
    return judge(benchmark_at(benchmark), model(folder, label), config, strict=strict, on_progress=on_progress)


def judge_lq(
    benchmark: Path,
    config: EvaluateConfig | None = None,
    *,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Judge the LQ pictures of a benchmark as they are: the baseline."""
    return judge(benchmark_at(benchmark), low_quality(), config, strict=strict, on_progress=on_progress)


def judge_hq(
    benchmark: Path,
    config: EvaluateConfig | None = None,
    *,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Judge the HQ pictures of a benchmark: what the metrics say of the truth."""
    return judge(benchmark_at(benchmark), high_quality(), config, strict=strict, on_progress=on_progress)


def judge_folder(
    benchmark: Path,
    restored: Path,
    config: EvaluateConfig | None = None,
    *,
    label: str | None = None,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Judge pictures that any other program made of the benchmark's LQ pictures; see `restored_folder`."""
    published = benchmark_at(benchmark)
    crop_ids = [
        crop_id
        for paths in splits_of(published).values()
        for path in paths
        for batch in batches_of(published, path, ["crop_id"])
        for crop_id in batch["crop_id"].to_pylist()
    ]
    contender = restored_folder(restored, crop_ids, label)
    return judge(published, contender, config, strict=strict, on_progress=on_progress)


def judge(
    benchmark: Snapshot,
    contender: Contender,
    config: EvaluateConfig | None = None,
    *,
    strict: bool = False,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Judge a contender, and draw table and grids beside the values."""
    store = benchmark.store
    found = evaluate(benchmark, contender, config or EvaluateConfig(), strict=strict, on_progress=on_progress)
    _once(store, f"{found.path}/{TABLE}", lambda aside: _write(aside, evaluation_table([found], *_published(found))))
    for side in ("best", "worst"):
        _once(store, f"{found.path}/{side}.jpg", partial(_draw, store=store, evaluation=found, side=side))
    return found


def judge_pair(benchmark: Path, a: Evaluation, b: Evaluation, config: EvaluateConfig | None = None) -> Comparison:
    """A minus B on the benchmark that both were judged on.

    Raises:
        ValueError: they were judged on different ones.
    """
    store = benchmark_at(benchmark).store
    found = compare(store, a, b, config or EvaluateConfig())
    text = comparison_table(found, a, b, *_published(a))
    _once(store, f"{found.path}/{TABLE}", lambda aside: _write(aside, text))
    _once(store, f"{found.path}/comparison.json", lambda aside: _write(aside, found.model_dump_json(indent=1) + "\n"))
    return found


def _published(evaluation: Evaluation) -> tuple[dict[str, dict[str, float]], str]:
    known_as = evaluation.benchmark.published
    published = rows_for(known_as, evaluation.benchmark.has_hq)
    if known_as is None:
        return published.rows, f"{published.source}, on other pictures: they compare with ours only on the same ones"
    there = "" if evaluation.num_images == published.num_pictures else f", which are {published.num_pictures:,}"
    return published.rows, f"{published.source}, on the pictures of {known_as}{there}"


def _once(store: Store, path: str, make: Callable[[Path], None]) -> None:
    if not store.exists(path):
        with store.new_file(path) as aside:
            make(aside)


def _write(aside: Path, text: str) -> None:
    aside.write_text(text, encoding="utf-8")


def _draw(aside: Path, store: Store, evaluation: Evaluation, side: str) -> None:
    grid = comparison_grid(evaluation, side, _examples(store, evaluation, side))
    grid.save(aside, "JPEG", quality=90)


def _examples(store: Store, evaluation: Evaluation, side: str) -> Iterator[dict[str, object]]:
    path = f"{evaluation.path}/{EXAMPLES_FILE}"
    with open_parquet(store, path, "delete the folder, and evaluate again") as parquet:
        yield from (row for row in parquet.read().to_pylist() if row["side"] == side)
