"""One file per annotation format."""

from typing import Annotated

from pydantic import Field

from tasks.sources.coco import CocoSource
from tasks.sources.crowdhuman import CrowdHumanSource
from tasks.sources.folder import FolderSource
from tasks.sources.objects365 import Objects365Source
from tasks.sources.open_images import OpenImagesSource
from tasks.sources.voc import VocSource
from tasks.sources.yolo import YoloSource

AnySource = Annotated[
    CocoSource | OpenImagesSource | Objects365Source | CrowdHumanSource | VocSource | YoloSource | FolderSource,
    Field(discriminator="format"),
]
"""Every format that a configuration can name; a new one is one file and one entry here."""
