"""The README of a snapshot: a dataset card that the `datasets` library reads, and a datasheet that people read."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from storage.reasons import Reason
from storage.report import PLURAL
from storage.snapshot import FileFacts, Manifest, Snapshot
from tasks.evaluate.published import PEOPLE_PER_IMAGE, TABLE_1

_ABOUT_ROWS = ("source", "licence", "licence_url", "num_people")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def contents_of(snapshot: Snapshot, files: Sequence[FileFacts], metrics: Sequence[str]) -> dict[str, Any]:
    """What the written rows are, from all of their columns but the pictures.

    Returns:
        `rows` per split and source, `licences` with counts, `means` of metrics and score, `people_per_crop`.
    """
    columns = [*_ABOUT_ROWS, *metrics, "score"]
    tables = []
    for file in files:
        with snapshot.open(file.path) as parquet:
            table = parquet.read(columns=columns)
        tables.append(table.append_column("split", pa.array([file.split] * table.num_rows, pa.string())))
    rows = pa.concat_tables(tables)
    per_source: dict[str, dict[str, int]] = {}
    for split, source, num in _counts(rows, ["split", "source"]):
        per_source.setdefault(split, {})[source] = num
    return {
        "rows": per_source,
        "licences": [
            {"source": source, "licence": licence, "licence_url": url, "crops": num}
            for source, licence, url, num in _counts(rows, ["source", "licence", "licence_url"])
        ],
        "means": {name: pc.mean(rows[name]).as_py() for name in [*metrics, "score"]},
        "people_per_crop": pc.mean(rows["num_people"]).as_py(),
    }


def _counts(rows: pa.Table, by: list[str]) -> list[tuple[Any, ...]]:
    """Distinct values of some columns with their number, sorted; null comes first."""
    counted = rows.group_by(by).aggregate([([], "count_all")]).to_pylist()
    found = [tuple(row[name] for name in [*by, "count_all"]) for row in counted]
    return sorted(found, key=lambda row: [(value is not None, value or "") for value in row[:-1]])


def datasheet(manifest: Manifest, schema: pa.Schema) -> str:
    """Markdown with a YAML header; the manifest is that of `commit_snapshot`, before its own digest."""
    header = yaml.safe_dump(_header(manifest, schema), sort_keys=False, allow_unicode=True)
    sections = [
        _opening(manifest),
        "## What is inside\n\n" + _inside(manifest),
        "## Quality\n\n" + _quality(manifest),
        "## What was left out, and why\n\n" + _funnel(manifest),
        "## Licences\n\n" + _licences(manifest),
        "## How it was made\n\n" + _made(manifest),
        "## Limits of use\n\n" + _LIMITS,
    ]
    return f"---\n{header}---\n\n" + "\n\n".join(sections) + "\n"


def _header(manifest: Manifest, schema: pa.Schema) -> dict[str, Any]:
    files = manifest.files
    splits = list(manifest.contents["rows"])
    num_rows = manifest.num_rows
    num_bytes = sum(file.bytes for file in files)
    return {
        "license": "other",
        "license_name": "per-photo",
        "license_link": "README.md#licences",
        "task_categories": ["image-to-image"],
        "tags": ["human", "image-restoration", "croissant"],
        "pretty_name": manifest.name,
        "size_categories": [next((name for limit, name in _SIZES if num_rows < limit), "n>1M")],
        "configs": [
            {"config_name": "default", "data_files": [{"split": s, "path": f"{s}/*.parquet"} for s in splits]},
        ],
        "dataset_info": {
            "features": [{"name": field.name, **_feature(field)} for field in schema],
            "splits": [
                {
                    "name": split,
                    "num_bytes": sum(f.bytes for f in files if f.split == split),
                    "num_examples": sum(f.rows for f in files if f.split == split),
                }
                for split in splits
            ],
            "download_size": num_bytes,
            "dataset_size": num_bytes,
        },
    }


def _feature(field: pa.Field) -> dict[str, Any]:
    return {"dtype": "image"} if field.name == "image" else _feature_of_type(field.type)


def _feature_of_type(kind: pa.DataType) -> dict[str, Any]:
    """A column's type in the words of the `datasets` library."""
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        inner = _feature_of_type(kind.value_type)
        length = {"length": kind.list_size} if pa.types.is_fixed_size_list(kind) else {}
        return {"list": inner.get("dtype", inner), **length}
    return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind))}


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _opening(manifest: Manifest) -> str:
    return (
        f"# {manifest.id}\n\n"
        "Square crops of people from annotated photos, chosen by image quality for training and judging models that\n"
        "restore pictures of people. Made with the pipeline HQ-ACF of [arXiv 2502.01411]"
        "(https://arxiv.org/abs/2502.01411).\n\n"
        "```python\n"
        "import datasets\n\n"
        f'crops = datasets.load_dataset("{manifest.id}")  # path of this folder\n'
        "```"
    )


