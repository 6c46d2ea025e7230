"""Which format an annotation file has, told from its beginning: another one than configured is said at once."""

import re

from storage.errors import InputError
from tasks.sources.annotation_file import AnnotationFile

_BEGINNING_BYTES = 1 << 16
_NAMES = {
    "coco": "a COCO file",
    "crowdhuman": "a CrowdHuman file",
    "open_images": "a CSV file of Open Images",
    "voc": "a VOC file",
    "labelme": "a LabelMe file",
}
_SHAPE = {"objects365": "coco"}
"""Formats that are files of another one's shape."""


def expect_format(path: AnnotationFile, configured: str) -> None:
    """Raise InputError if `path` is recognised as a file of another format than the configured one."""
    with path.open("rb") as file:
        found = recognised(file.read(_BEGINNING_BYTES))
    if found and found != _SHAPE.get(configured, configured):
        remedy = f": write format: {found}" if found != "labelme" else ""
        raise InputError(f"{path} is {_NAMES[found]}; you wrote {configured}{remedy}")


def recognised(beginning: bytes) -> str | None:
    """The format of a file that begins like this; None where it is none of those that can be told apart."""
    text = beginning.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("{"):
        keys = set(re.findall(r'"(\w+)"\s*:', text))
        if {"gtboxes", "ID"} <= keys:
            return "crowdhuman"
        if "shapes" in keys and "imagePath" in keys:
            return "labelme"
        if keys & {"images", "annotations", "categories"} and keys & {
            "file_name",
            "image_id",
            "supercategory",
            "licenses",
            "iscrowd",
            "info",
        }:
            return "coco"
    elif text.startswith("<"):
        return "voc" if re.search(r"<annotation\b", text) else None
    elif re.match(r'"?ImageID"?,', text):
        return "open_images"
    return None
