"""Objects365, versions 1 and 2: COCO's shape with `isfake` and `isreflected`, photos spread over folders `patchN`.

Version 2 writes `images/v1/patch8/objects365_v1_00420917.jpg`; its archives unpack to `patch8/…`, some mirrors keep
`v1/patch8/…` or everything in one folder. Copies of version 1 write the bare name while the photos lie in patches.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import xxhash

from tasks.photos.photos import Photos
from tasks.sources.coco import CocoShapedSource
from tasks.sources.records import leads_outside


class Objects365Source(CocoShapedSource):
    """Objects365: `zhiyuan_objv2_train.json` or `objects365_train.json` with the folder of its patches."""

    homepage: ClassVar[str] = "https://www.objects365.org"
    format: Literal["objects365"] = "objects365"

    def what_is_read(self, photos: Photos) -> Any:  # noqa: ANN401
        """As in Source; which patches there are decides where a photo is looked for."""
        return super().what_is_read(photos), self._patches

    def path_of(self, file_name: str) -> str:
        """Where a photo lies: as published if that folder is there, else with fewer folders in front."""
        if leads_outside(file_name):
            return file_name  # the ingest refuses it
        folder, _, name = file_name.rpartition("/")
        if folder:
            found = self._found_folder(folder)
        elif self._patches and not (self.photos / name).is_file():
            found = self._patch_of_names.get(name)
        else:
            found = ""
        return f"{found}/{name}" if found else name

    def _found_folder(self, folder: str) -> str:
        """The longest end of `folder` that exists below the photo folder; `folder` itself if only photos are there."""
        if folder not in self._folders:
            parts = folder.split("/")
            ends = ["/".join(parts[i:]) for i in range(len(parts))]
            found = next((end for end in ends if (self.photos / end).is_dir()), None)
            flat = not self._patches
            self._folders[folder] = found if found is not None else "" if flat else folder
        return self._folders[folder]

    @cached_property
    def _folders(self) -> dict[str, str]:
        return {}

    @cached_property
    def _patches(self) -> list[str]:
        """Every folder `patchN`, at most three levels down."""
        levels = ("patch*", "*/patch*", "*/*/patch*")
        folders = (path for level in levels for path in self.photos.glob(level) if path.is_dir())
        return sorted(path.relative_to(self.photos).as_posix() for path in folders)

    @cached_property
    def _patch_of_names(self) -> "_PatchOfNames":
        return _PatchOfNames(self.photos, self._patches)


class _PatchOfNames:
    """Which patch holds a file, in 12 bytes per file: two million names would not fit as texts."""

    def __init__(self, root: Path, patches: list[str]) -> None:
        self._patches = patches
        rows = ((_hash(path.name), i) for i, patch in enumerate(patches) for path in _files(root / patch))
        table = np.fromiter(rows, dtype=[("hash", np.uint64), ("patch", np.int32)])
        table.sort(order=["hash", "patch"])
        self._hashes, self._numbers = table["hash"].copy(), table["patch"].copy()

    def get(self, name: str) -> str:
        """The patch with a file of this name; empty where there is none."""
        wanted = np.uint64(_hash(name))
        at = int(np.searchsorted(self._hashes, wanted))
        return self._patches[self._numbers[at]] if at < len(self._hashes) and self._hashes[at] == wanted else ""


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.is_dir())


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))
