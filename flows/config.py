"""What a run is configured by: every stage's own configuration, composed."""

import os
from typing import Self

from pydantic import Field, PositiveInt, model_validator

from flows.execution.ray_cluster import ClusterConfig
from storage.frozen import Frozen
from tasks.crop.filters import CropConfig, Share
from tasks.detect.person_detector import DetectConfig
from tasks.images.photo import PhotoConfig
from tasks.publish.publish import PublishConfig
from tasks.score.score import ScoreConfig
from tasks.select.verdicts import SelectConfig
from tasks.sources import AnySource


class CropsConfig(Frozen):
    """Annotated photos in, scored person crops out."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name of the dataset: the first part of the name of whatever is published."""
    root: str
    """Where everything is kept: a folder, or an s3:// or gs:// address."""
    workers: PositiveInt = os.cpu_count() or 1
    """Worker processes on this machine."""
    network_workers: PositiveInt | None = None
    """Worker processes of detect and score, each with a copy of the networks: 1 or 2 on a GPU; empty = `workers`."""
    files_url: str | None = None
    """Address under which a web server shows `root`, such as http://127.0.0.1:8000: links in Prefect lead there;
    empty = file addresses, which a browser opens only when they are pasted."""
    photos_per_shard: PositiveInt = 512
    """How many photos a worker takes at a time, about."""
    max_failed_share: Share = 0.05
    """A run ends with an error when a larger share of a source's photos cannot be read."""
    sources: tuple[AnySource, ...] = Field(min_length=1)
    """Where the photos come from."""
    photo: PhotoConfig = PhotoConfig()
    detect: DetectConfig = DetectConfig()
    crop: CropConfig = CropConfig()
    score: ScoreConfig = ScoreConfig()

    @model_validator(mode="after")
    def _sources_have_names_of_their_own(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {twice[0]!r}: give each its own name")
        return self


class CurateConfig(CropsConfig):
    """Annotated photos in, an explained snapshot of person crops out."""

    cluster: ClusterConfig | None = None
    """A Ray cluster that takes the shards instead of worker processes."""
    select: SelectConfig = SelectConfig()
    publish: PublishConfig = PublishConfig()

    @model_validator(mode="after")
    def _limits_are_scored(self) -> Self:
        unscored = sorted(self.select.limits.keys() - set(self.score.metrics))
        if unscored:
            raise ValueError(f"select.limits names {unscored[0]!r}, which score.metrics does not compute: add it there")
        return self
