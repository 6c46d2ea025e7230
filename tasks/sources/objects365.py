"""Objects365, versions 1 and 2: COCO's shape with `isfake` and `isreflected`, photos spread over folders `patchN`.

Version 2 writes `images/v1/patch8/objects365_v1_00420917.jpg`; its archives unpack to `patch8/…`, some mirrors keep
`v1/patch8/…` or everything in one folder. Copies of version 1 write the bare name while the photos lie in patches.
"""

from typing import ClassVar, Literal

from tasks.sources.coco import CocoShapedSource


class Objects365Source(CocoShapedSource):
    """Objects365: `zhiyuan_objv2_train.json` or `objects365_train.json` with its patches, unpacked or not."""

    homepage: ClassVar[str] = "https://www.objects365.org"
    format: Literal["objects365"] = "objects365"