def _inside(manifest: Manifest) -> str:
    rows = manifest.contents["rows"]
    sources = sorted({source for counts in rows.values() for source in counts})
    lines = [[source, *(f"{rows[split].get(source, 0):,}" for split in rows)] for source in sources]
    total = ["**all**", *(f"{sum(rows[split].values()):,}" for split in rows)]
    people = manifest.contents["people_per_crop"]
    return (
        _table(["crops of", *rows], [*lines, total])
        + f"\n\nPeople per crop: {people:.4f} (the paper's PERSONA: {PEOPLE_PER_IMAGE}). No photo, and no\n"
        "near-duplicate of a photo, is in more than one split. `image` is a lossless PNG; boxes are\n"
        "x_min, y_min, x_max, y_max in pixels, half-open; `score` is eq. 1 of the paper; every metric has a\n"
        "column of its own."
    )


def _quality(manifest: Manifest) -> str:
    means = manifest.contents["means"]

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    lines = [
        [
            f"{row.metric} {'↓' if row.lower_is_better else '↑'}",
            number(means[row.metric]),
            number(TABLE_1["PERSONA"].get(row.metric)),
            number(row.mean),
            number(row.std),
            number(row.limit),
        ]
        for row in manifest.statistics
    ]
    return (
        _table(
            ["metric", "mean here", "PERSONA in the paper", "mean of all scored", "std of all scored", "limit"], lines
        )
        + f"\n\n{manifest.statistics[0].num_crops:,} crops were scored by every metric; the limit of `score` is "
        "the lowest within the top share.\nThe paper does not publish its limits."
    )


def _funnel(manifest: Manifest) -> str:
    lines = []
    for report in manifest.funnel:
        for item in (item for item in PLURAL if item in report.counts and report.counts[item].num_in):
            counts = report.counts[item]
            outcome = [counts.num_in, counts.num_kept, counts.num_rejected, counts.num_failed]
            lines.append([report.source, report.stage, PLURAL[item], *(f"{num:,}" for num in outcome), ""])
            for reason, num in sorted(
                {**counts.rejected, **counts.failed}.items(), key=lambda pair: (-pair[1], pair[0])
            ):
                lost = ["", f"{num:,}"] if reason in counts.failed else [f"{num:,}", ""]
                lines.append([report.source, report.stage, "", "", "", *lost, Reason(reason).sentence])
    return _table(["source", "stage", "items", "in", "kept", "rejected", "failed", "because"], lines) + _reviews(
        manifest
    )


def _reviews(manifest: Manifest) -> str:
    said = manifest.reviews
    if said is None:
        return ""
    return (
        f"\n\nPeople looked at {said['reviewed']:,} of these crops. They dropped {said['dropped_by_people']:,} that\n"
        f"the limits would have let pass, and kept {said['kept_by_people']:,} that a limit had turned away."
    )


def _licences(manifest: Manifest) -> str:
    lines = [
        [row["source"], row["licence"] or "not stated by the source", row["licence_url"] or "", f"{row['crops']:,}"]
        for row in manifest.contents["licences"]
    ]
    return (
        "Every photo keeps its own licence. The columns `licence`, `licence_url`, `author`, `photo_url` and\n"
        "`page_url` say what the source says of it; whoever passes a crop on has to keep to that.\n\n"
        + _table(["source", "licence", "address", "crops"], lines)
    )


def _made(manifest: Manifest) -> str:
    configuration = yaml.safe_dump(manifest.configuration, sort_keys=True, allow_unicode=True)
    weights = _table(["weights", "SHA-256"], sorted(manifest.weights.items()))
    return (
        f"Code version: `{manifest.code_version}`. `manifest.json` lists every file with its SHA-256, and\n"
        "every table that this was made from with its digest. Annotated people (or, where a source has no boxes,\n"
        "detected ones) were cut out as squares of the longer side of their box, scored, and chosen by\n"
        "the limits below.\n\n"
        f"{weights}\n\n```yaml\n{configuration}```"
    )


_LIMITS = """\
- The pictures show real people who did not agree to this use. Do not identify them, and do not draw conclusions about
  them. Take a crop out when the person or the author of the photo asks for it.
- What is chosen is what the quality metrics prefer: sharp, bright, well-lit photos. Whoever they like less is rarer
  here than in the world.
- The metrics were trained on pictures and opinions of their own; a limit is no guarantee of quality.
- Near-duplicates are found by perceptual hashes: a photo that was cropped or mirrored may still be there twice.
- Boxes are those of the sources, with their errors."""
