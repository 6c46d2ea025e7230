"""What a run is configured by: every stage's own configuration, composed."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from flows.execution.run_config import RunConfig
from storage.frozen import HOW, Frozen
from tasks.crop.filters import CropConfig
from tasks.detect.person_detector import DetectConfig
from tasks.images.photo import PhotoConfig
from tasks.publish.publish import PublishConfig, check_row_group
from tasks.score.score import ScoreConfig
from tasks.select.verdicts import SelectConfig
from tasks.sources import AnySource


class CropsConfig(Frozen):
    """Annotated photos in, scored person crops out."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """Name of the dataset: the first part of the name of whatever is published."""
    root: Annotated[str, HOW]
    """Where everything is kept: a folder, or an s3:// or gs:// address."""
    run: Annotated[RunConfig, HOW] = Field(default_factory=RunConfig)  # a default would put its cores into the form
    """How the run is done; nothing in it changes the dataset."""
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

    select: SelectConfig = SelectConfig()
    publish: PublishConfig = PublishConfig()

    @model_validator(mode="after")
    def _limits_are_scored(self) -> Self:
        unscored = sorted(self.select.limits.keys() - set(self.score.metrics))
        if unscored:
            raise ValueError(f"select.limits names {unscored[0]!r}, which score.metrics does not compute: add it there")
        return self

    @model_validator(mode="after")
    def _row_groups_can_be_written(self) -> Self:
        check_row_group(self.publish, self.crop.side_px)
        return self
