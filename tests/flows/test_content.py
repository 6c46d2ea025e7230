"""What decides a result is told by type: every field of every configuration is classified here once more, and tried."""

import shutil
import typing

import pytest

from flows.config import CurateConfig
from flows.pipeline import already_curated, curate_with
from model.training.train_config import TrainConfig
from storage.config_file import validated
from storage.frozen import Frozen
from tasks.evaluate.evaluate import EvaluateConfig
from tasks.sources import AnySource
from tests.counting_runner import CountingRunner

HOW = {
    "root",
    "run.batch_size", "run.cluster", "run.device", "run.files_url", "run.max_failed_share", "run.max_faulty_share",
    "run.network_workers", "run.photos_per_shard", "run.verify_inputs", "run.workers",
    "detect.weights",  # count by their content
    "sources.*.photos", "sources.*.annotations", "sources.*.boxes", "sources.*.classes", "sources.*.image_ids",
    "sources.*.image_set", "sources.*.photos_missing",  # count by their content
    "training.name", "training.output", "training.snapshot", "training.warm_start", "training.device",
    "training.num_workers", "training.log_every", "training.grid_every", "training.checkpoint_every",
    "training.keep_checkpoints", "training.accumulation", "training.gradient_checkpointing", "training.channels_last",
    "training.compile",
    "evaluate.batch_size", "evaluate.device", "evaluate.precision",
}  # fmt: skip
WHAT = {
    "name",
    "sources.*.split", "sources.*.name", "sources.*.format",
    "sources.*.exif_orientation", "sources.*.box", "sources.*.labels",
    "photo.*", "crop.*", "select.*", "publish.*", "score.metrics",
    "detect.class_ids", "detect.confidence", "detect.iou", "detect.image_size_px",
    "training.*", "evaluate.metrics", "evaluate.num_resamples", "evaluate.seed",
}  # fmt: skip


def fields(kind: type[Frozen], prefix: str = "") -> typing.Iterator[tuple[str, type[Frozen], str]]:
    """Dotted name, owner and name of every field, down into records inside of records; sources by their format."""
    for name, field in kind.model_fields.items():
        if name == "sources":
            for source in typing.get_args(typing.get_args(AnySource)[0]):
                yield from fields(source, f"{prefix}sources.{source.model_fields['format'].default}.")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Frozen):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind, name


EVERY_FIELD = [
    *fields(CurateConfig),
    *fields(TrainConfig, "training."),
    *fields(EvaluateConfig, "evaluate."),
]


def classified(path: str) -> set[str]:
    parts = path.split(".")
    names = {path, f"{parts[0]}.*", f"{parts[0]}.*.{parts[-1]}"}
    exact = {kind for kind, known in (("how", HOW), ("what", WHAT)) if names - {f"{parts[0]}.*"} & known}
    return exact or {kind for kind, known in (("how", HOW), ("what", WHAT)) if names & known}


def marked_how(path: str) -> bool:
    """Whether the field, or a record that it lies in, is marked HOW by its type."""
    from storage.frozen import HOW as MARK

    kind: typing.Any = {"training": TrainConfig, "evaluate": EvaluateConfig}.get(path.split(".")[0])
    parts = path.split(".")[1:] if kind else path.split(".")
    kind = kind or CurateConfig
    if parts[0] == "sources":
        sources = typing.get_args(typing.get_args(AnySource)[0])
        kind = next(s for s in sources if s.model_fields["format"].default == parts[1])
        parts = parts[2:]
    for part in parts:
        field = kind.model_fields[part]
        if MARK in field.metadata:
            return True
        kind = field.annotation
    return False


@pytest.mark.parametrize("path", sorted({path for path, _, _ in EVERY_FIELD}))
def test_every_field_is_classified_here_as_by_its_type(path):
    assert classified(path) == {"how" if marked_how(path) else "what"}, f"classify {path} above, and mark it if HOW"


@pytest.fixture(scope="module")
def curated(tmp_path_factory, shared_data):
    """A small dataset, and the values of its configuration."""
    folder = tmp_path_factory.mktemp("content")
    shutil.copytree(shared_data / "coco_mini/val2017", folder / "photos")
    shutil.copy(shared_data / "coco_mini/annotations/instances_val2017.json", folder / "labels.json")
    source = {"format": "coco", "name": "coco", "photos": folder / "photos", "annotations": folder / "labels.json"}
    values = {
        "name": "content",
        "root": str(folder / "root"),
        "sources": [source],
        "crop": {"min_side_px": 200, "max_upscale": 2.6},
        "score": {"metrics": ["piqe"]},
        "run": {"workers": 1},
    }
    config = validated(CurateConfig, values, "test")
    return values, curate_with(CountingRunner(config), config)


def with_value(values, path, value):
    *parents, last = path.split(".")
    copy = {**values}
    at = copy
    for part in parents:
        at[part] = {**at.get(part, {})}
        at = at[part]
    at[last] = value
    return validated(CurateConfig, copy, "test")


def names_of(curated):
    return {stage: [shard.name for shard in shards] for stage, shards in curated.stages.items()}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("run.workers", 7), ("run.network_workers", 2), ("run.device", "cpu"), ("run.batch_size", 3),
        ("run.max_failed_share", 0.9), ("run.max_faulty_share", 0.9), ("run.files_url", "http://127.0.0.1:8000"),
        ("run.cluster", {"address": "auto"}), ("detect.weights", "yolo11n.pt"),
    ],
)  # fmt: skip
def test_how_changes_neither_shard_names_nor_the_snapshot(curated, path, value):
    values, before = curated
    after = already_curated(with_value(values, path, value))
    assert after is not None
    assert (names_of(after), after.snapshot.id) == (names_of(before), before.snapshot.id)


def test_where_files_lie_changes_neither(curated, tmp_path):
    values, before = curated
    (source,) = values["sources"]
    moved = {**source, "photos": tmp_path / "elsewhere", "annotations": tmp_path / "labels.json"}
    shutil.copytree(source["photos"], moved["photos"])
    shutil.copy(source["annotations"], moved["annotations"])
    shutil.copytree(values["root"], tmp_path / "root")
    after = already_curated(validated(CurateConfig, {**values, "root": str(tmp_path / "root"), "sources": [moved]}, ""))
    assert after is not None
    assert (names_of(after), after.snapshot.id) == (names_of(before), before.snapshot.id)


def test_other_shards_give_the_same_snapshot_and_write_none(curated):
    values, before = curated
    config = with_value(values, "run.photos_per_shard", 16)
    runner = CountingRunner(config)
    after = curate_with(runner, config)
    assert after.snapshot.id == before.snapshot.id
    assert len(after.stages["crop"]) > len(before.stages["crop"])
    assert "publish" not in runner.ran


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "other"), ("photo.max_pixels", 10**7), ("crop.side_px", 256), ("crop.min_side_px", 201),
        ("crop.max_upscale", 2.5), ("crop.min_laplacian_variance", 99.0), ("crop.enlarge_with", "lanczos"),
        ("select.top_share", 0.2), ("select.val_size", 1), ("select.seed", 5), ("select.limits", {"piqe": 60}),
        ("publish.rows_per_shard", 7), ("publish.row_group_rows", 5), ("score.metrics", ["brisque", "piqe"]),
    ],
)  # fmt: skip
def test_what_gives_another_snapshot(curated, path, value):
    values, before = curated
    after = already_curated(with_value(values, path, value))
    assert after is None or after.snapshot.id != before.snapshot.id
